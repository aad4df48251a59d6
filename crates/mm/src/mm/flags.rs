//! What is true of a space as a whole.

use addr::{Prot, VmFlags};

bitflags::bitflags! {
    /// `MMF_*`: what is true of a space as a whole.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct MmFlags: u64 {
        /// Core dumps by the user are allowed (`MMF_DUMPABLE`, SUID_DUMP_USER).
        const DUMPABLE = 1 << 0;
        /// A core dump holds private anonymous memory (`MMF_DUMP_ANON_PRIVATE`).
        const DUMP_ANON_PRIVATE = 1 << 2;
        /// And shared anonymous memory (`MMF_DUMP_ANON_SHARED`).
        const DUMP_ANON_SHARED = 1 << 3;
        /// And private mappings of files (`MMF_DUMP_MAPPED_PRIVATE`).
        const DUMP_MAPPED_PRIVATE = 1 << 4;
        /// And shared ones (`MMF_DUMP_MAPPED_SHARED`).
        const DUMP_MAPPED_SHARED = 1 << 5;
        /// And of each executable mapped the first page (`MMF_DUMP_ELF_HEADERS`).
        const DUMP_ELF_HEADERS = 1 << 6;
        /// And private huge pages (`MMF_DUMP_HUGETLB_PRIVATE`).
        const DUMP_HUGETLB_PRIVATE = 1 << 7;
        /// And shared ones (`MMF_DUMP_HUGETLB_SHARED`).
        const DUMP_HUGETLB_SHARED = 1 << 8;
        /// And private mappings of files that are memory (`MMF_DUMP_DAX_PRIVATE`).
        const DUMP_DAX_PRIVATE = 1 << 9;
        /// And shared ones (`MMF_DUMP_DAX_SHARED`).
        const DUMP_DAX_SHARED = 1 << 10;
        /// The reaper has nothing left to take (`MMF_OOM_SKIP`).
        const OOM_SKIP = 1 << 21;
        /// Contents are no longer reliable: no new private page may appear (`MMF_UNSTABLE`).
        const UNSTABLE = 1 << 22;
        /// More than one process shares it (`MMF_MULTIPROCESS`).
        const MULTIPROCESS = 1 << 26;
        /// Some page was pinned once (`MMF_HAS_PINNED`).
        const HAS_PINNED = 1 << 27;
        /// Nothing may become executable that was not so from the start, nor writable while it is
        /// (`MMF_HAS_MDWE`, PR_SET_MDWE).
        const HAS_MDWE = 1 << 28;
        /// A fork child is free of that (`MMF_HAS_MDWE_NO_INHERIT`).
        const HAS_MDWE_NO_INHERIT = 1 << 29;
        /// Free addresses are searched from above (`MMF_TOPDOWN`).
        const TOPDOWN = 1 << 31;
        /// What may be read may be executed: a personality, which Linux keeps with the task
        /// (`READ_IMPLIES_EXEC`).
        const READ_IMPLIES_EXEC = 1 << 32;
        /// No protection key is left, which Linux keeps in the context (`pkey_allocation_map`).
        const PKEYS_TAKEN = 1 << 33;
    }
}

impl MmFlags {
    /// What a core dump holds: the bits of `/proc/PID/coredump_filter` (`MMF_DUMP_FILTER_MASK`).
    pub const DUMP_FILTER: MmFlags = MmFlags::DUMP_FILTER_DEFAULT
        .union(MmFlags::DUMP_MAPPED_PRIVATE)
        .union(MmFlags::DUMP_MAPPED_SHARED)
        .union(MmFlags::DUMP_HUGETLB_SHARED)
        .union(MmFlags::DUMP_DAX_PRIVATE)
        .union(MmFlags::DUMP_DAX_SHARED);

    /// What it holds unless it is told otherwise (`MMF_DUMP_FILTER_DEFAULT`, with
    /// CONFIG_CORE_DUMP_DEFAULT_ELF_HEADERS).
    pub const DUMP_FILTER_DEFAULT: MmFlags = MmFlags::DUMP_ANON_PRIVATE
        .union(MmFlags::DUMP_ANON_SHARED)
        .union(MmFlags::DUMP_ELF_HEADERS)
        .union(MmFlags::DUMP_HUGETLB_PRIVATE);

    /// What a fork child takes over.
    pub const INHERITED: MmFlags = MmFlags::DUMPABLE
        .union(MmFlags::DUMP_FILTER)
        .union(MmFlags::TOPDOWN)
        .union(MmFlags::READ_IMPLIES_EXEC)
        .union(MmFlags::PKEYS_TAKEN);

    /// `mmf_init_flags`: what a child of a space with these flags begins with.
    pub(super) fn of_child(self) -> MmFlags {
        let mut flags = self & MmFlags::INHERITED;
        if !self.contains(MmFlags::HAS_MDWE_NO_INHERIT) {
            flags |= self & MmFlags::HAS_MDWE;
        }
        flags
    }

    /// What the space of the next program of a process takes over.
    pub fn over_exec(self) -> MmFlags {
        self.of_child() & (MmFlags::HAS_MDWE | MmFlags::DUMP_FILTER)
    }

    /// `map_deny_write_exec`: whether an area with the flags `old` may not get `new`.
    pub(crate) fn deny_write_exec(self, old: VmFlags, new: VmFlags) -> bool {
        self.contains(MmFlags::HAS_MDWE)
            && new.contains(VmFlags::EXEC)
            && (new.contains(VmFlags::WRITE) || !old.contains(VmFlags::EXEC))
    }

    /// The rights that are had when `prot` is asked for, where execution is allowed.
    pub(crate) fn implied(self, prot: Prot) -> Prot {
        match self.contains(MmFlags::READ_IMPLIES_EXEC) && prot.contains(Prot::READ) {
            true => prot | Prot::EXEC,
            false => prot,
        }
    }
}
