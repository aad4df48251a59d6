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

use alloc::sync::Arc;
use core::fmt;

use addr::{FaultFlags, PAGE_SIZE, Pfn, PgOff, VirtAddr, VmFlags};
use frame::{Arena, ChargeId, Folio, FolioLock, FreshFolio, OwnerId};

use crate::area::Area;
use crate::request::{Brought, Obtained};

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

/// A page, or a device page, of a shared mapping is about to be written for the first time
/// (Linux: `vmf` with `FAULT_FLAG_MKWRITE`).
///
/// *Held:* the area, for read, and a reference to the folio, which is **not** locked. *May:* what a
/// [`FaultContext`] may. *May not:* wait.
#[derive(Debug)]
pub struct WriteNotice<'a> {
    area: &'a Area,
    address: VirtAddr,
    page: Noticed<'a>,
    obtained: Option<Obtained>,
}

/// What is about to be written.
#[derive(Clone, Copy, Debug)]
pub enum Noticed<'a> {
    /// A folio (`page_mkwrite`).
    Folio(&'a Folio),
    /// Device memory (`pfn_mkwrite`).
    Device(Pfn),
}

impl<'a> WriteNotice<'a> {
    /// A write at `address` in `area` to `page`.
    pub fn new(area: &'a Area, address: VirtAddr, page: Noticed<'a>) -> Self {
        WriteNotice {
            area,
            address,
            page,
            obtained: None,
        }
    }

    /// Brings what the previous attempt's request obtained.
    pub fn with_obtained(mut self, obtained: Option<Obtained>) -> Self {
        self.obtained = obtained;
        self
    }

    /// The area.
    pub fn area(&self) -> &'a Area {
        self.area
    }

    /// The page that is written.
    pub fn address(&self) -> VirtAddr {
        self.address.align_down()
    }

    /// The page of the object.
    pub fn pgoff(&self) -> PgOff {
        self.area.pgoff_of(self.address).unwrap_or(self.area.pgoff)
    }

    /// What is about to be written.
    pub fn page(&self) -> Noticed<'a> {
        self.page
    }

    /// Takes what an earlier request of this fault brought.
    pub fn take_obtained(&mut self) -> Option<Obtained> {
        self.obtained.take()
    }

    /// Takes what an earlier request brought, if it speaks of page `index` of `mapping`.
    pub fn take_obtained_of(&mut self, mapping: OwnerId, index: PgOff) -> Option<Brought> {
        relevant(self.obtained.take(), mapping, index)
    }

    /// Ends the call; what was obtained and not taken.
    pub fn into_obtained(self) -> Option<Obtained> {
        self.obtained
    }
}

fn relevant(obtained: Option<Obtained>, mapping: OwnerId, index: PgOff) -> Option<Brought> {
    obtained
        .filter(|obtained| obtained.speaks_of(mapping, index))
        .map(|obtained| obtained.brought)
}

/// A read fault lets the object map neighbours that it already has (Linux: `vm_ops->map_pages`).
///
/// *Held:* the area, the entry lock, an epoch pin. *May:* offer folios that it could try-lock and
/// device pages whose numbers it knows. *May not:* wait, allocate, or start work.
pub struct MapAround<'a> {
    area: &'a Area,
    address: VirtAddr,
    first: PgOff,
    last: PgOff,
    sink: &'a mut dyn AroundSink,
    nr_mapped: u64,
    fault_page: FaultPage,
}

/// Where offered pages go: the address space's table, with its entry lock held.
pub trait AroundSink {
    /// Whether the entry for the page at `address` is still empty.
    fn is_empty(&self, address: VirtAddr) -> bool;
    /// Maps it there, read-only or as the area's protection has it, if the entry is empty. Takes a
    /// reference of its own.
    fn install(&mut self, address: VirtAddr, page: AroundPage<'_>) -> Offered;
}

/// A page that is already there.
#[derive(Debug)]
pub enum AroundPage<'a> {
    /// Up to date, locked, inside its object.
    Folio(&'a FolioLock),
    /// Device memory.
    Device(Pfn),
}

/// What became of an offered page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It is mapped now.
    Mapped,
    /// There was something; it is left alone.
    Occupied,
    /// Not inside the window.
    Outside,
}

/// Whether fault-around has served the fault itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultPage {
    /// The faulting address is mapped now (`VM_FAULT_NOPAGE`).
    Mapped,
    /// Go on with `fault`.
    Missing,
}

impl<'a> MapAround<'a> {
    /// The window `[first, last]` of `area` around the fault at `address`.
    pub fn new(
        area: &'a Area,
        address: VirtAddr,
        window: (PgOff, PgOff),
        sink: &'a mut dyn AroundSink,
    ) -> Self {
        let (first, last) = (window.0.max(area.pgoff), window.1.min(area.last_pgoff()));
        let fault_page = FaultPage::Missing;
        MapAround {
            area,
            address,
            first,
            last,
            sink,
            nr_mapped: 0,
            fault_page,
        }
    }

    /// The area.
    pub fn area(&self) -> &'a Area {
        self.area
    }

    /// The first page of the window.
    pub fn first(&self) -> PgOff {
        self.first
    }

    /// The last page of the window.
    pub fn last(&self) -> PgOff {
        self.last
    }

    /// Whether page `pgoff` is inside the window and its entry empty.
    pub fn wants(&self, pgoff: PgOff) -> bool {
        self.address_of(pgoff)
            .is_some_and(|address| self.sink.is_empty(address))
    }

    /// Offers a folio of the object as its page `pgoff`.
    pub fn offer_folio(&mut self, pgoff: PgOff, folio: &FolioLock) -> Offered {
        self.offer(pgoff, AroundPage::Folio(folio))
    }

    /// Offers a device page as page `pgoff` of the object.
    pub fn offer_device(&mut self, pgoff: PgOff, pfn: Pfn) -> Offered {
        self.offer(pgoff, AroundPage::Device(pfn))
    }

    fn offer(&mut self, pgoff: PgOff, page: AroundPage<'_>) -> Offered {
        let Some(address) = self.address_of(pgoff) else {
            return Offered::Outside;
        };
        let offered = self.sink.install(address, page);
        if offered == Offered::Mapped {
            self.nr_mapped += 1;
            if address == self.address.align_down() {
                self.fault_page = FaultPage::Mapped;
            }
        }
        offered
    }

    fn address_of(&self, pgoff: PgOff) -> Option<VirtAddr> {
        if pgoff < self.first || pgoff > self.last {
            return None;
        }
        self.area.address_of(pgoff)
    }

    /// How many pages were mapped.
    pub fn nr_mapped(&self) -> u64 {
        self.nr_mapped
    }

    /// Whether the fault is served.
    pub fn fault_page(&self) -> FaultPage {
        self.fault_page
    }
}

impl fmt::Debug for MapAround<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapAround")
            .field("first", &self.first)
            .field("last", &self.last)
            .field("nr_mapped", &self.nr_mapped)
            .finish_non_exhaustive()
    }
}

/// Somebody outside the address space reads or writes memory that has no folio
/// (Linux: `vm_ops->access`, for ptrace and `/proc/PID/mem`).
///
/// *Held:* mmap lock for read. *May not:* wait; it may hand back a request.
#[derive(Debug)]
pub struct OutsideAccess<'a> {
    area: &'a Area,
    address: VirtAddr,
    obtained: Option<Obtained>,
}

impl<'a> OutsideAccess<'a> {
    /// An access that starts at `address`.
    pub fn new(area: &'a Area, address: VirtAddr) -> Self {
        OutsideAccess {
            area,
            address,
            obtained: None,
        }
    }

    /// Brings what the previous attempt's request obtained.
    pub fn with_obtained(mut self, obtained: Option<Obtained>) -> Self {
        self.obtained = obtained;
        self
    }

    /// Takes what an earlier request of this access brought.
    pub fn take_obtained(&mut self) -> Option<Obtained> {
        self.obtained.take()
    }

    /// The area.
    pub fn area(&self) -> &'a Area {
        self.area
    }

    /// The first byte.
    pub fn address(&self) -> VirtAddr {
        self.address
    }

    /// The first byte, as an offset into the object.
    pub fn offset_bytes(&self) -> u64 {
        let page = self.area.pgoff_of(self.address).unwrap_or(self.area.pgoff);
        page.as_u64()
            .saturating_mul(PAGE_SIZE)
            .saturating_add(self.address.page_offset())
    }
}

/// The bytes of an access from outside.
#[derive(Debug)]
pub enum OutsideBytes<'a> {
    /// To be read into.
    Read(&'a mut [u8]),
    /// To be written.
    Write(&'a [u8]),
}

impl OutsideBytes<'_> {
    /// The same bytes, for a shorter time.
    pub fn reborrow(&mut self) -> OutsideBytes<'_> {
        match self {
            OutsideBytes::Read(buf) => OutsideBytes::Read(buf),
            OutsideBytes::Write(bytes) => OutsideBytes::Write(bytes),
        }
    }
}
