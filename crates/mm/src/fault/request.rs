//! What is asked for, in one form for all who ask.
//!
//! * *Held:* nothing.
//! * *Known:* the address, what was tried, and how often.
//! * *May:* refuse what the hardware or the caller got wrong.
//! * *Next:* [`VmaLocked`](super::vma_locked::VmaLocked).
//!
//! Linux names: the head of `do_user_addr_fault`, `sanitize_fault_flags`.

use alloc::boxed::Box;
use alloc::sync::Arc;

use addr::{Access, FaultFlags, VirtAddr, VmFlags};
use machine::{ErrorCode, FaultInfo, Mode};
use object::{Brought, Obtained, PageRequest, Waiting};
use pgtable::TableReserve;

use super::outcome::{Cause, Exit, Rung, Shortage, Step};
use super::reserve::{self, Reserve};
use super::trace::{FaultTrace, TraceStep};
use crate::accounts::{FaultEvent, TaskFaults, Waited};
use crate::mm::Mm;

/// One fault, from its first attempt to its last; owns everything it keeps between them.
#[derive(Debug)]
pub(crate) struct FaultRequest {
    /// The address, to the byte (`real_address`).
    pub(crate) addr: VirtAddr,
    /// `FAULT_FLAG_*`.
    pub(crate) flags: FaultFlags,
    /// The hardware's reasons; none for a fault that no CPU took (`regs == NULL`).
    pub(crate) error_code: Option<ErrorCode>,
    /// How much the next attempt holds.
    pub(crate) rung: Rung,
    /// Attempts begun.
    pub(crate) attempts: u32,
    /// Whether any attempt waited for data.
    pub(crate) waited: Waited,
    /// What requests obtained, until it is used.
    pub(crate) obtained: Option<Obtained>,
    /// Frames put aside after memory ran short.
    pub(crate) reserve: Option<Box<Reserve>>,
    /// Whether they have been asked for.
    pub(crate) has_reserve: Asked,
    /// The flags of the area that was found last.
    pub(crate) area: VmFlags,
    /// Who is charged with it.
    pub(crate) task: Option<Arc<TaskFaults>>,
    /// As what it is counted.
    pub(crate) counted: Counted,
    /// Where its steps are noted, if anyone wants to know.
    pub(crate) trace: Option<Box<FaultTrace>>,
}

/// As what a fault is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// As itself.
    AsFault,
    /// As a neighbour of another.
    AsNeighbour,
}

/// Whether a fault has asked for a reserve. It asks once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Not yet.
    No,
    /// Yes: if it finds no memory again, there is none.
    Yes,
}

impl FaultRequest {
    /// A fault that a CPU reported: the flags of `do_user_addr_fault`, steps 8 and following.
    #[inline]
    pub(crate) fn of_trap(info: &FaultInfo) -> Self {
        let mut flags = FaultFlags::DEFAULT;
        if info
            .error_code
            .intersects(ErrorCode::WRITE | ErrorCode::SHSTK)
            || info.access == Access::Write
        {
            flags |= FaultFlags::WRITE;
        }
        if info.error_code.contains(ErrorCode::INSTR) || info.access == Access::Execute {
            flags |= FaultFlags::INSTRUCTION;
        }
        if info.mode == Mode::User {
            flags |= FaultFlags::USER;
        }
        Self::new(info.addr, flags, Some(info.error_code))
    }

    /// A fault that no CPU took: an access from outside, or populate.
    pub(crate) fn of_access(addr: VirtAddr, flags: FaultFlags) -> Self {
        Self::new(addr, flags, None)
    }

    #[inline]
    fn new(addr: VirtAddr, flags: FaultFlags, error_code: Option<ErrorCode>) -> Self {
        // Linux tries the area's own lock only for faults from user mode. Here accesses from outside
        // hold nothing either, so all begin there, but for those that may not wait at all.
        let rung = match flags.contains(FaultFlags::RETRY_NOWAIT) {
            true => Rung::MmapLock,
            false => Rung::VmaLock,
        };
        FaultRequest {
            addr,
            flags,
            error_code,
            rung,
            attempts: 0,
            waited: Waited::ForNothing,
            obtained: None,
            reserve: None,
            has_reserve: Asked::No,
            area: VmFlags::NONE,
            task: None,
            counted: Counted::AsFault,
            trace: None,
        }
    }

    /// The page that faulted.
    #[inline]
    pub(crate) fn page(&self) -> VirtAddr {
        self.addr.align_down()
    }

    /// Whether the access writes.
    #[inline]
    pub(crate) fn is_write(&self) -> bool {
        self.flags.contains(FaultFlags::WRITE)
    }

    /// Whether a private page is wanted for reading (`FAULT_FLAG_UNSHARE`).
    #[inline]
    pub(crate) fn is_unshare(&self) -> bool {
        self.flags.contains(FaultFlags::UNSHARE)
    }

    /// Notes a step, if anyone wants to know.
    #[inline]
    pub(crate) fn note(&mut self, linux: &'static str, note: &'static str) {
        if let Some(trace) = &mut self.trace {
            trace.push(TraceStep {
                linux,
                note,
                attempt: self.attempts,
            });
        }
    }

    /// `sanitize_fault_flags`: what must not be asked for in an area with `area` flags, and what
    /// means something else there.
    #[inline]
    pub(crate) fn sanitize(&mut self, area: VmFlags) -> Step<()> {
        self.area = area;
        if self.flags.check().is_err() {
            return Err(Exit::Fail(Cause::Refused));
        }
        if self.is_unshare() {
            if !area.is_cow_mapping() {
                self.flags -= FaultFlags::UNSHARE;
            }
        } else if self.is_write() {
            let may = area.contains(VmFlags::MAYWRITE);
            let can = area.contains(VmFlags::WRITE) || area.is_cow_mapping();
            if !may || !can {
                return Err(Exit::Fail(Cause::Refused));
            }
        }
        Ok(())
    }

    /// Goes up to `rung`. Leaving the area's lock without having had it is the same attempt, and
    /// counted as `VMA_LOCK_ABORT` where it was refused; leaving it after is `VMA_LOCK_RETRY`.
    pub(crate) fn climb(&mut self, mm: &Mm, rung: Rung) {
        if self.flags.contains(FaultFlags::VMA_LOCK) {
            mm.rss().count_event(FaultEvent::VmaLockRetry, 1);
        } else {
            self.attempts = self.attempts.saturating_sub(1);
        }
        self.rung = self.rung.max(rung);
    }

    /// Frames for tables that are put aside, if any; more may be put with them.
    pub(crate) fn tables(&mut self) -> &mut TableReserve {
        &mut self.reserve.get_or_insert_default().tables
    }

    /// Takes in what a performed request brought; the next attempt is a retry (`FAULT_FLAG_TRIED`).
    pub(crate) fn take_in(&mut self, obtained: Obtained) {
        match obtained.brought {
            // The wait itself was all; unless it says of which page, which its object wants to hear.
            Brought::Nothing if obtained.revalidate.is_none() => {}
            Brought::Other(reserve) if reserve.is::<Reserve>() => {
                if let Ok(reserve) = reserve.downcast::<Reserve>() {
                    self.reserve = Some(reserve);
                }
            }
            brought => {
                self.obtained = Some(Obtained {
                    brought,
                    revalidate: obtained.revalidate,
                });
            }
        }
    }

    /// Makes the next attempt a retry: on the mmap lock, and major if data was waited for.
    pub(crate) fn retry_after(&mut self, mm: &Mm, waiting: Waiting) {
        if self.flags.contains(FaultFlags::VMA_LOCK) {
            mm.rss().count_event(FaultEvent::VmaLockRetry, 1);
        }
        if waiting.is_major() {
            self.waited = Waited::ForData;
        }
        // As Linux does, a retry from the area's lock keeps the right to wait once more.
        let may_retry = self.flags.contains(FaultFlags::ALLOW_RETRY);
        if may_retry && (self.rung == Rung::MmapLock || waiting.is_major()) {
            self.flags |= FaultFlags::TRIED;
        }
        self.rung = Rung::MmapLock;
    }

    /// Whether running short of memory is no failure: droppable memory never kills, the program just
    /// runs into the fault again until somebody has let some go. Who accesses it on the program's
    /// behalf is told, for else it would be he who goes round.
    pub(crate) fn may_go_without(&self) -> bool {
        let asked = self.has_reserve == Asked::Yes;
        asked && self.area.contains(VmFlags::DROPPABLE) && self.error_code.is_some()
    }

    /// Memory ran short. The first time, ask for a reserve; after that it is the end.
    pub(crate) fn starved(&mut self, mm: &Mm, shortage: Shortage) -> Result<PageRequest, Cause> {
        if self.has_reserve == Asked::Yes {
            return Err(Cause::OutOfMemory);
        }
        self.has_reserve = Asked::Yes;
        self.note(
            "pagefault_out_of_memory",
            "no frame: put a reserve aside, then try again",
        );
        let waiting = match shortage {
            Shortage::Frame => Waiting::Frame,
            Shortage::Table => Waiting::Table,
            // The object allocates for itself: what would be put aside here it could not have.
            Shortage::Object => {
                return Ok(PageRequest::new(Waiting::Frame, reserve::wait_for_freed));
            }
        };
        let (arena, charge) = (Arc::clone(mm.arena()), mm.charge());
        let (mode, space) = (mm.table().mode(), mm.downgrade());
        Ok(PageRequest::new(waiting, move || {
            let put_aside = || reserve::put_aside(&arena, charge, mode);
            // Before there is none, the space goes without what it said may be dropped.
            let reserve = put_aside().or_else(|| {
                space.upgrade()?.drop_droppable();
                put_aside()
            });
            match reserve {
                Some(reserve) => Obtained::of(Brought::Other(Box::new(reserve))),
                None => Obtained::nothing(),
            }
        }))
    }
}
