//! Lists of folios by how recently they were used.
//!
//! A folio is put on a list in two steps: it goes into a batch of its CPU (`LRU_PENDING`), and a
//! full batch goes onto the lists under their lock (`LRU`). Freeing is the same backwards. A batch
//! holds no reference: a folio that is freed while it waits in one is marked `FREED`, and whoever
//! acts on the batch frees the frame.

use addr::Order;
use sync::atomic::Ordering;

use crate::buddy::NIL;
use crate::record::{FolioFlags, FrameRecord};
use crate::store::Store;
use crate::{Arena, Folio};
use heap::vec::Vec;

const NR_LISTS: usize = 5;

/// What `FrameRecord::list` says of the first LRU list.
const LIST_BASE: u8 = 32;

/// One of the lists of a node (`enum lru_list`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum LruList {
    /// Anonymous and shared memory, not used of late.
    InactiveAnon,
    /// Anonymous and shared memory in use.
    ActiveAnon,
    /// Pages of files, not used of late.
    InactiveFile,
    /// Pages of files in use.
    ActiveFile,
    /// What cannot be evicted.
    Unevictable,
}

impl LruList {
    /// Every list.
    pub const ALL: [Self; NR_LISTS] = [
        Self::InactiveAnon,
        Self::ActiveAnon,
        Self::InactiveFile,
        Self::ActiveFile,
        Self::Unevictable,
    ];

    /// Where a folio with these flags belongs (`folio_lru_list`).
    #[must_use]
    pub const fn of(flags: FolioFlags) -> Self {
        let unevictable = FolioFlags::MLOCKED.union(FolioFlags::UNEVICTABLE);
        let active = flags.contains(FolioFlags::ACTIVE);
        if flags.intersects(unevictable) {
            return Self::Unevictable;
        }
        match (flags.contains(FolioFlags::SWAPBACKED), active) {
            (true, false) => Self::InactiveAnon,
            (true, true) => Self::ActiveAnon,
            (false, false) => Self::InactiveFile,
            (false, true) => Self::ActiveFile,
        }
    }
}

/// Frames on each list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LruSizes {
    nr_frames: [u64; NR_LISTS],
}

impl LruSizes {
    /// Frames on `list`.
    #[must_use]
    pub const fn of(&self, list: LruList) -> u64 {
        self.nr_frames[list as usize]
    }

    /// Frames on any list.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.nr_frames.iter().sum()
    }
}

/// What a released folio still has to do with the lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum OnRelease {
    /// Nothing.
    Free,
    /// It is on a list.
    Unlink,
    /// It waits in a batch; whoever acts on that frees it.
    Ignore,
}

/// The lists of a node, under one lock.
#[derive(Debug)]
pub(crate) struct Lru {
    lists: [Ends; NR_LISTS],
    sizes: LruSizes,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    newest: u32,
    oldest: u32,
}

impl Lru {
    pub(crate) const fn new() -> Self {
        Self {
            lists: [Ends {
                newest: NIL,
                oldest: NIL,
            }; NR_LISTS],
            sizes: LruSizes {
                nr_frames: [0; NR_LISTS],
            },
        }
    }

    fn link(&mut self, records: &[FrameRecord], frame: u32, list: LruList) {
        let record = &records[frame as usize];
        let ends = &mut self.lists[list as usize];
        record.prev.store(NIL, Ordering::Relaxed);
        record.next.store(ends.newest, Ordering::Relaxed);
        record.list.store(LIST_BASE + list as u8, Ordering::Relaxed);
        if ends.newest == NIL {
            ends.oldest = frame;
        } else {
            records[ends.newest as usize]
                .prev
                .store(frame, Ordering::Relaxed);
        }
        ends.newest = frame;
        self.sizes.nr_frames[list as usize] += record.order().nr_pages();
    }

    fn unlink(&mut self, records: &[FrameRecord], frame: u32) {
        let record = &records[frame as usize];
        let list = record
            .list
            .swap(0, Ordering::Relaxed)
            .wrapping_sub(LIST_BASE);
        let Some(ends) = self.lists.get_mut(usize::from(list)) else {
            debug_assert!(false, "frame {frame:#x} is on no list");
            return;
        };
        let prev = record.prev.load(Ordering::Relaxed);
        let next = record.next.load(Ordering::Relaxed);
        match prev {
            NIL => ends.newest = next,
            prev => records[prev as usize].next.store(next, Ordering::Relaxed),
        }
        match next {
            NIL => ends.oldest = prev,
            next => records[next as usize].prev.store(prev, Ordering::Relaxed),
        }
        self.sizes.nr_frames[usize::from(list)] -= record.order().nr_pages();
    }
}

const ON_LRU: FolioFlags = FolioFlags::LRU.union(FolioFlags::LRU_PENDING);

impl Store {
    /// The last reference to `record`'s folio is gone. Decides who frees it.
    #[inline]
    pub(crate) fn on_release(&self, record: &FrameRecord) -> OnRelease {
        let flags = record.flags();
        if !flags.intersects(ON_LRU) {
            return OnRelease::Free;
        }
        if flags.contains(FolioFlags::LRU) {
            return OnRelease::Unlink;
        }
        if record
            .set(FolioFlags::FREED)
            .contains(FolioFlags::LRU_PENDING)
        {
            return OnRelease::Ignore;
        }
        // The batch was acted on in between.
        record.clear(FolioFlags::FREED);
        OnRelease::Unlink
    }

    /// Puts the folio at `frame` into this CPU's batch. It is marked as pending already.
    #[inline]
    pub(crate) fn link_later(&self, frame: u32) {
        let mut cpu = self.this_cpu();
        if let Some(batch) = cpu.link_later(frame) {
            drop(cpu);
            self.link(batch.as_slice());
        }
    }

    #[cold]
    fn link(&self, frames: &[u32]) {
        let mut freed = Vec::new();
        let mut lru = self.node.lru.lock();
        for &frame in frames {
            let before = self.record_of(frame).toggle(ON_LRU);
            if before.contains(FolioFlags::FREED) {
                freed.push(frame);
            } else {
                lru.link(&self.records, frame, LruList::of(before));
            }
        }
        drop(lru);
        freed.into_iter().for_each(|frame| self.recycle(frame));
    }

    /// Takes folios without references off their lists and frees them.
    #[cold]
    pub(crate) fn unlink_freed(&self, frames: &[u32]) {
        let mut lru = self.node.lru.lock();
        for &frame in frames {
            lru.unlink(&self.records, frame);
        }
        drop(lru);
        frames.iter().for_each(|frame| self.recycle(*frame));
    }

    /// Acts on every CPU's batches.
    pub(crate) fn drain_lru(&self) {
        for cpu in &self.cpus {
            let mut state = cpu.lock();
            let (to_link, to_unlink) = (state.to_link.take(), state.take_to_unlink());
            drop(state);
            if !to_link.as_slice().is_empty() {
                self.link(to_link.as_slice());
            }
            if !to_unlink.as_slice().is_empty() {
                self.unlink_freed(to_unlink.as_slice());
            }
        }
    }
}

impl Folio {
    /// Puts the folio on the list that its flags say, soon (`folio_add_lru`). No effect if it is
    /// on one.
    pub fn add_to_lru(&self) {
        if self.flags().intersects(ON_LRU) {
            return;
        }
        let before = self.set(FolioFlags::LRU_PENDING);
        if before.contains(FolioFlags::LRU_PENDING) {
            return;
        }
        if before.contains(FolioFlags::LRU) {
            self.clear(FolioFlags::LRU_PENDING);
            return;
        }
        self.store().link_later(self.frame());
    }

    /// Takes the folio off its list for the caller alone; false if it is on none
    /// (`folio_isolate_lru`).
    pub fn isolate(&self) -> bool {
        let store = self.store();
        if self.has(FolioFlags::LRU_PENDING) {
            store.drain_lru();
        }
        let mut lru = store.node.lru.lock();
        if !self.clear(FolioFlags::LRU).contains(FolioFlags::LRU) {
            return false;
        }
        lru.unlink(&store.records, self.frame());
        true
    }

    /// The folio was used (`folio_mark_accessed`): the first time it is noted, the second time it
    /// becomes active.
    pub fn mark_accessed(&self) {
        let flags = self.flags();
        if flags.intersects(FolioFlags::ACTIVE.union(FolioFlags::UNEVICTABLE)) {
            return;
        }
        if !flags.contains(FolioFlags::REFERENCED) {
            self.set(FolioFlags::REFERENCED);
            return;
        }
        self.clear(FolioFlags::REFERENCED);
        self.change_list(FolioFlags::ACTIVE, FolioFlags::empty());
    }

    /// Changes flags that say which list the folio belongs to, and moves it there if it is on one.
    pub fn change_list(&self, set: FolioFlags, clear: FolioFlags) {
        let store = self.store();
        let mut lru = store.node.lru.lock();
        self.clear(clear);
        let flags = self.set(set).union(set);
        if flags.contains(FolioFlags::LRU) {
            lru.unlink(&store.records, self.frame());
            lru.link(&store.records, self.frame(), LruList::of(flags));
        }
    }
}

impl Arena {
    /// Takes up to `max` folios that have been longest on `list`, off it. Those being freed are
    /// passed by.
    #[must_use]
    pub fn isolate_oldest(&self, list: LruList, max: usize) -> Vec<Folio> {
        let store = self.store();
        store.drain_lru();
        let mut taken = Vec::new();
        let mut lru = store.node.lru.lock();
        let mut frame = lru.lists[list as usize].oldest;
        while frame != NIL && taken.len() < max {
            let record = store.record_of(frame);
            let newer = record.prev.load(Ordering::Relaxed);
            if record.try_get() {
                lru.unlink(&store.records, frame);
                record.clear(FolioFlags::LRU);
                taken.push(Folio::from_counted(store, frame));
            }
            frame = newer;
        }
        taken
    }

    /// Frames on each list.
    #[must_use]
    pub fn lru_sizes(&self) -> LruSizes {
        let store = self.store();
        store.drain_lru();
        store.node.lru.lock().sizes
    }

    /// The order of the largest folio there can be.
    #[must_use]
    pub const fn max_order() -> Order {
        match Order::new(crate::buddy::MAX_ORDER) {
            Some(order) => order,
            None => Order::ZERO,
        }
    }
}
