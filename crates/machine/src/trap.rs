//! Why a CPU stopped.

use addr::{Access, Pfn, VirtAddr};

use crate::ErrorCode;

/// The privilege of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A program's own access.
    User,
    /// An access made on the program's behalf by whoever runs it (Linux: copy_from_user).
    Kernel,
}

/// A page fault as the hardware reports it (Linux: the arguments of `exc_page_fault`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FaultInfo {
    /// The address, to the byte (CR2).
    pub addr: VirtAddr,
    /// What was tried.
    pub access: Access,
    /// The hardware's reasons.
    pub error_code: ErrorCode,
    /// With which privilege.
    pub mode: Mode,
}

impl FaultInfo {
    /// A fault by a missing translation.
    #[must_use]
    pub const fn missing(addr: VirtAddr, access: Access, mode: Mode) -> Self {
        let user = match mode {
            Mode::User => ErrorCode::USER,
            Mode::Kernel => ErrorCode::empty(),
        };
        let error_code = ErrorCode::of_access(access).union(user);
        Self {
            addr,
            access,
            error_code,
            mode,
        }
    }

    /// A fault by a present translation that forbids the access.
    #[must_use]
    pub const fn forbidden(addr: VirtAddr, access: Access, mode: Mode) -> Self {
        let missing = Self::missing(addr, access, mode);
        Self {
            error_code: missing.error_code.union(ErrorCode::PROT),
            ..missing
        }
    }
}

/// Why an access did not complete.
#[must_use = "a trap is an access that did not happen"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trap {
    /// The tables do not allow it (#PF).
    PageFault(FaultInfo),
    /// The address is not canonical (#GP).
    NonCanonical {
        /// The address as given.
        addr: VirtAddr,
    },
    /// The tables allow it but the memory behind them has gone away or failed, as when a mapped
    /// host file was truncated (#MC, or the host's SIGBUS).
    Lost {
        /// The address of the first byte not transferred.
        addr: VirtAddr,
        /// The page that failed.
        pfn: Pfn,
        /// What was tried.
        access: Access,
    },
}
