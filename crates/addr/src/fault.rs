//! What a fault is asked with and answers with, in Linux's words.

use core::fmt;

use crate::Errno;

/// What the CPU tried to do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An instruction fetch.
    Execute,
}

bitflags::bitflags! {
    /// `FAULT_FLAG_*`: how a fault is to be handled (`vmf->flags`).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct FaultFlags: u32 {
        /// A write access, or a shadow-stack access.
        const WRITE = 1 << 0;
        /// Inside `page_mkwrite` or `pfn_mkwrite`.
        const MKWRITE = 1 << 1;
        /// The handler may drop the fault lock and return `RETRY`.
        const ALLOW_RETRY = 1 << 2;
        /// Return `RETRY` without waiting and without dropping the lock.
        const RETRY_NOWAIT = 1 << 3;
        /// Waits may be broken by fatal signals.
        const KILLABLE = 1 << 4;
        /// A second or later attempt.
        const TRIED = 1 << 5;
        /// The fault comes from user mode.
        const USER = 1 << 6;
        /// The space is not the one of the current task.
        const REMOTE = 1 << 7;
        /// An instruction fetch.
        const INSTRUCTION = 1 << 8;
        /// Waits may be broken by any signal.
        const INTERRUPTIBLE = 1 << 9;
        /// Break copy-on-write without making the page writable.
        const UNSHARE = 1 << 10;
        /// The entry read at PTE level is known. Set only within `handle_pte_fault`.
        const ORIG_PTE_VALID = 1 << 11;
        /// The fault lock is the per-VMA lock.
        const VMA_LOCK = 1 << 12;
    }
}

impl FaultFlags {
    /// `FAULT_FLAG_DEFAULT`.
    pub const DEFAULT: Self = Self::ALLOW_RETRY
        .union(Self::KILLABLE)
        .union(Self::INTERRUPTIBLE);

    /// First attempt of a fault that may be retried (`fault_flag_allow_retry_first`).
    #[must_use]
    pub const fn is_first_try(self) -> bool {
        self.contains(Self::ALLOW_RETRY) && !self.contains(Self::TRIED)
    }

    /// Whether the combination may reach a handler at all.
    pub const fn check(self) -> Result<(), IllegalFaultFlags> {
        if self.contains(Self::TRIED) && !self.contains(Self::ALLOW_RETRY) {
            return Err(IllegalFaultFlags::TriedWithoutRetry);
        }
        if self.contains(Self::WRITE.union(Self::UNSHARE)) {
            return Err(IllegalFaultFlags::WriteAndUnshare);
        }
        if self.contains(Self::VMA_LOCK.union(Self::RETRY_NOWAIT)) {
            return Err(IllegalFaultFlags::NowaitUnderVmaLock);
        }
        Ok(())
    }

    /// The flags that say what `access` is.
    #[must_use]
    pub const fn of_access(access: Access) -> Self {
        match access {
            Access::Read => Self::empty(),
            Access::Write => Self::WRITE,
            Access::Execute => Self::INSTRUCTION,
        }
    }
}

/// A combination of [`FaultFlags`] that means nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum IllegalFaultFlags {
    /// `TRIED` without `ALLOW_RETRY`.
    TriedWithoutRetry,
    /// `WRITE` with `UNSHARE`.
    WriteAndUnshare,
    /// `VMA_LOCK` with `RETRY_NOWAIT`.
    NowaitUnderVmaLock,
}

impl fmt::Display for IllegalFaultFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TriedWithoutRetry => "a fault that may not be retried was retried",
            Self::WriteAndUnshare => "a fault cannot both write and unshare",
            Self::NowaitUnderVmaLock => "a fault under the per-VMA lock cannot ask not to wait",
        })
    }
}

impl core::error::Error for IllegalFaultFlags {}

bitflags::bitflags! {
    /// `VM_FAULT_*`: how a fault, or a callback of one, ended (`vm_fault_t`).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct FaultResult: u32 {
        /// An allocation failed.
        const OOM = 0x000001;
        /// Nothing behind the page.
        const SIGBUS = 0x000002;
        /// I/O was needed.
        const MAJOR = 0x000004;
        /// A small page is poisoned.
        const HWPOISON = 0x000010;
        /// A huge page is poisoned; its index is in [`HINDEX`](Self::HINDEX).
        const HWPOISON_LARGE = 0x000020;
        /// Not allowed.
        const SIGSEGV = 0x000040;
        /// The handler installed the entry itself, or wants a refault.
        const NOPAGE = 0x000100;
        /// The folio is returned locked.
        const LOCKED = 0x000200;
        /// The fault lock was dropped; begin again from the area.
        const RETRY = 0x000400;
        /// A huge fault was not handled; use a smaller size.
        const FALLBACK = 0x000800;
        /// The handler did the whole copy-on-write.
        const DONE_COW = 0x001000;
        /// A synchronous DAX fault needs fsync first.
        const NEEDDSYNC = 0x002000;
        /// Done, and the fault lock was already dropped.
        const COMPLETED = 0x004000;
        /// Index of the huge page size of `HWPOISON_LARGE`.
        const HINDEX = 0x0f0000;
    }
}

/// What [`FaultResult::to_errno`] says of a poisoned page.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HwpoisonAs {
    /// `EHWPOISON` (the caller passed `FOLL_HWPOISON`).
    Hwpoison,
    /// `EFAULT`.
    Fault,
}

impl FaultResult {
    /// `VM_FAULT_ERROR`: any of these and the fault failed.
    pub const ERROR: Self = Self::OOM
        .union(Self::SIGBUS)
        .union(Self::SIGSEGV)
        .union(Self::HWPOISON)
        .union(Self::HWPOISON_LARGE)
        .union(Self::FALLBACK);

    const HINDEX_SHIFT: u32 = Self::HINDEX.bits().trailing_zeros();

    /// Whether the fault failed.
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.intersects(Self::ERROR)
    }

    /// `VM_FAULT_SET_HINDEX`: a poisoned huge page of size number `hindex` (below 16).
    #[must_use]
    pub const fn hwpoison_large(hindex: u8) -> Self {
        let hindex = ((hindex as u32) << Self::HINDEX_SHIFT) & Self::HINDEX.bits();
        Self::HWPOISON_LARGE.union(Self::from_bits_retain(hindex))
    }

    /// `VM_FAULT_GET_HINDEX`.
    #[must_use]
    pub const fn hindex(self) -> u8 {
        (self.intersection(Self::HINDEX).bits() >> Self::HINDEX_SHIFT) as u8
    }

    /// `vmf_error`: what a failure of a callback's own means for the fault.
    #[must_use]
    pub const fn vmf_error(errno: Errno) -> Self {
        match errno {
            Errno::ENOMEM => Self::OOM,
            Errno::EHWPOISON => Self::HWPOISON,
            _ => Self::SIGBUS,
        }
    }

    /// `vmf_fs_error`: what a file system's `page_mkwrite` returned means for the fault.
    #[must_use]
    pub const fn vmf_fs_error(result: Result<(), Errno>) -> Self {
        match result {
            Ok(()) => Self::LOCKED,
            Err(Errno::EFAULT | Errno::EAGAIN) => Self::NOPAGE,
            Err(Errno::ENOMEM) => Self::OOM,
            Err(_) => Self::SIGBUS,
        }
    }

    /// `vm_fault_to_errno`: what a caller that is not a trap makes of it.
    pub const fn to_errno(self, hwpoison: HwpoisonAs) -> Result<(), Errno> {
        if self.contains(Self::OOM) {
            return Err(Errno::ENOMEM);
        }
        if self.intersects(Self::HWPOISON.union(Self::HWPOISON_LARGE)) {
            return Err(match hwpoison {
                HwpoisonAs::Hwpoison => Errno::EHWPOISON,
                HwpoisonAs::Fault => Errno::EFAULT,
            });
        }
        if self.intersects(Self::SIGBUS.union(Self::SIGSEGV)) {
            return Err(Errno::EFAULT);
        }
        Ok(())
    }
}
