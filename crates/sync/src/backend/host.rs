//! Locks of a hosted build: parking_lot's.

pub(crate) use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A queue to sleep in: the lock serialises checking and waking.
#[derive(Debug)]
pub(crate) struct Sleepers {
    lock: parking_lot::Mutex<()>,
    wake: parking_lot::Condvar,
}

impl Sleepers {
    pub(crate) const fn new() -> Self {
        Self {
            lock: parking_lot::Mutex::new(()),
            wake: parking_lot::Condvar::new(),
        }
    }

    pub(crate) fn sleep_until(&self, mut ready: impl FnMut() -> bool) {
        let mut guard = self.lock.lock();
        while !ready() {
            self.wake.wait(&mut guard);
        }
    }

    pub(crate) fn wake_all(&self) {
        // Taking the lock orders us after a sleeper's check or before it, never in between.
        drop(self.lock.lock());
        self.wake.notify_all();
    }
}

pub(crate) fn relax() {
    core::hint::spin_loop();
}
