//! One program memory: our `Mm` and the host memory that caches it. Threads, and processes made by
//! `vfork`, share one.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use addr::{Access, PAGE_SIZE, Prot, VirtAddr, VirtRange, VmFlags};
use machine::{ErrorCode, FaultInfo, Mode};
use mm::fault::{Attempt, Fault, attempt};
use mm::{Cause, FaultError, FaultKind, Mm, MmUser};
use object::PageRequest;

use crate::in_flight::Named;
use crate::space::{Space, Unfilled};
use crate::sys::Tid;
use crate::sys::wait::Stop;

/// The window in which neighbours of a fault are filled along with it.
pub(crate) const WINDOW_BYTES: u64 = 512 << 10;

/// How much is looked at at once for something that is missing.
const LOOK_BYTES: u64 = 64 << 10;

/// How much of what a call names is faulted in again at once, after it was taken away.
const REFILL_BYTES_MAX: u64 = 1 << 20;

/// One past the highest address a program can use.
pub(crate) const TASK_SIZE: u64 = (1 << 47) - PAGE_SIZE;

/// A program memory.
#[derive(Debug)]
pub(crate) struct Memory {
    /// Our side.
    pub(crate) mm: MmUser,
    /// The host's side.
    pub(crate) space: Arc<Space>,
    /// While a fork is under way, stops of other threads wait here.
    pub(crate) frozen: Cell<Frozen>,
    /// The stops that wait.
    pub(crate) held: RefCell<Vec<(Tid, Stop)>>,
    /// What was waited for in vain, while the stop that needs it is looked at again.
    pub(crate) given_up: RefCell<Option<FaultError>>,
}

/// Whether the stops of a memory's threads are held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frozen {
    /// They are not.
    No,
    /// They are, until this task's fork has happened or failed.
    By(Tid),
}

/// How an attempt to serve an access ended.
#[derive(Debug)]
pub(crate) enum Served {
    /// Our tables allow it now.
    Yes(FaultKind),
    /// It is not allowed, or cannot be had.
    No(FaultError),
    /// This must be performed first, and its outcome handed to the fault.
    Wait(Box<Fault>, PageRequest),
}

impl Memory {
    /// A memory of `mm`, cached in `space`.
    pub(crate) fn new(mm: MmUser, space: Arc<Space>) -> Self {
        space.caches(mm.shared());
        Self {
            mm,
            space,
            frozen: Cell::new(Frozen::No),
            held: RefCell::new(Vec::new()),
            given_up: RefCell::new(None),
        }
    }

    /// Our side, as faults take it.
    pub(crate) fn shared(&self) -> &Arc<Mm> {
        self.mm.shared()
    }

    /// Serves one access as far as that goes without waiting for a file. What else a request asks for
    /// is there at once and taken in on the way.
    pub(crate) fn serve(&self, info: &FaultInfo) -> Served {
        self.go_on(Fault::new(self.shared(), info))
    }

    /// Serves an access that the host refused; with a write, first writes around it.
    pub(crate) fn serve_access(&self, address: u64, access: Access, refused: Refused) -> Served {
        let info = fault_of(address, access, refused);
        match access {
            Access::Write => self.serve_write(&info),
            Access::Read | Access::Execute => self.serve(&info),
        }
    }

    /// As [`Self::serve`], for a fault that is under way.
    pub(crate) fn go_on(&self, mut fault: Fault) -> Served {
        loop {
            match attempt(fault) {
                Attempt::Handled(handled) => return Served::Yes(handled.kind),
                Attempt::Failed(error) => return Served::No(error),
                Attempt::Needs(waiting, request) if request.waiting().is_major() => {
                    let page = waiting.addr().align_down();
                    return match self.given_up.take() {
                        Some(error) if error.addr.align_down() == page => Served::No(error),
                        _ => Served::Wait(Box::new(waiting), request),
                    };
                }
                Attempt::Needs(mut waiting, request) => {
                    waiting.take_in(request.perform());
                    fault = waiting;
                }
            }
        }
    }

    /// Goes on with a fault whose request has been performed.
    pub(crate) fn resume(&self, fault: Fault) -> Served {
        match attempt(fault) {
            Attempt::Handled(handled) => Served::Yes(handled.kind),
            Attempt::Failed(error) => Served::No(error),
            Attempt::Needs(fault, request) => Served::Wait(Box::new(fault), request),
        }
    }

    /// The first address in `[start, end)` for which our tables have no translation with the
    /// rights `wanted`.
    fn first_untranslated(&self, start: u64, end: u64, wanted: Prot) -> Option<u64> {
        let first_page = VirtAddr::new(start).align_down();
        let Some(range) = VirtAddr::new(end)
            .align_up()
            .and_then(|end| VirtRange::new(first_page, end))
        else {
            return Some(start);
        };
        let mut next = range.start();
        while next < range.end() {
            // Little by little: where something is missing, what follows is of no interest.
            let piece_end = next.saturating_add(LOOK_BYTES).min(range.end());
            let piece = VirtRange::new(next, piece_end)?;
            self.mm.translations(piece, |run| {
                if run.range.start() == next && run.prot.contains(wanted) {
                    next = run.range.end();
                }
            });
            if next < piece_end {
                return Some(next.as_u64().max(start));
            }
        }
        None
    }

    /// Whether our tables allow an access to `address` as they are.
    pub(crate) fn allows(&self, address: u64, access: Access) -> bool {
        let end = address.saturating_add(1);
        self.first_untranslated(address, end, rights_for(access))
            .is_none()
    }

    /// Where the area ends that `address` lies in.
    pub(crate) fn end_of_area(&self, address: u64) -> Option<u64> {
        let tree = self.mm.mmap_lock().snapshot();
        let area = tree.find(VirtAddr::new(address))?;
        Some(area.range.end().as_u64())
    }

    /// What a read is to our tables. A page of a file that the program may write, and that it has not
    /// written yet, may have to be got ready for the write at once.
    pub(crate) fn access_of_read(&self, address: u64) -> Access {
        let areas = self.mm.mmap_lock().snapshot();
        let area = areas.find(VirtAddr::new(address));
        let is_of_file = area.is_some_and(|area| {
            area.flags().contains(VmFlags::WRITE) && area.file_link().is_some()
        });
        match is_of_file && !self.space.is_prepared_for_calls() {
            true => Access::Write,
            false => Access::Read,
        }
    }

    /// Makes our tables able to do `access` in all of `[start, end)`, as far as that can be had.
    pub(crate) fn make_reachable(
        &self,
        start: u64,
        end: u64,
        access: Access,
    ) -> Result<(), Pending> {
        let (mut at, end) = (start, end.min(TASK_SIZE));
        let wanted = rights_for(access);
        while let Some(missing) = self
            .first_untranslated(at, end, wanted)
            .filter(|at| *at < end)
        {
            let info = FaultInfo::missing(VirtAddr::new(missing), access, Mode::Kernel);
            match self.serve(&info) {
                Served::Yes(_) => {}
                Served::No(error) if matches!(error.cause, Cause::OutOfMemory) => {
                    return Err(Pending::OutOfMemory);
                }
                Served::No(_) => return Ok(()),
                Served::Wait(fault, request) => return Err(Pending::Wait(fault, request)),
            }
            if self
                .first_untranslated(missing, missing + 1, wanted)
                .is_some()
            {
                // Served, and still not allowed: no access that can be made.
                return Ok(());
            }
            at = missing;
        }
        Ok(())
    }

    /// Makes the host able to do `access` in all of `[start, end)`. What cannot be had is left: the
    /// kernel says EFAULT there by itself.
    pub(crate) fn make_ready(&self, start: u64, end: u64, access: Access) -> Result<(), Pending> {
        let end = end.min(TASK_SIZE);
        let wanted = rights_for(access);
        let Some(first) = self.space.first_refused(start, end, wanted) else {
            return Ok(());
        };
        let mut at = first;
        while at < end {
            match self.first_untranslated(at, end, wanted) {
                None => break,
                Some(missing) => at = missing,
            }
            let address = VirtAddr::new(at);
            let info = FaultInfo::missing(address, access, Mode::Kernel);
            match self.serve(&info) {
                Served::Yes(_) => {}
                Served::No(error) => {
                    self.fill(first, at);
                    return match error.cause {
                        Cause::OutOfMemory => Err(Pending::OutOfMemory),
                        _ => Ok(()),
                    };
                }
                Served::Wait(fault, request) => {
                    return Err(Pending::Wait(fault, request));
                }
            }
            if self.first_untranslated(at, at + 1, wanted).is_some() {
                // Served, and still not allowed: no access that the host could make.
                self.fill(first, at);
                return Ok(());
            }
        }
        self.fill(first, end);
        Ok(())
    }

    /// Fills what our tables say of `[start, end)`, and of neighbours that continue it.
    pub(crate) fn fill(&self, start: u64, end: u64) {
        self.fill_all(vec![(start, end)]);
    }

    /// The same for several spans at once.
    pub(crate) fn fill_all(&self, mut spans: Vec<(u64, u64)>) {
        spans.retain(|(start, end)| start < end);
        spans.sort_unstable();
        let (spans, windows) = (joined(&spans), windows(&spans));
        let (Some((start, _)), Some((_, end))) = (spans.first(), spans.last()) else {
            return;
        };
        let filled = self.space.fill(&self.mm, &windows, &spans);
        if filled == Err(Unfilled::Refused(libc::ENOMEM)) {
            // Too many host areas. What is missing is filled when it is touched.
            self.space.make_room(*start, *end);
            let _ = self.space.fill(&self.mm, &windows, &spans);
        }
    }

    /// Looks again at what calls name, where it may no longer be ready. What would have to be waited
    /// for is left: the call that meets it fails. What is disturbed by this itself, because there is
    /// not room for all, has its turn after the next stop.
    pub(crate) fn refill(&self) {
        for Named { start, end, access } in self.space.take_disturbed() {
            let end = end.min(start.saturating_add(REFILL_BYTES_MAX));
            let _left = self.make_ready(start, end, access);
        }
    }
}

/// Spans in order, without those that meet.
fn joined(spans: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (start, end) in spans {
        match joined.last_mut() {
            Some(last) if *start <= last.1 => last.1 = last.1.max(*end),
            _ => joined.push((*start, *end)),
        }
    }
    joined
}

/// The windows around spans in order.
fn windows(spans: &[(u64, u64)]) -> Vec<VirtRange> {
    let around = |(start, end): &(u64, u64)| {
        let low = start & !(WINDOW_BYTES - 1);
        let high = end.saturating_add(WINDOW_BYTES - 1) & !(WINDOW_BYTES - 1);
        (low, high.min(TASK_SIZE))
    };
    let around: Vec<(u64, u64)> = spans.iter().map(around).collect();
    let range = |(low, high)| VirtRange::new(VirtAddr::new(low), VirtAddr::new(high));
    joined(&around).into_iter().filter_map(range).collect()
}

/// Why something is not ready yet.
#[derive(Debug)]
pub(crate) enum Pending {
    /// This must be performed first.
    Wait(Box<Fault>, PageRequest),
    /// The arena is exhausted.
    OutOfMemory,
}

/// The rights that an access needs.
pub(crate) fn rights_for(access: Access) -> Prot {
    match access {
        Access::Read => Prot::READ,
        Access::Write => Prot::WRITE,
        Access::Execute => Prot::EXEC,
    }
}

/// What the hardware would have reported for a fault of the program itself.
pub(crate) fn fault_of(address: u64, access: Access, refused: Refused) -> FaultInfo {
    let addr = VirtAddr::new(address);
    let info = match refused {
        Refused::Missing => FaultInfo::missing(addr, access, Mode::User),
        Refused::Forbidden => FaultInfo::forbidden(addr, access, Mode::User),
    };
    debug_assert!(info.error_code.contains(ErrorCode::USER));
    info
}

/// Why the host refused an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It has nothing there.
    Missing,
    /// What it has there does not allow it.
    Forbidden,
}
