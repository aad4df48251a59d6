//! A lock that fits a byte of a record.

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
    state: chosen::State,
}

/// A [`ByteLock`] that is held.
#[must_use = "dropping it releases the lock"]
#[derive(Debug)]
pub struct ByteGuard<'a> {
    taken: chosen::Taken<'a>,
    held: Held,
}

impl ByteLock {
    crate::lock::const_unless_modelled! {
        /// Unlocked.
        #[must_use]
        pub fn new() -> Self {
            Self { state: chosen::State::new() }
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

#[cfg(not(any(loom, shuttle)))]
mod chosen {
    use core::sync::atomic::{AtomicU8, Ordering};

    use crate::WaitQueue;

    const FREE: u8 = 0;
    const TAKEN: u8 = 1;
    /// Taken, and somebody may sleep for it.
    const AWAITED: u8 = 2;

    const NR_QUEUES: usize = 64;
    const SPINS: u32 = 64;

    static QUEUES: [WaitQueue; NR_QUEUES] = [const { WaitQueue::new() }; NR_QUEUES];

    #[derive(Debug, Default)]
    #[repr(transparent)]
    pub(super) struct State(AtomicU8);

    #[derive(Debug)]
    pub(super) struct Taken<'a>(&'a State);

    impl State {
        pub(super) const fn new() -> Self {
            Self(AtomicU8::new(FREE))
        }

        #[inline]
        pub(super) fn try_lock(&self) -> Option<Taken<'_>> {
            // Not `then_some`: a `Taken` made and dropped here would release another's lock.
            self.take_as(TAKEN).then(|| Taken(self))
        }

        #[inline]
        pub(super) fn lock(&self) -> Taken<'_> {
            if !self.take_as(TAKEN) {
                self.wait();
            }
            Taken(self)
        }

        #[cold]
        fn wait(&self) {
            for _ in 0..SPINS {
                if self.0.load(Ordering::Relaxed) == FREE && self.take_as(TAKEN) {
                    return;
                }
                crate::relax();
            }
            // Whoever slept takes it as awaited: others may still sleep.
            self.queue()
                .wait_until(|| self.0.swap(AWAITED, Ordering::Acquire) == FREE);
        }

        fn take_as(&self, state: u8) -> bool {
            self.0
                .compare_exchange(FREE, state, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        }

        fn queue(&self) -> &'static WaitQueue {
            let addr = core::ptr::from_ref(self).addr();
            &QUEUES[(addr >> 6) % NR_QUEUES]
        }
    }

    impl Drop for Taken<'_> {
        #[inline]
        fn drop(&mut self) {
            if self.0.0.swap(FREE, Ordering::Release) == AWAITED {
                // Only the address is used from here on: the lock may already be gone.
                self.0.queue().wake_all();
            }
        }
    }
}

#[cfg(any(loom, shuttle))]
mod chosen {
    use crate::backend::{Mutex, MutexGuard};

    #[derive(Debug)]
    pub(super) struct State(Mutex<()>);

    #[derive(Debug)]
    pub(super) struct Taken<'a>(#[expect(dead_code, reason = "held")] MutexGuard<'a, ()>);

    impl State {
        pub(super) fn new() -> Self {
            Self(Mutex::new(()))
        }

        pub(super) fn try_lock(&self) -> Option<Taken<'_>> {
            self.0.try_lock().map(Taken)
        }

        pub(super) fn lock(&self) -> Taken<'_> {
            Taken(self.0.lock())
        }
    }

    impl Default for State {
        fn default() -> Self {
            Self::new()
        }
    }
}
