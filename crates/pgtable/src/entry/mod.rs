//! One word of a table.
//!
//! The layout is x86-64's, software bits as Linux assigns them:
//!
//! ```text
//! 63 62..59 58..52 51........12 11 10 9 8 7 6 5 4   3   2 1 0
//! NX  pkey    -    frame number SD UW S G H D A PCD PWT U W P     present
//! NX  pkey    -   ~frame number SD UW S 1 H D A PCD PWT U W 0     PROT_NONE
//! type...... ~offset (58..9)            0 0 - - -   E UW SD 0     swap form
//! ```
//!
//! The frame number of an entry that the hardware must not follow is stored inverted, so that a
//! CPU that speculates through it (L1TF) reaches no memory of ours.

mod flags;
mod swap_form;
#[cfg(test)]
mod tests;

pub use flags::EntryFlags;

use core::fmt;

use addr::{Level, NonPresent, PAGE_SHIFT, Pfn};

/// The bits of a frame number in an entry.
const PFN_MASK: u64 = 0x000f_ffff_ffff_f000;
/// What an entry that points to a table carries (`_PAGE_TABLE`).
const TABLE_FLAGS: EntryFlags = EntryFlags::PRESENT
    .union(EntryFlags::WRITABLE)
    .union(EntryFlags::USER)
    .union(EntryFlags::ACCESSED)
    .union(EntryFlags::DIRTY);

/// One word of a table (Linux: `pte_t`, `pmd_t`, `pud_t`, `p4d_t`, `pgd_t`).
///
/// Two entries are equal when every bit is, accessed and dirty included (Linux: `pte_same`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct Entry(u64);

/// An entry that maps memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Leaf {
    /// The frame, or device page.
    pub pfn: Pfn,
    /// Everything else.
    pub flags: EntryFlags,
}

/// What a word means at its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    None,
    /// The next table down.
    Table(Pfn),
    /// Memory that the hardware may reach.
    Leaf(Leaf),
    /// Memory that is mapped but that every access faults on.
    ProtNone(Leaf),
    /// Memory that is elsewhere, or a note.
    NonPresent(NonPresent),
}

impl Entry {
    /// The empty entry.
    pub const NONE: Self = Self(0);

    /// An entry of `flags` for `pfn`. Without `PRESENT` it is a PROT_NONE entry.
    #[must_use]
    pub const fn leaf(pfn: Pfn, flags: EntryFlags) -> Self {
        let place = (pfn.as_u64() << PAGE_SHIFT) & PFN_MASK;
        if flags.contains(EntryFlags::PRESENT) {
            Self(place | flags.bits())
        } else {
            Self((place ^ PFN_MASK) | flags.bits() | EntryFlags::PROT_NONE.bits())
        }
    }

    /// An entry that points to the next table down.
    #[must_use]
    pub const fn table(pfn: Pfn) -> Self {
        Self(((pfn.as_u64() << PAGE_SHIFT) & PFN_MASK) | TABLE_FLAGS.bits())
    }

    /// An entry for memory that is elsewhere, or a note.
    #[must_use]
    pub fn non_present(what: NonPresent) -> Self {
        Self(swap_form::encode(what))
    }

    /// A busy entry told apart from every other by `ticket`: the placeholder of one particular
    /// break-before-make, so that its maker can see whether it still stands.
    pub(crate) const fn busy(ticket: u64) -> Self {
        Self(swap_form::busy(ticket))
    }

    /// The word itself.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// An entry read from a table.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Whether nothing is here.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether it maps memory, PROT_NONE included (Linux: `pte_present`).
    #[must_use]
    pub const fn is_present(self) -> bool {
        self.0 & (EntryFlags::PRESENT.bits() | EntryFlags::PROT_NONE.bits()) != 0
    }

    /// Whether the hardware may follow it.
    #[must_use]
    pub const fn is_hardware_present(self) -> bool {
        self.0 & EntryFlags::PRESENT.bits() != 0
    }

    /// Whether it maps memory that every access faults on (Linux: `pte_protnone`).
    #[must_use]
    pub const fn is_prot_none(self) -> bool {
        self.is_present() && !self.is_hardware_present()
    }

    /// Whether it is neither empty nor a mapping.
    #[must_use]
    pub const fn is_non_present(self) -> bool {
        !self.is_none() && !self.is_present()
    }

    /// Whether it is the placeholder of a replacement under way.
    #[must_use]
    pub fn is_busy(self) -> bool {
        matches!(self.non_present_kind(), Some(NonPresent::Busy))
    }

    /// What the word means in the lowest table.
    #[must_use]
    pub fn decode(self) -> State {
        self.decode_at(Level::Pte)
    }

    /// What the word means in a table of `level`.
    #[must_use]
    pub fn decode_at(self, level: Level) -> State {
        if self.is_none() {
            return State::None;
        }
        if let Some(leaf) = self.mapping() {
            let huge = leaf.flags.contains(EntryFlags::HUGE);
            return match (level, self.is_hardware_present()) {
                (_, false) => State::ProtNone(leaf),
                (Level::Pte, true) => State::Leaf(leaf),
                (_, true) if huge => State::Leaf(leaf),
                (_, true) => State::Table(leaf.pfn),
            };
        }
        State::NonPresent(swap_form::decode(self.0))
    }

    /// Frame and flags of a mapping, PROT_NONE included.
    #[must_use]
    pub const fn mapping(self) -> Option<Leaf> {
        if !self.is_present() {
            return None;
        }
        let place = if self.is_hardware_present() {
            self.0
        } else {
            self.0 ^ PFN_MASK
        };
        let pfn = Pfn::new((place & PFN_MASK) >> PAGE_SHIFT);
        Some(Leaf {
            pfn,
            flags: EntryFlags::from_bits_retain(self.0 & !PFN_MASK),
        })
    }

    /// The table that an entry of a level above the lowest points to.
    #[must_use]
    pub const fn table_pfn(self) -> Option<Pfn> {
        let table = EntryFlags::PRESENT.bits();
        if self.0 & (table | EntryFlags::HUGE.bits()) != table {
            return None;
        }
        Some(Pfn::new((self.0 & PFN_MASK) >> PAGE_SHIFT))
    }

    /// What stands here if it is neither empty nor a mapping.
    #[must_use]
    pub fn non_present_kind(self) -> Option<NonPresent> {
        self.is_non_present().then(|| swap_form::decode(self.0))
    }

    /// Flags of a mapping; none for anything else.
    #[must_use]
    pub const fn flags(self) -> EntryFlags {
        match self.mapping() {
            Some(leaf) => leaf.flags,
            None => EntryFlags::empty(),
        }
    }

    /// Whether the hardware may write through it (Linux: `pte_write`).
    #[must_use]
    pub const fn is_writable(self) -> bool {
        self.flags().contains(EntryFlags::WRITABLE)
    }

    /// Whether it was written through (Linux: `pte_dirty`).
    #[must_use]
    pub const fn is_dirty(self) -> bool {
        self.flags().contains(EntryFlags::DIRTY)
    }

    /// Whether it was used (Linux: `pte_young`).
    #[must_use]
    pub const fn is_young(self) -> bool {
        self.flags().contains(EntryFlags::ACCESSED)
    }

    /// Whether no folio stands behind the mapping (Linux: `pte_special`).
    #[must_use]
    pub const fn is_special(self) -> bool {
        self.flags().contains(EntryFlags::SPECIAL)
    }

    /// Whether userfaultfd write-protects it, mapped or not (Linux: `pte_uffd_wp`,
    /// `pte_swp_uffd_wp`).
    #[must_use]
    pub const fn is_uffd_wp(self) -> bool {
        if self.is_present() {
            self.flags().contains(EntryFlags::UFFD_WP)
        } else {
            self.0 & swap_form::UFFD_WP != 0
        }
    }

    /// Whether it is soft-dirty, mapped or not (Linux: `pte_soft_dirty`, `pte_swp_soft_dirty`).
    #[must_use]
    pub const fn is_soft_dirty(self) -> bool {
        if self.is_present() {
            self.flags().contains(EntryFlags::SOFT_DIRTY)
        } else {
            self.0 & swap_form::SOFT_DIRTY != 0
        }
    }

    /// The same entry with soft-dirty set, mapped or not. The empty entry stays empty.
    #[must_use]
    pub const fn with_soft_dirty(self) -> Self {
        if self.is_none() {
            self
        } else if self.is_present() {
            Self(self.0 | EntryFlags::SOFT_DIRTY.bits())
        } else {
            Self(self.0 | swap_form::SOFT_DIRTY)
        }
    }

    /// The same entry write-protected by userfaultfd, mapped or not: a mapping loses `WRITABLE`.
    #[must_use]
    pub const fn with_uffd_wp(self) -> Self {
        if self.is_none() {
            self
        } else if self.is_present() {
            Self((self.0 | EntryFlags::UFFD_WP.bits()) & !EntryFlags::WRITABLE.bits())
        } else {
            Self(self.0 | swap_form::UFFD_WP)
        }
    }

    /// The same entry without userfaultfd write protection, mapped or not.
    #[must_use]
    pub const fn without_uffd_wp(self) -> Self {
        if self.is_present() {
            Self(self.0 & !EntryFlags::UFFD_WP.bits())
        } else {
            Self(self.0 & !swap_form::UFFD_WP)
        }
    }

    /// The same mapping with `flags` added; anything else unchanged.
    #[must_use]
    pub fn with(self, flags: EntryFlags) -> Self {
        self.remapped(|leaf| Leaf {
            flags: leaf.flags | flags,
            ..leaf
        })
    }

    /// The same mapping with `flags` removed; anything else unchanged.
    #[must_use]
    pub fn without(self, flags: EntryFlags) -> Self {
        self.remapped(|leaf| Leaf {
            flags: leaf.flags - flags,
            ..leaf
        })
    }

    /// The same mapping with other rights; frame, accessed, dirty and the software bits are kept
    /// (Linux: `pte_modify`). A mapping under userfaultfd write protection stays unwritable.
    #[must_use]
    pub fn with_rights(self, rights: EntryFlags) -> Self {
        let rights = rights & EntryFlags::RIGHTS;
        self.remapped(|leaf| {
            let mut flags = (leaf.flags - EntryFlags::RIGHTS) | rights;
            if flags.contains(EntryFlags::UFFD_WP) {
                flags -= EntryFlags::WRITABLE;
            }
            Leaf { flags, ..leaf }
        })
    }

    fn remapped(self, change: impl FnOnce(Leaf) -> Leaf) -> Self {
        match self.mapping() {
            Some(leaf) => {
                let leaf = change(leaf);
                Self::leaf(leaf.pfn, leaf.flags)
            }
            None => self,
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({:#x}, {:?})", self.0, self.decode())
    }
}
