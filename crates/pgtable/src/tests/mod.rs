//! Tests of the tree. The guards here stand for those of the mmap lock and of the reverse map.

use std::sync::Arc;
use std::vec;
use std::vec::Vec;

use addr::{PAGE_SIZE, PagingMode, Pfn, VirtAddr, VirtRange};
use frame::{AllocRequest, Arena, ArenaConfig, Folio, Purpose};
use machine::{AccessedDirty, Flush, FlushKind, FlushScope, Mmu, MmuCaps, TableUse};
use sync::{Detached, MayInstall, Mutex, Stable};

use crate::{Entry, EntryFlags, EntryLock, Gather, PageTable, TableReserve, Visit};

mod busy;
mod fork;
mod free;
mod gather;
mod model;
mod mremap;
mod stress;
mod verbs;
mod walk;

/// Stands for the guard of the mmap lock.
pub(crate) struct Mmap;
impl Stable for Mmap {}
impl MayInstall for Mmap {}

/// Stands for the guard of a reverse map.
pub(crate) struct Rmap;
impl Stable for Rmap {}

/// Stands for what unlinking a range gives.
pub(crate) struct Unlinked {
    pub(crate) range: VirtRange,
    pub(crate) floor: VirtAddr,
    pub(crate) ceiling: Option<VirtAddr>,
}

impl Detached for Unlinked {
    fn range(&self) -> VirtRange {
        self.range
    }
    fn floor(&self) -> VirtAddr {
        self.floor
    }
    fn ceiling(&self) -> Option<VirtAddr> {
        self.ceiling
    }
}

impl Unlinked {
    /// With no area to either side.
    pub(crate) fn alone(range: VirtRange) -> Self {
        Self {
            range,
            floor: VirtAddr::ZERO,
            ceiling: None,
        }
    }
}

/// A machine that only writes down what it is told to forget.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    flushes: Mutex<Vec<(Option<Vec<VirtRange>>, FlushKind)>>,
}

impl Recorder {
    /// What was asked since the last call; `None` is the whole space.
    pub(crate) fn take(&self) -> Vec<(Option<Vec<VirtRange>>, FlushKind)> {
        std::mem::take(&mut self.flushes.lock())
    }
}

impl Mmu for Recorder {
    fn caps(&self) -> MmuCaps {
        MmuCaps {
            tables: TableUse::Unused,
            accessed_dirty: AccessedDirty::SetByMachine,
            max_page: addr::PageSize::Size4K,
        }
    }
    fn update_mmu_cache(&self, _range: VirtRange) {}
    fn flush_tlb(&self, flush: &Flush<'_>) {
        let ranges = match flush.scope {
            FlushScope::Ranges(ranges) => Some(ranges.to_vec()),
            FlushScope::Space => None,
        };
        self.flushes.lock().push((ranges, flush.kind));
    }
}

pub(crate) fn arena(frames: u64) -> Arc<Arena> {
    let config = ArenaConfig::heap(frames);
    Arena::new(config).expect("an arena for the test")
}

pub(crate) fn table(arena: &Arc<Arena>, mode: PagingMode) -> PageTable {
    PageTable::new(Arc::clone(arena), mode).expect("a frame for the root")
}

pub(crate) fn at(addr: u64) -> VirtAddr {
    VirtAddr::new(addr)
}

pub(crate) fn pages(start: u64, nr_pages: u64) -> VirtRange {
    VirtRange::from_len(at(start), nr_pages * PAGE_SIZE).expect("a range of the test")
}

pub(crate) fn readable() -> EntryFlags {
    EntryFlags::PRESENT | EntryFlags::USER | EntryFlags::NO_EXECUTE
}

pub(crate) fn writable() -> EntryFlags {
    readable() | EntryFlags::WRITABLE
}

/// A fresh frame whose reference and mapcount are ready to be an entry's.
pub(crate) fn mapped_frame(arena: &Arc<Arena>) -> Pfn {
    let request = AllocRequest::zeroed(Purpose::Anon);
    let folio = arena
        .alloc(request)
        .expect("a frame for the test")
        .mark_uptodate();
    arena.record(folio.pfn()).expect("ours").add_map();
    folio.into_entry()
}

/// Ends a mapping of `folio` as the reverse map would, and drops its reference.
pub(crate) fn unmapped(table: &PageTable, folio: Folio) {
    table
        .arena()
        .record(folio.pfn())
        .expect("ours")
        .remove_map();
}

/// Installs `entry` at `addr`, making tables.
pub(crate) fn install(table: &PageTable, addr: VirtAddr, entry: Entry) {
    let mut lock = locked_or_alloc(table, addr);
    lock.install(&Mmap, entry).expect("the entry is empty");
}

pub(crate) fn locked_or_alloc(table: &PageTable, addr: VirtAddr) -> EntryLock<'_> {
    loop {
        let pin = sync::pin();
        let mut reserve = TableReserve::new();
        let slot = table
            .slot_or_alloc(addr, &pin, &Mmap, &mut reserve)
            .expect("tables");
        if let Some(lock) = slot.lock() {
            return lock;
        }
    }
}

/// Maps a fresh frame at `addr`.
pub(crate) fn map(table: &PageTable, addr: VirtAddr, flags: EntryFlags) -> Pfn {
    let pfn = mapped_frame(table.arena());
    install(table, addr, Entry::leaf(pfn, flags));
    pfn
}

/// The entry of `addr` now; empty where there is no table.
pub(crate) fn peek(table: &PageTable, addr: VirtAddr) -> Entry {
    let pin = sync::pin();
    table
        .slot(addr, &pin)
        .map_or(Entry::NONE, |slot| slot.snapshot())
}

/// Zaps `range` and flushes.
pub(crate) fn zap(table: &PageTable, mmu: &dyn Mmu, range: VirtRange) {
    let mut gather = Gather::new(table, mmu, range);
    let mut cursor = table.cursor(range, &Mmap, Visit::Filled);
    while let Some(entry) = cursor.advance() {
        let _ = entry.clear(&Mmap, &mut gather);
    }
    gather.finish();
}

/// Zaps everything and frees every table but the root.
pub(crate) fn empty(table: &PageTable, mmu: &dyn Mmu) {
    let all = VirtRange::new(VirtAddr::ZERO, table.mode().task_size()).expect("the user half");
    zap(table, mmu, all);
    let mut gather = Gather::of_space(table, mmu);
    table.free_tables(Unlinked::alone(all), &mut gather);
    gather.finish();
    assert_eq!(table.bytes(), 0, "tables left");
}

/// Nothing of the test is left in the arena.
pub(crate) fn assert_all_free(arena: &Arc<Arena>, free_at_start: u64) {
    sync::barrier();
    assert_eq!(
        arena.usage().nr_free,
        free_at_start,
        "frames in use: {:?}",
        arena.usage()
    );
}
