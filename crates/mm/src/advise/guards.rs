//! Guard markers: addresses that are mapped and must not be touched (Linux: `madvise_guard_install`,
//! `madvise_guard_remove`).

use addr::{Errno, Markers, NonPresent, PAGE_SIZE, VirtAddr, VirtRange, VmFlags};
use frame::OutOfFrames;
use pgtable::{Entry, Gather, TableReserve, Visit};
use vma::{MmapHeld, MmapRead, Vma};

use super::{Walk, may_discard};
use crate::map::Advice;
use crate::mm::{Guarded, Mm};
use crate::shortage::Stop;

/// How often what fills pages behind our back is zapped before the lock is let go
/// (`MAX_MADVISE_GUARD_RETRIES`).
const RETRIES: u32 = 3;

/// What came of installing a marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Install {
    /// The page has one.
    Done,
    /// The page has something else.
    Occupied,
}

/// What came of installing markers in an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guarding {
    /// Every page has one.
    Done,
    /// Every page below this one has one; it has something else, again and again.
    Contended(VirtAddr),
    /// Every page below this one has one; there is no table for it.
    Short(VirtAddr),
}

fn guard() -> Entry {
    Entry::non_present(NonPresent::Marker(Markers::GUARD))
}

fn is_guard(entry: Entry) -> bool {
    matches!(
        entry.non_present_kind(),
        Some(NonPresent::Marker(markers)) if markers.contains(Markers::GUARD)
    )
}

impl Mm {
    /// GUARD_INSTALL: what is there goes, and every page gets a marker.
    pub(super) fn install_guards(&self, range: VirtRange) -> Result<(), Errno> {
        let mut walk = Walk::over(range);
        self.with_frames(|| self.guard_areas(&mut walk))?;
        walk.end()
    }

    /// Goes on where an earlier call ran short.
    fn guard_areas(&self, walk: &mut Walk) -> Result<(), Stop> {
        loop {
            let held = self.read();
            let Some((vma, part)) = walk.next(held.tree()) else {
                return Ok(());
            };
            may_discard(&vma, Advice::GuardInstall)?;
            let never = VmFlags::SPECIAL | VmFlags::HUGETLB | VmFlags::LOCKED;
            if vma.flags().intersects(never) {
                return Err(Errno::EINVAL.into());
            }
            vma.set_maybe_guard(&held);
            if vma.is_anonymous() {
                vma::anon_vma_prepare(&held, &vma);
            }
            // Whoever waits for the lock has it before this goes on.
            match self.guard_area(&held, &vma, part) {
                Guarding::Done => {}
                Guarding::Contended(at) => walk.go_back(at),
                Guarding::Short(at) => {
                    walk.go_back(at);
                    return Err(Stop::Short);
                }
            }
        }
    }

    /// Optimistically first; when something is in the way it is zapped and the rest tried again, for
    /// a while. What has its marker is not looked at again: no fault fills it.
    fn guard_area(&self, held: &MmapRead<'_, Guarded>, vma: &Vma, part: VirtRange) -> Guarding {
        let mut reserve = TableReserve::new();
        let (mut at, mut tried) = (part.start(), 0);
        while let Some(left) = VirtRange::new(at, part.end()) {
            match self.guard_page(held, at, &mut reserve) {
                Ok(Install::Done) => at = at.saturating_add(PAGE_SIZE),
                Ok(Install::Occupied) if tried == RETRIES => return Guarding::Contended(at),
                Ok(Install::Occupied) => {
                    tried += 1;
                    self.drop_pages(vma, left, held);
                }
                Err(_) => return Guarding::Short(at),
            }
        }
        Guarding::Done
    }

    fn guard_page(
        &self,
        held: &MmapRead<'_, Guarded>,
        page: VirtAddr,
        reserve: &mut TableReserve,
    ) -> Result<Install, OutOfFrames> {
        let pin = sync::pin();
        loop {
            let slot = self.table().slot_or_alloc(page, &pin, held, reserve)?;
            // A table that went away meanwhile is made again.
            let Some(mut entry) = slot.lock() else {
                continue;
            };
            return Ok(match entry.install(held, guard()) {
                Ok(()) => Install::Done,
                Err(found) if is_guard(found.0) => Install::Done,
                Err(_) => Install::Occupied,
            });
        }
    }

    /// GUARD_REMOVE: markers go, nothing else does.
    pub(super) fn remove_guards(&self, range: VirtRange) -> Result<(), Errno> {
        let held = self.read();
        let mut walk = Walk::over(range);
        while let Some((vma, part)) = walk.next(held.tree()) {
            if vma.flags().intersects(VmFlags::SPECIAL | VmFlags::HUGETLB) {
                return Err(Errno::EINVAL);
            }
            let mut gather = Gather::new(self.table(), self.mmu(), part);
            let mut cursor = self.table().cursor(part, &held, Visit::Filled);
            while let Some(lock) = cursor.advance() {
                if is_guard(lock.read()) {
                    let _marker = lock.clear(&held, &mut gather);
                }
            }
            drop(cursor);
            gather.finish();
        }
        walk.end()
    }
}
