//! A page fault, top to bottom. Reading down this list is reading down the fault.
//!
//! An attempt takes locks, does what it can, and lets every lock go by returning. What it cannot do
//! without waiting it returns as a [`PageRequest`]. The loop over it, [`Mm::handle_fault`], is the
//! only place that waits; an event loop calls [`attempt`] itself and waits as it likes.

mod request;
mod vma_locked;
mod entered;
mod walked;
mod case;
pub(crate) mod resolve;
mod pte_locked;
mod account;
mod outcome;
mod reserve;
mod trace;
mod build;

use alloc::boxed::Box;
use alloc::sync::Arc;

use addr::{FaultFlags, VirtAddr};
use frame::{AllocRequest, Block, Purpose};
use machine::FaultInfo;
use object::{Obtained, PageRequest};

use crate::accounts::{FaultKind, TaskFaults};
use crate::mm::Mm;
use outcome::{Done, Exit, Rung, Step};
use resolve::Resolved;
use vma_locked::VmaLocked;

pub use build::{HasMmu, NoMmuBuild, ThisBuild, handle_mm_fault};
pub use outcome::{Cause, FaultError, Handled};
pub(crate) use pte_locked::{initial_rights, maybe_mkwrite};
use request::Counted;
pub(crate) use request::FaultRequest;
pub use trace::{FaultTrace, TraceStep};

/// A fault under way, between attempts. It holds no lock, borrows nothing, and owns what requests
/// have obtained for it.
#[derive(Debug)]
pub struct Fault {
    #[cfg_attr(
        feature = "no-mmu",
        expect(dead_code, reason = "nobody may attempt it")
    )]
    mm: Arc<Mm>,
    request: FaultRequest,
}

/// How an attempt ended.
#[must_use]
#[derive(Debug)]
pub enum Attempt {
    /// The access may be tried again.
    Handled(Handled),
    /// It cannot be served.
    Failed(FaultError),
    /// Perform the request with nothing held, hand what it obtained to the fault, attempt again.
    Needs(Fault, PageRequest),
}

impl Fault {
    /// The fault that a CPU took.
    pub fn new(mm: &Arc<Mm>, info: &FaultInfo) -> Self {
        Fault {
            mm: Arc::clone(mm),
            request: FaultRequest::of_trap(info),
        }
    }

    /// A fault that no CPU took: someone touches the page on the program's behalf. `flags` says how;
    /// combinations that mean nothing are refused when it is attempted.
    pub fn for_access(mm: &Arc<Mm>, addr: VirtAddr, flags: FaultFlags) -> Self {
        Fault {
            mm: Arc::clone(mm),
            request: FaultRequest::of_access(addr, flags),
        }
    }

    /// Counts it to `task` as well (`min_flt`, `maj_flt`).
    #[must_use]
    pub fn counted_to(mut self, task: Arc<TaskFaults>) -> Self {
        self.request.task = Some(task);
        self
    }

    /// If it comes to a private page, that page is put into frame `nth` of `block`, for machines on
    /// which frames that lie as their pages do are cheaper.
    #[must_use]
    pub fn with_frame(mut self, block: &Block, nth: u64) -> Self {
        let wish = AllocRequest::uninit(Purpose::Anon).with_charge(self.mm.charge());
        if let Ok(frame) = block.take(nth, wish) {
            let reserve = self.request.reserve.get_or_insert_default();
            reserve.frame = Some(frame);
        }
        self
    }

    /// Nobody has touched the page yet: it is taken along with another, for machines on which a fault
    /// costs more than a page. Counted as fault-around, and not at all if it comes to nothing.
    #[must_use]
    pub fn as_neighbour(mut self) -> Self {
        self.request.counted = Counted::AsNeighbour;
        self
    }

    /// Notes its steps.
    #[must_use]
    pub fn traced(mut self) -> Self {
        self.request.trace = Some(Box::default());
        self
    }

    /// The steps so far, if they are noted.
    pub fn trace(&self) -> Option<&FaultTrace> {
        self.request.trace.as_deref()
    }

    /// The address, to the byte.
    pub fn addr(&self) -> VirtAddr {
        self.request.addr
    }

    /// Attempts made.
    pub fn attempts(&self) -> u32 {
        self.request.attempts
    }

    /// Takes in what a performed request obtained.
    pub fn take_in(&mut self, obtained: Obtained) {
        self.request.take_in(obtained);
    }
}

#[cfg(not(feature = "no-mmu"))]
/// One attempt at a fault. Returns without having waited for anything but locks, and with nothing
/// held.
pub fn attempt(mut fault: Fault) -> Attempt {
    match try_until_it_waits(&fault.mm, &mut fault.request) {
        Ok(handled) => Attempt::Handled(handled),
        Err(Pending::Failed(error)) => Attempt::Failed(error),
        Err(Pending::Needs(request)) => Attempt::Needs(fault, request),
    }
}

#[cfg(not(feature = "no-mmu"))]
/// As [`attempt`], with the steps of a [traced](Fault::traced) fault.
pub fn attempt_traced(mut fault: Fault) -> (Attempt, Option<Box<FaultTrace>>) {
    match try_until_it_waits(&fault.mm, &mut fault.request) {
        Ok(handled) => (Attempt::Handled(handled), fault.request.trace.take()),
        Err(Pending::Failed(error)) => (Attempt::Failed(error), fault.request.trace.take()),
        Err(Pending::Needs(request)) => (Attempt::Needs(fault, request), None),
    }
}

impl Mm {
    /// Serves a fault, waiting where it must (`do_user_addr_fault`).
    #[cfg(not(feature = "no-mmu"))]
    pub fn handle_fault(&self, info: &FaultInfo) -> Result<Handled, FaultError> {
        self.serve(FaultRequest::of_trap(info)).0
    }

    /// As [`Mm::handle_fault`], and says step by step what was done.
    #[cfg(not(feature = "no-mmu"))]
    pub fn handle_fault_traced(
        &self,
        info: &FaultInfo,
    ) -> (Result<Handled, FaultError>, FaultTrace) {
        let mut request = FaultRequest::of_trap(info);
        request.trace = Some(Box::default());
        let (result, trace) = self.serve(request);
        (result, trace.map_or_else(FaultTrace::new, |trace| *trace))
    }

    /// The loop: the only place that waits.
    pub(crate) fn serve(
        &self,
        mut request: FaultRequest,
    ) -> (Result<Handled, FaultError>, Option<Box<FaultTrace>>) {
        loop {
            sync::rank::assert_none_held();
            match try_until_it_waits(self, &mut request) {
                Ok(handled) => return (Ok(handled), request.trace),
                Err(Pending::Failed(error)) => return (Err(error), request.trace),
                Err(Pending::Needs(work)) => request.take_in(work.perform()),
            }
        }
    }
}

/// Why the loop does not go on by itself.
pub(crate) enum Pending {
    Failed(FaultError),
    Needs(PageRequest),
}

/// Attempts until the fault is over or something has to be waited for. It goes round only to climb
/// from the area's lock to the mmap lock, so at most once. An area that cannot be locked by itself is
/// no attempt: nothing has been looked at.
pub(crate) fn try_until_it_waits(mm: &Mm, request: &mut FaultRequest) -> Result<Handled, Pending> {
    loop {
        request.attempts = request.attempts.saturating_add(1);
        let exit = match try_once(mm, request) {
            Ok(done) | Err(Exit::Done(done)) => return Ok(account::served(mm, request, done)),
            Err(exit) => exit,
        };
        match exit {
            Exit::Refault(rung) => request.climb(mm, rung),
            Exit::Wait(work) => {
                request.retry_after(mm, work.waiting());
                return Err(Pending::Needs(work));
            }
            // `handle_mm_fault`: the OOM bit is cleared where pages are droppable.
            Exit::Starved(_) if request.may_go_without() => {
                let kind = FaultKind::Spurious;
                return Ok(account::served(mm, request, Done { kind }));
            }
            Exit::Starved(shortage) => match request.starved(mm, shortage) {
                Ok(work) => return Err(Pending::Needs(work)),
                Err(cause) => return Err(Pending::Failed(account::failed(mm, request, cause))),
            },
            Exit::Fail(cause) => {
                return Err(Pending::Failed(account::failed(mm, request, cause)));
            }
            Exit::Done(done) => return Ok(account::served(mm, request, done)),
        }
    }
}

/// The fault from its first state to its last.
fn try_once(mm: &Mm, request: &mut FaultRequest) -> Step<Done> {
    let (locked, pin) = match request.rung {
        Rung::VmaLock => {
            // One pin serves the search for the area and the walk.
            let pin = sync::pin();
            (VmaLocked::by_area_lock(mm, request)?, pin)
        }
        Rung::MmapLock => (VmaLocked::by_mmap_lock(mm, request)?, sync::pin()),
    };
    let locked = locked.check_access()?.sanitize()?;
    let entered = locked.enter();
    let outcome = match locked.walk(&pin).case().resolve_pinned() {
        Ok(Resolved::Done(done)) => Ok(done),
        Ok(Resolved::Away(away)) => {
            drop(pin);
            away.resolve()
        }
        Err(exit) => Err(exit),
    };
    entered.leave();
    outcome
}
