//! What each callback of [`VmOps`](crate::VmOps) is told, one type per state of the locks.
//!
//! | context | held while the callback runs | may it wait? |
//! |---|---|---|
//! | [`AreaChange`] | mmap lock for write, the area locked for write | no; it may allocate, and may refuse where its verb can |
//! | [`AreaPeek`] | mmap or area lock for read; for `find_normal_page` the entry lock too | no |
//! | [`FaultContext`] | the area (area lock or mmap lock, for read); no entry, no folio lock | not here: it may start work and hand back a `PageRequest` |
//! | [`WriteNotice`] | as `FaultContext`, and a reference to the folio, which is unlocked | as `FaultContext` |
//! | [`MapAround`] | as `FaultContext`, and the entry lock and an epoch pin | never: it has no way to hand back a request |
//! | [`OutsideAccess`] | mmap lock for read | not here: it may hand back a `PageRequest` |
//!
//! None of them can be kept: each borrows from the attempt that made it.

mod around;
mod notice;
mod outside;

use alloc::sync::Arc;
use core::fmt;

use addr::{FaultFlags, PgOff, VirtAddr, VmFlags};
use frame::{Arena, ChargeId, FreshFolio, OwnerId};

use crate::area::Area;
use crate::request::{Brought, Obtained};

pub use around::{AroundPage, AroundSink, FaultPage, MapAround, Offered};
pub use notice::{Noticed, WriteNotice};
pub use outside::{OutsideAccess, OutsideBytes};

/// The area is being changed: made, duplicated, split, moved, reprotected or removed.
///
/// *Held:* mmap lock for write, this area locked for write. *May:* allocate, take locks of its own
/// that are never held while asking an address space for anything. *May not:* wait.
#[derive(Debug)]
pub struct AreaChange<'a> {
    area: &'a Area,
}

impl<'a> AreaChange<'a> {
    /// Made by the address space around a callback.
    pub fn new(area: &'a Area) -> Self {
        AreaChange { area }
    }

    /// The area.
    pub fn area(&self) -> &'a Area {
        self.area
    }
}

/// The area is only looked at.
///
/// *Held:* mmap lock or area lock for read, perhaps an entry lock. *May not:* wait, allocate frames.
#[derive(Debug)]
pub struct AreaPeek<'a> {
    area: &'a Area,
}

impl<'a> AreaPeek<'a> {
    /// Made by the address space around a callback.
    pub fn new(area: &'a Area) -> Self {
        AreaPeek { area }
    }

    /// The area.
    pub fn area(&self) -> &'a Area {
        self.area
    }
}

/// A fault asks for memory (Linux: `struct vm_fault` as `vm_ops->fault` sees it).
///
/// *Held:* the area, for read. *May:* allocate frames, try-lock folios, start work and return it as
/// [`Supplied::Later`](crate::Supplied::Later). *May not:* wait, or touch page tables.
pub struct FaultContext<'a> {
    area: &'a Area,
    address: VirtAddr,
    flags: FaultFlags,
    arena: &'a Arc<Arena>,
    charge: Option<ChargeId>,
    obtained: Option<Obtained>,
    cow_page: Option<FreshFolio>,
    major: Major,
}

/// Whether serving a fault took a wait for data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Major {
    /// The memory was at hand (minor).
    No,
    /// Data had to be waited for (`VM_FAULT_MAJOR`).
    Yes,
}

/// What a context gives back when its callback has returned.
#[derive(Debug)]
pub struct FaultRemains {
    /// What an earlier request brought and the callback did not take.
    pub obtained: Option<Obtained>,
    /// The private page, still there unless the callback took it.
    pub cow_page: Option<FreshFolio>,
    /// Whether the callback counted the fault as major.
    pub major: Major,
}

impl<'a> FaultContext<'a> {
    /// A fault at `address` (any byte of it) in `area`.
    pub fn new(
        area: &'a Area,
        address: VirtAddr,
        flags: FaultFlags,
        arena: &'a Arc<Arena>,
    ) -> Self {
        let (charge, obtained, cow_page) = (None, None, None);
        FaultContext {
            area,
            address,
            flags,
            arena,
            charge,
            obtained,
            cow_page,
            major: Major::No,
        }
    }

    /// Who pays for frames allocated for this fault.
    pub fn charged_to(mut self, charge: Option<ChargeId>) -> Self {
        self.charge = charge;
        self
    }

    /// Brings what the previous attempt's request obtained.
    pub fn with_obtained(mut self, obtained: Option<Obtained>) -> Self {
        self.obtained = obtained;
        self
    }

    /// Offers the page prepared for a private write (Linux: `vmf->cow_page`).
    pub fn with_cow_page(mut self, page: Option<FreshFolio>) -> Self {
        self.cow_page = page;
        self
    }

    /// The area (Linux: `vmf->vma`).
    pub fn area(&self) -> &'a Area {
        self.area
    }

    /// The page that faulted (Linux: `vmf->address`).
    pub fn address(&self) -> VirtAddr {
        self.address.align_down()
    }

    /// The very byte that faulted (Linux: `vmf->real_address`).
    pub fn real_address(&self) -> VirtAddr {
        self.address
    }

    /// The page of the object that is asked for (Linux: `vmf->pgoff`).
    pub fn pgoff(&self) -> PgOff {
        self.area.pgoff_of(self.address).unwrap_or(self.area.pgoff)
    }

    /// The kind of access and of attempt (Linux: `vmf->flags`).
    pub fn flags(&self) -> FaultFlags {
        self.flags
    }

    /// What the access will do with the page.
    pub fn intent(&self) -> Intent {
        Intent::of(self.area.flags, self.flags)
    }

    /// Where frames come from.
    pub fn arena(&self) -> &'a Arc<Arena> {
        self.arena
    }

    /// Who pays for them.
    pub fn charge(&self) -> Option<ChargeId> {
        self.charge
    }

    /// Takes what an earlier request of this fault brought.
    pub fn take_obtained(&mut self) -> Option<Obtained> {
        self.obtained.take()
    }

    /// Takes what an earlier request brought, if it speaks of page `index` of `mapping`; what speaks
    /// of anything else is stale and dropped.
    pub fn take_obtained_of(&mut self, mapping: OwnerId, index: PgOff) -> Option<Brought> {
        relevant(self.obtained.take(), mapping, index)
    }

    /// The private page, to be filled elsewhere.
    pub fn take_cow_page(&mut self) -> Option<FreshFolio> {
        self.cow_page.take()
    }

    /// The private page to be filled by a callback that then answers
    /// [`Supplied::DoneCow`](crate::Supplied::DoneCow).
    pub fn cow_page(&mut self) -> Option<&mut FreshFolio> {
        self.cow_page.as_mut()
    }

    /// Counts the fault as major.
    pub fn set_major(&mut self) {
        self.major = Major::Yes;
    }

    /// Ends the call.
    pub fn into_remains(self) -> FaultRemains {
        FaultRemains {
            obtained: self.obtained,
            cow_page: self.cow_page,
            major: self.major,
        }
    }
}

impl fmt::Debug for FaultContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultContext")
            .field("address", &self.address)
            .field("pgoff", &self.pgoff())
            .field("flags", &self.flags)
            .finish_non_exhaustive()
    }
}

/// What the access will do with the page; the three-way branch of Linux's `do_fault`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Intent {
    /// Read it (`do_read_fault`).
    Read,
    /// Write to a private copy of it (`do_cow_fault`).
    Copy,
    /// Write to it for all to see (`do_shared_fault`).
    Share,
}

impl Intent {
    /// Of a fault with `fault` flags in an area with `area` flags.
    pub fn of(area: VmFlags, fault: FaultFlags) -> Self {
        if !fault.intersects(FaultFlags::WRITE | FaultFlags::UNSHARE) {
            Intent::Read
        } else if area.contains(VmFlags::SHARED) {
            Intent::Share
        } else {
            Intent::Copy
        }
    }
}

fn relevant(obtained: Option<Obtained>, mapping: OwnerId, index: PgOff) -> Option<Brought> {
    obtained
        .filter(|obtained| obtained.speaks_of(mapping, index))
        .map(|obtained| obtained.brought)
}
