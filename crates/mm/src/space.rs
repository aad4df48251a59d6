//! What objects may ask of a space through the reverse map (Linux: `zap_page_range_single` under
//! `unmap_mapping_range`, `page_vma_mkclean_one`, `page_vma_mapped_walk`).
//!
//! *Held:* an rmap lock, by the caller: the mapping still exists, so its tables do. *May:* zap and
//! write-protect, under entry locks. *May not:* install, or ask the machine anything: the flush goes
//! back to the caller, who has let its locks go when it comes to it.

use addr::{Pfn, VirtAddr, VirtRange};
use object::rmap::{MappedEntry, Protected};
use object::{EvenCows, FlushDue, MappingSpace, RmapRead};
use pgtable::{EntryFlags, Gather, Visit};

use crate::mm::Mm;
use crate::zap::{MarkerFate, Memory, Zap};

impl MappingSpace for Mm {
    fn zap_mapping(&self, range: VirtRange, even_cows: EvenCows, held: &RmapRead<'_>) -> FlushDue {
        let mut gather = Gather::new(self.table(), self.mmu(), range);
        // A guard is the program's, not the object's: truncation leaves it.
        let zap = Zap {
            cows: even_cows,
            markers: MarkerFate::Kept,
            memory: Memory::OfObject,
        };
        self.zap_without_flush(range, held, &mut gather, zap);
        self.flush_later(gather)
    }

    fn write_protect(&self, range: VirtRange, held: &RmapRead<'_>) -> Protected {
        let mut gather = Gather::new(self.table(), self.mmu(), range);
        let mut nr_cleaned = 0;
        let mut cursor = self.table().cursor(range, held, Visit::Filled);
        let writable = EntryFlags::WRITABLE | EntryFlags::DIRTY;
        while let Some(lock) = cursor.advance() {
            let entry = lock.read();
            let private = entry
                .mapping()
                .is_none_or(|leaf| self.is_private_page(leaf.pfn));
            if private || !entry.flags().intersects(writable) {
                continue;
            }
            let before = lock.restrict(held, &mut gather, writable);
            nr_cleaned += 1;
            if before.is_dirty() {
                self.note_written(before.mapping().map(|leaf| leaf.pfn));
            }
        }
        drop(cursor);
        Protected {
            nr_cleaned,
            flush: self.flush_later(gather),
        }
    }

    fn visit(&self, address: VirtAddr, pfn: Pfn, _held: &RmapRead<'_>) -> Option<MappedEntry> {
        let pin = sync::pin();
        let lock = self.table().slot(address, &pin)?.lock()?;
        let entry = lock.read();
        let leaf = entry.mapping().filter(|leaf| leaf.pfn == pfn)?;
        Some(MappedEntry {
            writable: leaf.flags.contains(EntryFlags::WRITABLE),
            dirty: entry.is_dirty(),
            young: entry.is_young(),
        })
    }
}

impl Mm {
    /// The flush and the release of what a gather holds, as work for later that keeps the space.
    fn flush_later(&self, gather: Gather<'_>) -> FlushDue {
        // A space that is just going away has nobody left who could remember its translations.
        let Some(space) = self.downgrade().upgrade() else {
            gather.finish();
            return FlushDue::none();
        };
        if gather.is_idle() {
            gather.finish();
            return FlushDue::none();
        }
        let suspended = gather.suspend();
        FlushDue::new(move || suspended.resume(space.table(), space.mmu()).finish())
    }

    fn is_private_page(&self, pfn: Pfn) -> bool {
        self.arena()
            .record(pfn)
            .is_some_and(|record| record.is_anon())
    }

    /// That a page was written goes from the entry to the folio before anyone is told that the entry
    /// is clean.
    fn note_written(&self, pfn: Option<Pfn>) {
        if let Some(record) = pfn.and_then(|pfn| self.arena().record(pfn)) {
            record.set(frame::FolioFlags::DIRTY);
        }
    }
}
