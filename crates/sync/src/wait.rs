//! Sleeping until something is true.

use crate::atomic::{AtomicU32, Ordering, fence};
use crate::backend::Sleepers;

/// Threads that sleep until a condition of their own is true.
///
/// Who makes a condition true calls [`wake_all`](Self::wake_all) after; that costs a fence when
/// nobody sleeps.
#[derive(Debug)]
pub struct WaitQueue {
    nr_waiting: AtomicU32,
    sleepers: Sleepers,
}

impl WaitQueue {
    crate::lock::const_unless_modelled! {
        /// Nobody waits.
        #[must_use]
        pub fn new() -> Self {
            Self { nr_waiting: AtomicU32::new(0), sleepers: Sleepers::new() }
        }
    }

    /// Sleeps until `ready` says so. It is asked anew after each wake, with the queue's own lock
    /// held, so it may neither wait nor wake. Where it takes something (a count, a lock bit), what
    /// it took belongs to the caller.
    pub fn wait_until(&self, mut ready: impl FnMut() -> bool) {
        if ready() {
            return;
        }
        self.nr_waiting.fetch_add(1, Ordering::SeqCst);
        // Pairs with the fence of `wake_all`: either the waker sees us counted, or `ready` sees
        // what the waker did.
        fence(Ordering::SeqCst);
        self.sleepers.sleep_until(ready);
        self.nr_waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Everyone who sleeps looks again.
    pub fn wake_all(&self) {
        fence(Ordering::SeqCst);
        if self.nr_waiting.load(Ordering::Relaxed) != 0 {
            self.sleepers.wake_all();
        }
    }
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}
