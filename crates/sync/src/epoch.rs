//! The epoch: reading without a lock, and freeing only when no reader can be left (our RCU).
//!
//! A reader [pins](pin). A writer unlinks a thing, so that nobody finds it any more, and
//! [retires](retire) it: what is to be done with it is done after everyone who was pinned then has
//! unpinned. Nobody waits or calls out while pinned. [`barrier`] waits until what was retired is
//! done; it runs before memory is declared exhausted and before accounts are compared.
//!
//! On a host, crossbeam-epoch is behind it. Without one, and under a model checker, a single count
//! of readers is.

#![expect(
    unsafe_code,
    reason = "a pointer that readers follow without owning what it points to"
)]

use alloc::sync::Arc;
use core::fmt;
use core::marker::PhantomData;

use crate::atomic::{AtomicPtr, Ordering};

#[cfg(all(feature = "std", not(any(loom, shuttle))))]
#[path = "epoch/hosted.rs"]
mod chosen;

#[cfg(any(not(feature = "std"), loom, shuttle))]
#[path = "epoch/counted.rs"]
mod chosen;

/// While it lives, nothing that is retired after it was made is done (`rcu_read_lock`).
///
/// It stays on its thread. While it lives its thread neither waits nor calls out.
#[must_use = "dropping it ends the read"]
pub struct Pin {
    _guard: chosen::Guard,
    _stays: PhantomData<*const ()>,
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin")
    }
}

/// Pins this thread. Pins nest.
#[inline]
pub fn pin() -> Pin {
    Pin {
        _guard: chosen::Guard::new(),
        _stays: PhantomData,
    }
}

/// Whether this thread is pinned. Always false where nobody keeps count of it.
#[must_use]
pub fn is_pinned() -> bool {
    chosen::is_pinned()
}

/// Does `work` after every thread that is pinned now has unpinned (`call_rcu`).
///
/// On a host it runs on a thread of its own that holds no lock, or within a [`barrier`]; elsewhere
/// when the last pin ends. It does not wait. Work is collected before it is handed over: without a
/// barrier a little of it may stay undone for long.
pub fn retire(work: impl FnOnce() + Send + 'static) {
    chosen::retire(alloc::boxed::Box::new(work));
}

/// Waits until everything that was retired before the call is done, and what that retired in
/// turn (`rcu_barrier`). The caller is not pinned, and holds no lock that retired work may take.
pub fn barrier() {
    if is_pinned() {
        // Waiting here would wait for ourselves.
        debug_assert!(false, "a barrier while pinned");
        return;
    }
    chosen::barrier();
}

/// A pointer to a shared value that is read without a lock and replaced as a whole
/// (`rcu_dereference`, `rcu_assign_pointer`).
pub struct Rcu<T> {
    /// From `Arc::into_raw`; this place owns one count of it.
    value: AtomicPtr<T>,
    _owns: PhantomData<Arc<T>>,
}

impl<T> Rcu<T> {
    /// A place that holds `value`.
    #[must_use]
    pub fn new(value: Arc<T>) -> Self {
        Self {
            value: AtomicPtr::new(Arc::into_raw(value).cast_mut()),
            _owns: PhantomData,
        }
    }

    /// The value now, for as long as the pin lasts.
    #[inline]
    #[must_use]
    pub fn read<'p>(&'p self, _pin: &'p Pin) -> &'p T {
        let value = self.value.load(Ordering::Acquire);
        // SAFETY:
        // 1. `value` came from `Arc::into_raw`, in `new` or `replace`, so it is aligned and was
        //    a valid `T`; the acquire load sees what was written before it was published.
        // 2. The count that this place owned when it was loaded is given up only in `replace`,
        //    by work retired after the pointer was taken out, hence after `_pin` began; that work
        //    runs after `_pin` ends. Or in `drop`, which cannot run while `self` is borrowed.
        // 3. Nobody makes a `&mut T` from an `Arc` that has another count.
        unsafe { &*value }
    }

    /// The value now, owned.
    #[must_use]
    pub fn load(&self) -> Arc<T> {
        let _pin = pin();
        let value = self.value.load(Ordering::Acquire);
        // SAFETY:
        // 1. `value` came from `Arc::into_raw` of an `Arc` with the global allocator.
        // 2. Its count is at least one until `_pin` ends, as in `read`.
        // 3. The count added here is the one that the new `Arc` owns.
        unsafe {
            Arc::increment_strong_count(value);
            Arc::from_raw(value)
        }
    }
}

impl<T: Send + Sync + 'static> Rcu<T> {
    /// Puts `value` there. Readers that hold the old one keep it until they unpin.
    pub fn replace(&self, value: Arc<T>) {
        let old = self
            .value
            .swap(Arc::into_raw(value).cast_mut(), Ordering::AcqRel);
        // SAFETY:
        // 1. `old` came from `Arc::into_raw`.
        // 2. The swap took it out of the place, so its count is ours alone to give up.
        let old = unsafe { Arc::from_raw(old) };
        retire(move || drop(old));
    }
}

impl<T> Drop for Rcu<T> {
    fn drop(&mut self) {
        let value = self.value.load(Ordering::Acquire);
        // SAFETY:
        // 1. `value` came from `Arc::into_raw` and this place owns one count of it.
        // 2. `&mut self`: no reader borrows the place, and readers borrow it as long as they
        //    look at the value.
        drop(unsafe { Arc::from_raw(value) });
    }
}

impl<T: fmt::Debug> fmt::Debug for Rcu<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rcu").field(self.read(&pin())).finish()
    }
}
