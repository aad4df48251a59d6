use std::sync::atomic::{AtomicU64, Ordering};

use addr::PagingMode;

use super::*;

/// A machine that looks, at the moment of the flush, how many frames are free.
#[derive(Debug)]
struct Witness {
    arena: Arc<Arena>,
    free_at_flush: AtomicU64,
}

impl Mmu for Witness {
    fn caps(&self) -> MmuCaps {
        machine::NoMmu.caps()
    }
    fn update_mmu_cache(&self, _range: VirtRange) {}
    fn flush_tlb(&self, _flush: &Flush<'_>) {
        self.free_at_flush
            .store(self.arena.usage().nr_free, Ordering::Relaxed);
    }
}

// inv: 32
#[test]
fn no_frame_is_free_before_the_machine_has_forgotten_it() {
    let arena = arena(64);
    let table = table(&arena, PagingMode::FourLevel);
    let witness = Witness {
        arena: Arc::clone(&arena),
        free_at_flush: AtomicU64::new(0),
    };
    for page in 0..8 {
        map(&table, at(page * PAGE_SIZE), writable());
    }
    let before = arena.usage().nr_free;
    zap(&table, &witness, pages(0, 8));
    assert_eq!(witness.free_at_flush.load(Ordering::Relaxed), before);
    assert_eq!(arena.usage().nr_free, before + 8);
    empty(&table, &witness);
}

#[test]
fn neighbours_are_flushed_as_one_range_and_empty_entries_not_at_all() {
    let table = table(&arena(64), PagingMode::FourLevel);
    let mmu = Recorder::default();
    for page in [1, 2, 3, 7] {
        map(&table, at(page * PAGE_SIZE), writable());
    }
    zap(&table, &mmu, pages(0, 16));
    let expected = vec![pages(0x1000, 3), pages(0x7000, 1)];
    assert_eq!(mmu.take(), [(Some(expected), FlushKind::Forget)]);
    zap(&table, &mmu, pages(0, 16));
    assert_eq!(mmu.take(), []);
    empty(&table, &mmu);
}

#[test]
fn ranges_stay_few_and_cover_all() {
    let table = table(&arena(64), PagingMode::FourLevel);
    let mmu = Recorder::default();
    let mut gather = Gather::new(&table, &mmu, pages(0, 4096));
    let mut asked = Vec::new();
    for number in 0..500u64 {
        let range = pages((number * 37 % 500) * 5 * PAGE_SIZE, 2);
        gather.forget(range);
        asked.push(range);
    }
    gather.finish();
    let flushed = mmu.take();
    let [(Some(ranges), FlushKind::Forget)] = &flushed[..] else {
        panic!("{flushed:?}")
    };
    assert!(ranges.len() <= 32);
    assert!(
        ranges.is_sorted_by(|a, b| a.end() < b.start()),
        "sorted, apart"
    );
    assert!(
        asked
            .iter()
            .all(|range| ranges.iter().any(|r| r.contains_range(range)))
    );
}

// row: M32
#[test]
fn a_gather_beside_another_flushes_its_whole_span() {
    let table = table(&arena(64), PagingMode::FourLevel);
    let mmu = Recorder::default();
    map(&table, at(0x1000), writable());
    let mut first = Gather::new(&table, &mmu, pages(0, 16));
    let _ = locked_or_alloc(&table, at(0x1000)).clear(&Mmap, &mut first);
    assert_eq!(table.flushes_pending(), 1);
    // A second thread finds the entry empty; it may not go on before the machine forgot it.
    let second = Gather::new(&table, &mmu, pages(0, 4));
    assert_eq!(table.flushes_pending(), 2);
    second.finish();
    assert_eq!(mmu.take(), [(Some(vec![pages(0, 4)]), FlushKind::Forget)]);
    first.finish();
    assert_eq!(table.flushes_pending(), 0);
    empty(&table, &mmu);
}

#[test]
fn a_gather_dropped_on_an_early_return_has_flushed_and_freed() {
    let arena = arena(64);
    let table = table(&arena, PagingMode::FourLevel);
    let mmu = Recorder::default();
    map(&table, at(0x1000), writable());
    let free = arena.usage().nr_free;
    let mut gather = Gather::new(&table, &mmu, pages(0, 16));
    let _ = locked_or_alloc(&table, at(0x1000)).clear(&Mmap, &mut gather);
    assert_eq!(arena.usage().nr_free, free);
    drop(gather);
    assert_eq!(mmu.take().len(), 1);
    assert_eq!(arena.usage().nr_free, free + 1);
    empty(&table, &mmu);
}

// inv: 58
#[test]
fn dirt_reaches_the_folio_before_its_last_mapping_goes() {
    let arena = arena(64);
    let table = table(&arena, PagingMode::FourLevel);
    let mmu = Recorder::default();
    let pfn = map(&table, at(0x1000), writable() | EntryFlags::DIRTY);
    let folio = arena.try_get(pfn).expect("it is mapped");
    assert!(!folio.has(frame::FolioFlags::DIRTY));
    let mut gather = Gather::new(&table, &mmu, pages(0, 16));
    let _ = locked_or_alloc(&table, at(0x1000)).clear(&Mmap, &mut gather);
    assert_eq!(folio.map_count(), 1);
    gather.finish();
    assert!(folio.has(frame::FolioFlags::DIRTY));
    assert_eq!(folio.map_count(), 0);
    drop(folio);
    empty(&table, &mmu);
}

#[test]
fn special_entries_hold_nothing() {
    let arena = arena(64);
    let table = table(&arena, PagingMode::FourLevel);
    let mmu = Recorder::default();
    let zero = mapped_frame(&arena);
    let device = Pfn::new(1 << 28);
    install(
        &table,
        at(0x1000),
        Entry::leaf(zero, readable() | EntryFlags::SPECIAL),
    );
    install(&table, at(0x2000), Entry::leaf(device, readable()));
    zap(&table, &mmu, pages(0, 16));
    assert_eq!(
        mmu.take(),
        [(Some(vec![pages(0x1000, 2)]), FlushKind::Forget)]
    );
    assert_eq!(arena.folio_of_entry(zero).map_count(), 1);
    empty(&table, &mmu);
}
