//! The mmap lock of a space and what holding it gives (Linux: `mmap_lock`, `lock_vma_under_rcu`).
//!
//! | guard | the tree | an area found in it | page tables below it |
//! |---|---|---|---|
//! | none (epoch) | a snapshot | may change or go at any time | snapshots of entries |
//! | [`VmaRead`] | a snapshot | stable | walk, install, zap |
//! | [`MmapRead`] | stable | stable | walk, install, zap |
//! | [`MmapWrite`] | changed by committing a plan | changed after its readers have left | all |
//!
//! The sequence (Linux: `mm_lock_seq`) is odd exactly while the lock is held for writing; releasing
//! or downgrading it unlocks every area at once. There is no upgrade.

use crate::area::Vma;
use crate::vma_lock::{SpaceLock, Start};
use crate::{Rules, VmaTree};
use addr::VirtAddr;
use alloc::sync::{Arc, Weak};
use core::fmt;
use core::ops::{Deref, DerefMut};
use object::MappingSpace;
use sync::atomic::{AtomicU64, Ordering, fence};
use sync::rank::{self, Rank};
use sync::{MayInstall, Rcu, RwLock, RwLockReadGuard, RwLockWriteGuard, Stable};

/// The lock of a space, its tree of areas, and `T`: whatever else the lock guards.
pub struct MmapLock<T> {
    held: RwLock<Held<T>>,
    /// The tree for those who hold no lock; always the arrangement that `held` has, or the one before
    /// while a writer is at work.
    published: Rcu<VmaTree>,
    space: Arc<SpaceLock>,
    mapping_space: Weak<dyn MappingSpace>,
    rules: Rules,
    refusals: Refusals,
}

/// What the lock guards.
#[derive(Debug)]
struct Held<T> {
    tree: Arc<VmaTree>,
    data: T,
}

#[derive(Debug, Default)]
struct Refusals {
    abort: AtomicU64,
    miss: AtomicU64,
}

/// Why an area could not be read-locked without the mmap lock. Each sends the caller to the mmap
/// lock (Linux counts them all as `VMA_LOCK_ABORT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// No area contains the address. A stack that would have to grow is such a case.
    NoArea,
    /// A writer has the area, or waits for its readers to leave.
    WriteLocked,
    /// The area has as many readers as can be counted.
    ReaderLimit,
}

/// How often lockless lookups did not get their area.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RefusalCounts {
    /// Gave up, for any [`Why`] (Linux: `VMA_LOCK_ABORT`).
    pub abort: u64,
    /// Found an area that had just left the tree, and looked again (Linux: `VMA_LOCK_MISS`).
    pub miss: u64,
}

impl<T> MmapLock<T> {
    /// A space without areas. `mapping_space` is whom the reverse map asks about them.
    pub fn new(data: T, rules: Rules, mapping_space: Weak<dyn MappingSpace>) -> Self {
        let tree = Arc::new(VmaTree::new());
        Self {
            held: RwLock::ranked(
                Rank::Mmap,
                Held {
                    tree: Arc::clone(&tree),
                    data,
                },
            ),
            published: Rcu::new(tree),
            space: Arc::default(),
            mapping_space,
            rules,
            refusals: Refusals::default(),
        }
    }

    /// Waits for the lock and takes it for reading.
    pub fn read(&self) -> MmapRead<'_, T> {
        MmapRead {
            lock: self,
            held: self.held.read(),
        }
    }

    /// Takes the lock for reading if that needs no wait.
    pub fn try_read(&self) -> Option<MmapRead<'_, T>> {
        Some(MmapRead {
            lock: self,
            held: self.held.try_read()?,
        })
    }

    /// Waits for the lock and takes it for writing.
    pub fn write(&self) -> MmapWrite<'_, T> {
        MmapWrite::begin(self, self.held.write())
    }

    /// Waits for the lock of a second space, a fork's child, while the parent's is held.
    pub fn write_nested(&self) -> MmapWrite<'_, T> {
        MmapWrite::begin(self, self.held.write_nested())
    }

    /// Takes the lock for writing if that needs no wait.
    pub fn try_write(&self) -> Option<MmapWrite<'_, T>> {
        Some(MmapWrite::begin(self, self.held.try_write()?))
    }

    /// The tree as it is or was a moment ago. No lock: its areas may be changed or gone.
    pub fn snapshot(&self) -> Arc<VmaTree> {
        self.published.load()
    }

    /// Finds the area that contains `addr` and read-locks it, without the mmap lock (Linux:
    /// `lock_vma_under_rcu`). Never waits.
    pub fn lock_vma_under_rcu(&self, addr: VirtAddr) -> Result<VmaRead, Why> {
        let pin = sync::pin();
        loop {
            let Some(vma) = self.published.read(&pin).find(addr) else {
                return Err(self.abort(Why::NoArea));
            };
            match vma.lock().start_read(&self.space) {
                // The bounds need no second look: an area never changes them, and one that is
                // attached and not write-locked is in the tree.
                Start::Locked => return Ok(VmaRead::counted_in(vma)),
                // A writer publishes its tree before it detaches, so the next look finds another.
                Start::Detached => self.refusals.miss.fetch_add(1, Ordering::Relaxed),
                Start::Writer => return Err(self.abort(Why::WriteLocked)),
                Start::Crowded => return Err(self.abort(Why::ReaderLimit)),
            };
        }
    }

    fn abort(&self, why: Why) -> Why {
        self.refusals.abort.fetch_add(1, Ordering::Relaxed);
        why
    }

    /// How often [`lock_vma_under_rcu`](Self::lock_vma_under_rcu) gave up or looked again.
    pub fn refusals(&self) -> RefusalCounts {
        RefusalCounts {
            abort: self.refusals.abort.load(Ordering::Relaxed),
            miss: self.refusals.miss.load(Ordering::Relaxed),
        }
    }

    /// Begins to look at the space without a lock (Linux: `mmap_lock_speculate_try_begin`). `None`
    /// while a writer is at work.
    pub fn speculate_try_begin(&self) -> Option<Speculation> {
        // Acquire: what is read from here on is read after the sequence.
        let seq = self.space.seq(Ordering::Acquire);
        seq.is_multiple_of(2).then_some(Speculation { seq })
    }

    /// Whether a writer came in between, so that what was read since must be thrown away (Linux:
    /// `mmap_lock_speculate_retry`).
    pub fn speculate_retry(&self, begun: Speculation) -> bool {
        // The fence keeps the reads before it from sinking below the load. It pairs with the one in
        // `begin_write`: having seen a write of that writer, we see its odd sequence.
        fence(Ordering::Acquire);
        self.space.seq(Ordering::Relaxed) != begun.seq
    }

    /// What the areas of this space share of the lock.
    pub fn space(&self) -> &Arc<SpaceLock> {
        &self.space
    }

    /// The limits that plans keep to.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }
}

impl<T: fmt::Debug> fmt::Debug for MmapLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MmapLock")
            .field("space", &self.space)
            .field("rules", &self.rules)
            .field("refusals", &self.refusals)
            .finish_non_exhaustive()
    }
}

/// A look at the space without a lock; see [`MmapLock::speculate_try_begin`].
#[derive(Clone, Copy, Debug)]
#[must_use = "what was read counts only after speculate_retry"]
pub struct Speculation {
    seq: u64,
}

/// The mmap lock held for reading: tree and areas are stable.
#[derive(Debug)]
pub struct MmapRead<'m, T> {
    lock: &'m MmapLock<T>,
    held: RwLockReadGuard<'m, Held<T>>,
}

/// The mmap lock held for writing. Committing a plan is what changes the tree.
#[derive(Debug)]
pub struct MmapWrite<'m, T> {
    lock: &'m MmapLock<T>,
    // Dropped in this order: all areas are unlocked while the lock is still held.
    odd: OddSeq<'m>,
    held: RwLockWriteGuard<'m, Held<T>>,
}

/// The sequence is odd while this lives.
#[derive(Debug)]
struct OddSeq<'m>(&'m SpaceLock);

impl Drop for OddSeq<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.end_write();
    }
}

/// What both mmap guards give.
pub trait MmapHeld {
    /// The areas.
    fn tree(&self) -> &VmaTree;
    /// The limits that plans keep to.
    fn rules(&self) -> &Rules;
    /// Which space is locked.
    fn space(&self) -> &Arc<SpaceLock>;
    /// Whom the reverse map asks about its areas.
    fn mapping_space(&self) -> &Weak<dyn MappingSpace>;
}

impl<T> MmapHeld for MmapRead<'_, T> {
    fn tree(&self) -> &VmaTree {
        &self.held.tree
    }

    fn rules(&self) -> &Rules {
        &self.lock.rules
    }

    fn space(&self) -> &Arc<SpaceLock> {
        &self.lock.space
    }

    fn mapping_space(&self) -> &Weak<dyn MappingSpace> {
        &self.lock.mapping_space
    }
}

impl<T> MmapHeld for MmapWrite<'_, T> {
    fn tree(&self) -> &VmaTree {
        &self.held.tree
    }

    fn rules(&self) -> &Rules {
        &self.lock.rules
    }

    fn space(&self) -> &Arc<SpaceLock> {
        &self.lock.space
    }

    fn mapping_space(&self) -> &Weak<dyn MappingSpace> {
        &self.lock.mapping_space
    }
}

impl<'m, T> MmapRead<'m, T> {
    /// Read-locks an area, which outlives this guard (Linux: `vma_start_read_locked`). `None` when it
    /// has as many readers as can be counted, or is not of this space.
    pub fn lock_vma(&self, vma: &Arc<Vma>) -> Option<VmaRead> {
        if !vma.is_of(&self.lock.space) {
            return None;
        }
        match vma.lock().start_read_locked() {
            Start::Locked => Some(VmaRead::counted_in(vma)),
            Start::Detached | Start::Writer | Start::Crowded => None,
        }
    }
}

impl<'m, T> MmapWrite<'m, T> {
    fn begin(lock: &'m MmapLock<T>, held: RwLockWriteGuard<'m, Held<T>>) -> Self {
        lock.space.begin_write();
        Self {
            lock,
            odd: OddSeq(&lock.space),
            held,
        }
    }

    /// Keeps the lock, for reading only; every area is unlocked (Linux: `mmap_write_downgrade`).
    pub fn downgrade(self) -> MmapRead<'m, T> {
        let Self { lock, odd, held } = self;
        drop(odd);
        MmapRead {
            lock,
            held: RwLockWriteGuard::downgrade(held),
        }
    }

    /// Write-locks an area until this guard is dropped or downgraded (Linux: `vma_start_write`). Waits
    /// for its readers.
    pub fn lock_vma(&self, vma: &Vma) {
        debug_assert!(vma.is_of(&self.lock.space), "inv 7");
        vma.lock().start_write();
    }

    /// The arrangement as a shared value, to tell later whether it is still the one.
    pub(crate) fn arrangement(&self) -> &Arc<VmaTree> {
        &self.held.tree
    }

    /// Makes `tree` what everybody finds.
    pub(crate) fn publish(&mut self, tree: Arc<VmaTree>) {
        self.held.tree = Arc::clone(&tree);
        self.lock.published.replace(tree);
    }
}

impl<T> Deref for MmapRead<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.held.data
    }
}

impl<T> Deref for MmapWrite<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.held.data
    }
}

impl<T> DerefMut for MmapWrite<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.held.data
    }
}

/// An area held for reading. It borrows nothing, so it may travel with a fault.
#[derive(Debug)]
#[must_use = "dropping it unlocks the area"]
pub struct VmaRead {
    vma: Arc<Vma>,
    order: rank::Held,
}

impl VmaRead {
    /// `vma`, counted in.
    fn counted_in(vma: &Arc<Vma>) -> Self {
        // Inv 13: with this held the mmap lock may be tried, but not waited for.
        Self {
            vma: Arc::clone(vma),
            order: rank::acquired_by_trying(Rank::VmaRead),
        }
    }

    /// The guard goes to another thread.
    pub fn travel(&mut self) {
        self.order.travel();
    }

    /// The area.
    pub fn vma(&self) -> &Arc<Vma> {
        &self.vma
    }
}

impl Deref for VmaRead {
    type Target = Vma;

    fn deref(&self) -> &Vma {
        &self.vma
    }
}

impl Drop for VmaRead {
    #[inline]
    fn drop(&mut self) {
        self.vma.lock().end_read();
    }
}

impl<T> Stable for MmapRead<'_, T> {}
impl<T> Stable for MmapWrite<'_, T> {}
impl Stable for VmaRead {}
impl<T> MayInstall for MmapRead<'_, T> {}
impl<T> MayInstall for MmapWrite<'_, T> {}
impl MayInstall for VmaRead {}
