//! Folios in use: references, locks, pins.

use core::fmt;
use core::mem::ManuallyDrop;
use core::ops::Deref;

use addr::{PAGE_SIZE, Pfn};
use sync::rank::{self, Held, Rank};

use crate::alloc::pfn_of;
use crate::record::{AfterPut, FolioFlags, FrameRecord};
use crate::store::Store;

/// One counted reference to a folio whose contents are valid. Cloning it is `folio_get`, dropping
/// it `folio_put`; the last one frees the frames.
pub struct Folio {
    store: &'static Store,
    frame: u32,
}

impl Folio {
    /// The reference is counted already.
    pub(crate) const fn from_counted(store: &'static Store, frame: u32) -> Self {
        Self { store, frame }
    }

    pub(crate) const fn store(&self) -> &'static Store {
        self.store
    }

    pub(crate) const fn frame(&self) -> u32 {
        self.frame
    }

    /// Number of its first frame.
    #[must_use]
    #[inline]
    pub const fn pfn(&self) -> Pfn {
        pfn_of(self.frame)
    }

    /// Moves this reference into a page-table entry. [`Arena::folio_of_entry`] takes it back.
    ///
    /// [`Arena::folio_of_entry`]: crate::Arena::folio_of_entry
    #[must_use = "the reference lives in the entry that is made of it"]
    #[inline]
    pub fn into_entry(self) -> Pfn {
        ManuallyDrop::new(self).pfn()
    }

    /// Waits for the folio lock (`folio_lock`).
    #[track_caller]
    pub fn lock(&self) -> FolioLock {
        self.clone().into_locked()
    }

    /// The folio lock, if nobody has it (`folio_trylock`).
    #[must_use]
    pub fn try_lock(&self) -> Option<FolioLock> {
        if self.set(FolioFlags::LOCKED).contains(FolioFlags::LOCKED) {
            return None;
        }
        let held = rank::acquired_by_trying(Rank::Folio);
        Some(FolioLock::taken(self.clone(), held))
    }

    /// Waits for the folio lock, keeping the reference within it.
    #[track_caller]
    pub fn into_locked(self) -> FolioLock {
        let held = rank::acquire(Rank::Folio);
        if self.set(FolioFlags::LOCKED).contains(FolioFlags::LOCKED) {
            self.wait_for_lock();
        }
        FolioLock::taken(self, held)
    }

    /// Waits for a second folio's lock. The caller has an order among them.
    #[track_caller]
    pub fn into_locked_nested(self) -> FolioLock {
        let held = rank::acquire_nested(Rank::Folio);
        if self.set(FolioFlags::LOCKED).contains(FolioFlags::LOCKED) {
            self.wait_for_lock();
        }
        FolioLock::taken(self, held)
    }

    /// The folio lock, if nobody has it; the reference goes into it or comes back.
    pub fn try_into_locked(self) -> Result<FolioLock, Self> {
        if self.set(FolioFlags::LOCKED).contains(FolioFlags::LOCKED) {
            return Err(self);
        }
        let held = rank::acquired_by_trying(Rank::Folio);
        Ok(FolioLock::taken(self, held))
    }

    /// Waits until nobody has the lock, without taking it.
    pub fn wait_until_unlocked(&self) {
        self.store.folio_queue(self.frame).wait_until(|| {
            self.set(FolioFlags::WAITERS);
            !self.has(FolioFlags::LOCKED)
        });
    }

    #[cold]
    fn wait_for_lock(&self) {
        let want = FolioFlags::LOCKED.union(FolioFlags::WAITERS);
        self.store
            .folio_queue(self.frame)
            .wait_until(|| !self.set(want).contains(FolioFlags::LOCKED));
    }

    /// Pins the folio: the frames stay where they are, and fork copies them (`FOLL_PIN`).
    #[must_use = "dropping it unpins"]
    pub fn pin(&self) -> FolioPin {
        self.add_pin();
        FolioPin {
            store: self.store,
            frame: self.frame,
        }
    }

    /// The folio as ours alone again, if this is the only reference: nobody can get another.
    pub fn try_into_fresh(self) -> Result<crate::FreshFolio, Self> {
        if !self.try_freeze() {
            return Err(self);
        }
        let folio = ManuallyDrop::new(self);
        Ok(crate::FreshFolio::from_allocated(folio.store, folio.frame))
    }

    /// Copies bytes out, from byte `offset` of the folio on.
    pub fn read(&self, offset: u64, out: &mut [u8]) {
        self.store.read_folio(self.frame, offset, out);
    }

    /// Copies bytes in, from byte `offset` of the folio on.
    pub fn write(&self, offset: u64, bytes: &[u8]) {
        self.store.write_folio(self.frame, offset, bytes);
    }
}

impl Clone for Folio {
    #[inline]
    fn clone(&self) -> Self {
        self.get();
        Self {
            store: self.store,
            frame: self.frame,
        }
    }
}

impl Drop for Folio {
    #[inline]
    fn drop(&mut self) {
        if self.put(1) == AfterPut::Free {
            self.store.release(self.frame);
        }
    }
}

impl Deref for Folio {
    type Target = FrameRecord;

    #[inline]
    fn deref(&self) -> &FrameRecord {
        self.store.record_of(self.frame)
    }
}

impl fmt::Debug for Folio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Folio")
            .field("pfn", &self.pfn())
            .field("order", &self.order())
            .field("refs", &self.ref_count())
            .field("maps", &self.map_count())
            .field("flags", &self.flags())
            .finish()
    }
}

/// A folio's lock, and a reference to it. Dropping it releases both.
#[must_use = "dropping it releases the lock"]
pub struct FolioLock {
    // Dropped in this order: the lock while there is still a reference.
    bit: LockBit,
    folio: Folio,
    held: Held,
}

/// The lock bit of a folio, set by us.
struct LockBit {
    store: &'static Store,
    frame: u32,
}

impl FolioLock {
    fn taken(folio: Folio, held: Held) -> Self {
        Self {
            bit: LockBit {
                store: folio.store,
                frame: folio.frame,
            },
            folio,
            held,
        }
    }

    /// Releases the lock and keeps the reference.
    #[must_use]
    pub fn unlock(self) -> Folio {
        let Self { bit, folio, held } = self;
        drop(bit);
        drop(held);
        folio
    }

    /// The lock goes to another thread: the order of this thread's locks no longer has it.
    pub fn travel(&mut self) {
        self.held.travel();
    }
}

impl Drop for LockBit {
    fn drop(&mut self) {
        let record = self.store.record_of(self.frame);
        let before = record.clear(FolioFlags::LOCKED.union(FolioFlags::WAITERS));
        debug_assert!(before.contains(FolioFlags::LOCKED));
        if before.contains(FolioFlags::WAITERS) {
            self.store.folio_queue(self.frame).wake_all();
        }
    }
}

impl Deref for FolioLock {
    type Target = Folio;

    #[inline]
    fn deref(&self) -> &Folio {
        &self.folio
    }
}

impl fmt::Debug for FolioLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FolioLock").field(&self.folio).finish()
    }
}

/// A pin on a folio; dropping it unpins. It keeps the folio as a reference does.
#[must_use = "dropping it unpins"]
pub struct FolioPin {
    store: &'static Store,
    frame: u32,
}

impl FolioPin {
    /// Number of the folio's first frame.
    #[must_use]
    pub const fn pfn(&self) -> Pfn {
        pfn_of(self.frame)
    }

    /// Copies bytes out, from byte `offset` of the folio on.
    pub fn read(&self, offset: u64, out: &mut [u8]) {
        self.store.read_folio(self.frame, offset, out);
    }

    /// Copies bytes in, from byte `offset` of the folio on.
    pub fn write(&self, offset: u64, bytes: &[u8]) {
        self.store.write_folio(self.frame, offset, bytes);
    }
}

impl Drop for FolioPin {
    fn drop(&mut self) {
        if self.remove_pin() == AfterPut::Free {
            self.store.release(self.frame);
        }
    }
}

impl Deref for FolioPin {
    type Target = FrameRecord;

    fn deref(&self) -> &FrameRecord {
        self.store.record_of(self.frame)
    }
}

impl fmt::Debug for FolioPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FolioPin").field(&self.pfn()).finish()
    }
}

impl Store {
    pub(crate) fn read_folio(&self, head: u32, offset: u64, out: &mut [u8]) {
        let mut at = offset;
        let mut rest = out;
        while !rest.is_empty() {
            let (frame, within) = self.place_in_folio(head, at);
            let (now, later) = rest.split_at_mut(rest.len().min(PAGE_SIZE as usize - within));
            self.memory.read(u64::from(frame), within, now);
            at += now.len() as u64;
            rest = later;
        }
    }

    pub(crate) fn write_folio(&self, head: u32, offset: u64, bytes: &[u8]) {
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (frame, within) = self.place_in_folio(head, at);
            let (now, later) = rest.split_at(rest.len().min(PAGE_SIZE as usize - within));
            self.memory.write(u64::from(frame), within, now);
            at += now.len() as u64;
            rest = later;
        }
    }

    fn place_in_folio(&self, head: u32, offset: u64) -> (u32, usize) {
        assert!(
            offset < self.record_of(head).order().bytes(),
            "past the end of the folio"
        );
        (
            head + (offset / PAGE_SIZE) as u32,
            (offset % PAGE_SIZE) as usize,
        )
    }
}
