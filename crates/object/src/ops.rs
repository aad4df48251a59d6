//! The operations table of an area: what an embedder implements.
//!
//! [`VmOps`] is Linux's `struct vm_operations_struct`, member for member. Each method's argument
//! says which locks are held and so what it may do; [`context`](crate::context) has the table.
//! An area without operations is anonymous memory; an area whose operations have no `fault`
//! answers every missing page with `SIGBUS`.

use alloc::borrow::Cow;
use alloc::sync::Arc;
use core::fmt;

use addr::{Errno, FaultResult, Order, PAGE_SIZE, Pfn, VirtAddr, VirtRange, VmFlags};
use frame::{Folio, FolioLock, FreshFolio};

use crate::context::{
    AreaChange, AreaPeek, FaultContext, FaultPage, Intent, MapAround, OutsideAccess, OutsideBytes,
    WriteNotice,
};
use crate::failure::FaultFailure;
use crate::policy::MemPolicy;
use crate::request::PageRequest;

bitflags::bitflags! {
    /// Which members of the table exist; Linux asks whether the pointer is NULL.
    ///
    /// Some rules depend on existence alone: an area whose operations have `close` is not deleted
    /// by a merge, one without `map_pages` is not faulted under its own lock, one with
    /// `page_mkwrite` or `pfn_mkwrite` is mapped read-only until written.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Callbacks: u32 {
        /// [`VmOps::open`]
        const OPEN = 1 << 0;
        /// [`VmOps::close`]
        const CLOSE = 1 << 1;
        /// [`VmOps::may_split`]
        const MAY_SPLIT = 1 << 2;
        /// [`VmOps::mremap`]
        const MREMAP = 1 << 3;
        /// [`VmOps::mprotect`]
        const MPROTECT = 1 << 4;
        /// [`VmOps::fault`]
        const FAULT = 1 << 5;
        /// [`VmOps::huge_fault`]
        const HUGE_FAULT = 1 << 6;
        /// [`VmOps::map_pages`]
        const MAP_PAGES = 1 << 7;
        /// [`VmOps::pagesize`]
        const PAGESIZE = 1 << 8;
        /// [`VmOps::page_mkwrite`]
        const PAGE_MKWRITE = 1 << 9;
        /// [`VmOps::pfn_mkwrite`]
        const PFN_MKWRITE = 1 << 10;
        /// [`VmOps::access`]
        const ACCESS = 1 << 11;
        /// [`VmOps::name`]
        const NAME = 1 << 12;
        /// [`VmOps::set_policy`]
        const SET_POLICY = 1 << 13;
        /// [`VmOps::get_policy`]
        const GET_POLICY = 1 << 14;
        /// [`VmOps::find_normal_page`]
        const FIND_NORMAL_PAGE = 1 << 15;
    }
}

impl Callbacks {
    /// Whether a fault may be served under the area's own lock (Linux: `vmf_can_call_fault`).
    /// Only audited objects have `map_pages`; the others are called with the mmap lock.
    pub fn serve_under_area_lock(self) -> bool {
        self.contains(Callbacks::MAP_PAGES)
    }

    /// Whether the object wants to hear of a first write to a shared page.
    pub fn want_write_notice(self) -> bool {
        self.intersects(Callbacks::PAGE_MKWRITE | Callbacks::PFN_MKWRITE)
    }
}

/// What a fault was given (Linux: `vmf->page` and the bits of `vm_fault_t` that are no errors).
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "a supplied page is a reference that somebody must map or drop"]
pub enum Supplied {
    /// A folio of the object, not locked. The core locks it and checks that it is still the
    /// object's page before it maps it.
    Folio(Folio),
    /// The same, locked (`VM_FAULT_LOCKED`). Or a page that a driver allocated for itself and that
    /// is in no object: it is mapped wherever it is supplied, and no walk finds it there.
    Locked(FolioLock),
    /// Memory that is not in the arena, with its number in the [`DeviceSpace`](crate::device).
    /// For a write to a shared mapping the object has been told, and needs no notice.
    Device(Pfn),
    /// Nothing but zeroes: as anonymous memory. Only for private mappings.
    Zeroes,
    /// The page's data in a frame of its own, which becomes the private page. Only for private
    /// mappings.
    Data(FreshFolio),
    /// The object wants the fault to be taken again (`VM_FAULT_NOPAGE`).
    NoPage,
    /// The private page of the context has been filled (`VM_FAULT_DONE_COW`).
    DoneCow,
    /// Not without waiting (`VM_FAULT_RETRY`): perform this with no lock held and come again.
    Later(PageRequest),
    /// Not in this size (`VM_FAULT_FALLBACK`); only from `huge_fault`.
    Fallback,
    /// Never.
    Error(FaultFailure),
}

impl Supplied {
    /// The bits of Linux's `vm_fault_t` that stand for this.
    pub fn result(&self) -> FaultResult {
        match self {
            Supplied::Folio(_) | Supplied::Device(_) | Supplied::Zeroes | Supplied::Data(_) => {
                FaultResult::empty()
            }
            Supplied::Locked(_) => FaultResult::LOCKED,
            Supplied::NoPage => FaultResult::NOPAGE,
            Supplied::DoneCow => FaultResult::DONE_COW,
            Supplied::Later(_) => FaultResult::RETRY,
            Supplied::Fallback => FaultResult::FALLBACK,
            Supplied::Error(failure) => failure.result(),
        }
    }

    /// What is wrong with this answer to a fault, if anything. The core asks it of every answer, and
    /// ends a fault that was answered so with `SIGBUS`; call it in the tests of an object of your own.
    pub fn breach(&self, intent: Intent, private: Privacy) -> Option<ContractBreach> {
        match self {
            Supplied::Zeroes | Supplied::Data(_) if private == Privacy::Shared => {
                Some(ContractBreach::PrivateAnswerToSharedMapping)
            }
            Supplied::DoneCow if intent != Intent::Copy => Some(ContractBreach::DoneWithoutCopy),
            Supplied::Fallback => Some(ContractBreach::FallbackFromFault),
            Supplied::Device(pfn) if pfn.as_u64() < crate::device::FIRST_DEVICE_PFN => {
                Some(ContractBreach::ArenaFrameAsDevice)
            }
            _ => None,
        }
    }
}

/// Whether writes through a mapping reach the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Privacy {
    /// They do.
    Shared,
    /// They go to copies.
    Private,
}

impl Privacy {
    /// Of an area with these flags.
    pub fn of(flags: VmFlags) -> Self {
        if flags.contains(VmFlags::SHARED) {
            Privacy::Shared
        } else {
            Privacy::Private
        }
    }
}

/// How an answer of [`VmOps::fault`] can break its contract where types do not prevent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContractBreach {
    /// `Zeroes` or `Data`, which make a private page, for a shared mapping.
    #[error("a private page was supplied to a shared mapping")]
    PrivateAnswerToSharedMapping,
    /// `DoneCow` for a fault that makes no private copy.
    #[error("a private copy was reported where none was asked for")]
    DoneWithoutCopy,
    /// `Fallback` for the smallest size.
    #[error("fall back from the smallest size")]
    FallbackFromFault,
    /// `Device` with the number of an arena frame.
    #[error("a frame of the arena was supplied as device memory")]
    ArenaFrameAsDevice,
}

/// The object's word on a first write to a shared page (Linux: the result of `page_mkwrite`).
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "a write must not go ahead before the object's word is heard"]
pub enum Notified {
    /// Write; here is the folio, locked and still the object's (`VM_FAULT_LOCKED`).
    Locked(FolioLock),
    /// Write; the core locks the folio and refaults if it has left the object (0).
    Allow,
    /// Take the fault again (`VM_FAULT_NOPAGE`).
    NoPage,
    /// Not without waiting.
    Later(PageRequest),
    /// No.
    Error(FaultFailure),
}

impl Notified {
    /// The bits of Linux's `vm_fault_t` that stand for this.
    pub fn result(&self) -> FaultResult {
        match self {
            Notified::Locked(_) => FaultResult::LOCKED,
            Notified::Allow => FaultResult::empty(),
            Notified::NoPage => FaultResult::NOPAGE,
            Notified::Later(_) => FaultResult::RETRY,
            Notified::Error(failure) => failure.result(),
        }
    }
}

/// What came of an access from outside.
#[derive(Debug)]
#[must_use = "an access may have moved fewer bytes, or none yet"]
pub enum Accessed {
    /// So many bytes were moved.
    Bytes(usize),
    /// Not without waiting.
    Later(PageRequest),
    /// None can be.
    Error(Errno),
}

/// The operations of an area (Linux: `struct vm_operations_struct`).
///
/// Implement the members you have and name them in [`callbacks`](VmOps::callbacks); the core calls
/// no others. A member that is named in `callbacks` but not implemented behaves as if absent.
pub trait VmOps: Send + Sync + fmt::Debug {
    /// Which members exist. Constant for the life of the object.
    fn callbacks(&self) -> Callbacks;

    /// An area was duplicated: by a split, by fork (after the child's area is in its tree), by the
    /// copy of mremap. Not called for the first mmap. Must take again whatever `close` gives back.
    ///
    /// *Linux:* `open`. *Absent:* nothing is done.
    fn open(&self, change: &AreaChange<'_>) {
        let _ = change;
    }

    /// An area is gone: munmap, exit, replaced by `MAP_FIXED`, the source of a mremap. Called at
    /// most once per area. *Its existence* keeps an area from being deleted by a merge.
    ///
    /// *Linux:* `close`. *Absent:* nothing is done.
    fn close(&self, change: &AreaChange<'_>) {
        let _ = change;
    }

    /// May the area be split at `address`? Asked before every split.
    ///
    /// *Linux:* `may_split`. *Absent:* yes.
    fn may_split(&self, change: &AreaChange<'_>, address: VirtAddr) -> Result<(), Errno> {
        let _ = (change, address);
        Ok(())
    }

    /// The page tables have been moved to this new area; an error moves them back.
    ///
    /// *Linux:* `mremap`. *Absent:* fine.
    fn mremap(&self, change: &AreaChange<'_>) -> Result<(), Errno> {
        let _ = change;
        Ok(())
    }

    /// The protection of `range` is about to become `flags`. The area is not yet changed.
    ///
    /// *Linux:* `mprotect`. *Absent:* fine.
    fn mprotect(
        &self,
        change: &AreaChange<'_>,
        range: VirtRange,
        flags: VmFlags,
    ) -> Result<(), Errno> {
        let _ = (change, range, flags);
        Ok(())
    }

    /// A page is missing. Under the area's own lock only if `map_pages` exists too.
    ///
    /// *Linux:* `fault`. *Absent:* a missing page is `SIGBUS`.
    fn fault(&self, context: &mut FaultContext<'_>) -> Supplied {
        let _ = context;
        Supplied::Error(FaultFailure::Bus)
    }

    /// A page is missing and a larger one would fit, or a large read-only one is written.
    ///
    /// *Linux:* `huge_fault`. *Absent:* fall back to the smaller size.
    fn huge_fault(&self, context: &mut FaultContext<'_>, order: Order) -> Supplied {
        let _ = (context, order);
        Supplied::Fallback
    }

    /// Maps neighbours of a read fault that are already there. The answer is
    /// `MapAround::fault_page` of what it was given.
    ///
    /// *Linux:* `map_pages`. *Absent:* no fault-around, and no faults under the area's own lock.
    fn map_pages(&self, around: &mut MapAround<'_>) -> FaultPage {
        around.fault_page()
    }

    /// The size of page that maps the area, in bytes, for reports.
    ///
    /// *Linux:* `pagesize`. *Absent:* 4096.
    fn pagesize(&self, peek: &AreaPeek<'_>) -> u64 {
        let _ = peek;
        PAGE_SIZE
    }

    /// A page of a shared mapping is written for the first time since it was last clean.
    ///
    /// *Linux:* `page_mkwrite`. *Absent:* it becomes writable directly.
    fn page_mkwrite(&self, notice: &mut WriteNotice<'_>) -> Notified {
        let _ = notice;
        Notified::Allow
    }

    /// The same for device memory. `Locked` is no answer here.
    ///
    /// *Linux:* `pfn_mkwrite`. *Absent:* it becomes writable directly.
    fn pfn_mkwrite(&self, notice: &mut WriteNotice<'_>) -> Notified {
        let _ = notice;
        Notified::Allow
    }

    /// Somebody outside reads or writes memory that cannot be faulted in and pinned. Whoever asks is
    /// not bound by the area's rights: whether they hold is the callback's to say
    /// ([`OutsideAccess::may_write`]), but that private areas are not written to.
    ///
    /// *Linux:* `access`. *Absent:* no bytes are accessible.
    fn access(&self, access: &mut OutsideAccess<'_>, bytes: OutsideBytes<'_>) -> Accessed {
        let _ = (access, bytes);
        Accessed::Bytes(0)
    }

    /// What `/proc/PID/maps` prints for the area instead of a path.
    ///
    /// *Linux:* `name`. *Absent:* the file's path, or the name the core gives.
    fn name(&self, peek: &AreaPeek<'_>) -> Option<Cow<'static, str>> {
        let _ = peek;
        None
    }

    /// The memory policy of the area becomes `policy`; `None` removes it.
    ///
    /// *Linux:* `set_policy`. *Absent:* the core keeps it in the area.
    fn set_policy(
        &self,
        change: &AreaChange<'_>,
        policy: Option<Arc<MemPolicy>>,
    ) -> Result<(), Errno> {
        let _ = (change, policy);
        Ok(())
    }

    /// The memory policy at `address`. `None` does not fall back to the area's.
    ///
    /// *Linux:* `get_policy`. *Absent:* the area's.
    fn get_policy(&self, peek: &AreaPeek<'_>, address: VirtAddr) -> Option<Arc<MemPolicy>> {
        let _ = address;
        peek.area().policy.clone()
    }

    /// The folio behind a special entry at `address`, if it has one. The entry lock is held.
    ///
    /// *Linux:* `find_normal_page` (before: `find_special_page`). *Absent:* none.
    fn find_normal_page(&self, peek: &AreaPeek<'_>, address: VirtAddr) -> Option<Folio> {
        let _ = (peek, address);
        None
    }
}

/// A table without members. An area whose object forgot to bring operations gets it, and is so not
/// taken for anonymous memory: its missing pages are `SIGBUS` (Linux: `vma_dummy_vm_ops`).
#[derive(Clone, Copy, Debug, Default)]
pub struct NoOps;

impl VmOps for NoOps {
    fn callbacks(&self) -> Callbacks {
        Callbacks::empty()
    }
}

/// Whether an area with these operations is anonymous (Linux: `vma_is_anonymous`).
pub fn is_anonymous(ops: Option<&Arc<dyn VmOps>>) -> bool {
    ops.is_none()
}
