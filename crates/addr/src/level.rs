//! Levels of a page table.

use crate::{PAGE_SHIFT, PAGE_SIZE, VirtAddr};

/// Entries of a table, at every level.
pub const ENTRIES_PER_TABLE: usize = 512;

const INDEX_BITS: u32 = ENTRIES_PER_TABLE.trailing_zeros();

/// A level of the page table, named as Linux names its entries. Level 1 is the table of 4 KiB
/// leaves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Level {
    /// Entries map 4 KiB.
    Pte = 1,
    /// Entries cover 2 MiB.
    Pmd,
    /// Entries cover 1 GiB.
    Pud,
    /// Entries cover 512 GiB. The top level of [`PagingMode::FourLevel`].
    P4d,
    /// Entries cover 256 TiB. Only with [`PagingMode::FiveLevel`].
    Pgd,
}

impl Level {
    /// Binary logarithm of [`bytes`](Self::bytes).
    #[must_use]
    pub const fn shift(self) -> u32 {
        PAGE_SHIFT + INDEX_BITS * (self as u32 - 1)
    }

    /// Bytes that one entry of this level covers.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        1 << self.shift()
    }

    /// Bytes that a whole table of this level covers.
    #[must_use]
    pub const fn table_bytes(self) -> u64 {
        1 << (self.shift() + INDEX_BITS)
    }

    /// Which entry of a table of this level covers `addr`.
    #[must_use]
    pub const fn index_of(self, addr: VirtAddr) -> usize {
        (addr.as_u64() >> self.shift()) as usize & (ENTRIES_PER_TABLE - 1)
    }

    /// The first address above `addr` that another entry of this level covers; none above the
    /// last entry.
    #[must_use]
    pub const fn next_entry(self, addr: VirtAddr) -> Option<VirtAddr> {
        addr.align_down_to(self.bytes()).checked_add(self.bytes())
    }

    /// The level that its entries point to.
    #[must_use]
    pub const fn below(self) -> Option<Self> {
        match self {
            Self::Pte => None,
            Self::Pmd => Some(Self::Pte),
            Self::Pud => Some(Self::Pmd),
            Self::P4d => Some(Self::Pud),
            Self::Pgd => Some(Self::P4d),
        }
    }

    /// The level whose entries point to it.
    #[must_use]
    pub const fn above(self) -> Option<Self> {
        match self {
            Self::Pte => Some(Self::Pmd),
            Self::Pmd => Some(Self::Pud),
            Self::Pud => Some(Self::P4d),
            Self::P4d => Some(Self::Pgd),
            Self::Pgd => None,
        }
    }
}

/// How many levels a page table has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum PagingMode {
    /// 48 bits of virtual address. Linux folds the P4D into the PGD; here the top table is the
    /// one of [`Level::P4d`].
    #[default]
    FourLevel,
    /// 57 bits of virtual address (LA57).
    FiveLevel,
}

impl PagingMode {
    /// End of the user half: `TASK_SIZE_MAX`, one guard page short of half the space.
    #[must_use]
    pub const fn task_size(self) -> VirtAddr {
        VirtAddr::new((1 << (self.addr_bits() - 1)) - PAGE_SIZE)
    }

    /// Where a mapping without a hint above it ends: `DEFAULT_MAP_WINDOW`, 47 bits in both modes.
    #[must_use]
    pub const fn default_map_window(self) -> VirtAddr {
        VirtAddr::new((1 << 47) - PAGE_SIZE)
    }

    /// Bits of a virtual address.
    #[must_use]
    pub const fn addr_bits(self) -> u32 {
        match self {
            Self::FourLevel => 48,
            Self::FiveLevel => 57,
        }
    }

    /// The level of the root table.
    #[must_use]
    pub const fn top_level(self) -> Level {
        match self {
            Self::FourLevel => Level::P4d,
            Self::FiveLevel => Level::Pgd,
        }
    }

    /// How many levels.
    #[must_use]
    pub const fn levels(self) -> u32 {
        self.top_level() as u32
    }

    /// Whether the bits above [`addr_bits`](Self::addr_bits) repeat the highest bit below, as the
    /// hardware demands.
    #[must_use]
    pub const fn is_canonical(self, addr: VirtAddr) -> bool {
        let unused = 64 - self.addr_bits();
        let sign_extended = (((addr.as_u64() << unused) as i64) >> unused) as u64;
        sign_extended == addr.as_u64()
    }
}
