//! The x86 page-fault error code (Linux: `enum x86_pf_error_code`).

use addr::Access;
use bitflags::bitflags;

bitflags! {
    /// Why the MMU refused an access.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct ErrorCode: u32 {
        /// The translation was present but forbade the access (`X86_PF_PROT`).
        const PROT = 1 << 0;
        /// The access was a write (`X86_PF_WRITE`).
        const WRITE = 1 << 1;
        /// The access had user privilege (`X86_PF_USER`).
        const USER = 1 << 2;
        /// A reserved bit was set in an entry (`X86_PF_RSVD`).
        const RSVD = 1 << 3;
        /// The access was an instruction fetch (`X86_PF_INSTR`).
        const INSTR = 1 << 4;
        /// A protection key forbade the access (`X86_PF_PK`).
        const PK = 1 << 5;
        /// The access was to a shadow stack (`X86_PF_SHSTK`).
        const SHSTK = 1 << 6;
        /// Blocked by SGX checks (`X86_PF_SGX`).
        const SGX = 1 << 15;
        /// A violation of the SEV-SNP map of pages (`X86_PF_RMP`).
        const RMP = 1 << 31;
    }
}

impl ErrorCode {
    /// The bits that say what kind of access it was, without why it failed.
    #[must_use]
    pub const fn of_access(access: Access) -> Self {
        match access {
            Access::Read => Self::empty(),
            Access::Write => Self::WRITE,
            Access::Execute => Self::INSTR,
        }
    }

    /// The kind of access these bits describe.
    #[must_use]
    pub const fn access(self) -> Access {
        if self.contains(Self::WRITE) {
            Access::Write
        } else if self.contains(Self::INSTR) {
            Access::Execute
        } else {
            Access::Read
        }
    }
}
