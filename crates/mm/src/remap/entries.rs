//! Entries move to other addresses (Linux: `move_page_tables`, `move_ptes`).

use addr::{Errno, Level, VirtAddr, VirtRange};
use object::RmapWrite;
use pgtable::{Gather, TableReserve, Visit};
use vma::{MmapWrite, NeedRmapLocks};

use super::relocate::Move;
use crate::mm::{Guarded, Mm};

impl Mm {
    /// Makes the tables that the entries of `from` will need at `to`, so that moving them cannot fail.
    pub(super) fn make_tables(
        &self,
        held: &MmapWrite<'_, Guarded>,
        from: VirtRange,
        to: VirtAddr,
    ) -> Result<(), Errno> {
        let mut reserve = TableReserve::new();
        let mut cursor = self.table().cursor(from, held, Visit::Filled);
        while let Some(lock) = cursor.advance() {
            let filled = lock.addr();
            cursor.unlock();
            let target = to.saturating_add(filled.offset_from(from.start()));
            let pin = sync::pin();
            self.table()
                .slot_or_alloc(target, &pin, held, &mut reserve)
                .map_err(|_| Errno::ENOMEM)?;
            drop(pin);
            // On to the first entry that goes to another table.
            let span = Level::Pte.table_bytes();
            let rest = span - target.offset_from(target.align_down_to(span));
            cursor.skip_to(filled.saturating_add(rest));
        }
        Ok(())
    }

    /// Moves the entries. With the rmap locks held nobody walks past both places and misses a page.
    pub(super) fn move_entries(
        &self,
        held: &MmapWrite<'_, Guarded>,
        moving: &Move,
        locks: NeedRmapLocks,
    ) -> Result<(), Errno> {
        let Some((from, to)) = moving.entries() else {
            return Ok(());
        };
        self.shift_entries(held, moving, (from, to), locks)
    }

    /// Moves them back, always under the rmap locks. The tables are there.
    pub(super) fn move_entries_back(&self, held: &MmapWrite<'_, Guarded>, moving: &Move) {
        let Some((from, to)) = moving.entries() else {
            return;
        };
        let done = self.shift_entries(held, moving, (to, from), NeedRmapLocks::Yes);
        debug_assert!(done.is_ok(), "the tables of the old place are gone");
    }

    fn shift_entries(
        &self,
        held: &MmapWrite<'_, Guarded>,
        moving: &Move,
        (from, to): (VirtRange, VirtRange),
        locks: NeedRmapLocks,
    ) -> Result<(), Errno> {
        let mut gather = Gather::new(self.table(), self.mmu(), from);
        let source = moving.source();
        let rmap = (locks == NeedRmapLocks::Yes).then(|| {
            let file = source.file.as_ref().map(|file| &**file.mappings());
            let anon = source.anon_chain().map(|chain| chain.own());
            RmapWrite::of(file, anon)
        });
        let mut reserve = TableReserve::new();
        let mut cursor = self.table().move_entries(from, to.start(), held);
        while let Some(pair) = cursor.advance(&mut reserve).map_err(|_| Errno::ENOMEM)? {
            let moved = pair.shift(&mut gather, |entry| entry);
            debug_assert!(moved.is_ok(), "something was at the new place");
        }
        drop(cursor);
        drop(rmap);
        gather.finish();
        Ok(())
    }
}
