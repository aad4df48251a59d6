//! Entries move to other addresses (Linux: `move_page_tables`, `move_ptes`).

use alloc::vec::Vec;

use addr::{Errno, Level, VirtAddr, VirtRange};
use frame::{AllocRequest, FreshFolio, OutOfFrames, Purpose};
use object::RmapWrite;
use pgtable::{Gather, TableReserve, Visit};
use vma::{MmapWrite, NeedRmapLocks};

use super::Wish;
use super::relocate::Move;
use crate::map::RemapFlags;
use crate::mm::{Guarded, Mm};

/// Frames for the tables of a move's new place.
#[derive(Debug)]
pub(super) struct Tables {
    stock: Vec<FreshFolio>,
    /// What the next walk takes from.
    reserve: TableReserve,
}

impl Tables {
    pub(super) fn none() -> Self {
        Tables {
            stock: Vec::new(),
            reserve: TableReserve::new(),
        }
    }
}

/// How far it is from `addr` to the first page that is in another table.
fn left_in_table(addr: VirtAddr) -> u64 {
    let span = Level::Pte.table_bytes();
    span - addr.offset_from(addr.align_down_to(span))
}

impl Mm {
    /// What a move to an address of the caller's choice needs, put aside before it takes out what is
    /// there. Other moves put it aside when they have found their place.
    pub(super) fn tables_for(
        &self,
        held: &MmapWrite<'_, Guarded>,
        wish: Wish,
    ) -> Result<Tables, OutOfFrames> {
        let bytes = wish.old_bytes.min(wish.new_bytes);
        let ranges = (
            VirtRange::from_len(wish.addr, bytes),
            VirtRange::from_len(wish.new_addr, bytes),
        );
        match ranges {
            (Some(from), Some(to)) if wish.flags.contains(RemapFlags::FIXED) => {
                self.put_tables_aside(held, (from, to))
            }
            _ => Ok(Tables::none()),
        }
    }

    /// Obtains as many frames as moving the entries of `from` to `to` can need for tables.
    pub(super) fn put_tables_aside(
        &self,
        held: &MmapWrite<'_, Guarded>,
        (from, to): (VirtRange, VirtRange),
    ) -> Result<Tables, OutOfFrames> {
        let mut tables = Tables::none();
        let mut last = None;
        let mut cursor = self.table().cursor(from, held, Visit::Filled);
        while let Some(lock) = cursor.advance() {
            let filled = lock.addr();
            cursor.unlock();
            let target = to.start().saturating_add(filled.offset_from(from.start()));
            let mut level = Some(Level::Pte);
            while let Some(table) = level.filter(|level| *level < self.table().mode().top_level()) {
                let span = table.table_bytes();
                let same = |last: VirtAddr| last.align_down_to(span) == target.align_down_to(span);
                if last.is_some_and(same) {
                    break;
                }
                let frame = AllocRequest::zeroed(Purpose::Table);
                tables.stock.push(self.arena().alloc(frame)?);
                level = table.above();
            }
            last = Some(target);
            cursor.skip_to(filled.saturating_add(left_in_table(target)));
        }
        Ok(tables)
    }

    /// Makes the tables that the entries of `from` will need at `to`, so that moving them cannot fail.
    pub(super) fn make_tables(
        &self,
        held: &MmapWrite<'_, Guarded>,
        (from, to): (VirtRange, VirtAddr),
        tables: &mut Tables,
    ) -> Result<(), Errno> {
        let mut cursor = self.table().cursor(from, held, Visit::Filled);
        while let Some(lock) = cursor.advance() {
            let filled = lock.addr();
            cursor.unlock();
            let target = to.saturating_add(filled.offset_from(from.start()));
            tables.reserve.refill(&mut tables.stock);
            let pin = sync::pin();
            self.table()
                .slot_or_alloc(target, &pin, held, &mut tables.reserve)
                .map_err(|_| Errno::ENOMEM)?;
            drop(pin);
            cursor.skip_to(filled.saturating_add(left_in_table(target)));
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
