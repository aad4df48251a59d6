//! How the handling of a stop ends early.

use mm::fault::Fault;
use object::PageRequest;

use crate::memory::Pending;
use crate::pool::Work;
use crate::sys::Gone;

/// How a thread goes on after a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Until its next stop.
    Resume,
    /// With this signal.
    ResumeWith(i32),
    /// With this signal, to the first instruction of its handler.
    IntoHandler(i32),
    /// Until the call that it is in comes back.
    ToCallEdge,
    /// It stays stopped; something else will let it go on.
    Stay,
}

/// Why a stop could not be handled now.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The thread is dead, or will be.
    Gone,
    /// A request has to be performed first; then the stop is handled again.
    Wait(Box<Fault>, PageRequest),
    /// A worker has to do this first; then the stop is handled again, and the thread has its outcome.
    Work(Work),
    /// The arena is exhausted: the process is killed, as by the OOM killer.
    OutOfMemory,
}

impl From<Gone> for Halt {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

impl From<Pending> for Halt {
    fn from(pending: Pending) -> Self {
        match pending {
            Pending::Wait(fault, request) => Self::Wait(fault, request),
            Pending::OutOfMemory => Self::OutOfMemory,
        }
    }
}
