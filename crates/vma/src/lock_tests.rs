//! The promises of the locks, under many schedules: by shuttle with `--cfg shuttle`, else by real
//! threads, often.

use crate::fixtures::*;
use crate::{
    Attributes, FaultLock, FaultLockKind, MmapHeld, ModifyPlan, RemovePlan, Vma, VmaRead, Why,
};
use addr::VmFlags;
use alloc::sync::Arc;
use std::vec::Vec;
use sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[cfg(shuttle)]
use shuttle::thread;
#[cfg(not(shuttle))]
use std::thread;

/// Runs `body`, which starts a few threads that do a few things, under many schedules.
fn explore(body: fn()) {
    #[cfg(shuttle)]
    {
        shuttle::check_random(body, 2000);
        shuttle::check_pct(body, 2000, 3);
    }
    #[cfg(not(shuttle))]
    for _ in 0..200 {
        body();
    }
}

/// Runs `body`, which starts no thread.
fn alone(body: fn()) {
    #[cfg(shuttle)]
    shuttle::check_random(body, 1);
    #[cfg(not(shuttle))]
    body();
}

/// A space and what the threads say to each other.
struct Shared {
    lock: Lock,
    /// A writer has the area of page 15 write-locked.
    written: AtomicBool,
    /// Page 15 is unmapped for good.
    gone: AtomicBool,
    /// Two words that a writer changes together.
    words: [AtomicU64; 2],
}

impl Shared {
    fn new() -> Arc<Self> {
        let lock = space();
        let _ = lock.map(anonymous(10, 20, RW));
        let words = [AtomicU64::new(0), AtomicU64::new(0)];
        let (written, gone) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self {
            lock,
            written,
            gone,
            words,
        })
    }

    fn start(self: &Arc<Self>, work: fn(&Shared)) -> thread::JoinHandle<()> {
        let shared = Arc::clone(self);
        thread::spawn(move || work(&shared))
    }

    /// Reads under the area's lock, if it can be had, and checks that nobody else is at work.
    fn read(&self) -> Result<(), Why> {
        let held = self.lock.lock_vma_under_rcu(at(15))?;
        self.check(&held);
        Ok(())
    }

    fn read_often(&self, times: usize) {
        for _ in 0..times {
            // A refusal is always allowed.
            let _ = self.read();
        }
    }

    fn check(&self, vma: &Vma) {
        // inv: 8
        assert!(
            !self.written.load(Ordering::Relaxed),
            "locked under a writer"
        );
        let first = self.words[0].load(Ordering::Relaxed);
        thread::yield_now();
        assert_eq!(
            first,
            self.words[1].load(Ordering::Relaxed),
            "half a write was seen"
        );
        assert!(!self.written.load(Ordering::Relaxed), "a writer came in");
        // inv: 9
        assert!(vma.is_attached(), "locked out of the tree");
    }

    /// Changes both words with the area of page 15 write-locked.
    fn write(&self) {
        let held = self.lock.write();
        let Some(vma) = held.tree().find(at(15)).cloned() else {
            return;
        };
        held.lock_vma(&vma);
        self.written.store(true, Ordering::Relaxed);
        self.words[0].fetch_add(1, Ordering::Relaxed);
        thread::yield_now();
        self.words[1].fetch_add(1, Ordering::Relaxed);
        self.written.store(false, Ordering::Relaxed);
    }

    /// Replaces the area of page 15.
    fn protect(&self, flags: VmFlags) {
        let mut held = self.lock.write();
        let Some(vma) = held.tree().find(at(15)).cloned() else {
            return;
        };
        let to = Attributes::of(&vma).with_flags(flags);
        let plan = ModifyPlan::decide(&held, &vma, vma.range, &to).expect("nothing is split");
        let changed = plan.commit(&mut held);
        self.written.store(true, Ordering::Relaxed);
        assert!(changed.vma.is_attached() && !changed.before.is_attached());
        thread::yield_now();
        self.written.store(false, Ordering::Relaxed);
    }

    fn unmap(&self) {
        let mut held = self.lock.write();
        let removed = RemovePlan::decide(&held, span(10, 20))
            .expect("nothing refuses")
            .commit(&mut held);
        self.gone.store(true, Ordering::SeqCst);
        let (_tables, unclosed) = removed.unlink_rmap();
        unclosed.close();
    }
}

fn join(threads: impl IntoIterator<Item = thread::JoinHandle<()>>) {
    threads
        .into_iter()
        .for_each(|thread| thread.join().expect("its checks hold"));
}

// row: M15
// inv: 7
// inv: 8
#[test]
fn no_reader_gets_in_with_a_writer() {
    explore(|| {
        let shared = Shared::new();
        let writer = shared.start(|shared| (0..3).for_each(|_| shared.write()));
        let reader = || shared.start(|shared| shared.read_often(4));
        join([writer, reader(), reader()]);
    });
}

// row: M15
// inv: 8
// inv: 9
// inv: 10
#[test]
fn an_area_that_was_replaced_is_never_locked() {
    explore(|| {
        let shared = Shared::new();
        let writer = shared.start(|shared| {
            shared.protect(RO);
            shared.protect(RW);
        });
        let reader = || shared.start(|shared| shared.read_often(4));
        join([writer, reader(), reader()]);
    });
}

// row: M15
// inv: 9
#[test]
fn what_is_unmapped_stays_unmapped() {
    explore(|| {
        let shared = Shared::new();
        let writer = shared.start(|shared| shared.unmap());
        let reader = || {
            shared.start(|shared| {
                for _ in 0..4 {
                    let was_gone = shared.gone.load(Ordering::SeqCst);
                    match shared.lock.lock_vma_under_rcu(at(15)) {
                        Ok(held) => assert!(!was_gone && held.is_attached()),
                        Err(why) => assert!(matches!(why, Why::NoArea | Why::WriteLocked)),
                    }
                }
            })
        };
        join([writer, reader(), reader()]);
        assert_eq!(shared.read(), Err(Why::NoArea));
    });
}

// row: M13
// row: M15
// inv: 7
// inv: 11
#[test]
fn a_downgrade_unlocks_areas_but_lets_no_writer_in() {
    explore(|| {
        let shared = Shared::new();
        let downgrader = shared.start(|shared| {
            let held = shared.lock.write();
            let vma = held.tree().find(at(15)).cloned().expect("mapped");
            held.lock_vma(&vma);
            shared.words[0].fetch_add(1, Ordering::Relaxed);
            shared.words[1].fetch_add(1, Ordering::Relaxed);
            let held = held.downgrade();
            let before = shared.words[1].load(Ordering::Relaxed);
            // Whoever faults now gets in.
            let read = held.lock_vma(&vma).expect("few readers");
            shared.check(&read);
            thread::yield_now();
            assert_eq!(
                before,
                shared.words[1].load(Ordering::Relaxed),
                "a writer came in"
            );
        });
        let writer = shared.start(|shared| shared.write());
        let reader = shared.start(|shared| shared.read_often(3));
        join([downgrader, writer, reader]);
    });
}

// row: M15
// inv: 11
#[test]
fn a_look_that_no_writer_disturbed_is_consistent() {
    explore(|| {
        let shared = Shared::new();
        let writer = shared.start(|shared| (0..2).for_each(|_| shared.write()));
        let looker = shared.start(|shared| {
            for _ in 0..4 {
                let Some(begun) = shared.lock.speculate_try_begin() else {
                    continue;
                };
                let first = shared.words[0].load(Ordering::Relaxed);
                let second = shared.words[1].load(Ordering::Relaxed);
                if !shared.lock.speculate_retry(begun) {
                    assert_eq!(first, second);
                }
            }
        });
        join([writer, looker]);
        let begun = shared.lock.speculate_try_begin().expect("nobody writes");
        assert!(!shared.lock.speculate_retry(begun));
        let held = shared.lock.write();
        assert!(shared.lock.speculate_try_begin().is_none());
        assert!(shared.lock.speculate_retry(begun));
        drop(held.downgrade());
        assert!(shared.lock.speculate_try_begin().is_some());
    });
}

// row: F26
// row: M13
#[test]
fn a_fault_lock_is_either_lock() {
    alone(|| {
        let lock = space();
        let _ = lock.map(anonymous(10, 20, RW));
        let read = lock.lock_vma_under_rcu(at(15)).expect("nobody writes");
        let held: FaultLock<'_, ()> = FaultLock::by_vma(read);
        assert_eq!(held.kind(), FaultLockKind::Vma);
        assert!(held.mmap().is_none());
        assert_eq!(pages(held.vma().range), (10, 20));
        held.release();
        let held = FaultLock::by_mmap(lock.read(), at(15)).expect("mapped");
        assert_eq!(held.kind(), FaultLockKind::Mmap);
        assert!(held.mmap().is_some() && lock.try_write().is_none());
        held.release();
        assert!(FaultLock::by_mmap(lock.read(), at(25)).is_err());
        assert!(lock.try_write().is_some());
    });
}

// row: M15
#[test]
fn refusals_say_why_and_are_counted() {
    alone(|| {
        let lock = space();
        let _ = lock.map(anonymous(10, 20, RW));
        let why = |page| lock.lock_vma_under_rcu(at(page)).expect_err("refused");
        assert_eq!(why(9), Why::NoArea);
        let held = lock.write();
        let vma = held.tree().find(at(10)).cloned().expect("mapped");
        // Under the mmap lock alone readers still come in.
        drop(
            lock.lock_vma_under_rcu(at(10))
                .expect("not yet locked for writing"),
        );
        held.lock_vma(&vma);
        held.lock_vma(&vma);
        assert_eq!(why(10), Why::WriteLocked);
        drop(held);
        drop(
            lock.lock_vma_under_rcu(at(10))
                .expect("unlocked with the mmap lock"),
        );
        assert_eq!(lock.refusals().abort, 2);
    });
}

// row: M15
#[test]
fn a_guard_outlives_the_lock_it_came_from() {
    explore(|| {
        let shared = Shared::new();
        let foreign = space();
        let stranger = foreign.map(anonymous(10, 20, RW)).vma;
        let held: Vec<VmaRead> = {
            let mmap = shared.lock.read();
            assert!(mmap.lock_vma(&stranger).is_none());
            let vma = mmap.tree().find(at(15)).expect("mapped");
            (0..3).filter_map(|_| mmap.lock_vma(vma)).collect()
        };
        assert_eq!(held.len(), 3);
        let writer = shared.start(|shared| shared.write());
        for read in held {
            shared.check(&read);
            thread::yield_now();
        }
        join([writer]);
        assert_eq!(shared.words[1].load(Ordering::Relaxed), 1);
    });
}

// inv: 13
#[test]
#[cfg(all(debug_assertions, not(shuttle)))]
#[should_panic(expected = "lock order")]
fn waiting_for_the_mmap_lock_under_an_area_lock_is_caught() {
    let lock = space();
    let _ = lock.map(anonymous(10, 20, RW));
    let _held = lock.lock_vma_under_rcu(at(15)).expect("nobody writes");
    // Trying is allowed, waiting is not.
    assert!(lock.try_read().is_some());
    let _mmap = lock.read();
}
