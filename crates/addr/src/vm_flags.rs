//! Flags of an area.

bitflags::bitflags! {
    /// `VM_*`: what an area is and allows (Linux 7.0, 64 bits).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct VmFlags: u64 {
        /// May be read now.
        const READ = 1 << 0;
        /// May be written now.
        const WRITE = 1 << 1;
        /// May be executed now.
        const EXEC = 1 << 2;
        /// Writes are shared. Cleared for shared maps of files opened read-only.
        const SHARED = 1 << 3;
        /// `mprotect` may add READ.
        const MAYREAD = 1 << 4;
        /// `mprotect` may add WRITE.
        const MAYWRITE = 1 << 5;
        /// `mprotect` may add EXEC.
        const MAYEXEC = 1 << 6;
        /// Created with `MAP_SHARED`.
        const MAYSHARE = 1 << 7;
        /// Grows down when touched below: a stack.
        const GROWSDOWN = 1 << 8;
        /// userfaultfd is told of missing pages.
        const UFFD_MISSING = 1 << 9;
        /// A pure range of frame numbers, without folios.
        const PFNMAP = 1 << 10;
        /// Guard markers may be in the page table. Sticky.
        const MAYBE_GUARD = 1 << 11;
        /// userfaultfd is told of writes to protected pages.
        const UFFD_WP = 1 << 12;
        /// mlocked.
        const LOCKED = 1 << 13;
        /// Device memory.
        const IO = 1 << 14;
        /// `MADV_SEQUENTIAL`.
        const SEQ_READ = 1 << 15;
        /// `MADV_RANDOM`.
        const RAND_READ = 1 << 16;
        /// Not copied at fork.
        const DONTCOPY = 1 << 17;
        /// `mremap` may not grow it.
        const DONTEXPAND = 1 << 18;
        /// With LOCKED: pages are locked as they fault.
        const LOCKONFAULT = 1 << 19;
        /// Charged against the commit limit.
        const ACCOUNT = 1 << 20;
        /// `MAP_NORESERVE`.
        const NORESERVE = 1 << 21;
        /// Made of hugetlb pages.
        const HUGETLB = 1 << 22;
        /// Synchronous DAX (`MAP_SYNC`).
        const SYNC = 1 << 23;
        /// The architecture's own; without a meaning on x86.
        const ARCH_1 = 1 << 24;
        /// Zero-filled in the child of a fork.
        const WIPEONFORK = 1 << 25;
        /// Not in core dumps.
        const DONTDUMP = 1 << 26;
        /// New since soft-dirty was last cleared. Sticky.
        const SOFTDIRTY = 1 << 27;
        /// A mixture of folios and bare frame numbers.
        const MIXEDMAP = 1 << 28;
        /// `MADV_HUGEPAGE`.
        const HUGEPAGE = 1 << 29;
        /// `MADV_NOHUGEPAGE`.
        const NOHUGEPAGE = 1 << 30;
        /// `MADV_MERGEABLE`: same-page merging.
        const MERGEABLE = 1 << 31;
        /// Protection key, bit 0.
        const PKEY_BIT0 = 1 << 32;
        /// Protection key, bit 1.
        const PKEY_BIT1 = 1 << 33;
        /// Protection key, bit 2.
        const PKEY_BIT2 = 1 << 34;
        /// Protection key, bit 3.
        const PKEY_BIT3 = 1 << 35;
        /// Protection key, bit 4; unused on x86.
        const PKEY_BIT4 = 1 << 36;
        /// A shadow stack (x86 CET). Linux's `VM_HIGH_ARCH_5`.
        const SHADOW_STACK = 1 << 37;
        /// Another architecture's own.
        const HIGH_ARCH_6 = 1 << 38;
        /// A guest may map it uncached.
        const ALLOW_ANY_UNCACHED = 1 << 39;
        /// `MAP_DROPPABLE`: contents may vanish under pressure.
        const DROPPABLE = 1 << 40;
        /// userfaultfd is told of minor faults.
        const UFFD_MINOR = 1 << 41;
        /// `mseal`.
        const SEALED = 1 << 42;
    }
}

/// Which counter of the address space an area is accounted in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum VmClass {
    /// `exec_vm`: executable, not writable, not a stack.
    Exec,
    /// `stack_vm`: a stack or a shadow stack.
    Stack,
    /// `data_vm`: writable, private, not a stack.
    Data,
}

impl VmFlags {
    /// `VM_NONE`.
    pub const NONE: Self = Self::empty();

    /// `VM_STACK`: what makes an area a stack on x86.
    pub const STACK: Self = Self::GROWSDOWN;

    /// `VM_ACCESS_FLAGS`: current access.
    pub const ACCESS: Self = Self::READ.union(Self::WRITE).union(Self::EXEC);

    /// The upper bounds of `mprotect`.
    pub const MAY_ACCESS: Self = Self::MAYREAD.union(Self::MAYWRITE).union(Self::MAYEXEC);

    /// `VM_SPECIAL`: never merged, never mlocked.
    pub const SPECIAL: Self = Self::IO
        .union(Self::DONTEXPAND)
        .union(Self::PFNMAP)
        .union(Self::MIXEDMAP);

    /// `VM_LOCKED_MASK`.
    pub const LOCKED_MASK: Self = Self::LOCKED.union(Self::LOCKONFAULT);

    /// `VM_STICKY`, also `VM_IGNORE_MERGE`: does not prevent a merge, whose result has the union.
    pub const STICKY: Self = Self::SOFTDIRTY.union(Self::MAYBE_GUARD);

    /// `VM_COPY_ON_FORK`: with any of these in the child, its page table is copied.
    pub const COPY_ON_FORK: Self = Self::PFNMAP
        .union(Self::MIXEDMAP)
        .union(Self::UFFD_WP)
        .union(Self::MAYBE_GUARD);

    /// `VM_NO_KHUGEPAGED`: never collapsed.
    pub const NO_KHUGEPAGED: Self = Self::SPECIAL.union(Self::HUGETLB);

    /// `VM_STARTGAP_FLAGS`: keeps a gap below its start.
    pub const STARTGAP: Self = Self::GROWSDOWN.union(Self::SHADOW_STACK);

    /// `VM_ATOMIC_SET_ALLOWED`: may be set under a read lock.
    pub const ATOMIC_SET_ALLOWED: Self = Self::MAYBE_GUARD;

    /// `VM_DATA_DEFAULT_FLAGS` on x86, without `READ_IMPLIES_EXEC`.
    pub const DATA_DEFAULT: Self = Self::READ.union(Self::WRITE).union(Self::MAY_ACCESS);

    /// `VM_STACK_FLAGS`: a stack as exec makes it.
    pub const STACK_FLAGS: Self = Self::STACK.union(Self::DATA_DEFAULT).union(Self::ACCOUNT);

    /// `VM_STACK_INCOMPLETE_SETUP`: exec has not finished the stack.
    pub const STACK_INCOMPLETE_SETUP: Self = Self::RAND_READ.union(Self::SEQ_READ);

    /// What `remap_pfn_range` adds.
    pub const REMAP_PFN: Self = Self::IO
        .union(Self::PFNMAP)
        .union(Self::DONTEXPAND)
        .union(Self::DONTDUMP);

    /// `__VM_UFFD_FLAGS`.
    pub const UFFD: Self = Self::UFFD_MISSING
        .union(Self::UFFD_WP)
        .union(Self::UFFD_MINOR);

    /// `VM_INIT_DEF_MASK`: of `def_flags`, what a new space inherits.
    pub const INIT_DEF_MASK: Self = Self::NOHUGEPAGE;

    /// All bits of the protection key.
    pub const PKEY: Self = Self::PKEY_BIT0
        .union(Self::PKEY_BIT1)
        .union(Self::PKEY_BIT2)
        .union(Self::PKEY_BIT3);

    const PKEY_SHIFT: u32 = Self::PKEY.bits().trailing_zeros();

    /// `is_cow_mapping`: private, and may become writable.
    #[must_use]
    pub const fn is_cow_mapping(self) -> bool {
        self.intersection(Self::SHARED.union(Self::MAYWRITE)).bits() == Self::MAYWRITE.bits()
    }

    /// `vma_is_accessible`: some access is allowed.
    #[must_use]
    pub const fn is_accessible(self) -> bool {
        self.intersects(Self::ACCESS)
    }

    /// The one counter that an area with these flags is accounted in, if any.
    #[must_use]
    pub const fn class(self) -> Option<VmClass> {
        let exec_write_stack = self.intersection(Self::EXEC.union(Self::WRITE).union(Self::STACK));
        if exec_write_stack.bits() == Self::EXEC.bits() {
            return Some(VmClass::Exec);
        }
        if self.intersects(Self::STACK.union(Self::SHADOW_STACK)) {
            return Some(VmClass::Stack);
        }
        let write_shared = self.intersection(Self::WRITE.union(Self::SHARED));
        if write_shared.bits() == Self::WRITE.bits() {
            return Some(VmClass::Data);
        }
        None
    }

    /// Whether each right that it has now is one that it may have.
    #[must_use]
    pub const fn access_within_may(self) -> bool {
        let now = self.intersection(Self::ACCESS).bits();
        let may = self.intersection(Self::MAY_ACCESS).bits() >> 4;
        now & !may == 0
    }

    /// Its protection key (`vma_pkey`).
    #[must_use]
    pub const fn pkey(self) -> u8 {
        (self.intersection(Self::PKEY).bits() >> Self::PKEY_SHIFT) as u8
    }

    /// The same with protection key `pkey`; none above 15.
    #[must_use]
    pub const fn with_pkey(self, pkey: u8) -> Option<Self> {
        if pkey > 15 {
            return None;
        }
        let key = Self::from_bits_retain((pkey as u64) << Self::PKEY_SHIFT);
        Some(self.difference(Self::PKEY).union(key))
    }
}
