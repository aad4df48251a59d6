//! Guard markers against those who would rather have pages there.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use addr::{PAGE_SIZE, VirtAddr};
use frame::{Arena, ArenaConfig};
use machine::{Flush, Mmu, MmuCaps, NoMmu, Translation};
use mm::{Advice, MapRequest, Mm, MmConfig};

use crate::space::{BASE, RW, entry_of, read_at, write_at};

/// A machine that, told to forget a page, has somebody fault it in again before it answers, until
/// `enough`.
#[derive(Debug)]
struct Refilling {
    ask: Mutex<Sender<()>>,
    answered: Mutex<Receiver<()>>,
    enough: AtomicBool,
    flushes: AtomicU64,
}

impl Mmu for Refilling {
    fn caps(&self) -> MmuCaps {
        NoMmu.caps()
    }

    fn update_mmu_cache(&self, _range: addr::VirtRange) {}

    fn flush_tlb(&self, _flush: &Flush<'_>) {
        // Far more than a bounded number of tries takes; then it is given up, and the test fails.
        if self.enough.load(SeqCst) || self.flushes.fetch_add(1, SeqCst) > 100_000 {
            return;
        }
        self.ask.lock().unwrap().send(()).unwrap();
        self.answered.lock().unwrap().recv().unwrap();
    }

    fn replace(&self, _addr: VirtAddr, _to: Translation) {}
}

// row: S06 row: F19
// inv: 37
#[test]
fn installing_guards_lets_the_lock_go_when_pages_keep_coming_back() {
    const PAGES: u64 = 4;
    let (ask, asked) = channel();
    let (answer, answered) = channel();
    let mmu = Arc::new(Refilling {
        ask: Mutex::new(ask),
        answered: Mutex::new(answered),
        enough: AtomicBool::new(true),
        flushes: AtomicU64::new(0),
    });
    let arena = Arena::new(ArenaConfig::heap(256)).unwrap();
    let mm = Mm::create(MmConfig::new(arena, Arc::clone(&mmu) as _)).unwrap();
    let request = MapRequest::anonymous(PAGES * PAGE_SIZE, RW).fixed_at(BASE);
    mm.mmap(&request).unwrap();
    let at = |n: u64| BASE.checked_add(n * PAGE_SIZE).unwrap();
    for n in 0..PAGES {
        let _ = mm.handle_fault(&write_at(at(n))).unwrap();
    }
    mmu.enough.store(false, SeqCst);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (mm, done, at) = (&mm, &done, &at);
        scope.spawn(move || {
            while asked.recv().is_ok() && !done.load(SeqCst) {
                // Guarded pages refuse; the others come back.
                (0..PAGES).for_each(|n| drop(mm.handle_fault(&write_at(at(n)))));
                answer.send(()).unwrap();
            }
        });
        scope.spawn(|| {
            // Wants the lock for itself, once there is a contest.
            while mmu.flushes.load(SeqCst) == 0 {
                std::thread::yield_now();
            }
            drop(mm.write());
            mmu.enough.store(true, SeqCst);
        });
        mm.madvise(BASE, PAGES * PAGE_SIZE, Advice::GuardInstall)
            .unwrap();
        done.store(true, SeqCst);
        mmu.ask.lock().unwrap().send(()).unwrap();
    });
    assert!(
        mmu.flushes.load(SeqCst) < 100_000,
        "the lock was never let go"
    );
    for n in 0..PAGES {
        assert!(!entry_of(&mm, at(n)).is_none());
        assert!(mm.handle_fault(&read_at(at(n))).is_err());
    }
}
