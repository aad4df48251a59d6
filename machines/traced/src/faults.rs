//! How faults come to us: which of two ways the host allows, and what depends on it.

use std::os::fd::OwnedFd;

use crate::calls::table::{PLANS, Plan, Verb};
use crate::keeper::ZEROES_BYTES;
use crate::limits;
use crate::sys::seccomp::Verdict;
use crate::sys::spawn::OwnSignals;
use crate::sys::userfault::Userfault;
use crate::sys::{HostError, descriptor};
use crate::watch::Watcher;

/// How the faults of programs come to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Faults {
    /// As accesses that wait (userfaultfd), those of the kernel for a program too: where the host does
    /// not let us have that, as signals all the same.
    Waiting,
    /// As signals, with the memory that a system call names made ready before the call.
    Signals,
}

/// How they come to us here, if they may come as is wanted.
pub(crate) fn possible(wanted: Faults) -> Faults {
    let is_possible = || Userfault::is_permitted().is_ok() && limits::may_cover();
    match wanted {
        Faults::Waiting if is_possible() => Faults::Waiting,
        _ => Faults::Signals,
    }
}

/// What becomes of the two signals that faults would be.
pub(crate) fn own_signals(faults: Faults) -> OwnSignals {
    match faults {
        Faults::Waiting => OwnSignals::Keep,
        Faults::Signals => OwnSignals::Reset,
    }
}

/// Who serves accesses that wait.
pub(crate) fn watcher(faults: Faults) -> Result<Option<Watcher>, HostError> {
    match faults {
        Faults::Waiting => Watcher::start().map(Some),
        Faults::Signals => Ok(None),
    }
}

/// What the filter does with each call: an access that can wait needs no stop before it.
pub(crate) fn verdicts(faults: Faults) -> Vec<Verdict> {
    let waits = faults == Faults::Waiting;
    PLANS
        .iter()
        .map(|plan| match plan {
            Plan::Pass => Verdict::Pass,
            Plan::Fail(errno) => Verdict::Fail(*errno as u16),
            Plan::Prepare(_) if waits => Verdict::Pass,
            Plan::See(verb, _) if waits && verb.is_for_signals_alone() => Verdict::Pass,
            Plan::See(Verb::Futex, _) if waits => Verdict::AskUnlessPrivate,
            // Limits that are only asked for are the host's to tell.
            Plan::See(Verb::Prlimit, _) if waits => Verdict::AskIfGivenThird,
            Plan::Prepare(_) | Plan::See(..) => Verdict::Ask,
        })
        .collect()
}

/// What is mapped where a program has only read: where writes can wait, it has to be mapped as if it
/// could be written.
pub(crate) fn zeroes(watcher: Option<&Watcher>) -> Result<OwnedFd, HostError> {
    match watcher {
        Some(_) => descriptor::zero_file(c"recto-zeroes", ZEROES_BYTES),
        None => descriptor::text_file(c"recto-zeroes", &vec![0; ZEROES_BYTES as usize]),
    }
}
