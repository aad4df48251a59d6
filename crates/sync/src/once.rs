//! A value that is set once and then only read.

use core::fmt;

#[cfg(any(feature = "std", loom, shuttle))]
use std::sync::OnceLock as Cell;

#[cfg(not(any(feature = "std", loom, shuttle)))]
use spin::Once as Cell;

/// A place that is empty, then set for good. Reading it takes no lock.
pub struct Once<T> {
    cell: Cell<T>,
}

impl<T> Once<T> {
    /// Empty.
    #[must_use]
    pub const fn new() -> Self {
        Self { cell: Cell::new() }
    }

    /// What it was set to.
    #[must_use]
    #[inline]
    pub fn get(&self) -> Option<&T> {
        self.cell.get()
    }

    /// Set it to `value`, or get `value` back because it is set already.
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.get_or_init_with(&mut value);
        match value {
            None => Ok(()),
            Some(value) => Err(value),
        }
    }

    /// What it is set to, which is `make()` if nobody was first.
    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        #[cfg(any(feature = "std", loom, shuttle))]
        return self.cell.get_or_init(make);
        #[cfg(not(any(feature = "std", loom, shuttle)))]
        return self.cell.call_once(make);
    }

    fn get_or_init_with(&self, value: &mut Option<T>) {
        if self.get().is_some() {
            return;
        }
        self.get_or_init(|| {
            value
                .take()
                .expect("called at most once, while it is there")
        });
    }
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for Once<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Once").field(&self.get()).finish()
    }
}
