//! The protocol by which a table vanishes, under every schedule that shuttle tries.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test -p recto-pgtable`

use alloc::sync::Arc;

use addr::{PAGE_SIZE, PagingMode, Pfn, VirtAddr, VirtRange};
use frame::{AllocRequest, Arena, ArenaConfig, Purpose};
use machine::NoMmu;
use sync::{Detached, MayInstall, Stable};

use crate::{Entry, EntryFlags, Gather, PageTable, TableReserve, Visit};

const SCHEDULES: usize = 300;
const ADDR: VirtAddr = VirtAddr::new(0x1000);

struct Mmap;
impl Stable for Mmap {}
impl MayInstall for Mmap {}

struct Everything(VirtRange);
impl Detached for Everything {
    fn range(&self) -> VirtRange {
        self.0
    }
    fn floor(&self) -> VirtAddr {
        VirtAddr::ZERO
    }
    fn ceiling(&self) -> Option<VirtAddr> {
        None
    }
}

fn space() -> Arc<PageTable> {
    let config = ArenaConfig::heap(32);
    let arena = Arena::new(config).expect("an arena");
    Arc::new(PageTable::new(arena, PagingMode::FourLevel).expect("a root"))
}

fn frame_for(table: &PageTable, addr: VirtAddr) -> Pfn {
    let request = AllocRequest::uninit(Purpose::Anon);
    let folio = table
        .arena()
        .alloc(request)
        .expect("a frame")
        .mark_uptodate();
    table.arena().words(folio.pfn()).store(0, addr.as_u64());
    table.arena().record(folio.pfn()).expect("ours").add_map();
    folio.into_entry()
}

fn page(addr: VirtAddr) -> VirtRange {
    VirtRange::page_of(addr).expect("a page")
}

/// A fault: walk, lock, install, or begin again when the table has vanished.
fn fault(table: &PageTable, addr: VirtAddr) {
    let pfn = frame_for(table, addr);
    let flags = EntryFlags::PRESENT | EntryFlags::USER | EntryFlags::WRITABLE;
    let mut reserve = TableReserve::new();
    loop {
        let pin = sync::pin();
        let slot = table
            .slot_or_alloc(addr, &pin, &Mmap, &mut reserve)
            .expect("frames");
        let Some(mut lock) = slot.lock() else {
            continue;
        };
        if lock.install(&Mmap, Entry::leaf(pfn, flags)).is_err() {
            table.arena().record(pfn).expect("ours").remove_map();
            drop(lock);
            drop(table.arena().folio_of_entry(pfn));
        }
        return;
    }
}

fn zap(table: &PageTable, range: VirtRange) {
    let mut gather = Gather::new(table, &NoMmu, range);
    let mut cursor = table.cursor(range, &Mmap, Visit::Filled);
    while let Some(entry) = cursor.advance() {
        let _ = entry.clear(&Mmap, &mut gather);
    }
    drop(cursor);
    gather.finish();
}

fn zap_and_free(table: &PageTable, addr: VirtAddr) {
    zap(table, page(addr));
    let mut gather = Gather::new(table, &NoMmu, page(addr));
    table.free_if_empty(addr, &Mmap, &mut gather);
    gather.finish();
}

/// A reader without locks: whatever present entry it sees leads to a frame filled for that page.
fn look(table: &PageTable, addr: VirtAddr) {
    let pin = sync::pin();
    let Some(slot) = table.slot(addr, &pin) else {
        return;
    };
    let Some(lock) = slot.lock() else { return };
    if let Some(leaf) = lock.read().mapping() {
        assert_eq!(table.arena().words(leaf.pfn).load(0), addr.as_u64());
    }
}

fn end(table: Arc<PageTable>) {
    let all = VirtRange::new(VirtAddr::ZERO, table.mode().task_size()).expect("the user half");
    zap(&table, page(ADDR));
    zap(&table, page(VirtAddr::new(0x2000)));
    let mut gather = Gather::of_space(&table, &NoMmu);
    table.free_tables(Everything(all), &mut gather);
    gather.finish();
    assert_eq!(table.bytes(), 0);
    let arena = Arc::clone(table.arena());
    drop(table);
    sync::barrier();
    let usage = arena.usage();
    assert_eq!(
        usage.of(Purpose::Table),
        0,
        "a table was lost or freed twice"
    );
    assert_eq!(
        usage.of(Purpose::Anon),
        0,
        "an entry was installed where nobody finds it"
    );
}

// inv: 39
// inv: 27
// inv: 28
#[test]
fn a_fault_races_the_freeing_of_its_table() {
    shuttle::check_random(
        || {
            let table = space();
            fault(&table, ADDR);
            let (a, b) = (Arc::clone(&table), Arc::clone(&table));
            let freeing = shuttle::thread::spawn(move || zap_and_free(&a, ADDR));
            let faulting = shuttle::thread::spawn(move || fault(&b, VirtAddr::new(0x2000)));
            look(&table, ADDR);
            freeing.join().expect("freeing");
            faulting.join().expect("faulting");
            look(&table, VirtAddr::new(0x2000));
            end(table);
        },
        SCHEDULES,
    );
}

// inv: 30
// inv: 28
#[test]
fn two_faults_race_to_make_the_tables() {
    shuttle::check_random(
        || {
            let table = space();
            let (a, b) = (Arc::clone(&table), Arc::clone(&table));
            let first = shuttle::thread::spawn(move || fault(&a, ADDR));
            let second = shuttle::thread::spawn(move || fault(&b, ADDR));
            look(&table, ADDR);
            first.join().expect("first");
            second.join().expect("second");
            assert_eq!(table.bytes(), 3 * PAGE_SIZE);
            end(table);
        },
        SCHEDULES,
    );
}

// inv: 39
#[test]
fn two_threads_free_one_table_once() {
    shuttle::check_random(
        || {
            let table = space();
            fault(&table, ADDR);
            let (a, b) = (Arc::clone(&table), Arc::clone(&table));
            let first = shuttle::thread::spawn(move || zap_and_free(&a, ADDR));
            let second = shuttle::thread::spawn(move || zap_and_free(&b, ADDR));
            fault(&table, ADDR);
            first.join().expect("first");
            second.join().expect("second");
            end(table);
        },
        SCHEDULES,
    );
}
