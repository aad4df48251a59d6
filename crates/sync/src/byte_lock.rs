//! A lock that fits a byte of a record.

use crate::WaitQueue;
use crate::atomic::{AtomicU8, Ordering};
use crate::rank::{self, Held, Rank};

#[cfg(all(test, not(any(loom, shuttle)), feature = "std"))]
mod tests;

/// A lock of one byte that protects no Rust value: the entries of a page table, say. All zeroes is
/// unlocked.
///
/// Taking and releasing it is one atomic operation each. Who finds it taken spins for a moment,
/// then sleeps.
#[derive(Debug, Default)]
#[cfg_attr(not(any(loom, shuttle)), repr(transparent))]
pub struct ByteLock {
    state: State,
}

/// A [`ByteLock`] that is held.
#[must_use = "dropping it releases the lock"]
#[derive(Debug)]
pub struct ByteGuard<'a> {
    taken: Taken<'a>,
    held: Held,
}

impl ByteLock {
    crate::lock::const_unless_modelled! {
        /// Unlocked.
        #[must_use]
        pub fn new() -> Self {
            Self { state: State::new() }
        }
    }

    /// Waits for the lock, as one of rank `rank`.
    #[track_caller]
    #[inline]
    pub fn lock(&self, rank: Rank) -> ByteGuard<'_> {
        let held = rank::acquire(rank);
        ByteGuard {
            taken: self.state.lock(),
            held,
        }
    }

    /// Waits for a second lock of rank `rank`. The caller has an order among them.
    #[track_caller]
    #[inline]
    pub fn lock_nested(&self, rank: Rank) -> ByteGuard<'_> {
        let held = rank::acquire_nested(rank);
        ByteGuard {
            taken: self.state.lock(),
            held,
        }
    }

    /// The lock, if nobody has it.
    #[inline]
    pub fn try_lock(&self, rank: Rank) -> Option<ByteGuard<'_>> {
        let taken = self.state.try_lock()?;
        Some(ByteGuard {
            taken,
            held: rank::acquired_by_trying(rank),
        })
    }
}

impl ByteGuard<'_> {
    /// Release it; the same as dropping it, with a name.
    pub fn unlock(self) {
        let Self { taken, held } = self;
        drop(taken);
        drop(held);
    }
}

const FREE: u8 = 0;
const TAKEN: u8 = 1;
/// Taken, and somebody may sleep for it.
const AWAITED: u8 = 2;

/// How often one who finds it taken looks again before sleeping.
const SPINS: u32 = if cfg!(any(loom, shuttle)) { 0 } else { 64 };

#[derive(Debug, Default)]
#[cfg_attr(not(any(loom, shuttle)), repr(transparent))]
struct State {
    byte: AtomicU8,
    /// A model checker has no statics; there each lock has its own.
    #[cfg(any(loom, shuttle))]
    queue: WaitQueue,
}

#[derive(Debug)]
struct Taken<'a>(&'a State);

impl State {
    crate::lock::const_unless_modelled! {
        fn new() -> Self {
            Self {
                byte: AtomicU8::new(FREE),
                #[cfg(any(loom, shuttle))]
                queue: WaitQueue::new(),
            }
        }
    }

    #[inline]
    fn try_lock(&self) -> Option<Taken<'_>> {
        // Not `then_some`: a `Taken` made and dropped here would release another's lock.
        self.take().then(|| Taken(self))
    }

    #[inline]
    fn lock(&self) -> Taken<'_> {
        if !self.take() {
            self.wait();
        }
        Taken(self)
    }

    #[cold]
    fn wait(&self) {
        for _ in 0..SPINS {
            if self.byte.load(Ordering::Relaxed) == FREE && self.take() {
                return;
            }
            crate::relax();
        }
        // Whoever slept takes it as awaited: others may still sleep.
        self.queue()
            .wait_until(|| self.byte.swap(AWAITED, Ordering::Acquire) == FREE);
    }

    #[inline]
    fn take(&self) -> bool {
        self.byte
            .compare_exchange(FREE, TAKEN, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    #[cfg(not(any(loom, shuttle)))]
    fn queue(&self) -> &'static WaitQueue {
        const NR_QUEUES: usize = 64;
        static QUEUES: [WaitQueue; NR_QUEUES] = [const { WaitQueue::new() }; NR_QUEUES];
        let addr = core::ptr::from_ref(self).addr();
        &QUEUES[(addr >> 6) % NR_QUEUES]
    }

    #[cfg(any(loom, shuttle))]
    fn queue(&self) -> &WaitQueue {
        &self.queue
    }
}

impl Drop for Taken<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.0.byte.swap(FREE, Ordering::Release) == AWAITED {
            // Only the address is used from here on: the lock may already be gone.
            self.0.queue().wake_all();
        }
    }
}
