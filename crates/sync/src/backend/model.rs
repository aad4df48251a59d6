//! Locks that a model checker schedules: loom's or shuttle's, in the shape of the host's.

use core::ops::{Deref, DerefMut};

#[cfg(loom)]
use loom::{sync, thread};
#[cfg(shuttle)]
use shuttle::{sync, thread};

pub(crate) use sync::MutexGuard;

#[derive(Debug)]
pub(crate) struct Mutex<T: ?Sized>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    pub(crate) fn into_inner(self) -> T {
        self.0.into_inner().expect("no thread panicked")
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("no thread panicked")
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok()
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().expect("no thread panicked")
    }
}

/// A reader-writer lock with a downgrade, made of two of the checker's locks: a writer holds the
/// gate as well, so while it turns its write guard into a read guard no other writer gets in.
#[derive(Debug)]
pub(crate) struct RwLock<T> {
    gate: sync::Mutex<()>,
    value: sync::RwLock<T>,
}

pub(crate) use sync::RwLockReadGuard;

#[derive(Debug)]
pub(crate) struct RwLockWriteGuard<'a, T> {
    // Dropped in this order: the value first.
    value: sync::RwLockWriteGuard<'a, T>,
    gate: MutexGuard<'a, ()>,
    lock: &'a RwLock<T>,
}

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            gate: sync::Mutex::new(()),
            value: sync::RwLock::new(value),
        }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.value.read().expect("no thread panicked")
    }

    pub(crate) fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        self.value.try_read().ok()
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        let gate = self.gate.lock().expect("no thread panicked");
        RwLockWriteGuard {
            value: self.value.write().expect("no thread panicked"),
            gate,
            lock: self,
        }
    }

    pub(crate) fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        let gate = self.gate.try_lock().ok()?;
        Some(RwLockWriteGuard {
            value: self.value.try_write().ok()?,
            gate,
            lock: self,
        })
    }

    pub(crate) fn into_inner(self) -> T {
        self.value.into_inner().expect("no thread panicked")
    }
}

impl<'a, T> RwLockWriteGuard<'a, T> {
    pub(crate) fn downgrade(guard: Self) -> RwLockReadGuard<'a, T> {
        let Self { value, gate, lock } = guard;
        drop(value);
        let read = lock.read();
        drop(gate);
        read
    }
}

impl<T> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

/// A queue to sleep in.
#[derive(Debug)]
pub(crate) struct Sleepers {
    lock: sync::Mutex<()>,
    wake: sync::Condvar,
}

impl Sleepers {
    pub(crate) fn new() -> Self {
        Self {
            lock: sync::Mutex::new(()),
            wake: sync::Condvar::new(),
        }
    }

    pub(crate) fn sleep_until(&self, mut ready: impl FnMut() -> bool) {
        let mut guard = self.lock.lock().expect("no thread panicked");
        while !ready() {
            guard = self.wake.wait(guard).expect("no thread panicked");
        }
    }

    pub(crate) fn wake_all(&self) {
        drop(self.lock.lock().expect("no thread panicked"));
        self.wake.notify_all();
    }
}

pub(crate) fn relax() {
    thread::yield_now();
}
