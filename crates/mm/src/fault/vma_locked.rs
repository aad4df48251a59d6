//! The area is found and locked, and allows the access.
//!
//! * *Held:* the fault lock: the area's own, or the mmap lock for reading.
//! * *Known:* the area; once checked, that its rights allow the access.
//! * *May:* grow a stack; give everything up and ask for the mmap lock.
//! * *Next:* [`Walked`](super::walked::Walked).
//!
//! Linux names: `lock_vma_under_rcu`, `lock_mm_and_find_vma`, `access_error`, `vmf_anon_prepare`.

use alloc::sync::Arc;

use addr::{FaultFlags, VirtAddr, VmFlags};
use frame::OwnerId;
use machine::ErrorCode;
use object::Callbacks;
use vma::{FaultLock, FaultLockKind, MmapHeld, Vma};

use super::outcome::{Cause, Exit, Rung, Shortage, Step};
use super::request::FaultRequest;
use crate::accounts::FaultEvent;
use crate::mm::{Guarded, Mm};

/// The fault lock is held; the area stays what it is until this is dropped.
#[derive(Debug)]
pub(crate) struct VmaLocked<'f> {
    pub(crate) mm: &'f Mm,
    pub(crate) request: &'f mut FaultRequest,
    pub(crate) lock: FaultLock<'f, Guarded>,
}

impl<'f> VmaLocked<'f> {
    /// The first rung: finds the area of the fault's address and locks it, without the mmap lock and
    /// without waiting. If that is not possible the fault climbs.
    #[inline]
    pub(crate) fn by_area_lock(mm: &'f Mm, request: &'f mut FaultRequest) -> Step<Self> {
        let Ok(area) = mm.mmap_lock().lock_vma_under_rcu(request.addr) else {
            request.note("lock_vma_under_rcu", "not without the mmap lock");
            mm.rss().count_event(FaultEvent::VmaLockAbort, 1);
            return Err(Exit::Refault(Rung::MmapLock));
        };
        request.note("lock_vma_under_rcu", "the area is read-locked");
        request.flags |= FaultFlags::VMA_LOCK;
        Ok(VmaLocked {
            mm,
            request,
            lock: FaultLock::by_vma(area),
        })
    }

    /// The second rung: with the mmap lock, growing a stack if it must.
    pub(crate) fn by_mmap_lock(mm: &'f Mm, request: &'f mut FaultRequest) -> Step<Self> {
        request.flags -= FaultFlags::VMA_LOCK;
        let lock = Self::lock_mm_and_find(mm, request)?;
        Ok(VmaLocked { mm, request, lock })
    }

    /// `lock_mm_and_find_vma`. There is no upgrade: to grow a stack the read lock is given up, and
    /// everything looked up again under the write lock.
    fn lock_mm_and_find(mm: &'f Mm, request: &mut FaultRequest) -> Step<FaultLock<'f, Guarded>> {
        let held = match FaultLock::by_mmap(mm.read(), request.addr) {
            Ok(lock) => {
                request.note(
                    "lock_mm_and_find_vma",
                    "the mmap lock is held, the area found",
                );
                return Ok(lock);
            }
            Err(held) => held,
        };
        let above = held.tree().find_next(request.addr).cloned();
        drop(held);
        if !above.is_some_and(|vma| vma.flags().contains(VmFlags::GROWSDOWN)) {
            request.note("lock_mm_and_find_vma", "no area");
            return Err(Exit::Fail(Cause::NoArea));
        }
        request.note("expand_stack_locked", "below a stack: grow it");
        match mm.grow_stack(request.addr) {
            Ok(lock) => Ok(lock),
            Err(_) => Err(Exit::Fail(Cause::NoArea)),
        }
    }

    /// The area.
    #[inline]
    pub(crate) fn vma(&self) -> &Arc<Vma> {
        self.lock.vma()
    }

    /// Its flags.
    #[inline]
    pub(crate) fn flags(&self) -> VmFlags {
        self.lock.vma().flags()
    }

    /// The page that faulted.
    #[inline]
    pub(crate) fn page(&self) -> VirtAddr {
        self.request.page()
    }

    /// `access_error`: for a fault that a CPU reported, whether the area's rights allow what was
    /// tried, in the kernel's order.
    #[inline]
    pub(crate) fn check_access(self) -> Step<Self> {
        let Some(code) = self.request.error_code else {
            return Ok(self);
        };
        // `pgtable_bad`: the tables are broken, and coming again would find them so.
        if code.contains(ErrorCode::RSVD) {
            return Err(Exit::Fail(Cause::Refused));
        }
        let flags = self.flags();
        let write = self.request.is_write();
        let denied = if code.contains(ErrorCode::PK) {
            return Err(Exit::Fail(Cause::Key { pkey: flags.pkey() }));
        } else if code.contains(ErrorCode::SGX) {
            true
        } else if code.contains(ErrorCode::SHSTK) {
            !flags.contains(VmFlags::SHADOW_STACK | VmFlags::WRITE)
        } else if write {
            flags.contains(VmFlags::SHADOW_STACK) || !flags.contains(VmFlags::WRITE)
        } else {
            code.contains(ErrorCode::PROT) || !flags.is_accessible()
        };
        if denied {
            self.request
                .note("access_error", "the area does not allow it");
            return Err(Exit::Fail(Cause::Denied));
        }
        Ok(self)
    }

    /// What `handle_mm_fault` does first: `sanitize_fault_flags`, and the turn to `hugetlb_fault`.
    #[inline]
    pub(crate) fn sanitize(mut self) -> Step<Self> {
        let flags = self.flags();
        self.request
            .note("handle_mm_fault", "the fault lock is held");
        self.request.sanitize(flags)?;
        if flags.contains(VmFlags::HUGETLB) {
            return Err(self.hugetlb_fault());
        }
        Ok(self)
    }

    /// `vmf_can_call_fault`: under its area's own lock only an object that has `map_pages` is asked;
    /// the others are asked under the mmap lock.
    pub(crate) fn may_ask_object(&mut self) -> Step<()> {
        if self.lock.kind() == FaultLockKind::Vma
            && !self.vma().callbacks().contains(Callbacks::MAP_PAGES)
        {
            self.request
                .note("vmf_can_call_fault", "only under the mmap lock");
            return Err(Exit::Refault(Rung::MmapLock));
        }
        Ok(())
    }

    /// `vmf_anon_prepare`: sees to it that private pages of the area have a place in the reverse map.
    /// Only the first private page of an area finds it missing.
    #[inline]
    pub(crate) fn prepare_anon(&mut self) -> Step<OwnerId> {
        if let Some(chain) = self.vma().anon_chain() {
            return Ok(chain.owner_of_exclusive());
        }
        self.request
            .note("__anon_vma_prepare", "the area's first private page");
        let prepared = match self.lock.mmap() {
            Some(held) => vma::anon_vma_prepare(held, self.vma()),
            None => match self.mm.mmap_lock().try_read() {
                Some(held) => vma::anon_vma_prepare(&held, self.vma()),
                None => return Err(Exit::Refault(Rung::MmapLock)),
            },
        };
        Ok(prepared.owner_of_exclusive())
    }

    /// Whether the space still vouches for its private pages (`check_stable_address_space`).
    #[inline]
    pub(crate) fn check_stable(&self) -> Step<()> {
        if self.mm.flags().contains(crate::mm::MmFlags::UNSTABLE) {
            return Err(Exit::Fail(Cause::Bus));
        }
        Ok(())
    }

    /// Sees to it that frames for the tables on the way to the fault's page are at hand before
    /// anything is locked that an allocation must not meet (`vmf->prealloc_pte`).
    pub(crate) fn reserve_tables(&mut self) -> Step<()> {
        // inv 60
        sync::rank::assert_no_folio_locked();
        let missing = {
            let pin = sync::pin();
            self.mm.table().tables_missing(self.request.page(), &pin)
        };
        if missing == 0 {
            return Ok(());
        }
        self.request.note(
            "pte_alloc_one",
            "a table is put aside before the folio is locked",
        );
        self.request
            .tables()
            .fill(self.mm.arena(), missing)
            .map_err(|_| Exit::Starved(Shortage::Table))
    }
}
