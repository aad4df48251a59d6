//! The memory orderings of the area lock, which shuttle does not look at: `--cfg loom`.

use crate::vma_lock::{SpaceLock, Start, VmaLock};
use alloc::sync::Arc;
use sync::atomic::{AtomicU64, Ordering};

/// An area's lock, and two words that a writer changes together. They are relaxed, so that only the
/// lock orders them.
struct Guarded {
    space: Arc<SpaceLock>,
    lock: VmaLock,
    words: [AtomicU64; 2],
}

impl Guarded {
    fn attached() -> Arc<Self> {
        let space = Arc::<SpaceLock>::default();
        let lock = VmaLock::new(Arc::clone(&space));
        let guarded = Self {
            space,
            lock,
            words: [AtomicU64::new(0), AtomicU64::new(0)],
        };
        guarded.space.begin_write();
        guarded.lock.start_write();
        guarded.lock.attach();
        guarded.space.end_write();
        Arc::new(guarded)
    }

    fn write(&self) {
        self.space.begin_write();
        self.lock.start_write();
        self.words[0].store(1, Ordering::Relaxed);
        self.words[1].store(1, Ordering::Relaxed);
        self.space.end_write();
    }

    fn detach(&self) {
        self.space.begin_write();
        self.lock.start_write();
        self.lock.detach();
        self.words[0].store(1, Ordering::Relaxed);
        self.words[1].store(1, Ordering::Relaxed);
        self.space.end_write();
    }

    /// Both words as one reader sees them, if it gets in.
    fn read(&self) -> Option<[u64; 2]> {
        if self.lock.start_read(&self.space) != Start::Locked {
            return None;
        }
        let seen = [0, 1].map(|at| self.words[at].load(Ordering::Relaxed));
        self.lock.end_read();
        Some(seen)
    }
}

fn explore(body: fn()) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(body);
}

// row: M15
// inv: 8
#[test]
fn a_reader_sees_all_or_nothing_of_a_write() {
    explore(|| {
        let guarded = Guarded::attached();
        let writer = {
            let guarded = Arc::clone(&guarded);
            loom::thread::spawn(move || guarded.write())
        };
        if let Some([first, second]) = guarded.read() {
            assert_eq!(first, second);
        }
        writer.join().expect("it does not panic");
        assert_eq!(guarded.read(), Some([1, 1]));
    });
}

// row: M15
// inv: 9
#[test]
fn a_reader_of_a_detached_area_read_before_it_was() {
    explore(|| {
        let guarded = Guarded::attached();
        let writer = {
            let guarded = Arc::clone(&guarded);
            loom::thread::spawn(move || guarded.detach())
        };
        assert!(matches!(guarded.read(), None | Some([0, 0])));
        writer.join().expect("it does not panic");
        assert_eq!(guarded.read(), None);
    });
}
