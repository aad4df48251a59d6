//! References, batches and locks of folios under every interleaving that loom can think of. Each
//! test says which race it is about.
//! `RUSTFLAGS="--cfg loom" cargo test -p recto-frame --release --lib`.

use heap::sync::Arc;
use loom::thread;

use sync::atomic::{AtomicUsize, Ordering};

use crate::*;

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.max_branches = 20_000;
    builder.check(check);
}

fn arena() -> Arc<Arena> {
    Arena::new(ArenaConfig::heap(4)).expect("an arena")
}

fn assert_all_free(arena: &Arena) {
    let usage = arena.usage();
    assert!(usage.is_balanced());
    assert_eq!(usage.nr_in_use(), 0);
    assert_eq!(arena.lru_sizes().total(), 0);
}

/// Whoever comes across a number gets a folio with contents, or nothing; never a freed one.
#[test]
fn the_last_put_and_a_try_get() {
    model(|| {
        let arena = arena();
        let mut fresh = arena
            .alloc(AllocRequest::uninit(Purpose::PageCache))
            .expect("a frame");
        let pfn = fresh.pfn();
        fresh.write(0, &7u64.to_ne_bytes());
        let other = thread::spawn({
            let arena = Arc::clone(&arena);
            move || {
                if let Some(folio) = arena.try_get(pfn) {
                    assert!(folio.has(FolioFlags::UPTODATE));
                    let mut word = [0; 8];
                    folio.read(0, &mut word);
                    assert_eq!(u64::from_ne_bytes(word), 7);
                }
            }
        });
        drop(fresh.mark_uptodate());
        other.join().expect("no panic");
        assert_all_free(&arena);
    });
}

/// A folio is freed while the batch that it waits in goes onto the lists: it is freed once.
#[test]
fn a_free_while_its_batch_is_linked() {
    model(|| {
        let arena = arena();
        let fresh = arena
            .alloc(AllocRequest::uninit(Purpose::Anon))
            .expect("a frame");
        let folio = fresh.into_mapped_anon(OwnerId::anon(1), 0);
        let other = thread::spawn({
            let arena = Arc::clone(&arena);
            move || assert!(arena.lru_sizes().total() <= 1)
        });
        drop(folio);
        other.join().expect("no panic");
        assert_all_free(&arena);
    });
}

/// A scan meets a folio that is being freed: it passes by, or keeps it.
#[test]
fn a_free_while_the_list_is_scanned() {
    model(|| {
        let arena = arena();
        let fresh = arena
            .alloc(AllocRequest::uninit(Purpose::Anon))
            .expect("a frame");
        let folio = fresh.into_mapped_anon(OwnerId::anon(1), 0);
        assert_eq!(arena.lru_sizes().total(), 1);
        let other = thread::spawn({
            let arena = Arc::clone(&arena);
            move || drop(arena.isolate_oldest(LruList::InactiveAnon, 1))
        });
        drop(folio);
        other.join().expect("no panic");
        assert_all_free(&arena);
    });
}

/// Two want the lock of one folio; one sleeps for it.
#[test]
fn a_folio_lock_taken_by_two() {
    model(|| {
        let arena = arena();
        let fresh = arena
            .alloc(AllocRequest::uninit(Purpose::Anon))
            .expect("a frame");
        let folio = fresh.mark_uptodate();
        let count = Arc::new(AtomicUsize::new(0));
        let add = |folio: Folio, count: &AtomicUsize| {
            let locked = folio.into_locked();
            count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            drop(locked);
        };
        let other = thread::spawn({
            let (folio, count) = (folio.clone(), Arc::clone(&count));
            move || add(folio, &count)
        });
        add(folio, &count);
        other.join().expect("no panic");
        assert_eq!(count.load(Ordering::Relaxed), 2);
        assert_all_free(&arena);
    });
}

/// One gives up its reference while another turns the folio into a fresh one: exactly one has it.
#[test]
fn a_freeze_and_a_put() {
    model(|| {
        let arena = arena();
        let fresh = arena
            .alloc(AllocRequest::uninit(Purpose::Anon))
            .expect("a frame");
        let folio = fresh.mark_uptodate();
        let second = folio.clone();
        let other = thread::spawn(move || drop(second));
        match folio.try_into_fresh() {
            Ok(fresh) => assert_eq!(fresh.ref_count(), 0),
            Err(folio) => assert!(folio.ref_count() >= 1),
        }
        other.join().expect("no panic");
        assert_all_free(&arena);
    });
}
