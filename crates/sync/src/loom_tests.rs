//! The primitives under every interleaving that loom can think of. Each test says which race it is
//! about. `RUSTFLAGS="--cfg loom" cargo test -p recto-sync --release --lib`.

use alloc::sync::Arc;

use loom::thread;

use crate::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::*;

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(check);
}

/// A reader that found the old slot pins before the writer retires it: the work comes after.
#[test]
fn a_reader_and_one_who_unlinks_and_retires() {
    model(|| {
        let current = Arc::new(AtomicUsize::new(0));
        let alive = Arc::new([AtomicBool::new(true), AtomicBool::new(true)]);
        let reader = thread::spawn({
            let (current, alive) = (Arc::clone(&current), Arc::clone(&alive));
            move || {
                let _pin = pin();
                let slot = current.load(Ordering::Acquire);
                assert!(alive[slot].load(Ordering::Relaxed));
                thread::yield_now();
                assert!(alive[slot].load(Ordering::Relaxed));
            }
        });
        let old = current.swap(1, Ordering::AcqRel);
        let retired = Arc::clone(&alive);
        retire(move || retired[old].store(false, Ordering::Relaxed));
        barrier();
        reader.join().expect("no panic");
        assert!(!alive[0].load(Ordering::Relaxed));
    });
}

struct Live {
    value: usize,
    alive: Arc<AtomicBool>,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.alive.store(false, Ordering::Relaxed);
    }
}

/// One replaces, another reads or takes a count: what is read is alive, old or new.
#[test]
fn an_rcu_place_read_while_it_is_replaced() {
    model(|| {
        let flags: Arc<Vec<_>> =
            Arc::new((0..2).map(|_| Arc::new(AtomicBool::new(true))).collect());
        let live = |value: usize| {
            Arc::new(Live {
                value,
                alive: Arc::clone(&flags[value]),
            })
        };
        let place = Arc::new(Rcu::new(live(0)));
        let reader = thread::spawn({
            let (place, flags) = (Arc::clone(&place), Arc::clone(&flags));
            move || {
                let pin = pin();
                let seen = place.read(&pin);
                assert!(flags[seen.value].load(Ordering::Relaxed));
                drop(pin);
                let owned = place.load();
                assert!(flags[owned.value].load(Ordering::Relaxed));
            }
        });
        place.replace(live(1));
        barrier();
        reader.join().expect("no panic");
        barrier();
        assert!(!flags[0].load(Ordering::Relaxed));
        assert!(flags[1].load(Ordering::Relaxed));
        drop(place);
    });
}

/// The waker sees nobody waiting, the waiter sees nothing to wait for: not both.
#[test]
fn a_wake_between_the_look_and_the_sleep() {
    model(|| {
        let shared = Arc::new((WaitQueue::new(), AtomicBool::new(false)));
        let waiter = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.0.wait_until(|| shared.1.load(Ordering::Relaxed))
        });
        shared.1.store(true, Ordering::Relaxed);
        shared.0.wake_all();
        waiter.join().expect("no panic");
    });
}

/// A reader whose count did not change saw both halves of one write, or neither.
#[test]
fn a_sequence_read_across_a_write() {
    model(|| {
        let shared = Arc::new((SeqCount::new(), AtomicUsize::new(0), AtomicUsize::new(0)));
        let writer = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let write = shared.0.write();
                shared.1.store(1, Ordering::Relaxed);
                shared.2.store(1, Ordering::Relaxed);
                drop(write);
            }
        });
        if let Some(now) = shared.0.try_begin() {
            let seen = (
                shared.1.load(Ordering::Relaxed),
                shared.2.load(Ordering::Relaxed),
            );
            if shared.0.is_current(now) {
                assert_eq!(seen.0, seen.1);
            }
        }
        writer.join().expect("no panic");
    });
}

/// Between a writer's end and its reading no other writer gets in.
#[test]
fn a_downgrade_while_another_wants_to_write() {
    model(|| {
        let lock = Arc::new(RwLock::new(0));
        let other = thread::spawn({
            let lock = Arc::clone(&lock);
            move || *lock.write() += 10
        });
        let mut write = lock.write();
        *write += 1;
        let mine = *write;
        let read = write.downgrade();
        assert_eq!(*read, mine);
        drop(read);
        other.join().expect("no panic");
        assert_eq!(*lock.read(), 11);
    });
}

/// Two want a byte lock, one after trying in vain: each is alone inside, and nobody sleeps on.
#[test]
fn a_byte_lock_wanted_by_two() {
    model(|| {
        let shared = Arc::new((ByteLock::new(), AtomicUsize::new(0)));
        let add = |shared: &(ByteLock, AtomicUsize)| {
            let rank = rank::Rank::Table;
            let guard = match shared.0.try_lock(rank) {
                Some(guard) => guard,
                None => shared.0.lock(rank),
            };
            let seen = shared.1.load(Ordering::Relaxed);
            shared.1.store(seen + 1, Ordering::Relaxed);
            guard.unlock();
        };
        let other = thread::spawn({
            let shared = Arc::clone(&shared);
            move || add(&shared)
        });
        add(&shared);
        other.join().expect("no panic");
        assert_eq!(shared.1.load(Ordering::Relaxed), 2);
    });
}
