//! The fault is over and counted.
//!
//! * *Held:* nothing. *Known:* how it ended. *May:* count. *Next:* the access, or a signal.
//!
//! Linux name: `mm_account_fault`. A fault is counted when it completes, failures included, and never
//! when it is to be tried again; it is major if data was waited for, or if it had to be retried.

use addr::FaultFlags;

use super::outcome::{Cause, Done, FaultError, Handled};
use super::request::{Counted, FaultRequest};
use crate::accounts::{FaultEvent, FaultKind, Waited};
use crate::mm::Mm;

/// Counts a fault that was served.
#[inline]
pub(super) fn served(mm: &Mm, request: &FaultRequest, done: Done) -> Handled {
    let tried = request.flags.contains(FaultFlags::TRIED);
    let waited = if tried {
        Waited::ForData
    } else {
        request.waited
    };
    if request.counted == Counted::AsNeighbour {
        let is_mapped = done.kind != FaultKind::Spurious;
        mm.rss()
            .count_event(FaultEvent::AroundHit, u64::from(is_mapped));
        return Handled {
            kind: done.kind,
            waited,
            attempts: request.attempts,
        };
    }
    mm.rss().count_fault(done.kind);
    if waited == Waited::ForData {
        mm.rss().count_event(FaultEvent::Major, 1);
    }
    if let Some(task) = &request.task {
        task.count(waited);
    }
    Handled {
        kind: done.kind,
        waited,
        attempts: request.attempts,
    }
}

/// Counts a fault that failed: it is a fault, but neither minor nor major. One that found no area, or
/// one that does not allow it, never came to `handle_mm_fault`, and is none by the kernel's count.
pub(super) fn failed(mm: &Mm, request: &FaultRequest, cause: Cause) -> FaultError {
    match cause {
        _ if request.counted == Counted::AsNeighbour => {}
        Cause::NoArea | Cause::Denied | Cause::Key { .. } => {
            mm.rss().count_event(FaultEvent::Denied, 1);
        }
        _ => mm.rss().count_fault(FaultKind::Failed),
    }
    FaultError {
        addr: request.addr,
        cause,
    }
}
