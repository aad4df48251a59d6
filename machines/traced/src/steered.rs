//! Tasks that Recto lets make a call of its own: a program's threads, and keepers before they keep.

use crate::keeper::Workshop;
use crate::numbers;
use crate::sys::ptrace::{self, Regs};
use crate::sys::signal::{kill, stop_thread};
use crate::sys::wait::{self, Stop};
use crate::sys::{Gone, Tid, memory};

/// How many stops that were not asked for are passed over before a task counts as lost.
const STRAY_STOPS: u32 = 64;

/// How often a program's thread tries to make its keeper. The kernel breaks a clone off when a
/// signal comes, even one that is blocked.
const CLONE_TRIES: u32 = 16;

/// What the kernel says of a call that a signal has broken off, and that is to be made again.
const ERESTARTSYS: i64 = -512;
const ERESTARTNOINTR: i64 = -513;

/// A task while Recto makes it do something. It blocks every signal that can be blocked.
#[derive(Debug)]
pub(crate) struct Steered {
    /// Which one.
    pub(crate) tid: Tid,
    strays: u32,
    /// Whether a stopping signal has come that was no business of ours.
    stopped: bool,
}

impl Steered {
    /// A stopped task that is about to be steered.
    pub(crate) fn new(tid: Tid) -> Self {
        Self {
            tid,
            strays: 0,
            stopped: false,
        }
    }

    /// Waits for a stop of one kind; others that come before it are passed over. That the task has
    /// ended is reported to the tree as ever.
    pub(crate) fn expect(&mut self, wanted: Stop) -> Result<(), Gone> {
        loop {
            match wait::stop_of(self.tid)? {
                stop if stop == wanted => return Ok(()),
                stop => self.pass_over(stop, wanted)?,
            }
        }
    }

    /// Lets the task go on from a stop that was not asked for, on its way to one that was.
    pub(crate) fn pass_over(&mut self, stop: Stop, wanted: Stop) -> Result<(), Gone> {
        match stop {
            Stop::Signal(libc::SIGSTOP) | Stop::Group(_) => self.stopped = true,
            // The process was continued.
            Stop::Attention => self.stopped = false,
            _ => {}
        }
        self.strays += 1;
        if self.strays > STRAY_STOPS {
            kill(self.tid, libc::SIGKILL);
            return Err(Gone);
        }
        if wanted == Stop::CallEdge {
            ptrace::resume_to_call_edge(self.tid, 0)
        } else {
            ptrace::resume(self.tid, 0)
        }
    }

    /// Whether a signal has broken off the call that the task comes back from, to be made again.
    pub(crate) fn is_broken_off(&self) -> Result<bool, Gone> {
        let result = ptrace::registers(self.tid)?.result();
        Ok(result == ERESTARTSYS || result == ERESTARTNOINTR)
    }

    /// Lets the kernel make a call again that a signal has broken off, as far as into the call.
    pub(crate) fn call_again(&mut self) -> Result<(), Gone> {
        ptrace::resume_to_call_edge(self.tid, 0)?;
        self.expect(Stop::CallEdge)?;
        ptrace::resume_to_call_edge(self.tid, 0)
    }

    /// Lets go of a program's thread: a signal that was to stop it comes once more.
    pub(crate) fn leave(self) {
        if self.stopped {
            stop_thread(self.tid);
        }
    }
}

/// Waits for a stop of one kind of a task that is a keeper, or on its way from a stop to another in
/// one call.
pub(crate) fn expect(tid: Tid, wanted: Stop) -> Result<(), Gone> {
    Steered::new(tid).expect(wanted)
}

/// Makes a keeper for the host memory of `parent`, which is stopped, by letting it make a clone at
/// the `syscall` instruction at `instruction`. The parent's registers and mask are put back.
///
/// The keeper of the first program becomes a child of this process. Others are children of their
/// program, which does not see them unless it waits with `__WALL`.
pub(crate) fn clone_from(workshop: &Workshop, parent: Tid, instruction: u64) -> Result<Tid, Gone> {
    let flags = if parent == workshop.first() {
        libc::CLONE_VM | libc::CLONE_PARENT
    } else {
        libc::CLONE_VM
    };
    let regs = ptrace::registers(parent)?;
    let mask = ptrace::signal_mask(parent)?;
    ptrace::set_signal_mask(parent, u64::MAX)?;
    let mut steered = Steered::new(parent);
    let (mut born, mut lifted) = (None, None);
    for _ in 0..CLONE_TRIES {
        let mut cloning = regs;
        let arguments = [flags as u64, 0, 0, 0, 0, 0];
        cloning.jump_to_call(instruction, libc::SYS_clone, arguments);
        ptrace::set_registers(parent, &cloning)?;
        ptrace::resume(parent, 0)?;
        steered.expect(Stop::Seccomp)?;
        ptrace::resume_to_call_edge(parent, 0)?;
        born = clone_made_by(&mut steered)?;
        if born.is_some() {
            break;
        }
        let refused = ptrace::registers(parent)?.result() == -i64::from(libc::EAGAIN);
        if refused && lifted.is_none() {
            lifted = lift_process_limit(parent);
        } else if refused || !steered.is_broken_off()? {
            break;
        }
    }
    if let Some(own) = lifted {
        memory::set_limit(parent, libc::RLIMIT_NPROC, own);
    }
    let restored = ptrace::set_registers(parent, &regs);
    let restored = restored.and_then(|()| ptrace::set_signal_mask(parent, mask));
    match (restored, born) {
        (Ok(()), Some(keeper)) => {
            steered.leave();
            Ok(keeper)
        }
        (Err(Gone), Some(keeper)) => {
            kill(keeper, libc::SIGKILL);
            Err(Gone)
        }
        (_, None) => Err(Gone),
    }
}

/// Lets a stopped thread, which has the registers `regs`, make a call at the `syscall` instruction at
/// `instruction`, and leaves it on the call's return, with the registers and the mask that it had; what
/// the call answered.
fn call_at(
    (tid, instruction): (Tid, u64),
    regs: &Regs,
    number: i64,
    arguments: [u64; 6],
) -> Result<i64, Gone> {
    let mask = ptrace::signal_mask(tid)?;
    ptrace::set_signal_mask(tid, u64::MAX)?;
    let mut steered = Steered::new(tid);
    let mut calling = *regs;
    calling.jump_to_call(instruction, number, arguments);
    ptrace::set_registers(tid, &calling)?;
    // Into the call, and out of it; whether the filter asks about it or not.
    for _edge in 0..2 {
        ptrace::resume_to_call_edge(tid, 0)?;
        steered.expect(Stop::CallEdge)?;
    }
    let answer = ptrace::registers(tid)?.result();
    ptrace::set_registers(tid, regs)?;
    ptrace::set_signal_mask(tid, mask)?;
    steered.leave();
    Ok(answer)
}

/// Lets a thread that is stopped on the return of a call make another, and leaves it there again, with
/// the registers that it had; the answer of that other call.
pub(crate) fn call_on_return(
    tid: Tid,
    regs: &Regs,
    number: i64,
    arguments: [u64; 6],
) -> Result<i64, Gone> {
    const SYSCALL_BYTES: u64 = 2;
    let instruction = regs.instruction().wrapping_sub(SYSCALL_BYTES);
    call_at((tid, instruction), regs, number, arguments)
}

/// Lets a process that begins another program wait for its former keeper, which has been killed: a
/// child that it has not made must not be left to it. It is stopped, and has the stub page at `stub`.
pub(crate) fn bury(process: Tid, keeper: Tid, stub: u64) -> Result<(), Gone> {
    let number = numbers::own(keeper) as u64;
    wait::end_of(keeper);
    let regs = ptrace::registers(process)?;
    let options = (libc::__WALL | libc::WNOHANG) as u64;
    let arguments = [number, 0, options, 0, 0, 0];
    call_at((process, stub), &regs, libc::SYS_wait4, arguments).map(drop)
}

/// The task that a clone which is under way makes, if it makes one; the maker is left on the return
/// of the call.
fn clone_made_by(steered: &mut Steered) -> Result<Option<Tid>, Gone> {
    let mut born = None;
    loop {
        match wait::stop_of(steered.tid) {
            Ok(Stop::Birth) => {
                born = Some(Tid::new(ptrace::event_message(steered.tid)? as i32));
                ptrace::resume_to_call_edge(steered.tid, 0)?;
            }
            Ok(Stop::CallEdge) => return Ok(born),
            Ok(stop) => steered.pass_over(stop, Stop::CallEdge)?,
            Err(Gone) => {
                if let Some(keeper) = born {
                    kill(keeper, libc::SIGKILL);
                }
                return Err(Gone);
            }
        }
    }
}

/// Lets a program's thread make a keeper although its user has as many processes as the program may
/// see; the limit that it had. That is not always permitted.
fn lift_process_limit(parent: Tid) -> Option<(u64, u64)> {
    let own = memory::limit(parent, libc::RLIMIT_NPROC)?;
    let (_, hard) = own;
    let none = libc::RLIM_INFINITY;
    let lifted = memory::set_limit(parent, libc::RLIMIT_NPROC, (none, none))
        || memory::set_limit(parent, libc::RLIMIT_NPROC, (hard, hard));
    lifted.then_some(own)
}
