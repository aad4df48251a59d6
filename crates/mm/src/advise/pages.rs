//! Advice about pages: they go, or may go (Linux: `madvise_dontneed_free`).

use alloc::sync::Arc;

use addr::{Errno, Markers, NonPresent, VirtRange, VmFlags};
use object::EvenCows;
use pgtable::{Entry, EntryFlags, Gather, Visit};
use sync::Stable;
use vma::{MmapHeld, Vma};

use super::{Walk, may_discard};
use crate::map::Advice;
use crate::mm::Mm;
use crate::zap::{MarkerFate, Memory, RssChange, Zap};

impl Mm {
    /// DONTNEED, DONTNEED_LOCKED, FREE: under the area's own lock if it covers the range, else under
    /// the mmap lock.
    pub(super) fn advise_pages(&self, range: VirtRange, advice: Advice) -> Result<(), Errno> {
        if let Ok(locked) = self.mmap_lock().lock_vma_under_rcu(range.start())
            && locked.range.contains_range(&range)
        {
            return self.advise_area(locked.vma(), range, &locked, advice);
        }
        let held = self.read();
        let mut walk = Walk::over(range);
        while let Some((vma, part)) = walk.next(held.tree()) {
            self.advise_area(&vma, part, &held, advice)?;
        }
        walk.end()
    }

    fn advise_area(
        &self,
        vma: &Arc<Vma>,
        part: VirtRange,
        held: &impl Stable,
        advice: Advice,
    ) -> Result<(), Errno> {
        may_discard(vma, advice)?;
        let mut forbidden = VmFlags::PFNMAP;
        if advice != Advice::DontNeedLocked {
            forbidden |= VmFlags::LOCKED;
        }
        if vma.flags().intersects(forbidden) {
            return Err(Errno::EINVAL);
        }
        match advice {
            Advice::Free if !vma.is_anonymous() => Err(Errno::EINVAL),
            Advice::Free => {
                self.free_lazily(part, held);
                Ok(())
            }
            _ => {
                self.drop_pages(vma, part, held);
                Ok(())
            }
        }
    }

    /// `zap_page_range_single`: private copies go too, guards stay.
    pub(super) fn drop_pages(&self, vma: &Vma, part: VirtRange, held: &impl Stable) {
        let mut gather = Gather::new(self.table(), self.mmu(), part);
        let memory = Memory::of(vma.ops());
        let zap = Zap {
            cows: EvenCows::Yes,
            markers: MarkerFate::Kept,
            memory,
        };
        self.zap(part, held, &mut gather, zap);
        gather.finish();
    }

    /// Drops the pages of droppable areas, all of them: what reclaim would do, which there is none of
    /// yet. They read as zero from then on.
    pub(crate) fn drop_droppable(&self) {
        let held = self.read();
        for vma in held.tree().iter() {
            if vma.flags().contains(VmFlags::DROPPABLE) {
                self.drop_pages(vma, vma.range, &held);
            }
        }
    }

    /// `madvise_free_pte_range`: pages that are ours alone are made old and clean. Whoever reclaims
    /// may drop such a page unless it is written again first; until then it reads as before.
    fn free_lazily(&self, part: VirtRange, held: &impl Stable) {
        let mut gather = Gather::new(self.table(), self.mmu(), part);
        let mut change = RssChange::default();
        let mut cursor = self.table().cursor(part, held, Visit::Filled);
        while let Some(lock) = cursor.advance() {
            let entry = lock.read();
            if is_reminder(entry) {
                let _note = lock.clear(held, &mut gather);
                if let Some(kind) = self.rss_kind_of(entry) {
                    change.add(kind, -1);
                }
            }
            if !entry.is_present() || entry.is_special() {
                continue;
            }
            let record = entry
                .mapping()
                .and_then(|leaf| self.arena().record(leaf.pfn));
            let ours = record.is_some_and(|record| {
                record.is_anon() && record.map_count() == 1 && !record.maybe_dma_pinned()
            });
            if ours {
                let used = EntryFlags::ACCESSED | EntryFlags::DIRTY;
                let _before = lock.restrict(held, &mut gather, used);
            }
        }
        drop(cursor);
        change.enter(self);
        gather.finish();
    }
}

/// What only says that the page is elsewhere, or broken: nothing is lost with it, and the next
/// access has a page of zeroes.
fn is_reminder(entry: Entry) -> bool {
    match entry.non_present_kind() {
        Some(NonPresent::Swap { .. } | NonPresent::HwPoison { .. }) => true,
        Some(NonPresent::Marker(markers)) => markers.contains(Markers::POISONED),
        _ => false,
    }
}
