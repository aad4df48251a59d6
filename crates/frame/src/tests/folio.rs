use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

#[test]
fn a_fresh_folio_cannot_be_got_until_it_is_uptodate() {
    let arena = arena(64);
    let mut fresh = arena.alloc(anon()).expect("a frame");
    let pfn = fresh.pfn();
    assert!(arena.try_get(pfn).is_none());
    fresh.write(0, b"contents");
    assert!(!fresh.has(FolioFlags::UPTODATE));
    let folio = fresh.mark_uptodate();
    let other = arena.try_get(pfn).expect("it has a reference");
    assert!(other.has(FolioFlags::UPTODATE));
    assert_eq!((folio.ref_count(), folio.map_count()), (2, 0));
    drop((folio, other));
    assert!(arena.try_get(pfn).is_none());
    assert_as_new(&arena);
}

// inv: 46
#[test]
fn a_reference_moves_into_an_entry_and_back() {
    let arena = arena(64);
    let folio = arena
        .alloc(anon())
        .expect("a frame")
        .into_mapped_anon(OwnerId::anon(3), 7);
    assert_eq!((folio.ref_count(), folio.map_count()), (1, 1));
    assert!(folio.ref_count() >= folio.map_count());
    let pfn = folio.into_entry();
    let record = arena.record(pfn).expect("ours");
    assert_eq!(
        (record.ref_count(), record.owner(), record.index()),
        (1, OwnerId::anon(3), 7)
    );
    assert!(record.is_anon() && record.has(FolioFlags::ANON_EXCLUSIVE | FolioFlags::SWAPBACKED));
    let folio = arena.folio_of_entry(pfn);
    assert_eq!(folio.remove_map(), 0);
    drop(folio);
    assert_eq!(arena.usage().nr_in_use(), 0);
    assert_as_new(&arena);
}

#[test]
fn a_frame_has_nothing_of_its_former_life() {
    let arena = arena(2);
    let folio = arena
        .alloc(anon())
        .expect("a frame")
        .into_mapped_anon(OwnerId::anon(3), 7);
    folio.set(FolioFlags::DIRTY | FolioFlags::REFERENCED | FolioFlags::HWPOISON);
    folio.private().store(99, Ordering::Relaxed);
    folio.remove_map();
    drop(folio);
    let fresh = arena
        .alloc(AllocRequest::zeroed(Purpose::Table))
        .expect("the same frame");
    assert_eq!(fresh.flags(), FolioFlags::TOUCHED | FolioFlags::TABLE);
    assert_eq!(
        (fresh.map_count(), fresh.owner(), fresh.index()),
        (0, OwnerId::NONE, 0)
    );
    assert_eq!(
        (fresh.private().load(Ordering::Relaxed), fresh.purpose()),
        (0, Purpose::Table)
    );
}

// inv: 43
#[test]
fn a_pin_is_seen_and_keeps_the_frames() {
    let arena = arena(64);
    for size in [0, 2] {
        let folio = arena
            .alloc(anon().with_order(order(size)))
            .expect("frames")
            .mark_uptodate();
        assert!(!folio.maybe_dma_pinned());
        let (first, second) = (folio.pin(), folio.pin());
        assert!(folio.maybe_dma_pinned());
        drop(first);
        assert!(folio.maybe_dma_pinned());
        drop(folio);
        second.write(9, b"pinned");
        assert!(second.maybe_dma_pinned());
        drop(second);
        assert_as_new(&arena);
    }
}

#[test]
fn many_references_look_like_a_pin_but_never_the_other_way() {
    let arena = arena(8);
    let folio = folio(&arena);
    let many: Vec<_> = (0..1100).map(|_| folio.clone()).collect();
    assert!(folio.maybe_dma_pinned());
    drop(many);
    assert!(!folio.maybe_dma_pinned());
}

#[test]
fn the_only_reference_can_become_fresh_again() {
    let arena = arena(8);
    let folio = folio(&arena);
    let second = folio.clone();
    let folio = folio.try_into_fresh().expect_err("there are two");
    drop(second);
    let fresh = folio.try_into_fresh().expect("there is one");
    assert!(arena.try_get(fresh.pfn()).is_none());
    drop(fresh);
    assert_as_new(&arena);
}

#[test]
fn the_lock_is_one_threads_and_keeps_a_reference() {
    let arena = arena(8);
    let folio = folio(&arena);
    let locked = folio.try_lock().expect("nobody has it");
    assert!(folio.try_lock().is_none());
    let folio = folio.try_into_locked().expect_err("it is taken");
    drop(folio);
    let folio = locked.unlock();
    assert_eq!(folio.ref_count(), 1);
    let locked = folio.into_locked();
    assert!(locked.has(FolioFlags::LOCKED));
    drop(locked);
    assert_as_new(&arena);
}

#[test]
fn a_folio_being_read_is_locked_and_not_uptodate() {
    let arena = arena(8);
    let fresh = arena
        .alloc(AllocRequest::uninit(Purpose::PageCache))
        .expect("a frame");
    let locked = fresh.into_locked_without_contents();
    let seen = arena.try_get(locked.pfn()).expect("it has a reference");
    assert!(!seen.has(FolioFlags::UPTODATE) && seen.has(FolioFlags::LOCKED));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            seen.wait_until_unlocked();
            seen.has(FolioFlags::UPTODATE)
        });
        locked.set(FolioFlags::UPTODATE);
        drop(locked);
        assert!(reader.join().expect("no panic"));
    });
}

#[test]
fn waiting_for_the_lock_excludes() {
    let arena = arena(8);
    let folio = folio(&arena);
    let (inside, total) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..if cfg!(miri) { 20 } else { 2000 } {
                    let locked = folio.lock();
                    assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
                    total.fetch_add(1, Ordering::Relaxed);
                    inside.fetch_sub(1, Ordering::Relaxed);
                    drop(locked);
                }
            });
        }
    });
    assert_eq!(folio.ref_count(), 1);
    assert!(!folio.has(FolioFlags::LOCKED));
}

// row: M12
#[test]
fn a_table_has_a_lock_of_its_own() {
    let arena = arena(8);
    let table = arena
        .alloc(AllocRequest::zeroed(Purpose::Table))
        .expect("a frame");
    let lock = table.entry_lock().lock(sync::rank::Rank::Table);
    assert!(
        table
            .entry_lock()
            .try_lock(sync::rank::Rank::Table)
            .is_none()
    );
    lock.unlock();
    assert!(
        table
            .entry_lock()
            .try_lock(sync::rank::Rank::Table)
            .is_some()
    );
}
