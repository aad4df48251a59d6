//! Pages, frames and offsets in pages.

use core::fmt;

use crate::VirtAddr;

/// Binary logarithm of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;

/// Bytes of a small page, and of a frame.
pub const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;

/// The bits of an address that name a byte within its page.
pub const PAGE_MASK: u64 = PAGE_SIZE - 1;

/// Number of a frame: 4 KiB of the arena, or of device memory.
///
/// x86-64 has 52 bits of physical address, so a frame number that fits an entry has 40.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Pfn(u64);

impl Pfn {
    /// The largest frame number that a page-table entry can hold.
    pub const MAX: Self = Self((1 << 40) - 1);

    /// The frame numbered `number`.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The frame `nr_pages` above this one; none above [`Pfn::MAX`].
    #[must_use]
    pub const fn checked_add(self, nr_pages: u64) -> Option<Self> {
        match self.0.checked_add(nr_pages) {
            Some(number) if number <= Self::MAX.0 => Some(Self(number)),
            _ => None,
        }
    }

    /// The frame `nr_pages` below this one.
    #[must_use]
    pub const fn checked_sub(self, nr_pages: u64) -> Option<Self> {
        match self.0.checked_sub(nr_pages) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Physical address of its first byte. For a number above [`Pfn::MAX`] the bits that no
    /// physical address has are lost.
    #[must_use]
    pub const fn phys_addr(self) -> u64 {
        (self.0 & Self::MAX.0) << PAGE_SHIFT
    }

    /// The frame that holds the byte at physical address `phys_addr`.
    #[must_use]
    pub const fn containing(phys_addr: u64) -> Self {
        Self(phys_addr >> PAGE_SHIFT)
    }

    /// Whether it may be the first frame of a folio of `order`.
    #[must_use]
    pub const fn is_aligned(self, order: Order) -> bool {
        self.0 & (order.nr_pages() - 1) == 0
    }
}

impl fmt::Display for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

impl fmt::Debug for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pfn({:#x})", self.0)
    }
}

/// Offset into an object, in pages; never a byte count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct PgOff(u64);

impl PgOff {
    /// The start of the object.
    pub const ZERO: Self = Self(0);

    /// The page `pages` from the start of the object.
    #[must_use]
    pub const fn new(pages: u64) -> Self {
        Self(pages)
    }

    /// The page that holds byte `bytes` of the object.
    #[must_use]
    pub const fn containing(bytes: u64) -> Self {
        Self(bytes >> PAGE_SHIFT)
    }

    /// The linear offset that Linux gives anonymous memory at `addr`.
    #[must_use]
    pub const fn of_anonymous(addr: VirtAddr) -> Self {
        Self(addr.as_u64() >> PAGE_SHIFT)
    }

    /// Pages from the start of the object.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The offset `nr_pages` further.
    #[must_use]
    pub const fn checked_add(self, nr_pages: u64) -> Option<Self> {
        match self.0.checked_add(nr_pages) {
            Some(pages) => Some(Self(pages)),
            None => None,
        }
    }

    /// The offset `nr_pages` back.
    #[must_use]
    pub const fn checked_sub(self, nr_pages: u64) -> Option<Self> {
        match self.0.checked_sub(nr_pages) {
            Some(pages) => Some(Self(pages)),
            None => None,
        }
    }

    /// Pages from `other` up to here; none if `other` lies further.
    #[must_use]
    pub const fn checked_offset_from(self, other: Self) -> Option<u64> {
        self.0.checked_sub(other.0)
    }

    /// Byte offset of the page; none where it does not fit 64 bits.
    #[must_use]
    pub const fn bytes(self) -> Option<u64> {
        self.0.checked_mul(PAGE_SIZE)
    }
}

impl fmt::Display for PgOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

impl fmt::Debug for PgOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PgOff({:#x})", self.0)
    }
}

/// Binary logarithm of a number of pages: the size of a folio.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(transparent)]
pub struct Order(u8);

impl Order {
    /// One page.
    pub const ZERO: Self = Self(0);
    /// What one PMD entry maps: 2 MiB.
    pub const PMD: Self = Self(9);
    /// What one PUD entry maps: 1 GiB; the largest order there is.
    pub const PUD: Self = Self(18);

    /// `order`, if not above [`Order::PUD`].
    #[must_use]
    pub const fn new(order: u8) -> Option<Self> {
        if order <= Self::PUD.0 {
            Some(Self(order))
        } else {
            None
        }
    }

    /// The smallest order with at least `nr_pages` pages.
    #[must_use]
    pub const fn covering(nr_pages: u64) -> Option<Self> {
        match nr_pages.checked_next_power_of_two() {
            Some(pages) => Self::new(pages.trailing_zeros() as u8),
            None => None,
        }
    }

    /// The logarithm itself.
    #[must_use]
    pub const fn as_u8(self) -> u8 {
        self.0
    }

    /// How many pages.
    #[must_use]
    pub const fn nr_pages(self) -> u64 {
        1 << self.0
    }

    /// How many bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        PAGE_SIZE << self.0
    }
}

/// A size of page that the hardware can map with one entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PageSize {
    /// 4 KiB, a PTE.
    Size4K,
    /// 2 MiB, a PMD leaf.
    Size2M,
    /// 1 GiB, a PUD leaf.
    Size1G,
}

impl PageSize {
    /// How many small pages.
    #[must_use]
    pub const fn order(self) -> Order {
        match self {
            Self::Size4K => Order::ZERO,
            Self::Size2M => Order::PMD,
            Self::Size1G => Order::PUD,
        }
    }

    /// How many bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.order().bytes()
    }
}
