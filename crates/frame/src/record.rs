//! What is known of one frame.

use sync::ByteLock;
use sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use addr::Order;

use crate::{ChargeId, Purpose};

/// What a pin adds to the count of a single frame (`GUP_PIN_COUNTING_BIAS`).
pub(crate) const PIN_BIAS: u32 = 1024;

/// From here on a count no longer goes down: the frame is never freed, rather than freed early.
const SATURATED: u32 = 1 << 30;

bitflags::bitflags! {
    /// Flags of a folio (`PG_*`).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct FolioFlags: u32 {
        /// Somebody has the folio lock.
        const LOCKED = 1 << 0;
        /// Somebody sleeps for the folio lock.
        const WAITERS = 1 << 1;
        /// The contents are valid.
        const UPTODATE = 1 << 2;
        /// The contents are newer than what they were read from.
        const DIRTY = 1 << 3;
        /// Mapped by one space alone, which may write it in place (`PG_anon_exclusive`).
        const ANON_EXCLUSIVE = 1 << 4;
        /// Backed by swap rather than by a file.
        const SWAPBACKED = 1 << 5;
        /// Used since it was last looked at.
        const REFERENCED = 1 << 6;
        /// Belongs on an active list.
        const ACTIVE = 1 << 7;
        /// Is on a list.
        const LRU = 1 << 8;
        /// Waits in a per-CPU batch to be put on a list.
        const LRU_PENDING = 1 << 9;
        /// Freed while it waited there; whoever empties the batch frees the frame.
        const FREED = 1 << 10;
        /// Mapped by an mlocked area; belongs on the unevictable list.
        const MLOCKED = 1 << 11;
        /// Cannot be evicted.
        const UNEVICTABLE = 1 << 12;
        /// A page table.
        const TABLE = 1 << 13;
        /// Not managed: the zero page.
        const RESERVED = 1 << 14;
        /// Not the first frame of its folio.
        const TAIL = 1 << 15;
        /// Being written back.
        const WRITEBACK = 1 << 16;
        /// In the swap cache.
        const SWAPCACHE = 1 << 17;
        /// Was on an active list when it was evicted.
        const WORKINGSET = 1 << 18;
        /// Wanted for reclaim as soon as writeback ends.
        const RECLAIM = 1 << 19;
        /// Broken.
        const HWPOISON = 1 << 20;
        /// For the owner of its object.
        const PRIVATE = 1 << 21;
        /// The host gave the frame memory since it was last given back. Survives freeing.
        const TOUCHED = 1 << 22;
    }
}

/// Who a folio belongs to: a number that the layer above looks up (`folio->mapping`). Bit 0 says
/// anonymous.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(transparent)]
pub struct OwnerId(u64);

impl OwnerId {
    /// Nobody's.
    pub const NONE: Self = Self(0);

    /// Anonymous memory number `number` (below 2^63, not zero).
    #[must_use]
    pub const fn anon(number: u64) -> Self {
        Self(number << 1 | 1)
    }

    /// Object number `number` (below 2^63, not zero).
    #[must_use]
    pub const fn object(number: u64) -> Self {
        Self(number << 1)
    }

    /// The owner that [`as_u64`](Self::as_u64) said.
    #[must_use]
    pub const fn from_u64(word: u64) -> Self {
        Self(word)
    }

    /// The number with the bit.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The number without the bit.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0 >> 1
    }

    /// Whether it names anonymous memory.
    #[must_use]
    pub const fn is_anon(self) -> bool {
        self.0 & 1 != 0
    }

    /// Whether it names nobody.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// The record of one frame; that of a folio's first frame speaks for the folio (`struct page`).
///
/// All of it is atomic: anybody may look at any frame's record at any time, and finds numbers that
/// were true at some moment. Who may *write* a field is said with the method.
#[derive(Debug)]
#[cfg_attr(not(any(loom, shuttle)), repr(C, align(64)))]
pub struct FrameRecord {
    refcount: AtomicU32,
    mapcount: AtomicU32,
    flags: AtomicU32,
    charge: AtomicU32,
    owner: AtomicU64,
    index: AtomicU64,
    private: AtomicU64,
    /// Links of the one list that the frame is on: free or LRU.
    pub(crate) prev: AtomicU32,
    pub(crate) next: AtomicU32,
    /// First frame of the folio, in the record of a tail.
    pub(crate) head: AtomicU32,
    pincount: AtomicU32,
    /// When a free block became idle.
    pub(crate) stamp: AtomicU32,
    order: AtomicU8,
    purpose: AtomicU8,
    /// Which list: 0 none, 1 to 11 free with that order less one, from 32 on LRU.
    pub(crate) list: AtomicU8,
    entry_lock: ByteLock,
}

#[cfg(not(any(loom, shuttle)))]
const _: () = assert!(size_of::<FrameRecord>() == 64 && align_of::<FrameRecord>() == 64);

/// What the last reference that went away leaves to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum AfterPut {
    StillReferenced,
    Free,
}

impl FrameRecord {
    /// A frame that was never used: all zeroes.
    #[cfg(any(loom, shuttle))]
    pub(crate) fn new() -> Self {
        Self {
            refcount: AtomicU32::new(0),
            mapcount: AtomicU32::new(0),
            flags: AtomicU32::new(0),
            charge: AtomicU32::new(0),
            owner: AtomicU64::new(0),
            index: AtomicU64::new(0),
            private: AtomicU64::new(0),
            prev: AtomicU32::new(0),
            next: AtomicU32::new(0),
            head: AtomicU32::new(0),
            pincount: AtomicU32::new(0),
            stamp: AtomicU32::new(0),
            order: AtomicU8::new(0),
            purpose: AtomicU8::new(0),
            list: AtomicU8::new(0),
            entry_lock: ByteLock::new(),
        }
    }

    /// References to the folio; zero while it is fresh or free.
    #[must_use]
    #[inline]
    pub fn ref_count(&self) -> u32 {
        self.refcount.load(Ordering::Acquire)
    }

    /// Page-table entries that map the folio, in all spaces.
    #[must_use]
    #[inline]
    pub fn map_count(&self) -> u32 {
        self.mapcount.load(Ordering::Acquire)
    }

    /// Its flags now.
    #[must_use]
    #[inline]
    pub fn flags(&self) -> FolioFlags {
        FolioFlags::from_bits_retain(self.flags.load(Ordering::Acquire))
    }

    /// Whether all of `flags` are set.
    #[must_use]
    #[inline]
    pub fn has(&self, flags: FolioFlags) -> bool {
        self.flags().contains(flags)
    }

    /// Sets `flags`; what they were before.
    #[inline]
    pub fn set(&self, flags: FolioFlags) -> FolioFlags {
        FolioFlags::from_bits_retain(self.flags.fetch_or(flags.bits(), Ordering::AcqRel))
    }

    /// Clears `flags`; what they were before.
    #[inline]
    pub fn clear(&self, flags: FolioFlags) -> FolioFlags {
        FolioFlags::from_bits_retain(self.flags.fetch_and(!flags.bits(), Ordering::AcqRel))
    }

    pub(crate) fn toggle(&self, flags: FolioFlags) -> FolioFlags {
        FolioFlags::from_bits_retain(self.flags.fetch_xor(flags.bits(), Ordering::AcqRel))
    }

    /// Writes all flags. Only while nobody else may change them: the frame is fresh or free.
    pub(crate) fn store_flags(&self, flags: FolioFlags) {
        self.flags.store(flags.bits(), Ordering::Relaxed);
    }

    /// Who it belongs to. Stable under the folio lock, and while mapped if anonymous.
    #[must_use]
    #[inline]
    pub fn owner(&self) -> OwnerId {
        OwnerId(self.owner.load(Ordering::Acquire))
    }

    /// Where in its owner: a file offset, or a linear index if anonymous, in pages.
    #[must_use]
    #[inline]
    pub fn index(&self) -> u64 {
        self.index.load(Ordering::Relaxed)
    }

    /// Writes owner and index, the index first. The writer has the folio lock, or the only
    /// reference.
    #[inline]
    pub fn set_owner(&self, owner: OwnerId, index: u64) {
        self.index.store(index, Ordering::Relaxed);
        self.owner.store(owner.0, Ordering::Release);
    }

    /// Whether it is anonymous memory.
    #[must_use]
    #[inline]
    pub fn is_anon(&self) -> bool {
        self.owner().is_anon()
    }

    /// A word for the owner: a swap slot, the count of used entries of a table.
    #[must_use]
    #[inline]
    pub fn private(&self) -> &AtomicU64 {
        &self.private
    }

    /// Size of the folio that begins here.
    #[must_use]
    #[inline]
    pub fn order(&self) -> Order {
        Order::new(self.order.load(Ordering::Relaxed)).unwrap_or_default()
    }

    /// What the frame was allocated for.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        Purpose::from_u8(self.purpose.load(Ordering::Relaxed))
    }

    /// Whom it is charged to.
    #[must_use]
    pub fn charge(&self) -> Option<ChargeId> {
        ChargeId::from_u32(self.charge.load(Ordering::Relaxed))
    }

    /// The lock of the entries, where the frame is a page table (the split `ptl`).
    #[must_use]
    #[inline]
    pub fn entry_lock(&self) -> &ByteLock {
        &self.entry_lock
    }

    /// Whether someone may have pinned it. May say so wrongly, never deny it wrongly.
    #[must_use]
    #[inline]
    pub fn maybe_dma_pinned(&self) -> bool {
        if self.order.load(Ordering::Relaxed) > 0 {
            return self.pincount.load(Ordering::Acquire) > 0;
        }
        self.refcount.load(Ordering::Acquire) >= PIN_BIAS
    }

    /// One more mapping; how many there were. The mapper holds a reference and the entry's lock.
    #[inline]
    pub fn add_map(&self) -> u32 {
        self.mapcount.fetch_add(1, Ordering::AcqRel)
    }

    /// One mapping less; how many are left. After the entry was cleared.
    #[inline]
    pub fn remove_map(&self) -> u32 {
        let before = self.mapcount.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before > 0, "unmapped more often than mapped");
        before.wrapping_sub(1)
    }

    /// The first mapping of a folio that nobody else can reach yet.
    #[inline]
    pub(crate) fn store_map_count(&self, count: u32) {
        self.mapcount.store(count, Ordering::Relaxed);
    }

    /// A new life: frozen (no references), for `purpose`, as `order`.
    #[inline]
    pub(crate) fn begin(&self, order: Order, purpose: Purpose, charge: Option<ChargeId>) {
        self.mapcount.store(0, Ordering::Relaxed);
        self.charge
            .store(ChargeId::as_u32(charge), Ordering::Relaxed);
        self.owner.store(0, Ordering::Relaxed);
        self.index.store(0, Ordering::Relaxed);
        self.private.store(0, Ordering::Relaxed);
        self.pincount.store(0, Ordering::Relaxed);
        self.order.store(order.as_u8(), Ordering::Relaxed);
        self.purpose.store(purpose as u8, Ordering::Relaxed);
    }

    /// From fresh to one reference. What was written before is seen by whoever gets it.
    #[inline]
    pub(crate) fn publish(&self) {
        self.refcount.store(1, Ordering::Release);
    }

    /// One more reference, by someone who has one.
    #[inline]
    pub(crate) fn get(&self) {
        let before = self.refcount.fetch_add(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a reference out of nothing");
        if before >= SATURATED {
            self.saturate();
        }
    }

    /// One more reference, by someone who has none; never from zero.
    #[inline]
    pub(crate) fn try_get(&self) -> bool {
        let mut count = self.refcount.load(Ordering::Relaxed);
        loop {
            if count == 0 || count >= SATURATED {
                return false;
            }
            match self.refcount.compare_exchange_weak(
                count,
                count + 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => count = now,
            }
        }
    }

    /// `references` fewer.
    #[inline]
    pub(crate) fn put(&self, references: u32) -> AfterPut {
        let before = self.refcount.fetch_sub(references, Ordering::Release);
        if before == references {
            sync::atomic::fence(Ordering::Acquire);
            return AfterPut::Free;
        }
        if before > SATURATED {
            self.saturate();
        }
        debug_assert!(before > references, "a reference given up twice");
        AfterPut::StillReferenced
    }

    /// From one reference to frozen, if there is no other (`folio_ref_freeze`).
    pub(crate) fn try_freeze(&self) -> bool {
        self.refcount
            .compare_exchange(1, 0, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    #[cold]
    fn saturate(&self) {
        self.refcount
            .store(SATURATED + (1 << 29), Ordering::Relaxed);
    }

    /// Adds a pin; the pinner has a reference.
    pub(crate) fn add_pin(&self) {
        if self.order.load(Ordering::Relaxed) > 0 {
            self.pincount.fetch_add(1, Ordering::AcqRel);
            self.get();
            return;
        }
        let before = self.refcount.fetch_add(PIN_BIAS, Ordering::AcqRel);
        if before >= SATURATED {
            self.saturate();
        }
    }

    /// Takes a pin away.
    pub(crate) fn remove_pin(&self) -> AfterPut {
        if self.order.load(Ordering::Relaxed) > 0 {
            self.pincount.fetch_sub(1, Ordering::AcqRel);
            return self.put(1);
        }
        self.put(PIN_BIAS)
    }
}
