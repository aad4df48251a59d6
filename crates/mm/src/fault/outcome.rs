//! How an attempt leaves, and what its caller learns.
//!
//! Linux puts three things into one word, `vm_fault_t`. Here they are three types: what an object
//! supplied is [`object::Supplied`]; how a step left the attempt is [`Exit`]; what the caller learns
//! is [`Handled`], [`FaultError`] or a [`PageRequest`]. The word is made from them in one place each
//! (`result()`), for callers that speak it.
//!
//! Nothing here borrows. An [`Exit`] is `'static`, and returning one gives up every lock of the
//! attempt: after it there is no area to touch.

use addr::{Errno, FaultResult, Level, SigCode, VirtAddr};
use alloc::sync::Arc;
use object::{FaultFailure, PageRequest, SourceError};

use crate::accounts::{FaultKind, Waited};

/// A step of an attempt, or the way it left.
pub(crate) type Step<T> = Result<T, Exit>;

/// How a step leaves the attempt. No lock, no area and no entry can be inside.
#[must_use]
#[derive(Debug)]
pub(crate) enum Exit {
    /// The fault is over: somebody else has done it, or it turned out to need nothing.
    Done(Done),
    /// Begin again from the address at once, on a higher rung.
    Refault(Rung),
    /// Begin again when this is done (`VM_FAULT_RETRY`).
    Wait(PageRequest),
    /// There is no memory left for it: begin again with a reserve, or fail.
    Starved(Shortage),
    /// It cannot be done (`VM_FAULT_ERROR`).
    Fail(Cause),
}

impl Exit {
    /// A race was lost, or there was nothing to do: the access is simply tried again.
    pub(crate) const SPURIOUS: Exit = Exit::Done(Done {
        kind: FaultKind::Spurious,
    });
}

impl From<FaultFailure> for Exit {
    fn from(failure: FaultFailure) -> Self {
        Exit::Fail(match failure {
            FaultFailure::OutOfMemory => return Exit::Starved(Shortage::Object),
            FaultFailure::Segv => Cause::Refused,
            FaultFailure::HwPoison => Cause::HwPoison { level: Level::Pte },
            FaultFailure::Source(error) => Cause::Source(error),
            _ => Cause::Bus,
        })
    }
}

/// The fault is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) kind: FaultKind,
}

/// What could not be allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// A frame for a page.
    Frame,
    /// Frames for page tables.
    Table,
    /// What an object needs for itself.
    Object,
}

/// How much an attempt holds. Attempts climb and never go down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rung {
    /// The area's own lock.
    VmaLock,
    /// The mmap lock.
    MmapLock,
}

/// The fault was served: the access may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handled {
    /// What it turned out to be.
    pub kind: FaultKind,
    /// Whether data was waited for.
    pub waited: Waited,
    /// How many attempts it took.
    pub attempts: u32,
}

impl Handled {
    /// The `VM_FAULT_*` bits a Linux caller would have seen.
    pub fn result(&self) -> FaultResult {
        match self.waited {
            Waited::ForData => FaultResult::MAJOR,
            Waited::ForNothing => FaultResult::empty(),
        }
    }
}

/// Why a fault cannot be served.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Cause {
    /// No area there, below a stack too far, or the stack may not grow (`SEGV_MAPERR`).
    NoArea,
    /// The area's rights forbid it (`SEGV_ACCERR`).
    Denied,
    /// The protection key forbids it (`SEGV_PKUERR`).
    Key {
        /// The key of the area found.
        pkey: u8,
    },
    /// `VM_FAULT_SIGSEGV`: a guard marker, a refused request (`SEGV_MAPERR`, although there is an
    /// area).
    Refused,
    /// `VM_FAULT_SIGBUS`: past the end of the object, unreadable, or nothing behind it.
    Bus,
    /// `VM_FAULT_HWPOISON`: the memory is broken.
    HwPoison {
        /// The size of what is broken.
        level: Level,
    },
    /// The embedder's source failed with an error of its own; a program sees `SIGBUS`.
    Source(SourceError),
    /// `VM_FAULT_OOM`: no memory, and none to be had.
    OutOfMemory,
}

/// A fault that failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("fault at {addr:x}: {}", self.text())]
pub struct FaultError {
    /// The address, to the byte (`si_addr`).
    pub addr: VirtAddr,
    /// Why.
    pub cause: Cause,
}

impl FaultError {
    /// `si_code` for a user-mode access, which names the signal as well; `None` when memory ran out,
    /// which is not the access's fault (`pagefault_out_of_memory`).
    pub fn si_code(&self) -> Option<SigCode> {
        Some(match self.cause {
            Cause::NoArea | Cause::Refused => SigCode::MapErr,
            Cause::Denied => SigCode::AccErr,
            Cause::Key { .. } => SigCode::PkuErr,
            Cause::Bus | Cause::Source(_) => SigCode::BusAdrErr,
            Cause::HwPoison { .. } => SigCode::MceErrAr,
            Cause::OutOfMemory => return None,
        })
    }

    /// `si_addr_lsb`, for poisoned memory: how many low bits of the address say nothing.
    pub fn addr_lsb(&self) -> Option<u32> {
        match self.cause {
            Cause::HwPoison { level } => Some(level.bytes().trailing_zeros()),
            _ => None,
        }
    }

    /// The `VM_FAULT_*` bit. Faults that find no area or are denied never reach the code that makes
    /// it; they answer as the signal they end in.
    pub fn result(&self) -> FaultResult {
        match self.cause {
            Cause::NoArea | Cause::Denied | Cause::Key { .. } | Cause::Refused => {
                FaultResult::SIGSEGV
            }
            Cause::Bus | Cause::Source(_) => FaultResult::SIGBUS,
            Cause::HwPoison { .. } => FaultResult::HWPOISON,
            Cause::OutOfMemory => FaultResult::OOM,
        }
    }

    /// What an access from outside reports (`vm_fault_to_errno`).
    pub fn errno(&self) -> Errno {
        match self.cause {
            Cause::OutOfMemory => Errno::ENOMEM,
            _ => Errno::EFAULT,
        }
    }

    /// The embedder's own error, if that is what it was and if it is an `E`.
    pub fn source_error<E: core::error::Error + 'static>(&self) -> Option<&E> {
        match &self.cause {
            Cause::Source(error) => Arc::as_ref(error).downcast_ref::<E>(),
            _ => None,
        }
    }

    fn text(&self) -> &'static str {
        match self.cause {
            Cause::NoArea => "nothing is mapped there",
            Cause::Denied => "the area does not allow it",
            Cause::Key { .. } => "the protection key does not allow it",
            Cause::Refused => "the access is refused",
            Cause::Bus => "nothing is behind the mapping there",
            Cause::HwPoison { .. } => "the memory is broken",
            Cause::Source(_) => "the source failed",
            Cause::OutOfMemory => "out of memory",
        }
    }
}
