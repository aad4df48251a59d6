use addr::{Level, PAGE_SIZE, PagingMode};

use super::*;

// row: M07
// row: M10
// inv: 28
#[test]
fn a_walk_adds_only_the_tables_that_are_missing() {
    for (mode, counted) in [(PagingMode::FourLevel, 3), (PagingMode::FiveLevel, 3)] {
        let arena = arena(64);
        let free = arena.usage().nr_free;
        let table = table(&arena, mode);
        assert_eq!(table.bytes(), 0);
        map(&table, at(0x1000), writable());
        assert_eq!(table.bytes(), counted * PAGE_SIZE);
        map(&table, at(0x2000), writable());
        assert_eq!(table.bytes(), counted * PAGE_SIZE);
        map(&table, at(0x20_0000), writable());
        assert_eq!(table.bytes(), (counted + 1) * PAGE_SIZE);
        map(&table, at(1 << 30), writable());
        assert_eq!(table.bytes(), (counted + 3) * PAGE_SIZE);
        map(&table, at(1 << 39), writable());
        assert_eq!(table.bytes(), (counted + 6) * PAGE_SIZE);
        empty(&table, &Recorder::default());
        drop(table);
        assert_all_free(&arena, free);
    }
}

#[test]
fn five_levels_reach_what_four_cannot() {
    let arena = arena(64);
    let table = table(&arena, PagingMode::FiveLevel);
    let high = at((1 << 52) + 0x5000);
    let pfn = map(&table, high, writable());
    assert_eq!(peek(&table, high).mapping().map(|leaf| leaf.pfn), Some(pfn));
    assert!(peek(&table, at(0x5000)).is_none());
    // PTE, PMD and PUD are counted; the P4D table, as in Linux, is not.
    assert_eq!(table.bytes(), 3 * PAGE_SIZE);
    empty(&table, &Recorder::default());
}

#[test]
fn a_walk_without_tables_finds_nothing_and_says_what_is_missing() {
    let arena = arena(16);
    let table = table(&arena, PagingMode::FourLevel);
    let pin = sync::pin();
    assert!(table.slot(at(0x1000), &pin).is_none());
    assert_eq!(table.tables_missing(at(0x1000), &pin), 3);
    drop(locked_or_alloc(&table, at(0x1000)));
    assert_eq!(table.tables_missing(at(0x1000), &pin), 0);
    assert_eq!(table.tables_missing(at(0x20_0000), &pin), 1);
    let slot = table.slot(at(0x1234), &pin).expect("there is a table");
    assert_eq!((slot.level(), slot.addr()), (Level::Pte, at(0x1000)));
    assert_eq!(slot.snapshot(), Entry::NONE);
}

// row: F12
#[test]
fn a_full_reserve_needs_no_allocation() {
    let arena = arena(16);
    let table = table(&arena, PagingMode::FourLevel);
    let mut reserve = TableReserve::new();
    reserve.fill(&arena, 3).expect("three frames");
    assert_eq!(reserve.len(), 3);
    let mut hogged = Vec::new();
    while let Ok(folio) = arena.alloc(AllocRequest::uninit(Purpose::Anon)) {
        hogged.push(folio);
    }
    let pin = sync::pin();
    assert!(
        table
            .slot_or_alloc(at(0x1000), &pin, &Mmap, &mut reserve)
            .is_ok()
    );
    assert!(reserve.is_empty());
    assert!(
        table
            .slot_or_alloc(at(1 << 30), &pin, &Mmap, &mut reserve)
            .is_err()
    );
    assert_eq!(table.bytes(), 3 * PAGE_SIZE);
}

// inv: 30
#[test]
fn a_new_table_is_zeroed_before_it_is_seen() {
    let arena = arena(32);
    let table = table(&arena, PagingMode::FourLevel);
    // Make the frames that will become tables dirty first.
    let dirty: Vec<_> = (0..20)
        .map(|_| {
            let folio = arena
                .alloc(AllocRequest::uninit(Purpose::Anon))
                .expect("a frame");
            arena.write(folio.pfn(), 0, &[0xff; PAGE_SIZE as usize]);
            folio
        })
        .collect();
    drop(dirty);
    drop(locked_or_alloc(&table, at(0x1000)));
    for index in 0..512 {
        assert!(peek(&table, at(index * PAGE_SIZE)).is_none());
    }
}
