//! A count that is odd while somebody writes.

use crate::atomic::{AtomicU64, Ordering, fence};

/// Lets readers notice, without a lock, that a writer was at work while they read (`seqcount_t`).
///
/// Writers exclude each other by a lock of their own. What is read between
/// [`begin`](Self::begin) and [`is_current`](Self::is_current) must itself be atomic.
#[derive(Debug, Default)]
pub struct SeqCount {
    count: AtomicU64,
}

/// A moment without a writer; see [`SeqCount::begin`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SeqSnapshot(u64);

/// A writer is at work until this is dropped.
#[must_use = "dropping it ends the write"]
#[derive(Debug)]
pub struct SeqWrite<'a> {
    count: &'a SeqCount,
}

impl SeqCount {
    crate::lock::const_unless_modelled! {
        /// Never written.
        #[must_use]
        pub fn new() -> Self {
            Self { count: AtomicU64::new(0) }
        }
    }

    /// Waits until no writer is at work.
    #[must_use]
    pub fn begin(&self) -> SeqSnapshot {
        loop {
            if let Some(snapshot) = self.try_begin() {
                return snapshot;
            }
            crate::relax();
        }
    }

    /// Now, if no writer is at work (`raw_seqcount_try_begin`).
    #[must_use]
    #[inline]
    pub fn try_begin(&self) -> Option<SeqSnapshot> {
        let count = self.count.load(Ordering::Acquire);
        (count & 1 == 0).then_some(SeqSnapshot(count))
    }

    /// Whether no writer was at work since `snapshot`.
    #[must_use]
    #[inline]
    pub fn is_current(&self, snapshot: SeqSnapshot) -> bool {
        fence(Ordering::Acquire);
        self.count.load(Ordering::Relaxed) == snapshot.0
    }

    /// The count: odd while somebody writes.
    #[must_use]
    #[inline]
    pub fn value(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Begin to write. The caller excludes other writers.
    #[inline]
    pub fn write(&self) -> SeqWrite<'_> {
        let count = self.count.load(Ordering::Relaxed);
        debug_assert!(count & 1 == 0, "two writers");
        self.count.store(count + 1, Ordering::Relaxed);
        // What is written after is not seen before the count is odd.
        fence(Ordering::Release);
        SeqWrite { count: self }
    }
}

impl Drop for SeqWrite<'_> {
    #[inline]
    fn drop(&mut self) {
        let count = self.count.count.load(Ordering::Relaxed);
        self.count.count.store(count + 1, Ordering::Release);
    }
}
