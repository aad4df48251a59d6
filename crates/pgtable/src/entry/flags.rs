//! The bits of an x86-64 entry beside the frame number.

use addr::{Prot, VmFlags};
use bitflags::bitflags;

bitflags! {
    /// Bits of a present or PROT_NONE entry (Linux: `_PAGE_*`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct EntryFlags: u64 {
        /// The hardware may use the entry (`_PAGE_PRESENT`).
        const PRESENT = 1 << 0;
        /// Writing is allowed (`_PAGE_RW`).
        const WRITABLE = 1 << 1;
        /// User mode may use it (`_PAGE_USER`).
        const USER = 1 << 2;
        /// Write-through caching (`_PAGE_PWT`).
        const WRITE_THROUGH = 1 << 3;
        /// No caching (`_PAGE_PCD`).
        const NO_CACHE = 1 << 4;
        /// It has been used (`_PAGE_ACCESSED`).
        const ACCESSED = 1 << 5;
        /// It has been written through (`_PAGE_DIRTY`).
        const DIRTY = 1 << 6;
        /// Above the lowest level: a leaf, not a table (`_PAGE_PSE`).
        const HUGE = 1 << 7;
        /// Kept across a switch of spaces (`_PAGE_GLOBAL`). Without `PRESENT` this bit is
        /// [`PROT_NONE`](Self::PROT_NONE).
        const GLOBAL = 1 << 8;
        /// The same bit as `GLOBAL` in an entry that is not `PRESENT`: the page is mapped, but
        /// every access faults (`_PAGE_PROTNONE`).
        const PROT_NONE = 1 << 8;
        /// No folio stands behind it: the zero page, or a bare pfn (`_PAGE_SPECIAL`).
        const SPECIAL = 1 << 9;
        /// Userfaultfd write protection (`_PAGE_UFFD_WP`).
        const UFFD_WP = 1 << 10;
        /// Written since the last clear of soft-dirty bits (`_PAGE_SOFT_DIRTY`).
        const SOFT_DIRTY = 1 << 11;
        /// The four bits of the protection key (`_PAGE_PKEY_BIT0` to `BIT3`).
        const PKEY = 0xf << PKEY_SHIFT;
        /// Instructions may not be fetched (`_PAGE_NX`).
        const NO_EXECUTE = 1 << 63;
    }
}

const PKEY_SHIFT: u32 = 59;

impl EntryFlags {
    /// What the hardware and the fault path may turn on in a present entry.
    pub const GRANTABLE: Self = Self::WRITABLE
        .union(Self::ACCESSED)
        .union(Self::DIRTY)
        .union(Self::SOFT_DIRTY);

    /// What a change of protection replaces; all else is kept (complement of `_PAGE_CHG_MASK`).
    pub const RIGHTS: Self = Self::PRESENT
        .union(Self::WRITABLE)
        .union(Self::USER)
        .union(Self::GLOBAL)
        .union(Self::PKEY)
        .union(Self::NO_EXECUTE);

    /// The rights that an area's flags put into its entries (Linux: `vm_get_page_prot`,
    /// `vma->vm_page_prot`).
    ///
    /// A private area's entries never get `WRITABLE` from here: only the fault that has made sure
    /// of the page adds it. A shared area's do; an object that wants to hear of first writes asks
    /// for them without.
    #[must_use]
    pub fn of_area(flags: VmFlags) -> Self {
        let key = Self::empty().with_pkey(flags.pkey());
        if !flags.intersects(VmFlags::ACCESS) {
            return Self::PROT_NONE | Self::ACCESSED | key;
        }
        let mut rights = Self::PRESENT | Self::USER | Self::ACCESSED | key;
        if flags.contains(VmFlags::WRITE | VmFlags::SHARED) {
            rights |= Self::WRITABLE;
        }
        if !flags.contains(VmFlags::EXEC) {
            rights |= Self::NO_EXECUTE;
        }
        rights
    }

    /// The protection key.
    #[must_use]
    pub const fn pkey(self) -> u8 {
        ((self.bits() >> PKEY_SHIFT) & 0xf) as u8
    }

    /// These bits with another protection key.
    #[must_use]
    pub const fn with_pkey(self, key: u8) -> Self {
        let others = self.bits() & !Self::PKEY.bits();
        Self::from_bits_retain(others | ((key as u64 & 0xf) << PKEY_SHIFT))
    }

    /// What a program may do through an entry with these bits.
    #[must_use]
    pub fn prot(self) -> Prot {
        let mut prot = Prot::empty();
        if !self.contains(Self::PRESENT | Self::USER) {
            return prot;
        }
        prot |= Prot::READ;
        if self.contains(Self::WRITABLE) {
            prot |= Prot::WRITE;
        }
        if !self.contains(Self::NO_EXECUTE) {
            prot |= Prot::EXEC;
        }
        prot
    }
}
