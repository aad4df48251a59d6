//! Rights, as `mmap` and `mprotect` name them.

use crate::VmFlags;

bitflags::bitflags! {
    /// `PROT_*` of `mmap` and `mprotect`. Empty is `PROT_NONE`.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Prot: u32 {
        /// May be read.
        const READ = 0x1;
        /// May be written.
        const WRITE = 0x2;
        /// May be executed.
        const EXEC = 0x4;
        /// Accepted and without effect on x86.
        const SEM = 0x8;
        /// `mprotect` reaches down to the start of the growing area.
        const GROWSDOWN = 0x0100_0000;
        /// `mprotect` reaches up to the end of the growing area.
        const GROWSUP = 0x0200_0000;
    }
}

impl Prot {
    /// No access at all.
    pub const NONE: Self = Self::empty();

    /// The current-access flags of an area with these rights (`calc_vm_prot_bits`, without keys).
    #[must_use]
    pub const fn vm_flags(self) -> VmFlags {
        VmFlags::from_bits_retain(self.bits() as u64).intersection(VmFlags::ACCESS)
    }

    /// The rights that an area's current-access flags give.
    #[must_use]
    pub const fn from_vm_flags(flags: VmFlags) -> Self {
        Self::from_bits_retain(flags.intersection(VmFlags::ACCESS).bits() as u32)
    }
}
