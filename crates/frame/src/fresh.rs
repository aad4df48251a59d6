//! Folios that nobody knows yet.

use core::fmt;
use core::mem::ManuallyDrop;
use core::ops::Deref;

use addr::{Order, Pfn};

use crate::alloc::pfn_of;
use crate::record::{FolioFlags, FrameRecord};
use crate::store::Store;
use crate::{Folio, OwnerId};

/// A folio that is ours alone. Its contents are not declared valid yet, and its count is zero, so
/// that nobody who comes across its number gets hold of it. Dropping it frees it.
///
/// Nothing that is done to it costs an atomic operation beyond a plain store; and what was written
/// before [`mark_uptodate`](Self::mark_uptodate) is seen by all who get a reference after.
#[must_use = "dropping it frees the frames"]
pub struct FreshFolio {
    store: &'static Store,
    frame: u32,
}

impl FreshFolio {
    /// The frames at `frame` are allocated, frozen, and belong to nobody else.
    #[inline]
    pub(crate) const fn from_allocated(store: &'static Store, frame: u32) -> Self {
        Self { store, frame }
    }

    /// Number of its first frame.
    #[must_use]
    #[inline]
    pub const fn pfn(&self) -> Pfn {
        pfn_of(self.frame)
    }

    /// Copies bytes in, from byte `offset` on.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.store.write_folio(self.frame, offset, bytes);
    }

    /// Copies bytes out, from byte `offset` on.
    pub fn read(&self, offset: u64, out: &mut [u8]) {
        self.store.read_folio(self.frame, offset, out);
    }

    /// Copies the frame `source` of the same arena onto its first frame.
    #[inline]
    pub fn copy_from(&mut self, source: Pfn) {
        self.store
            .memory
            .copy(source.as_u64(), u64::from(self.frame));
    }

    /// Copies the frame `source` onto its frame number `nr`.
    pub fn copy_frame_from(&mut self, nr: u64, source: Pfn) {
        assert!(nr < self.order().nr_pages(), "past the end of the folio");
        self.store
            .memory
            .copy(source.as_u64(), u64::from(self.frame) + nr);
    }

    /// Clears all of it.
    pub fn zero(&mut self) {
        let first = u64::from(self.frame);
        (first..first + self.order().nr_pages()).for_each(|frame| self.store.memory.zero(frame));
    }

    /// Sets `flags`.
    #[inline]
    pub fn set_flags(&mut self, flags: FolioFlags) {
        self.store_flags(self.flags().union(flags));
    }

    /// The contents are valid: from now on it is a folio with one reference
    /// (`__folio_mark_uptodate`).
    #[must_use]
    #[inline]
    pub fn mark_uptodate(mut self) -> Folio {
        self.set_flags(FolioFlags::UPTODATE);
        self.into_folio()
    }

    /// One reference, with contents that are still to come (a page being read, locked by the
    /// reader). The lock is taken.
    #[track_caller]
    pub fn into_locked_without_contents(self) -> crate::FolioLock {
        self.store_flags(self.flags().difference(FolioFlags::UPTODATE));
        let folio = self.into_folio();
        match folio.try_into_locked() {
            Ok(locked) => locked,
            // Somebody who met the number was faster; they let go of it soon.
            Err(folio) => folio.into_locked(),
        }
    }

    /// The contents are valid, and the folio is anonymous memory, mapped once, exclusively, and on
    /// its way to an LRU list: all that a new anonymous page becomes when it is installed
    /// (`folio_add_new_anon_rmap` and `folio_add_lru_vma`), for the price of one batch entry.
    ///
    /// A large folio counts as mapped by as many entries as it has frames.
    #[must_use]
    #[inline]
    pub fn into_mapped_anon(mut self, owner: OwnerId, index: u64) -> Folio {
        self.set_owner(owner, index);
        let order = self.order();
        self.store_map_count(order.nr_pages() as u32);
        if order != Order::ZERO {
            self.set_tails_exclusive(order);
        }
        self.set_flags(
            FolioFlags::UPTODATE
                .union(FolioFlags::SWAPBACKED)
                .union(FolioFlags::ANON_EXCLUSIVE)
                .union(FolioFlags::LRU_PENDING),
        );
        let folio = self.into_folio();
        folio.store().link_later(folio.frame());
        folio
    }

    fn set_tails_exclusive(&self, order: Order) {
        for frame in self.frame + 1..self.frame + order.nr_pages() as u32 {
            let record = self.store.record_of(frame);
            record.store_flags(record.flags().union(FolioFlags::ANON_EXCLUSIVE));
        }
    }

    #[inline]
    fn into_folio(self) -> Folio {
        let this = ManuallyDrop::new(self);
        this.publish();
        Folio::from_counted(this.store, this.frame)
    }
}

impl Drop for FreshFolio {
    fn drop(&mut self) {
        self.store.release(self.frame);
    }
}

impl Deref for FreshFolio {
    type Target = FrameRecord;

    #[inline]
    fn deref(&self) -> &FrameRecord {
        self.store.record_of(self.frame)
    }
}

impl fmt::Debug for FreshFolio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FreshFolio")
            .field("pfn", &self.pfn())
            .field("order", &self.order())
            .finish_non_exhaustive()
    }
}
