use addr::PagingMode;

use super::*;

fn shift(table: &PageTable, mmu: &dyn Mmu, from: VirtRange, to: VirtAddr) -> u64 {
    let span = VirtRange::new(
        from.start().min(to),
        from.end()
            .max(to.checked_add(from.bytes()).expect("in the space")),
    );
    let mut gather = Gather::new(table, mmu, span.expect("a range"));
    let mut cursor = table.move_entries(from, to, &Mmap);
    let mut reserve = TableReserve::new();
    let mut moved = 0;
    while let Some(pair) = cursor.advance(&mut reserve).expect("frames for tables") {
        let (entry, distance) = (
            pair.entry(),
            to.as_u64().wrapping_sub(from.start().as_u64()),
        );
        assert_eq!(
            pair.to().as_u64(),
            pair.from().as_u64().wrapping_add(distance)
        );
        assert_eq!(
            pair.shift(&mut gather, |entry| entry)
                .expect("the place is empty"),
            entry
        );
        moved += 1;
    }
    gather.finish();
    moved
}

// row: M12
#[test]
fn entries_move_within_a_table_and_between_tables() {
    let mmu = Recorder::default();
    for (from, to) in [
        (pages(0x1000, 8), at(0x10_0000)),
        (pages(0x1f_c000, 8), at(0x40_0000)),
        (pages(0x40_0000, 8), at(0x1f_b000)),
        (pages(0x1000, 1024), at((1 << 39) + 0x7000)),
    ] {
        let table = table(&arena(128), PagingMode::FourLevel);
        let mapped: Vec<_> = [0, 1, 5, 7]
            .map(|page| {
                (
                    page * PAGE_SIZE,
                    map(
                        &table,
                        at(from.start().as_u64() + page * PAGE_SIZE),
                        writable(),
                    ),
                )
            })
            .into();
        mmu.take();
        assert_eq!(shift(&table, &mmu, from, to), 4);
        for (offset, pfn) in mapped {
            assert!(peek(&table, at(from.start().as_u64() + offset)).is_none());
            let moved = peek(&table, at(to.as_u64() + offset));
            assert_eq!(moved.mapping().map(|leaf| leaf.pfn), Some(pfn));
            assert!(moved.is_soft_dirty());
        }
        let flushes = mmu.take();
        let [(Some(ranges), FlushKind::Forget)] = &flushes[..] else {
            panic!("{flushes:?}")
        };
        assert!(
            ranges.iter().all(|range| from.contains_range(range)),
            "the old place only"
        );
        empty(&table, &mmu);
    }
}

#[test]
fn nothing_moves_onto_an_entry() {
    let table = table(&arena(64), PagingMode::FourLevel);
    let mmu = Recorder::default();
    map(&table, at(0x1000), writable());
    let occupant = map(&table, at(0x20_0000), writable());
    let mut gather = Gather::new(&table, &mmu, pages(0, 1024));
    let mut cursor = table.move_entries(pages(0x1000, 1), at(0x20_0000), &Mmap);
    let pair = cursor
        .advance(&mut TableReserve::new())
        .expect("tables")
        .expect("an entry");
    let refused = pair
        .shift(&mut gather, |entry| entry)
        .expect_err("it is taken");
    assert_eq!(refused.0.mapping().map(|leaf| leaf.pfn), Some(occupant));
    drop(cursor);
    gather.finish();
    assert!(peek(&table, at(0x1000)).is_present());
    empty(&table, &mmu);
}

// inv: 32
#[test]
fn whoever_zaps_a_moved_page_makes_machines_forget_its_old_place_too() {
    let table = table(&arena(64), PagingMode::FourLevel);
    let mmu = Recorder::default();
    map(&table, at(0x1000), writable());
    let mut moving = Gather::new(&table, &mmu, pages(0, 1024));
    let mut cursor = table.move_entries(pages(0x1000, 1), at(0x20_0000), &Mmap);
    let pair = cursor
        .advance(&mut TableReserve::new())
        .expect("tables")
        .expect("an entry");
    pair.shift(&mut moving, |entry| entry)
        .expect("the place is empty");
    drop(cursor);
    // The old place is not flushed yet. A truncation zaps the new one.
    zap(&table, &mmu, pages(0x20_0000, 1));
    assert_eq!(mmu.take()[0], (None, FlushKind::Forget), "the whole space");
    moving.finish();
    mmu.take();
    zap(&table, &mmu, pages(0x20_0000, 1));
    assert_eq!(mmu.take(), []);
    empty(&table, &mmu);
}
