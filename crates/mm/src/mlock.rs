//! mlock, mlock2, munlock, mlockall, munlockall (Linux: `mm/mlock.c`).
//!
//! Locking marks areas and then faults their pages in; `locked_vm` counts the pages of marked areas,
//! present or not. Nothing is reclaimed yet, so a marked page needs no list of its own.

use alloc::sync::Arc;

use addr::{Errno, PAGE_SHIFT, PAGE_SIZE, VirtAddr, VirtRange, VmFlags};
use vma::{Attributes, MmapHeld, MmapWrite, ModifyPlan, Vma};

use crate::limits::Resource;
use crate::map::{LockAllFlags, LockFlags};
use crate::mm::{Guarded, Mm};

/// Areas that are never locked, and silently so.
const NEVER_LOCKED: VmFlags = VmFlags::SPECIAL
    .union(VmFlags::HUGETLB)
    .union(VmFlags::DROPPABLE);

impl Mm {
    /// `mlock`.
    ///
    /// # Errors
    /// EPERM when nothing may be locked; ENOMEM over the limit and for a hole, before which all stays
    /// locked; EINVAL when the range wraps; what faulting in brings.
    pub fn mlock(&self, addr: VirtAddr, len: u64) -> Result<(), Errno> {
        self.lock_range(addr, len, VmFlags::LOCKED)
    }

    /// `mlock2`.
    ///
    /// # Errors
    /// As [`Mm::mlock`]; EINVAL for unknown flags.
    pub fn mlock2(&self, addr: VirtAddr, len: u64, flags: LockFlags) -> Result<(), Errno> {
        if !(flags - LockFlags::ONFAULT).is_empty() {
            return Err(Errno::EINVAL);
        }
        let on_fault = flags.contains(LockFlags::ONFAULT);
        let flags = if on_fault {
            VmFlags::LOCKED_MASK
        } else {
            VmFlags::LOCKED
        };
        self.lock_range(addr, len, flags)
    }

    /// `munlock`.
    ///
    /// # Errors
    /// ENOMEM for a hole, EINVAL when the range wraps.
    pub fn munlock(&self, addr: VirtAddr, len: u64) -> Result<(), Errno> {
        let (start, bytes) = whole_pages(addr, len);
        let mut held = self.write();
        self.mark_range(&mut held, start, bytes, VmFlags::NONE)
    }

    fn lock_range(&self, addr: VirtAddr, len: u64, flags: VmFlags) -> Result<(), Errno> {
        if !self.limits().may_lock() {
            return Err(Errno::EPERM);
        }
        let (start, bytes) = whole_pages(addr, len);
        let mut held = self.write();
        if !self.may_lock_range(&held, start, bytes) {
            return Err(Errno::ENOMEM);
        }
        self.mark_range(&mut held, start, bytes, flags)?;
        drop(held);
        match VirtRange::from_len(start, bytes) {
            // `__mlock_posix_error_return`
            Some(range) => self
                .populate_until_error(range)
                .map_err(|errno| match errno {
                    Errno::EFAULT => Errno::ENOMEM,
                    Errno::ENOMEM => Errno::EAGAIN,
                    other => other,
                }),
            None => Ok(()),
        }
    }

    /// Whether the limit allows it. What is locked in the range already is not counted twice.
    fn may_lock_range(&self, held: &impl MmapHeld, start: VirtAddr, bytes: u64) -> bool {
        let limit = self.limits().get(Resource::Memlock).soft >> PAGE_SHIFT;
        let wanted = (bytes >> PAGE_SHIFT).saturating_add(self.accounts().counts().locked);
        if wanted <= limit || self.limits().may_lock_any() {
            return true;
        }
        let end = start.saturating_add(bytes);
        let already: u64 = VirtRange::new(start, end)
            .into_iter()
            .flat_map(|range| held.tree().range(range).map(move |vma| (vma, range)))
            .filter(|(vma, _)| vma.flags().contains(VmFlags::LOCKED))
            .filter_map(|(vma, range)| vma.range.intersect(&range))
            .map(|part| part.pages())
            .sum();
        wanted - already <= limit
    }

    /// `apply_vma_lock_flags`.
    fn mark_range(
        &self,
        held: &mut MmapWrite<'_, Guarded>,
        start: VirtAddr,
        bytes: u64,
        flags: VmFlags,
    ) -> Result<(), Errno> {
        let end = start.checked_add(bytes).ok_or(Errno::EINVAL)?;
        let mut next = start;
        while next < end {
            let vma = held.tree().find(next).cloned().ok_or(Errno::ENOMEM)?;
            let part_end = vma.range.end().min(end);
            let part = VirtRange::new(next, part_end).ok_or(Errno::ENOMEM)?;
            self.mark_area(held, &vma, part, flags)?;
            next = part_end;
        }
        Ok(())
    }

    /// `mlock_fixup`.
    fn mark_area(
        &self,
        held: &mut MmapWrite<'_, Guarded>,
        vma: &Arc<Vma>,
        part: VirtRange,
        flags: VmFlags,
    ) -> Result<(), Errno> {
        let before = vma.flags();
        let after = (before - VmFlags::LOCKED_MASK) | flags;
        if after == before || before.intersects(NEVER_LOCKED) {
            return Ok(());
        }
        let to = Attributes::of(vma).with_flags(after);
        match ModifyPlan::decide(held, vma, part, &to) {
            Ok(plan) => drop(plan.commit(held)),
            Err(refused) => return Err(refused.settle(held)),
        }
        let pages = part.pages() as i64;
        let locked = |flags: VmFlags| i64::from(flags.contains(VmFlags::LOCKED));
        self.accounts()
            .account_locked(pages * (locked(after) - locked(before)));
        Ok(())
    }

    /// `mlockall`.
    ///
    /// # Errors
    /// EINVAL for no flags, unknown ones or ONFAULT alone; EPERM when nothing may be locked; ENOMEM
    /// when all that is mapped is more than the limit.
    pub fn mlockall(&self, flags: LockAllFlags) -> Result<(), Errno> {
        let unknown = !(flags - LockAllFlags::all()).is_empty();
        if flags.is_empty() || unknown || flags == LockAllFlags::ONFAULT {
            return Err(Errno::EINVAL);
        }
        if !self.limits().may_lock() {
            return Err(Errno::EPERM);
        }
        let limit = self.limits().get(Resource::Memlock).soft >> PAGE_SHIFT;
        let current = flags.contains(LockAllFlags::CURRENT);
        let mut held = self.write();
        let fits = self.accounts().counts().total <= limit || self.limits().may_lock_any();
        if current && !fits {
            return Err(Errno::ENOMEM);
        }
        self.mark_everything(&mut held, flags);
        drop(held);
        let everything = VirtRange::new(VirtAddr::ZERO, self.layout().task_size());
        if let (true, Some(range)) = (current, everything) {
            self.populate_ignoring_errors(range);
        }
        Ok(())
    }

    /// `munlockall`.
    pub fn munlockall(&self) {
        self.mark_everything(&mut self.write(), LockAllFlags::empty());
    }

    /// `apply_mlockall_flags`. An area that cannot be marked is passed over.
    fn mark_everything(&self, held: &mut MmapWrite<'_, Guarded>, flags: LockAllFlags) {
        let on_fault = flags.contains(LockAllFlags::ONFAULT);
        let mark = if on_fault {
            VmFlags::LOCKED_MASK
        } else {
            VmFlags::LOCKED
        };
        held.def_flags -= VmFlags::LOCKED_MASK;
        if flags.contains(LockAllFlags::FUTURE) {
            held.def_flags |= mark;
            if !flags.contains(LockAllFlags::CURRENT) {
                return;
            }
        }
        let mark = if flags.contains(LockAllFlags::CURRENT) {
            mark
        } else {
            VmFlags::NONE
        };
        let mut next = VirtAddr::ZERO;
        while let Some(vma) = held.tree().find_next(next).cloned() {
            // Merges with areas below are behind `next`, and above are not looked at again in part.
            let part = vma.range;
            let _passed_over = self.mark_area(held, &vma, part, mark);
            next = part.end();
        }
    }
}

/// The range that a lock call means: the start rounded down, the end up, in the kernel's wrapping
/// arithmetic.
fn whole_pages(addr: VirtAddr, len: u64) -> (VirtAddr, u64) {
    let bytes = len
        .wrapping_add(addr.page_offset())
        .wrapping_add(PAGE_SIZE - 1)
        & !(PAGE_SIZE - 1);
    (addr.align_down(), bytes)
}
