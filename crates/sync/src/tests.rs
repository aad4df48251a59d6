use alloc::sync::Arc;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::vec::Vec;

use crate::rank::{self, Rank};
use crate::*;

const ROUNDS: u64 = if cfg!(miri) { 30 } else { 20_000 };

#[test]
fn a_mutex_excludes() {
    let counter = Mutex::new(0u64);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..ROUNDS).for_each(|_| *counter.lock() += 1));
        }
    });
    assert_eq!(counter.into_inner(), 4 * ROUNDS);
}

#[test]
fn a_byte_lock_excludes() {
    assert_eq!(size_of::<ByteLock>(), 1);
    let (lock, inside, total) = (ByteLock::new(), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let guard = lock.lock(Rank::Table);
                    assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
                    total.fetch_add(1, Ordering::Relaxed);
                    inside.fetch_sub(1, Ordering::Relaxed);
                    guard.unlock();
                }
            });
        }
    });
    assert_eq!(total.into_inner(), 4 * ROUNDS);
    assert!(lock.try_lock(Rank::Table).is_some());
}

#[test]
fn a_downgraded_writer_lets_readers_in_and_no_writer() {
    let lock = RwLock::new(1);
    let mut write = lock.write();
    assert!(lock.try_read().is_none());
    *write = 2;
    let read = write.downgrade();
    assert_eq!(lock.try_read().map(|other| *other), Some(2));
    assert!(lock.try_write().is_none());
    drop(read);
    assert!(lock.try_write().is_some());
}

#[test]
fn nobody_sleeps_through_a_wake() {
    let (queue, turn) = (WaitQueue::new(), AtomicU64::new(0));
    thread::scope(|scope| {
        for me in 0..2 {
            let (queue, turn) = (&queue, &turn);
            scope.spawn(move || {
                for round in 0..ROUNDS / 10 {
                    queue.wait_until(|| turn.load(Ordering::Acquire) == 2 * round + me);
                    turn.fetch_add(1, Ordering::Release);
                    queue.wake_all();
                }
            });
        }
    });
}

#[test]
fn a_sequence_notices_writers() {
    let count = SeqCount::new();
    let before = count.begin();
    assert!(count.is_current(before));
    let write = count.write();
    assert_eq!(count.value() & 1, 1);
    assert_eq!(count.try_begin(), None);
    drop(write);
    assert!(!count.is_current(before));
    assert_ne!(count.begin(), before);
}

#[test]
fn readers_of_a_sequence_never_see_half() {
    let (count, low, high) = (SeqCount::new(), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            for value in 0..ROUNDS {
                let write = count.write();
                low.store(value, Ordering::Relaxed);
                high.store(value, Ordering::Relaxed);
                drop(write);
            }
        });
        scope.spawn(|| {
            for _ in 0..ROUNDS {
                let now = count.begin();
                let seen = (low.load(Ordering::Relaxed), high.load(Ordering::Relaxed));
                if count.is_current(now) {
                    assert_eq!(seen.0, seen.1);
                }
            }
        });
    });
}

#[test]
fn once_is_set_once() {
    let once = Once::new();
    assert_eq!(once.get(), None);
    assert_eq!(once.set(1), Ok(()));
    assert_eq!(once.set(2), Err(2));
    assert_eq!(*once.get_or_init(|| 3), 1);
    let start = Barrier::new(4);
    let once = Once::new();
    let nr_first = AtomicUsize::new(0);
    thread::scope(|scope| {
        for me in 0..4 {
            let (once, start, nr_first) = (&once, &start, &nr_first);
            scope.spawn(move || {
                start.wait();
                if once.set(me).is_ok() {
                    nr_first.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(nr_first.into_inner(), 1);
}

#[test]
fn threads_spread_over_the_slots() {
    assert!(cpu() < nr_cpus() && nr_cpus() <= MAX_CPUS);
    let (start, end) = (Barrier::new(nr_cpus()), Barrier::new(nr_cpus()));
    let slots: Vec<usize> = thread::scope(|scope| {
        let threads: Vec<_> = (0..nr_cpus())
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    let slot = cpu();
                    end.wait();
                    assert_eq!(cpu(), slot);
                    slot
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    assert!(slots.iter().all(|slot| *slot < nr_cpus()));
}

#[test]
fn retired_work_waits_for_those_pinned_before() {
    let done = Arc::new(AtomicBool::new(false));
    let (pinned, retired) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| {
        scope.spawn(|| {
            let pin = pin();
            pinned.wait();
            retired.wait();
            for _ in 0..20 {
                assert!(
                    !done.load(Ordering::SeqCst),
                    "done while a reader was pinned"
                );
                thread::sleep(core::time::Duration::from_millis(1));
            }
            drop(pin);
        });
        pinned.wait();
        let work = Arc::clone(&done);
        retire(move || work.store(true, Ordering::SeqCst));
        retired.wait();
        barrier();
        assert!(done.load(Ordering::SeqCst));
    });
}

#[test]
fn a_barrier_also_waits_for_what_retired_work_retires() {
    let done = Arc::new(AtomicU64::new(0));
    for _ in 0..10 {
        let (outer, inner) = (Arc::clone(&done), Arc::clone(&done));
        retire(move || {
            outer.fetch_add(1, Ordering::SeqCst);
            retire(move || {
                inner.fetch_add(1, Ordering::SeqCst);
            });
        });
    }
    barrier();
    assert_eq!(done.load(Ordering::SeqCst), 20);
}

#[test]
fn work_is_done_without_a_barrier_too() {
    let done = Arc::new(AtomicU64::new(0));
    for _ in 0..1000 {
        let done = Arc::clone(&done);
        retire(move || {
            done.fetch_add(1, Ordering::SeqCst);
        });
    }
    let mut waits = 0;
    while done.load(Ordering::SeqCst) < 900 {
        thread::sleep(core::time::Duration::from_millis(1));
        waits += 1;
        assert!(waits < 20_000, "nobody does retired work");
    }
    barrier();
    assert_eq!(done.load(Ordering::SeqCst), 1000);
}

/// Knows whether it is still there.
struct Live {
    value: u64,
    alive: AtomicBool,
    nr_dropped: Arc<AtomicU64>,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.alive.store(false, Ordering::SeqCst);
        self.nr_dropped.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn readers_of_an_rcu_place_keep_what_they_read() {
    let nr_dropped = Arc::new(AtomicU64::new(0));
    let live = |value| {
        let nr_dropped = Arc::clone(&nr_dropped);
        Arc::new(Live {
            value,
            alive: AtomicBool::new(true),
            nr_dropped,
        })
    };
    let place = Rcu::new(live(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last = 0;
                for round in 0..ROUNDS {
                    if round % 16 == 0 {
                        let owned = place.load();
                        assert!(owned.alive.load(Ordering::SeqCst));
                        last = owned.value;
                        continue;
                    }
                    let pin = pin();
                    let seen = place.read(&pin);
                    assert!(seen.alive.load(Ordering::SeqCst));
                    assert!(seen.value >= last, "went back in time");
                    last = seen.value;
                    assert!(seen.alive.load(Ordering::SeqCst));
                }
            });
        }
        scope.spawn(|| (1..=ROUNDS).for_each(|value| place.replace(live(value))));
    });
    drop(place);
    barrier();
    assert_eq!(nr_dropped.load(Ordering::SeqCst), ROUNDS + 1);
}

#[cfg(debug_assertions)]
mod order {
    use super::*;

    fn refused(work: impl FnOnce() + std::panic::UnwindSafe) -> bool {
        std::panic::catch_unwind(work).is_err()
    }

    // inv: 12
    #[test]
    fn locks_are_taken_from_the_outside_in() {
        let mmap = RwLock::ranked(Rank::Mmap, ());
        let table = Mutex::ranked(Rank::Table, ());
        let (outer, inner) = (mmap.read(), table.lock());
        drop((outer, inner));
        assert!(refused(|| {
            let mmap = RwLock::ranked(Rank::Mmap, ());
            let table = Mutex::ranked(Rank::Table, ());
            let _inner = table.lock();
            let _outer = mmap.read();
        }));
        rank::assert_none_held();
    }

    // inv: 13
    #[test]
    fn the_mmap_lock_is_only_tried_under_a_vma_lock() {
        let mmap = RwLock::ranked(Rank::Mmap, ());
        let vma = rank::acquire(Rank::VmaRead);
        assert!(mmap.try_read().is_some());
        drop(vma);
        assert!(refused(|| {
            let mmap = RwLock::ranked(Rank::Mmap, ());
            let _vma = rank::acquire(Rank::VmaRead);
            let _mmap = mmap.read();
        }));
    }

    #[test]
    fn two_of_a_rank_need_to_say_so() {
        let (child, parent) = (
            Mutex::ranked(Rank::Table, ()),
            Mutex::ranked(Rank::Table, ()),
        );
        let first = child.lock();
        drop(parent.lock_nested());
        drop(first);
        assert!(refused(|| {
            let (child, parent) = (ByteLock::new(), ByteLock::new());
            let _first = child.lock(Rank::Table);
            let _second = parent.lock(Rank::Table);
        }));
    }

    // inv: 12
    #[test]
    fn nobody_waits_with_a_table_locked_or_pinned() {
        let folio = rank::acquire(Rank::Folio);
        rank::assert_may_wait();
        drop(folio);
        assert!(refused(|| {
            let _table = rank::acquire(Rank::Table);
            rank::assert_may_wait();
        }));
        assert!(refused(|| {
            let _pin = pin();
            rank::assert_may_wait();
        }));
    }

    // inv: 60
    #[test]
    fn nobody_allocates_with_a_folio_locked() {
        let vma = rank::acquire(Rank::VmaRead);
        rank::assert_no_folio_locked();
        drop(vma);
        assert!(refused(|| {
            let _folio = rank::acquire(Rank::Folio);
            rank::assert_no_folio_locked();
        }));
    }

    #[test]
    fn a_guard_may_end_on_another_thread() {
        let folio = rank::acquire(Rank::Folio);
        thread::scope(|scope| {
            scope.spawn(move || drop(folio));
        });
        let mut travels = rank::acquire(Rank::Folio);
        travels.travel();
        drop(rank::acquire(Rank::Mmap));
        drop(travels);
        rank::assert_none_held();
    }
}
