use addr::PagingMode;

use super::*;

const MIB: u64 = 1 << 20;

fn free(table: &PageTable, mmu: &dyn Mmu, unlinked: Unlinked) {
    let mut gather = Gather::new(table, mmu, unlinked.range);
    table.free_tables(unlinked, &mut gather);
    gather.finish();
}

// inv: 38
#[test]
fn a_table_shared_with_a_neighbour_stays() {
    let table = table(&arena(64), PagingMode::FourLevel);
    let mmu = Recorder::default();
    // Two areas share the second table; the first reaches into it from the first table.
    let first = VirtRange::new(at(MIB), at(3 * MIB)).expect("a range");
    let neighbour = at(3 * MIB + MIB / 2);
    map(&table, at(MIB), writable());
    map(&table, at(2 * MIB), writable());
    map(&table, neighbour, writable());
    assert_eq!(table.bytes(), 4 * PAGE_SIZE);

    zap(&table, &mmu, first);
    let unlinked = Unlinked {
        range: first,
        floor: at(0),
        ceiling: Some(neighbour),
    };
    free(&table, &mmu, unlinked);
    assert_eq!(table.bytes(), 3 * PAGE_SIZE, "the first table only");
    assert!(peek(&table, neighbour).is_present());

    // With another neighbour below, not even that one.
    map(&table, at(MIB), writable());
    zap(&table, &mmu, first);
    let unlinked = Unlinked {
        range: first,
        floor: at(PAGE_SIZE),
        ceiling: Some(neighbour),
    };
    free(&table, &mmu, unlinked);
    assert_eq!(table.bytes(), 4 * PAGE_SIZE);
    empty(&table, &mmu);
}

// inv: 28
#[test]
fn upper_tables_go_with_the_last_of_what_they_cover() {
    for mode in [PagingMode::FourLevel, PagingMode::FiveLevel] {
        let arena = arena(64);
        let table = table(&arena, mode);
        let mmu = Recorder::default();
        let (low, high) = (pages(1 << 40, 1), pages((1 << 40) + (1 << 30), 1));
        map(&table, low.start(), writable());
        map(&table, high.start(), writable());
        assert_eq!(table.bytes(), 5 * PAGE_SIZE);
        zap(&table, &mmu, low);
        free(
            &table,
            &mmu,
            Unlinked {
                range: low,
                floor: at(0),
                ceiling: Some(high.start()),
            },
        );
        assert_eq!(table.bytes(), 3 * PAGE_SIZE);
        zap(&table, &mmu, high);
        free(&table, &mmu, Unlinked::alone(high));
        assert_eq!(table.bytes(), 0);
        sync::barrier();
        assert_eq!(arena.usage().of(Purpose::Table), 1, "the root");
    }
}

// inv: 39
#[test]
fn whoever_walked_before_a_table_vanished_is_told_so() {
    let table = table(&arena(64), PagingMode::FourLevel);
    let mmu = Recorder::default();
    map(&table, at(0x1000), writable());
    let pin = sync::pin();
    let slot = table.slot(at(0x1000), &pin).expect("there is a table");
    // Whoever is pinned asks no machine: another thread zaps.
    std::thread::scope(|threads| threads.spawn(|| zap(&table, &mmu, pages(0x1000, 1))).join())
        .expect("the zap");
    assert!(slot.lock().is_some(), "zapping keeps tables");
    let mut gather = Gather::new(&table, &mmu, pages(0, 512));
    assert!(table.free_if_empty(at(0x1000), &Mmap, &mut gather));
    assert!(slot.lock().is_none());
    assert!(slot.snapshot().is_none(), "frozen, not reused");
    gather.finish();
    assert!(slot.lock().is_none());
    assert!(table.slot(at(0x1000), &pin).is_none());
    drop(pin);
    map(&table, at(0x1000), writable());
    empty(&table, &mmu);
}

#[test]
fn a_table_in_use_is_not_proven_empty() {
    let table = table(&arena(64), PagingMode::FourLevel);
    let mmu = Recorder::default();
    map(&table, at(0x1f_f000), writable());
    let mut gather = Gather::new(&table, &mmu, pages(0, 512));
    assert!(!table.free_if_empty(at(0x1000), &Mmap, &mut gather));
    assert!(!table.free_if_empty(at(0x20_0000), &Mmap, &mut gather));
    drop(gather);
    assert_eq!(table.bytes(), 3 * PAGE_SIZE);
    empty(&table, &mmu);
}

#[test]
fn a_machine_that_walks_forgets_the_way_through_a_freed_table() {
    #[derive(Debug, Default)]
    struct Walker(Recorder);
    impl Mmu for Walker {
        fn caps(&self) -> MmuCaps {
            MmuCaps {
                tables: TableUse::Walked,
                ..self.0.caps()
            }
        }
        fn update_mmu_cache(&self, _range: VirtRange) {}
        fn flush_tlb(&self, flush: &Flush<'_>) {
            self.0.flush_tlb(flush);
        }
    }
    let table = table(&arena(64), PagingMode::FourLevel);
    let mmu = Walker::default();
    drop(locked_or_alloc(&table, at(0x1000)));
    let mut gather = Gather::new(&table, &mmu, pages(0, 1));
    assert!(table.free_if_empty(at(0x1000), &Mmap, &mut gather));
    gather.finish();
    assert_eq!(
        mmu.0.take(),
        [(Some(vec![pages(0, 512)]), FlushKind::Forget)]
    );
}
