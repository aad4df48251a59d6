//! Locks without an operating system: they spin, and sleepers ask the platform.

use core::sync::atomic::{AtomicU32, Ordering};

pub(crate) use spin::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A queue to sleep in: a word that changes with every wake.
#[derive(Debug)]
pub(crate) struct Sleepers {
    wakes: AtomicU32,
}

impl Sleepers {
    pub(crate) const fn new() -> Self {
        Self {
            wakes: AtomicU32::new(0),
        }
    }

    pub(crate) fn sleep_until(&self, mut ready: impl FnMut() -> bool) {
        loop {
            let seen = self.wakes.load(Ordering::SeqCst);
            if ready() {
                return;
            }
            crate::platform().park(&self.wakes, seen);
        }
    }

    pub(crate) fn wake_all(&self) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
        crate::platform().unpark_all(&self.wakes);
    }
}

pub(crate) fn relax() {
    core::hint::spin_loop();
}
