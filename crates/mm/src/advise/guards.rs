//! Guard markers: addresses that are mapped and must not be touched (Linux: `madvise_guard_install`,
//! `madvise_guard_remove`).

use addr::{Errno, Markers, NonPresent, VirtAddr, VirtRange, VmFlags};
use pgtable::{Entry, Gather, TableReserve, Visit};
use vma::{MmapHeld, MmapRead, Vma};

use super::{Walk, may_discard};
use crate::map::Advice;
use crate::mm::{Guarded, Mm};

/// What came of installing markers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Install {
    /// Every page has one.
    Done,
    /// A page had something else.
    Occupied,
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
        loop {
            let held = self.read();
            let Some((vma, part)) = walk.next(held.tree()) else {
                return walk.end();
            };
            may_discard(&vma, Advice::GuardInstall)?;
            let never = VmFlags::SPECIAL | VmFlags::HUGETLB | VmFlags::LOCKED;
            if vma.flags().intersects(never) {
                return Err(Errno::EINVAL);
            }
            vma.set_maybe_guard(&held);
            if vma.is_anonymous() {
                vma::anon_vma_prepare(&held, &vma);
            }
            self.guard_area(&held, &vma, part)?;
        }
    }

    /// Optimistically first; when something is in the way it is zapped and the rest tried again.
    /// Faults that fill pages behind our back only make it take longer: they too hold their locks for
    /// bounded time.
    fn guard_area(
        &self,
        held: &MmapRead<'_, Guarded>,
        vma: &Vma,
        part: VirtRange,
    ) -> Result<(), Errno> {
        while self.guard_empty_pages(held, part)? == Install::Occupied {
            self.drop_pages(vma, part, held);
        }
        Ok(())
    }

    fn guard_empty_pages(
        &self,
        held: &MmapRead<'_, Guarded>,
        part: VirtRange,
    ) -> Result<Install, Errno> {
        let mut reserve = TableReserve::new();
        for page in part.page_addrs() {
            if self.guard_page(held, page, &mut reserve)? == Install::Occupied {
                return Ok(Install::Occupied);
            }
        }
        Ok(Install::Done)
    }

    fn guard_page(
        &self,
        held: &MmapRead<'_, Guarded>,
        page: VirtAddr,
        reserve: &mut TableReserve,
    ) -> Result<Install, Errno> {
        let pin = sync::pin();
        loop {
            let slot = self
                .table()
                .slot_or_alloc(page, &pin, held, reserve)
                .map_err(|_| Errno::ENOMEM)?;
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
