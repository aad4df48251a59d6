use std::vec::Vec;

use super::*;

fn mapped(arena: &Arena, index: u64) -> Folio {
    arena
        .alloc(anon())
        .expect("a frame")
        .into_mapped_anon(OwnerId::anon(1), index)
}

#[test]
fn folios_come_out_oldest_first() {
    let arena = arena(400);
    let folios: Vec<_> = (0..100).map(|index| mapped(&arena, index)).collect();
    assert_eq!(arena.lru_sizes().of(LruList::InactiveAnon), 100);
    let oldest = arena.isolate_oldest(LruList::InactiveAnon, 10);
    assert_eq!(
        oldest.iter().map(|folio| folio.index()).collect::<Vec<_>>(),
        Vec::from_iter(0..10)
    );
    assert_eq!(arena.lru_sizes().of(LruList::InactiveAnon), 90);
    oldest.iter().for_each(Folio::add_to_lru);
    assert_eq!(arena.lru_sizes().of(LruList::InactiveAnon), 100);
    drop((folios, oldest));
    assert_as_new(&arena);
}

#[test]
fn the_second_use_makes_active() {
    let arena = arena(400);
    let folio = mapped(&arena, 0);
    assert_eq!(arena.lru_sizes().of(LruList::InactiveAnon), 1);
    folio.mark_accessed();
    assert!(folio.has(FolioFlags::REFERENCED));
    folio.mark_accessed();
    assert!(folio.has(FolioFlags::ACTIVE) && !folio.has(FolioFlags::REFERENCED));
    assert_eq!(arena.lru_sizes().of(LruList::ActiveAnon), 1);
    folio.change_list(FolioFlags::MLOCKED, FolioFlags::empty());
    assert_eq!(arena.lru_sizes().of(LruList::Unevictable), 1);
    folio.change_list(
        FolioFlags::empty(),
        FolioFlags::MLOCKED | FolioFlags::ACTIVE,
    );
    assert_eq!(arena.lru_sizes().of(LruList::InactiveAnon), 1);
    let page = arena
        .alloc(AllocRequest::zeroed(Purpose::PageCache))
        .expect("a frame");
    let page = page.mark_uptodate();
    page.add_to_lru();
    page.add_to_lru();
    assert_eq!(arena.lru_sizes().of(LruList::InactiveFile), 1);
    drop((folio, page));
    assert_as_new(&arena);
}

#[test]
fn isolation_is_for_one() {
    let arena = arena(400);
    let folio = mapped(&arena, 0);
    assert!(folio.isolate(), "even from a batch");
    assert!(!folio.isolate());
    folio.add_to_lru();
    assert!(folio.isolate());
    drop(folio);
    assert_as_new(&arena);
}

#[test]
fn a_folio_freed_while_it_waits_is_freed() {
    let arena = arena(400);
    for nr in 1..70 {
        let folios: Vec<_> = (0..nr).map(|index| mapped(&arena, index)).collect();
        drop(folios);
        let usage = arena.usage();
        assert!(
            usage.is_balanced() && usage.nr_in_use() == 0,
            "{nr}: {usage:?}"
        );
    }
    assert_as_new(&arena);
}

#[test]
fn what_waits_to_be_freed_can_be_allocated() {
    let arena = arena(101);
    for _ in 0..10 {
        let folios: Vec<_> = (0..100).map(|index| mapped(&arena, index)).collect();
        assert!(arena.alloc(anon()).is_err());
        drop(folios);
    }
    assert_as_new(&arena);
}

#[test]
fn large_folios_count_all_their_frames() {
    let arena = arena(400);
    let fresh = arena.alloc(anon().with_order(order(4))).expect("frames");
    let folio = fresh.into_mapped_anon(OwnerId::anon(1), 0);
    assert_eq!(folio.map_count(), 16);
    assert_eq!(arena.lru_sizes().of(LruList::InactiveAnon), 16);
    let last = folio
        .pfn()
        .checked_add(15)
        .and_then(|pfn| arena.record(pfn))
        .expect("ours");
    assert!(last.has(FolioFlags::ANON_EXCLUSIVE | FolioFlags::TAIL));
    drop(folio);
    assert_as_new(&arena);
}
