//! The lock of one area: readers count themselves in, a writer marks it with the sequence of the
//! space (Linux v7.0: `vma_start_read`, `vma_start_write`, `vma_mark_attached`, `vma_mark_detached`).
//!
//! A reader needs no mmap lock. A writer always has it, and unlocks every area of the space at once
//! by moving the sequence on. Two promises follow, and the tests at the end of the crate check them
//! under every schedule they find: a reader never gets in while a writer holds the area (no false
//! *unlocked*), and never on an area that is out of the tree. A reader may be refused without need;
//! it then takes the mmap lock.

use alloc::sync::Arc;
use sync::WaitQueue;
use sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Set in the count while a writer waits for the readers to leave.
const EXCLUDE_READERS: u32 = 1 << 30;
/// A count at which another reader is refused. Any count with [`EXCLUDE_READERS`] is above it.
const READER_LIMIT: u32 = EXCLUDE_READERS - 1;
/// The count of an area out of the tree.
const DETACHED: u32 = 0;
/// The count of an area in the tree without readers.
const ATTACHED: u32 = 1;
/// What `VmaLock::seq` holds before the first write lock. The sequence of a space counts up from 0
/// and does not get there, so the area starts unlocked.
const NEVER_LOCKED: u64 = u64::MAX;

/// What the areas of one space share of its locks: the sequence (Linux: `mm_lock_seq`) and the queue
/// of writers that wait for readers (Linux: `vma_writer_wait`). Its address says which space an area
/// belongs to (Linux: `vm_mm`).
#[derive(Debug, Default)]
pub struct SpaceLock {
    seq: AtomicU64,
    writer_wait: WaitQueue,
}

impl SpaceLock {
    /// Odd exactly while the mmap lock is held for writing. 64 bits do not wrap, so a stale mark in
    /// an area is never taken for a lock, unlike on Linux.
    #[inline]
    pub(crate) fn seq(&self, order: Ordering) -> u64 {
        self.seq.load(order)
    }

    /// The mmap lock was just taken for writing.
    pub(crate) fn begin_write(&self) {
        // Relaxed: written only under the mmap write lock, which orders the writers. A reader that
        // misses it finds the area unmarked too, and the writer then waits for that reader.
        let before = self.seq.load(Ordering::Relaxed);
        debug_assert!(before.is_multiple_of(2), "inv 11: odd without a writer");
        self.seq.store(before + 1, Ordering::Relaxed);
        // A speculating reader that sees a write made under the lock must see the odd value as well.
        sync::atomic::fence(Ordering::Release);
    }

    /// The mmap lock is about to be released or downgraded: this unlocks every area (Linux:
    /// `vma_end_write_all`).
    pub(crate) fn end_write(&self) {
        let during = self.seq.load(Ordering::Relaxed);
        debug_assert!(!during.is_multiple_of(2), "inv 11: even with a writer");
        // Release: pairs with the acquire load in `start_read`. A reader that no longer takes the
        // area for locked sees all that was done to it.
        self.seq.store(during + 1, Ordering::Release);
    }
}

/// How an attempt to read-lock an area ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Counted in; `end_read` must follow.
    Locked,
    /// The area is out of the tree: look it up again.
    Detached,
    /// A writer has it, or waits for it.
    Writer,
    /// As many readers as can be counted.
    Crowded,
}

/// The lock words of an area (Linux: `vm_refcnt`, `vm_lock_seq`) and the space they belong to.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct VmaLock {
    /// 0 detached; 1 in the tree; 1 + n with n readers; [`EXCLUDE_READERS`] as a flag on top.
    count: AtomicU32,
    /// Equal to the space's sequence while write-locked. Written with the mmap lock held for writing
    /// and readers out.
    seq: AtomicU64,
    space: Arc<SpaceLock>,
}

impl VmaLock {
    /// Detached.
    pub(crate) fn new(space: Arc<SpaceLock>) -> Self {
        Self {
            count: AtomicU32::new(DETACHED),
            seq: AtomicU64::new(NEVER_LOCKED),
            space,
        }
    }

    pub(crate) fn space(&self) -> &Arc<SpaceLock> {
        &self.space
    }

    /// Tries to become a reader without any lock held (Linux: `vma_start_read`). The area may have
    /// left the tree meanwhile; it is counted memory, so looking at it is harmless.
    ///
    /// `space` is that of the area; whoever looks the area up has it at hand, and so a lookup touches
    /// one line of the area's memory.
    #[inline]
    pub(crate) fn start_read(&self, space: &SpaceLock) -> Start {
        debug_assert!(core::ptr::eq(space, &*self.space));
        // A cheap look first, so that a writer's areas are not written by readers. Relaxed: nothing
        // is concluded from it but to give up.
        if self.seq.load(Ordering::Relaxed) == space.seq(Ordering::Relaxed) {
            return Start::Writer;
        }
        if let Err(refused) = self.count_in() {
            return refused;
        }
        // Counted in: from here on a writer waits for us. One that was there before us stored its
        // mark before it let the count go (release), and we counted in after that (acquire), so we
        // see the mark and a sequence at least as new as the mark. If the sequence is newer, the
        // writer has unlocked, and the acquire here makes all it did visible.
        if self.seq.load(Ordering::Relaxed) == space.seq(Ordering::Acquire) {
            self.end_read();
            return Start::Writer;
        }
        Start::Locked
    }

    /// Becomes a reader with the mmap lock held for reading: no writer can be there, so only the
    /// count can refuse (Linux: `vma_start_read_locked`).
    pub(crate) fn start_read_locked(&self) -> Start {
        debug_assert!(self.space.seq(Ordering::Relaxed).is_multiple_of(2));
        match self.count_in() {
            Ok(()) => Start::Locked,
            Err(refused) => refused,
        }
    }

    #[inline]
    fn count_in(&self) -> Result<(), Start> {
        // Acquire on success: what a writer did before it subtracted its flag, or before it attached
        // the area, is visible to whoever counts in after that.
        let counted = self
            .count
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |count| {
                (count != DETACHED && count < READER_LIMIT).then_some(count + 1)
            });
        match counted {
            Ok(_) => Ok(()),
            Err(DETACHED) => Err(Start::Detached),
            Err(count) if count & EXCLUDE_READERS != 0 => Err(Start::Writer),
            Err(_) => Err(Start::Crowded),
        }
    }

    /// Ends what `start_read` began.
    #[inline]
    pub(crate) fn end_read(&self) {
        // Release: the writer that waits for the count to drop sees what we did as done.
        let left = self.count.fetch_sub(1, Ordering::Release) - 1;
        if left & EXCLUDE_READERS != 0 && left <= EXCLUDE_READERS + ATTACHED {
            self.space.writer_wait.wake_all();
        }
    }

    /// Takes the area for writing until the mmap lock is released or downgraded. The caller holds
    /// that lock for writing. Waits for the readers that are in; they hold on for bounded CPU time.
    pub(crate) fn start_write(&self) {
        if self.is_write_locked() {
            return;
        }
        let now = self.space.seq(Ordering::Relaxed);
        let excluded = self.exclude(EXCLUDE_READERS + ATTACHED);
        // Relaxed: published by the release below to readers that count in later. A detached area
        // has no readers to tell.
        self.seq.store(now, Ordering::Relaxed);
        if excluded {
            self.count.fetch_sub(EXCLUDE_READERS, Ordering::Release);
        }
    }

    /// Whether a writer has marked the area and still holds the mmap lock. Exact for that writer.
    pub(crate) fn is_write_locked(&self) -> bool {
        let now = self.space.seq(Ordering::Relaxed);
        !now.is_multiple_of(2) && self.seq.load(Ordering::Relaxed) == now
    }

    /// Whether the area is in the tree.
    pub(crate) fn is_attached(&self) -> bool {
        self.count.load(Ordering::Relaxed) != DETACHED
    }

    /// Lets readers count themselves in. The caller has the area write-locked, so they back off until
    /// it unlocks (Linux: `vma_mark_attached`).
    pub(crate) fn attach(&self) {
        debug_assert!(self.is_write_locked() && !self.is_attached());
        // Release: with the count comes the mark of the write lock.
        self.count.store(ATTACHED, Ordering::Release);
    }

    /// The area has left the tree: no reader gets in again. The caller has it write-locked, so only
    /// readers about to back off can be in; waits for them (Linux: `vma_mark_detached`).
    pub(crate) fn detach(&self) {
        debug_assert!(self.is_write_locked() && self.is_attached());
        if self.count.fetch_sub(1, Ordering::Release) == ATTACHED {
            return;
        }
        if self.exclude(EXCLUDE_READERS) {
            self.count.fetch_sub(EXCLUDE_READERS, Ordering::Release);
        }
    }

    /// Refuses new readers and waits until only `alone` is left. False for a detached area, which has
    /// none and gets none.
    fn exclude(&self, alone: u32) -> bool {
        // Relaxed: the wait below is what orders us after the readers.
        let flagged = self
            .count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count != DETACHED).then_some(count + EXCLUDE_READERS)
            });
        if flagged.is_err() {
            return false;
        }
        drop(sync::rank::acquire(sync::rank::Rank::VmaWrite));
        // Acquire: pairs with the release of each reader's `end_read`.
        self.space
            .writer_wait
            .wait_until(|| self.count.load(Ordering::Acquire) == alone);
        true
    }
}
