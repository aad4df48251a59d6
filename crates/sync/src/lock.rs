//! The two locks that own what they protect.

use core::fmt;
use core::ops::{Deref, DerefMut};

use crate::backend;
use crate::rank::{Held, Rank, RankMark};

/// Mutual exclusion for bounded CPU time. Never poisoned.
#[derive(Debug)]
pub struct Mutex<T> {
    mark: RankMark,
    lock: backend::Mutex<T>,
}

/// The value of a [`Mutex`], until it is dropped.
pub struct MutexGuard<'a, T> {
    guard: backend::MutexGuard<'a, T>,
    _held: Held,
}

/// Makes the constructors `const` except under a model checker, whose locks cannot be.
macro_rules! const_unless_modelled {
    ($(#[$attr:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),*) -> Self $body:block) => {
        #[cfg(not(any(loom, shuttle)))]
        $(#[$attr])*
        $vis const fn $name($($arg: $ty),*) -> Self $body
        #[cfg(any(loom, shuttle))]
        $(#[$attr])*
        $vis fn $name($($arg: $ty),*) -> Self $body
    };
}
pub(crate) use const_unless_modelled;

impl<T> Mutex<T> {
    const_unless_modelled! {
        /// A lock outside the order: nothing else is taken under it.
        #[must_use]
        pub fn new(value: T) -> Self {
            Self { mark: RankMark::NONE, lock: backend::Mutex::new(value) }
        }
    }

    const_unless_modelled! {
        /// A lock at `rank` in the order.
        #[must_use]
        pub fn ranked(rank: Rank, value: T) -> Self {
            Self { mark: RankMark::new(rank), lock: backend::Mutex::new(value) }
        }
    }

    /// Waits for the lock.
    #[track_caller]
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let held = self.mark.acquire();
        MutexGuard {
            guard: self.lock.lock(),
            _held: held,
        }
    }

    /// Waits for a second lock of the same rank. The caller has an order among them.
    #[track_caller]
    #[inline]
    pub fn lock_nested(&self) -> MutexGuard<'_, T> {
        let held = self.mark.acquire_nested();
        MutexGuard {
            guard: self.lock.lock(),
            _held: held,
        }
    }

    /// The lock, if nobody has it.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let guard = self.lock.try_lock()?;
        Some(MutexGuard {
            guard,
            _held: self.mark.acquired_by_trying(),
        })
    }

    /// The value; no lock is needed to look at what is borrowed alone.
    pub fn get_mut(&mut self) -> &mut T {
        self.lock.get_mut()
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.lock.into_inner()
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

impl<T: fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// Many readers or one writer. A writer may become a reader without letting another writer in
/// between. Never poisoned.
#[derive(Debug)]
pub struct RwLock<T> {
    mark: RankMark,
    lock: backend::RwLock<T>,
}

/// The value of a [`RwLock`], shared.
pub struct RwLockReadGuard<'a, T> {
    guard: backend::RwLockReadGuard<'a, T>,
    _held: Held,
}

/// The value of a [`RwLock`], alone.
pub struct RwLockWriteGuard<'a, T> {
    guard: backend::RwLockWriteGuard<'a, T>,
    held: Held,
}

impl<T> RwLock<T> {
    const_unless_modelled! {
        /// A lock outside the order.
        #[must_use]
        pub fn new(value: T) -> Self {
            Self { mark: RankMark::NONE, lock: backend::RwLock::new(value) }
        }
    }

    const_unless_modelled! {
        /// A lock at `rank` in the order.
        #[must_use]
        pub fn ranked(rank: Rank, value: T) -> Self {
            Self { mark: RankMark::new(rank), lock: backend::RwLock::new(value) }
        }
    }

    /// Waits until no writer has it.
    #[track_caller]
    #[inline]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        let held = self.mark.acquire();
        RwLockReadGuard {
            guard: self.lock.read(),
            _held: held,
        }
    }

    /// Shared, if no writer has it or waits for it.
    #[inline]
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        let guard = self.lock.try_read()?;
        Some(RwLockReadGuard {
            guard,
            _held: self.mark.acquired_by_trying(),
        })
    }

    /// Waits until nobody has it.
    #[track_caller]
    #[inline]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        let held = self.mark.acquire();
        RwLockWriteGuard {
            guard: self.lock.write(),
            held,
        }
    }

    /// Waits for a second lock of the same rank. The caller has an order among them.
    #[track_caller]
    #[inline]
    pub fn write_nested(&self) -> RwLockWriteGuard<'_, T> {
        let held = self.mark.acquire_nested();
        RwLockWriteGuard {
            guard: self.lock.write(),
            held,
        }
    }

    /// Alone, if nobody has it.
    #[inline]
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        let guard = self.lock.try_write()?;
        Some(RwLockWriteGuard {
            guard,
            held: self.mark.acquired_by_trying(),
        })
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.lock.into_inner()
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<'a, T> RwLockWriteGuard<'a, T> {
    /// Become a reader; no other writer gets in between (`mmap_write_downgrade`).
    #[must_use]
    pub fn downgrade(self) -> RwLockReadGuard<'a, T> {
        let Self { guard, held } = self;
        RwLockReadGuard {
            guard: backend::RwLockWriteGuard::downgrade(guard),
            _held: held,
        }
    }
}

impl<T> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

impl<T: fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
