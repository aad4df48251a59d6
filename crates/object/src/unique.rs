//! Numbers that are never used twice, and what they name.
//!
//! Both are global, and so outside every model: a model checker runs one test many times over, and
//! would find what an earlier run left. Under one they are the host's own; no thread waits here, and
//! no step of a protocol depends on the order of two numbers.

#[cfg(any(loom, shuttle))]
use core::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(any(loom, shuttle)))]
use sync::atomic::{AtomicU64, Ordering};

use alloc::collections::BTreeMap;

/// A number that was never returned before, and is not zero.
pub(crate) fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Look-ups come from faults on every CPU; they should not meet on one lock.
const NR_SHARDS: usize = 16;

/// What numbers name, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Names<T> {
    shards: sync::Once<[Shard<T>; NR_SHARDS]>,
}

type Shard<T> = lock::Lock<BTreeMap<u64, T>>;

impl<T> Names<T> {
    pub(crate) const fn new() -> Self {
        Names {
            shards: sync::Once::new(),
        }
    }

    fn shard(&self, number: u64) -> &Shard<T> {
        let make = || core::array::from_fn(|_| lock::Lock::new(BTreeMap::new()));
        &self.shards.get_or_init(make)[(number >> 1) as usize % NR_SHARDS]
    }

    pub(crate) fn enter(&self, number: u64, named: T) {
        self.shard(number)
            .write(|names| names.insert(number, named));
    }

    pub(crate) fn forget(&self, number: u64) {
        // What was named is dropped outside the lock.
        drop(self.shard(number).write(|names| names.remove(&number)));
    }

    pub(crate) fn find<R>(&self, number: u64, found: impl FnOnce(&T) -> Option<R>) -> Option<R> {
        self.shard(number)
            .read(|names| names.get(&number).and_then(found))
    }
}

#[cfg(not(any(loom, shuttle)))]
mod lock {
    use sync::RwLock;
    use sync::rank::Rank;

    #[derive(Debug)]
    pub(super) struct Lock<T>(RwLock<T>);

    impl<T> Lock<T> {
        pub(super) fn new(value: T) -> Self {
            Lock(RwLock::ranked(Rank::Registry, value))
        }

        pub(super) fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
            look(&self.0.read())
        }

        pub(super) fn write<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
            change(&mut self.0.write())
        }
    }
}

#[cfg(any(loom, shuttle))]
mod lock {
    use std::sync::{PoisonError, RwLock};

    #[derive(Debug)]
    pub(super) struct Lock<T>(RwLock<T>);

    impl<T> Lock<T> {
        pub(super) fn new(value: T) -> Self {
            Lock(RwLock::new(value))
        }

        pub(super) fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
            look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
        }

        pub(super) fn write<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
            change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
        }
    }
}
