//! Why a fault could not be served.

use alloc::sync::Arc;

use addr::{Errno, FaultResult};

/// An error of the embedder's own type. It travels unchanged from the object that failed to
/// whoever asked for the memory, who may downcast it.
pub type SourceError = Arc<dyn core::error::Error + Send + Sync>;

/// A fault, or a notice before a write, that cannot succeed.
///
/// These are the error bits of Linux's `vm_fault_t`, and none of its other bits: what was supplied
/// is [`Supplied`](crate::Supplied), what is to be waited for is a
/// [`PageRequest`](crate::PageRequest).
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FaultFailure {
    /// No memory (`VM_FAULT_OOM`).
    #[error("out of memory")]
    OutOfMemory,
    /// The object has nothing at this offset, or could not read it (`VM_FAULT_SIGBUS`).
    #[error("beyond the end of the object, or unreadable")]
    Bus,
    /// The object refuses the access (`VM_FAULT_SIGSEGV`).
    #[error("access refused by the object")]
    Segv,
    /// The memory is known to be broken (`VM_FAULT_HWPOISON`).
    #[error("hardware-poisoned memory")]
    HwPoison,
    /// The embedder's source failed; seen by a program as `SIGBUS`.
    #[error("the source failed: {0}")]
    Source(SourceError),
}

impl FaultFailure {
    /// The `VM_FAULT_*` bit.
    pub fn result(&self) -> FaultResult {
        match self {
            FaultFailure::OutOfMemory => FaultResult::OOM,
            FaultFailure::Bus | FaultFailure::Source(_) => FaultResult::SIGBUS,
            FaultFailure::Segv => FaultResult::SIGSEGV,
            FaultFailure::HwPoison => FaultResult::HWPOISON,
        }
    }

    /// The failure that an errno of a backing store stands for (Linux: `vmf_error`).
    pub fn from_errno(errno: Errno) -> Self {
        match errno {
            Errno::ENOMEM => FaultFailure::OutOfMemory,
            Errno::EHWPOISON => FaultFailure::HwPoison,
            _ => FaultFailure::Bus,
        }
    }

    /// The embedder's own error, if it is of type `E`.
    pub fn source_error<E: core::error::Error + 'static>(&self) -> Option<&E> {
        match self {
            FaultFailure::Source(error) => error.downcast_ref::<E>(),
            _ => None,
        }
    }
}
