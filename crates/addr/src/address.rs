//! Virtual addresses and page-aligned ranges of them.

use core::fmt;

use crate::{PAGE_MASK, PAGE_SHIFT, PAGE_SIZE};

/// A virtual address: any 64-bit number, canonical or not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct VirtAddr(u64);

impl VirtAddr {
    /// Address zero.
    pub const ZERO: Self = Self(0);

    /// The address numbered `addr`.
    #[must_use]
    pub const fn new(addr: u64) -> Self {
        Self(addr)
    }

    /// Its number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Bytes from the start of its page.
    #[must_use]
    pub const fn page_offset(self) -> u64 {
        self.0 & PAGE_MASK
    }

    /// Number of its page.
    #[must_use]
    pub const fn page_number(self) -> u64 {
        self.0 >> PAGE_SHIFT
    }

    /// Start of its page.
    #[must_use]
    pub const fn align_down(self) -> Self {
        Self(self.0 & !PAGE_MASK)
    }

    /// The first page boundary at or above it; none above the last page.
    #[must_use]
    pub const fn align_up(self) -> Option<Self> {
        match self.0.checked_add(PAGE_MASK) {
            Some(addr) => Some(Self(addr & !PAGE_MASK)),
            None => None,
        }
    }

    /// Start of the aligned block of `bytes` (a power of two) that holds it.
    #[must_use]
    pub const fn align_down_to(self, bytes: u64) -> Self {
        debug_assert!(bytes.is_power_of_two());
        Self(self.0 & !(bytes - 1))
    }

    /// The first multiple of `bytes` (a power of two) at or above it.
    #[must_use]
    pub const fn align_up_to(self, bytes: u64) -> Option<Self> {
        debug_assert!(bytes.is_power_of_two());
        match self.0.checked_add(bytes - 1) {
            Some(addr) => Some(Self(addr & !(bytes - 1))),
            None => None,
        }
    }

    /// Whether it starts a page.
    #[must_use]
    pub const fn is_page_aligned(self) -> bool {
        self.page_offset() == 0
    }

    /// Whether it is a multiple of `bytes` (a power of two).
    #[must_use]
    pub const fn is_aligned_to(self, bytes: u64) -> bool {
        debug_assert!(bytes.is_power_of_two());
        self.0 & (bytes - 1) == 0
    }

    /// The address `bytes` above it.
    #[must_use]
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(addr) => Some(Self(addr)),
            None => None,
        }
    }

    /// The address `bytes` below it.
    #[must_use]
    pub const fn checked_sub(self, bytes: u64) -> Option<Self> {
        match self.0.checked_sub(bytes) {
            Some(addr) => Some(Self(addr)),
            None => None,
        }
    }

    /// The address `bytes` below it, or address zero.
    #[must_use]
    pub const fn saturating_sub(self, bytes: u64) -> Self {
        Self(self.0.saturating_sub(bytes))
    }

    /// The address `bytes` above it, or the last address.
    #[must_use]
    pub const fn saturating_add(self, bytes: u64) -> Self {
        Self(self.0.saturating_add(bytes))
    }

    /// Bytes from `other`, which must not lie above, up to it. Zero if it does; debug builds
    /// catch that. [`checked_offset_from`](Self::checked_offset_from) asks.
    #[must_use]
    pub const fn offset_from(self, other: Self) -> u64 {
        debug_assert!(other.0 <= self.0);
        self.0.saturating_sub(other.0)
    }

    /// Bytes from `other` up to it; none if `other` lies above.
    #[must_use]
    pub const fn checked_offset_from(self, other: Self) -> Option<u64> {
        self.0.checked_sub(other.0)
    }
}

impl fmt::Display for VirtAddr {
    /// Hexadecimal without a prefix, as in `/proc/PID/maps`; width and fill apply.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

impl fmt::LowerHex for VirtAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

impl fmt::UpperHex for VirtAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::UpperHex::fmt(&self.0, f)
    }
}

impl fmt::Debug for VirtAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VirtAddr({:#x})", self.0)
    }
}

/// A page-aligned, half-open, non-empty range of virtual addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtRange {
    start: VirtAddr,
    end: VirtAddr,
}

impl VirtRange {
    /// `[start, end)`; none unless both are page aligned and `start < end`.
    #[must_use]
    pub const fn new(start: VirtAddr, end: VirtAddr) -> Option<Self> {
        if start.is_page_aligned() && end.is_page_aligned() && start.0 < end.0 {
            Some(Self { start, end })
        } else {
            None
        }
    }

    /// `bytes` from `start` on; none unless both are page aligned, `bytes` is not zero and the
    /// end is an address.
    #[must_use]
    pub const fn from_len(start: VirtAddr, bytes: u64) -> Option<Self> {
        match start.checked_add(bytes) {
            Some(end) => Self::new(start, end),
            None => None,
        }
    }

    /// The page that holds `addr`; none for the last page of the 64-bit space, which has no end.
    #[must_use]
    pub const fn page_of(addr: VirtAddr) -> Option<Self> {
        Self::from_len(addr.align_down(), PAGE_SIZE)
    }

    /// Its first address.
    #[must_use]
    pub const fn start(&self) -> VirtAddr {
        self.start
    }

    /// The first address above it.
    #[must_use]
    pub const fn end(&self) -> VirtAddr {
        self.end
    }

    /// Its length in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.end.0 - self.start.0
    }

    /// Its length in pages.
    #[must_use]
    pub const fn pages(&self) -> u64 {
        self.bytes() >> PAGE_SHIFT
    }

    /// Whether `addr` is inside.
    #[must_use]
    pub const fn contains(&self, addr: VirtAddr) -> bool {
        self.start.0 <= addr.0 && addr.0 < self.end.0
    }

    /// Whether all of `other` is inside.
    #[must_use]
    pub const fn contains_range(&self, other: &Self) -> bool {
        self.start.0 <= other.start.0 && other.end.0 <= self.end.0
    }

    /// Whether they share a page.
    #[must_use]
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.start.0 < other.end.0 && other.start.0 < self.end.0
    }

    /// What they share.
    #[must_use]
    pub const fn intersect(&self, other: &Self) -> Option<Self> {
        let start = if self.start.0 > other.start.0 {
            self.start
        } else {
            other.start
        };
        let end = if self.end.0 < other.end.0 {
            self.end
        } else {
            other.end
        };
        Self::new(start, end)
    }

    /// Cut at `at`, page aligned and strictly inside: what is below, and what is not.
    #[must_use]
    pub const fn split_at(&self, at: VirtAddr) -> Option<(Self, Self)> {
        match (Self::new(self.start, at), Self::new(at, self.end)) {
            (Some(low), Some(high)) => Some((low, high)),
            _ => None,
        }
    }

    /// The start address of each of its pages, ascending.
    #[must_use]
    pub const fn page_addrs(&self) -> PageAddrs {
        PageAddrs {
            next: self.start.0,
            end: self.end.0,
        }
    }
}

impl fmt::Display for VirtRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.start, self.end)
    }
}

impl fmt::Debug for VirtRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VirtRange({self})")
    }
}

/// The page addresses of a [`VirtRange`]; see [`VirtRange::page_addrs`].
#[derive(Clone, Debug)]
pub struct PageAddrs {
    next: u64,
    end: u64,
}

impl Iterator for PageAddrs {
    type Item = VirtAddr;

    fn next(&mut self) -> Option<VirtAddr> {
        if self.next >= self.end {
            return None;
        }
        let addr = VirtAddr(self.next);
        // Cannot wrap: `end` is a page-aligned address above `next`.
        self.next += PAGE_SIZE;
        Some(addr)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let pages = (self.end - self.next) >> PAGE_SHIFT;
        let pages = usize::try_from(pages).unwrap_or(usize::MAX);
        (pages, Some(pages))
    }
}

impl DoubleEndedIterator for PageAddrs {
    fn next_back(&mut self) -> Option<VirtAddr> {
        if self.next >= self.end {
            return None;
        }
        self.end -= PAGE_SIZE;
        Some(VirtAddr(self.end))
    }
}

impl ExactSizeIterator for PageAddrs {}
