use addr::PagingMode;

use super::*;

/// Shares what is mapped, both sides read-only: the plain case of fork.
fn share(parent: &PageTable, child: &PageTable, range: VirtRange, gather: &mut Gather<'_>) -> u64 {
    let arena = Arc::clone(parent.arena());
    let mut cursor = parent.copy_to(child, range, &Mmap, &Mmap);
    let mut reserve = TableReserve::new();
    let mut copied = 0;
    while let Some(pair) = cursor.advance(&mut reserve).expect("frames for tables") {
        let old = pair.parent.restrict(&Mmap, gather, EntryFlags::WRITABLE);
        let leaf = old.mapping().expect("only mappings here");
        let folio = arena.try_get(leaf.pfn).expect("it is mapped");
        arena.record(folio.pfn()).expect("ours").add_map();
        let entry = old.without(EntryFlags::WRITABLE | EntryFlags::ACCESSED);
        pair.child.install(&Mmap, entry).expect("the child is new");
        assert_eq!(folio.into_entry(), leaf.pfn);
        copied += 1;
    }
    copied
}

// row: M12
#[test]
fn a_child_gets_the_filled_entries_and_tables_for_them_only() {
    let arena = arena(128);
    let free = arena.usage().nr_free;
    let (parent, child) = (
        table(&arena, PagingMode::FourLevel),
        table(&arena, PagingMode::FourLevel),
    );
    let mmu = Recorder::default();
    let addrs = [
        0x1000,
        0x2000,
        0x1f_f000,
        0x20_0000,
        1 << 30,
        (1 << 39) + 0x3000,
    ];
    for addr in addrs {
        map(&parent, at(addr), writable());
    }
    // A table with nothing in it is not copied.
    drop(locked_or_alloc(&parent, at(5 << 30)));

    let range = VirtRange::new(at(0), at(1 << 40)).expect("a range");
    let mut gather = Gather::new(&parent, &mmu, range);
    assert_eq!(share(&parent, &child, range, &mut gather), 6);
    gather.finish();
    assert!(
        mmu.take()
            .iter()
            .all(|(_, kind)| *kind == FlushKind::WriteProtect)
    );
    assert_eq!(child.bytes(), parent.bytes() - 2 * PAGE_SIZE);
    for addr in addrs {
        let (old, new) = (peek(&parent, at(addr)), peek(&child, at(addr)));
        assert!(!old.is_writable() && !new.is_writable());
        assert_eq!(
            old.mapping().map(|leaf| leaf.pfn),
            new.mapping().map(|leaf| leaf.pfn)
        );
    }
    empty(&parent, &mmu);
    assert!(peek(&child, at(0x1000)).is_present());
    empty(&child, &mmu);
    drop((parent, child));
    assert_all_free(&arena, free);
}

#[test]
fn a_copy_goes_on_where_it_was_let_go() {
    let arena = arena(128);
    let (parent, child) = (
        table(&arena, PagingMode::FourLevel),
        table(&arena, PagingMode::FourLevel),
    );
    let mmu = Recorder::default();
    for page in 0..10 {
        map(&parent, at(page * PAGE_SIZE), writable());
    }
    let mut reserve = TableReserve::new();
    let mut cursor = parent.copy_to(&child, pages(0, 512), &Mmap, &Mmap);
    let mut seen = Vec::new();
    while let Some(pair) = cursor.advance(&mut reserve).expect("frames for tables") {
        let here = pair.parent.addr();
        assert_eq!(pair.child.addr(), here);
        seen.push(here.as_u64() / PAGE_SIZE);
        match seen.len() {
            3 => cursor.unlock(),
            5 => cursor.retry(),
            _ => {}
        }
    }
    assert_eq!(seen, [0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9]);
    empty(&parent, &mmu);
    empty(&child, &mmu);
}

#[test]
fn a_copy_out_of_frames_holds_nothing_and_can_go_on() {
    let arena = arena(64);
    let (parent, child) = (
        table(&arena, PagingMode::FourLevel),
        table(&arena, PagingMode::FourLevel),
    );
    let mmu = Recorder::default();
    map(&parent, at(0x1000), writable());
    let mut hogged = Vec::new();
    while let Ok(folio) = arena.alloc(AllocRequest::uninit(Purpose::Anon)) {
        hogged.push(folio);
    }
    let mut cursor = parent.copy_to(&child, pages(0, 512), &Mmap, &Mmap);
    let mut reserve = TableReserve::new();
    assert!(cursor.advance(&mut reserve).is_err());
    drop(hogged);
    reserve.fill(&arena, 3).expect("frames again");
    assert!(cursor.advance(&mut reserve).expect("in reserve").is_some());
    cursor.unlock();
    empty(&parent, &mmu);
    empty(&child, &mmu);
}
