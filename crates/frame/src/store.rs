//! All of an arena but its file.
//!
//! A store lives as long as the process. A folio refers to it by `&'static`, hence for nothing:
//! counting references to the arena in every folio would make one cache line the busiest of all.
//! When an arena is dropped its store loses its memory and waits for the next arena of that size;
//! a store with frames still in use waits until they are freed.

use sync::rank::Rank;
use sync::{Mutex, MutexGuard, WaitQueue};

use addr::Pfn;
use heap::boxed::Box;
#[cfg(not(any(loom, shuttle)))]
use heap::vec::Vec;
use sync::atomic::{AtomicU64, Ordering};

use crate::buddy::Buddy;
use crate::charge::Charges;
use crate::lru::Lru;
use crate::percpu::Cpu;
use crate::record::{FolioFlags, FrameRecord};
use crate::words::{Memory, Records};

/// The frame that is always zero. Number 0 also keeps an entry of all zeroes from naming a frame
/// in use.
pub(crate) const ZERO_FRAME: u32 = 0;

const NR_FOLIO_QUEUES: usize = 64;

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) memory: Memory,
    pub(crate) records: Records,
    pub(crate) cpus: Box<[Cpu]>,
    pub(crate) node: Node,
    pub(crate) charges: Charges,
    /// Frames that only `Depth::Reserve` may take.
    reserve_frames: AtomicU64,
    /// Frames given back to the host so far.
    pub(crate) nr_given_back: AtomicU64,
    folio_queues: Box<[WaitQueue]>,
}

/// A NUMA node; there is one.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Node {
    free: Mutex<Buddy>,
    pub(crate) lru: Mutex<Lru>,
}

impl Node {
    pub(crate) fn lock_free(&self) -> MutexGuard<'_, Buddy> {
        self.free.lock()
    }

    /// The free lists, by one who has the lock of a CPU.
    pub(crate) fn lock_free_nested(&self) -> MutexGuard<'_, Buddy> {
        self.free.lock_nested()
    }
}

impl Store {
    pub(crate) fn new(nr_frames: u32) -> Option<Self> {
        let store = Self {
            memory: Memory::new(u64::from(nr_frames))?,
            records: Memory::new_records(u64::from(nr_frames))?,
            cpus: (0..sync::nr_cpus()).map(|_| Cpu::new()).collect(),
            node: Node {
                free: Mutex::ranked(Rank::Arena, Buddy::new(ZERO_FRAME + 1, nr_frames)),
                lru: Mutex::ranked(Rank::Lru, Lru::new()),
            },
            charges: Charges::new(),
            reserve_frames: AtomicU64::new(0),
            nr_given_back: AtomicU64::new(0),
            folio_queues: (0..NR_FOLIO_QUEUES).map(|_| WaitQueue::new()).collect(),
        };
        store
            .record_of(ZERO_FRAME)
            .store_flags(FolioFlags::RESERVED.union(FolioFlags::UPTODATE));
        Some(store)
    }

    pub(crate) fn nr_frames(&self) -> u32 {
        self.records.len() as u32
    }

    #[inline]
    pub(crate) fn record_of(&self, frame: u32) -> &FrameRecord {
        &self.records[frame as usize]
    }

    /// Our number for `pfn`, if it is of this arena.
    #[inline]
    pub(crate) fn frame_of(&self, pfn: Pfn) -> Option<u32> {
        let frame = u32::try_from(pfn.as_u64()).ok()?;
        (frame < self.nr_frames()).then_some(frame)
    }

    /// The first frame of the folio that `frame` is part of.
    #[inline]
    pub(crate) fn head_of(&self, frame: u32) -> u32 {
        let record = self.record_of(frame);
        if record.has(FolioFlags::TAIL) {
            return record.head.load(Ordering::Relaxed);
        }
        frame
    }

    /// Where those sleep who wait for the lock of the folio at `frame`.
    pub(crate) fn folio_queue(&self, frame: u32) -> &WaitQueue {
        &self.folio_queues[frame as usize % NR_FOLIO_QUEUES]
    }

    pub(crate) fn reserve_frames(&self) -> u64 {
        self.reserve_frames.load(Ordering::Relaxed)
    }

    pub(crate) fn set_reserve_frames(&self, nr_frames: u64) {
        self.reserve_frames.store(nr_frames, Ordering::Relaxed);
    }
}

#[cfg(not(any(loom, shuttle)))]
impl Store {
    /// Back to how it was made, if every frame is back on the node: false if not. That none is in
    /// use would not do: whoever frees the last ones may still be on the way with them.
    fn try_reset(&self) -> bool {
        self.drain();
        let nr_usable = u64::from(self.nr_frames() - (ZERO_FRAME + 1));
        if self.node.lock_free().nr_free() != nr_usable {
            return false;
        }
        // What the CPUs paid ahead, they paid to the groups that end here.
        self.empty_stocks();
        self.charges.forget_all();
        self.nr_given_back.store(0, Ordering::Relaxed);
        if !self.memory.back_with_zeroes() {
            // The frames keep their memory, and what is known of it stays true.
            return true;
        }
        let mut free = self.node.lock_free();
        for frame in ZERO_FRAME + 1..free.frontier() {
            let record = self.record_of(frame);
            record.store_flags(FolioFlags::empty());
            record.list.store(0, Ordering::Relaxed);
        }
        *free = Buddy::new(ZERO_FRAME + 1, self.nr_frames());
        true
    }
}

/// Stores without an arena.
#[cfg(not(any(loom, shuttle)))]
static LEFT_BEHIND: Mutex<Vec<LeftBehind>> = Mutex::new(Vec::new());

#[cfg(not(any(loom, shuttle)))]
struct LeftBehind {
    store: &'static Store,
    /// Idle, and as it was made.
    ready: bool,
}

/// A store of `nr_frames` that some arena left behind and that nobody uses.
#[cfg(not(any(loom, shuttle)))]
pub(crate) fn left_behind(nr_frames: u32) -> Option<&'static Store> {
    let mut stores = LEFT_BEHIND.lock();
    let found = stores.iter_mut().position(|left| {
        left.store.nr_frames() == nr_frames && (left.ready || left.store.try_reset())
    })?;
    Some(stores.swap_remove(found).store)
}

/// The arena of `store` is gone. Stores that are idle by now give up their memory.
#[cfg(not(any(loom, shuttle)))]
pub(crate) fn leave_behind(store: &'static Store) {
    let mut stores = LEFT_BEHIND.lock();
    stores.push(LeftBehind {
        store,
        ready: false,
    });
    for left in stores.iter_mut().filter(|left| !left.ready) {
        left.ready = left.store.try_reset();
    }
}

/// Under a model checker each run has stores of its own.
#[cfg(any(loom, shuttle))]
pub(crate) fn left_behind(_nr_frames: u32) -> Option<&'static Store> {
    None
}

/// Under a model checker a store ends with its run.
#[cfg(any(loom, shuttle))]
pub(crate) fn leave_behind(_store: &'static Store) {}
