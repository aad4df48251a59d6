//! madvise (Linux: `do_madvise`, `madvise_vma_behavior`).
//!
//! | lock | advice |
//! |---|---|
//! | the area's own if it covers the range, else mmap for reading | DONTNEED, DONTNEED_LOCKED, FREE, guards |
//! | mmap for reading, let go around what waits | REMOVE, WILLNEED, COLD, PAGEOUT, POPULATE |
//! | mmap for writing | what changes flags |
//!
//! Holes in the range are passed over and reported at the end as ENOMEM; the first area that refuses
//! ends the call. Advice that only asks for speed, and that nothing here follows yet, is checked and
//! remembered in the flags of the area.

mod files;
mod guards;
mod name;
mod pages;

use alloc::sync::Arc;

use addr::{Errno, PAGE_SIZE, VirtAddr, VirtRange, VmFlags};
use vma::{Attributes, MmapHeld, MmapWrite, ModifyPlan, Vma, VmaTree};

use crate::map::Advice;
use crate::mm::{Guarded, Mm};

impl Mm {
    /// `madvise`.
    ///
    /// # Errors
    /// EINVAL for an unaligned start, a range that wraps, and areas that the advice does not suit;
    /// ENOMEM for holes, after all else was done; EAGAIN when areas cannot be split; EPERM for sealed
    /// memory; what the advice's own work brings.
    pub fn madvise(&self, addr: VirtAddr, len: u64, advice: Advice) -> Result<(), Errno> {
        let Some(range) = whole_pages(addr, len)? else {
            return Ok(());
        };
        match advice {
            // The caller is not one who may break memory.
            Advice::HwPoison | Advice::SoftOffline => Err(Errno::EPERM),
            // There are no huge pages to collapse into.
            Advice::Collapse => Err(Errno::EINVAL),
            Advice::PopulateRead => self.advise_populate(range, addr::Access::Read),
            Advice::PopulateWrite => self.advise_populate(range, addr::Access::Write),
            Advice::DontNeed | Advice::DontNeedLocked | Advice::Free => {
                self.advise_pages(range, advice)
            }
            Advice::GuardInstall => self.install_guards(range),
            Advice::GuardRemove => self.remove_guards(range),
            Advice::Remove => self.advise_remove(range),
            Advice::WillNeed => self.advise_will_need(range),
            Advice::Cold | Advice::PageOut => self.advise_cold(range, advice),
            _ => self.advise_flags(range, advice),
        }
    }

    /// The advice that changes flags.
    fn advise_flags(&self, range: VirtRange, advice: Advice) -> Result<(), Errno> {
        let mut held = self.write();
        let mut walk = Walk::over(range);
        while let Some((vma, part)) = walk.next(held.tree()) {
            may_discard(&vma, advice)?;
            let flags = advised_flags(&vma, advice)?;
            let to = Attributes::of(&vma).with_flags(flags);
            update(&mut held, &vma, part, to)?;
        }
        walk.end()
    }

    /// COLD and PAGEOUT: checked; nothing is reclaimed yet, so there is nobody to tell.
    fn advise_cold(&self, range: VirtRange, advice: Advice) -> Result<(), Errno> {
        let held = self.read();
        let mut walk = Walk::over(range);
        while let Some((vma, _)) = walk.next(held.tree()) {
            may_discard(&vma, advice)?;
            if vma
                .flags()
                .intersects(VmFlags::LOCKED | VmFlags::PFNMAP | VmFlags::HUGETLB)
            {
                return Err(Errno::EINVAL);
            }
        }
        walk.end()
    }
}

/// The pages of `len` bytes from `addr` on: none, or a range. EINVAL for an unaligned start and a range
/// that wraps.
pub(crate) fn whole_pages(addr: VirtAddr, len: u64) -> Result<Option<VirtRange>, Errno> {
    if !addr.is_page_aligned() {
        return Err(Errno::EINVAL);
    }
    let bytes = len
        .checked_next_multiple_of(PAGE_SIZE)
        .ok_or(Errno::EINVAL)?;
    addr.checked_add(bytes).ok_or(Errno::EINVAL)?;
    Ok(VirtRange::from_len(addr, bytes))
}

/// The areas of a range, one by one; the tree may change between two of them.
#[derive(Debug)]
struct Walk {
    range: VirtRange,
    next: VirtAddr,
    holes: Holes,
}

/// Whether the range has parts without an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holes {
    None,
    Some,
}

impl Walk {
    fn over(range: VirtRange) -> Self {
        Walk {
            range,
            next: range.start(),
            holes: Holes::None,
        }
    }

    /// The next area and the part of it that lies in what is left of the range.
    fn next(&mut self, tree: &VmaTree) -> Option<(Arc<Vma>, VirtRange)> {
        let left = VirtRange::new(self.next, self.range.end())?;
        let Some(vma) = tree.find_intersection(left).cloned() else {
            self.holes = Holes::Some;
            self.next = self.range.end();
            return None;
        };
        let part = vma.range.intersect(&left)?;
        if part.start() > self.next {
            self.holes = Holes::Some;
        }
        self.next = part.end();
        Some((vma, part))
    }

    /// Goes back to an address that it has come past, where an area was left unfinished.
    fn go_back(&mut self, at: VirtAddr) {
        self.next = at;
    }

    /// What the whole call answers if no area refused.
    fn end(self) -> Result<(), Errno> {
        match self.holes {
            Holes::None => Ok(()),
            Holes::Some => Err(Errno::ENOMEM),
        }
    }
}

/// `can_modify_vma_madv`: sealed anonymous memory that the caller could not overwrite must not lose
/// its contents either.
fn may_discard(vma: &Vma, advice: Advice) -> Result<(), Errno> {
    let discards = matches!(
        advice,
        Advice::Free
            | Advice::DontNeed
            | Advice::DontNeedLocked
            | Advice::Remove
            | Advice::DontFork
            | Advice::WipeOnFork
            | Advice::GuardInstall
    );
    let sealed = vma.flags().contains(VmFlags::SEALED);
    if discards && sealed && vma.is_anonymous() && !vma.flags().contains(VmFlags::WRITE) {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// The flags that an area is to have, or why it may not.
fn advised_flags(vma: &Vma, advice: Advice) -> Result<VmFlags, Errno> {
    let flags = vma.flags();
    let refuse = |when: bool| if when { Err(Errno::EINVAL) } else { Ok(()) };
    Ok(match advice {
        Advice::Normal => flags - VmFlags::RAND_READ - VmFlags::SEQ_READ,
        Advice::Sequential => (flags - VmFlags::RAND_READ) | VmFlags::SEQ_READ,
        Advice::Random => (flags - VmFlags::SEQ_READ) | VmFlags::RAND_READ,
        Advice::DontFork => flags | VmFlags::DONTCOPY,
        Advice::DoFork => {
            refuse(flags.intersects(VmFlags::SPECIAL))?;
            flags - VmFlags::DONTCOPY
        }
        Advice::WipeOnFork => {
            refuse(vma.file.is_some() || flags.contains(VmFlags::SHARED))?;
            flags | VmFlags::WIPEONFORK
        }
        Advice::KeepOnFork => {
            refuse(flags.contains(VmFlags::DROPPABLE))?;
            flags - VmFlags::WIPEONFORK
        }
        Advice::DontDump => flags | VmFlags::DONTDUMP,
        Advice::DoDump => {
            let special = flags.intersects(VmFlags::SPECIAL) && !flags.contains(VmFlags::HUGETLB);
            refuse(special || flags.contains(VmFlags::DROPPABLE))?;
            flags - VmFlags::DONTDUMP
        }
        Advice::Mergeable if is_mergeable(flags) => flags | VmFlags::MERGEABLE,
        Advice::Unmergeable => flags - VmFlags::MERGEABLE,
        Advice::HugePage => (flags - VmFlags::NOHUGEPAGE) | VmFlags::HUGEPAGE,
        Advice::NoHugePage => (flags - VmFlags::HUGEPAGE) | VmFlags::NOHUGEPAGE,
        _ => flags,
    })
}

/// `vma_ksm_compatible`.
fn is_mergeable(flags: VmFlags) -> bool {
    let never = VmFlags::SHARED
        | VmFlags::MAYSHARE
        | VmFlags::SPECIAL
        | VmFlags::HUGETLB
        | VmFlags::DROPPABLE
        | VmFlags::SHADOW_STACK;
    !flags.intersects(never)
}

/// `madvise_update_vma`.
fn update(
    held: &mut MmapWrite<'_, Guarded>,
    vma: &Arc<Vma>,
    part: VirtRange,
    to: Attributes,
) -> Result<(), Errno> {
    if to.flags == vma.flags() && to.name == vma.name {
        return Ok(());
    }
    match ModifyPlan::decide(held, vma, part, &to) {
        Ok(plan) => drop(plan.commit(held)),
        Err(refused) => {
            // Too many areas is a shortage that may pass.
            return Err(match refused.settle(held) {
                Errno::ENOMEM => Errno::EAGAIN,
                other => other,
            });
        }
    }
    Ok(())
}
