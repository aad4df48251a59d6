//! A keeper: the task that makes host calls inside one space.
//!
//! It shares its program's host memory and nothing else: it has its own descriptor table, blocks
//! every signal, and is always stopped except while it makes one call. So pages are mapped and
//! forgotten in a process whose own threads run, sleep in a call, or are stopped.

use crate::sys::descriptor;
use crate::sys::ptrace::{self, Regs};
use crate::sys::seccomp::{Cookie, Doom, INSTALL_CALL, Listener, Place};
use crate::sys::signal::{kill, stop_thread};
use crate::sys::wait::{self, Stop};
use crate::sys::{Gone, HostError, Tid, memory};
use crate::{numbers, stub};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What is needed to make keepers, the same for a whole tree.
#[derive(Debug)]
pub(crate) struct Workshop {
    listener: Listener,
    cookie: Cookie,
    stub: OwnedFd,
    arena: OwnedFd,
    zeroes: OwnedFd,
    /// The first program, which is a child of this process.
    first: Tid,
}

/// How many zeroes there are to map at once.
pub(crate) const ZEROES_BYTES: u64 = 2 << 20;

impl Workshop {
    /// A workshop whose keepers map the arena behind `arena`, for the tree of the task `first`.
    pub(crate) fn new(
        listener: Listener,
        cookie: Cookie,
        arena: BorrowedFd<'_>,
        first: Tid,
    ) -> Result<Self, HostError> {
        let stub = descriptor::sealed_file(c"recto-stub", &stub::page())?;
        let zeroes = descriptor::text_file(c"recto-zeroes", &vec![0; ZEROES_BYTES as usize])?;
        Ok(Self {
            listener,
            cookie,
            stub,
            arena: arena.try_clone_to_owned()?,
            zeroes,
            first,
        })
    }

    /// The arguments of the install call that let the kernel do this to its caller.
    pub(crate) fn dooming(&self, doom: Doom) -> [u64; 6] {
        [self.cookie.word(), doom as u64, 0, 0, 0, 0]
    }

    /// A file of zeroes that nobody can write.
    pub(crate) fn zeroes(&self) -> BorrowedFd<'_> {
        self.zeroes.as_fd()
    }

    /// Serves a task that has just been resumed into the install call, until it stops as `wanted`.
    /// The call returns the number, or the errno that the host refused with.
    fn serve_install(
        &self,
        steered: &mut Steered,
        wanted: Stop,
        (descriptor, place): (BorrowedFd<'_>, Place),
    ) -> Result<(), Gone> {
        loop {
            let asking = self.listener.receive(LOOK_AGAIN_MILLISECONDS);
            let stop = match asking.map_err(|_| Gone)? {
                Some(asking) => {
                    // The task hears of a refusal; and if it asks no more, why it stopped.
                    let _ = asking.give(descriptor, place);
                    Some(wait::stop_of(steered.tid)?)
                }
                None => wait::stop_at_hand(steered.tid)?,
            };
            match stop {
                Some(stop) if stop != wanted => steered.pass_over(stop, wanted)?,
                Some(Stop::CallEdge) if steered.is_broken_off()? => steered.call_again()?,
                Some(_) => return Ok(()),
                None => {}
            }
        }
    }

    /// Installs a descriptor in a program's task that is stopped on the return of a call, and leaves
    /// it there again. The program sees the number of the descriptor as the call's answer.
    pub(crate) fn install_after_call(
        &self,
        tid: Tid,
        regs: &Regs,
        descriptor: BorrowedFd<'_>,
        place: Place,
    ) -> Result<(), Gone> {
        const SYSCALL_BYTES: u64 = 2;
        let mask = ptrace::signal_mask(tid)?;
        ptrace::set_signal_mask(tid, u64::MAX)?;
        let mut steered = Steered::new(tid);
        let mut asking = *regs;
        let instruction = regs.instruction().wrapping_sub(SYSCALL_BYTES);
        asking.jump_to_call(
            instruction,
            INSTALL_CALL,
            [self.cookie.word(), 0, 0, 0, 0, 0],
        );
        ptrace::set_registers(tid, &asking)?;
        ptrace::resume_to_call_edge(tid, 0)?;
        steered.expect(Stop::CallEdge)?;
        ptrace::resume_to_call_edge(tid, 0)?;
        self.serve_install(&mut steered, Stop::CallEdge, (descriptor, place))?;
        let answer = ptrace::registers(tid)?.result();
        let mut back = *regs;
        if answer >= 0 {
            back.set_result(answer);
        }
        ptrace::set_registers(tid, &back)?;
        ptrace::set_signal_mask(tid, mask)?;
        steered.leave();
        Ok(())
    }
}

/// Where a keeper has its descriptors.
const KEPT: Place = Place::Lowest {
    close_on_exec: true,
};

/// After how long it is looked whether a task that should ask for a descriptor has stopped instead.
const LOOK_AGAIN_MILLISECONDS: i32 = 10;

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
    tid: Tid,
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
    fn pass_over(&mut self, stop: Stop, wanted: Stop) -> Result<(), Gone> {
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
    fn is_broken_off(&self) -> Result<bool, Gone> {
        let result = ptrace::registers(self.tid)?.result();
        Ok(result == ERESTARTSYS || result == ERESTARTNOINTR)
    }

    /// Lets the kernel make a call again that a signal has broken off, as far as into the call.
    fn call_again(&mut self) -> Result<(), Gone> {
        ptrace::resume_to_call_edge(self.tid, 0)?;
        self.expect(Stop::CallEdge)?;
        ptrace::resume_to_call_edge(self.tid, 0)
    }

    /// Lets go of a program's thread: a signal that was to stop it comes once more.
    fn leave(self) {
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

/// A keeper at rest.
#[derive(Debug)]
pub(crate) struct Keeper {
    tid: Tid,
    rest: Regs,
    arena: u32,
}

/// Makes a keeper for the host memory of `parent`, which is stopped, by letting it make a clone at
/// the `syscall` instruction at `instruction`. The parent's registers and mask are put back.
///
/// The keeper of the first program becomes a child of this process. Others are children of their
/// program, which does not see them unless it waits with `__WALL`.
fn clone_from(workshop: &Workshop, parent: Tid, instruction: u64) -> Result<Tid, Gone> {
    let flags = if parent == workshop.first {
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

/// Lets a process that begins another program wait for its former keeper, which has been killed: a
/// child that it has not made must not be left to it. It is stopped, and has the stub page at `stub`.
pub(crate) fn bury(process: Tid, keeper: Tid, stub: u64) -> Result<(), Gone> {
    let number = numbers::own(keeper) as u64;
    wait::end_of(keeper);
    let regs = ptrace::registers(process)?;
    let mask = ptrace::signal_mask(process)?;
    ptrace::set_signal_mask(process, u64::MAX)?;
    let mut steered = Steered::new(process);
    let mut waiting = regs;
    let options = (libc::__WALL | libc::WNOHANG) as u64;
    waiting.jump_to_call(stub, libc::SYS_wait4, [number, 0, options, 0, 0, 0]);
    ptrace::set_registers(process, &waiting)?;
    ptrace::resume(process, 0)?;
    steered.expect(Stop::Seccomp)?;
    ptrace::resume_to_call_edge(process, 0)?;
    steered.expect(Stop::CallEdge)?;
    ptrace::set_registers(process, &regs)?;
    ptrace::set_signal_mask(process, mask)?;
    steered.leave();
    Ok(())
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

/// Lets a keeper have as many descriptors as its hard limit allows, or as Recto may have itself. The
/// limit is the keeper's own: the program's stays as it is.
fn raise_descriptor_limit(tid: Tid) {
    let Some((_, hard)) = memory::limit(tid, libc::RLIMIT_NOFILE) else {
        return;
    };
    let own = memory::limit(Tid::new(0), libc::RLIMIT_NOFILE).map_or(hard, |(_, hard)| hard);
    let _ = (own > hard && memory::set_limit(tid, libc::RLIMIT_NOFILE, (own, own)))
        || memory::set_limit(tid, libc::RLIMIT_NOFILE, (hard, hard));
}

/// Lets a newborn or idle task go to rest at the `syscall` instruction at `instruction`.
fn rest_at(tid: Tid, instruction: u64) -> Result<Regs, Gone> {
    let mut regs = ptrace::registers(tid)?;
    regs.jump_to_call(instruction, stub::REST, [0; 6]);
    ptrace::set_registers(tid, &regs)?;
    ptrace::resume(tid, 0)?;
    expect(tid, Stop::Seccomp)?;
    ptrace::registers(tid)
}

/// One call of a task at rest at an instruction that is not the stub's: two stops.
fn call_elsewhere(
    tid: Tid,
    instruction: u64,
    number: i64,
    arguments: [u64; 6],
) -> Result<i64, Gone> {
    let mut regs = rest_at(tid, instruction)?;
    regs.set_call(number, arguments);
    ptrace::set_registers(tid, &regs)?;
    ptrace::resume_to_call_edge(tid, 0)?;
    expect(tid, Stop::CallEdge)?;
    Ok(ptrace::registers(tid)?.result())
}

impl Keeper {
    /// Makes a keeper in a space that has no stub page yet, at a `syscall` instruction of the
    /// program's, and maps the stub page at `stub`.
    pub(crate) fn make_with_stub(
        workshop: &Workshop,
        parent: Tid,
        instruction: u64,
        stub: u64,
    ) -> Result<Self, Gone> {
        let tid = clone_from(workshop, parent, instruction)?;
        expect(tid, Stop::Attention)?;
        raise_descriptor_limit(tid);
        let all = [0, u64::from(u32::MAX), 0, 0, 0, 0];
        call_elsewhere(tid, instruction, libc::SYS_close_range, all)?;
        let mut regs = rest_at(tid, instruction)?;
        regs.set_call(INSTALL_CALL, [workshop.cookie.word(), 0, 0, 0, 0, 0]);
        ptrace::set_registers(tid, &regs)?;
        ptrace::resume_to_call_edge(tid, 0)?;
        let mut steered = Steered::new(tid);
        let wanted = (workshop.stub.as_fd(), KEPT);
        workshop.serve_install(&mut steered, Stop::CallEdge, wanted)?;
        let descriptor = ptrace::registers(tid)?.result();
        let protection = (libc::PROT_READ | libc::PROT_EXEC) as u64;
        let flags = (libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE) as u64;
        let mapping = [stub, stub::BYTES, protection, flags, descriptor as u64, 0];
        let at = call_elsewhere(tid, instruction, libc::SYS_mmap, mapping)?;
        if at != stub as i64 {
            kill(tid, libc::SIGKILL);
            return Err(Gone);
        }
        Self::settle(workshop, tid, stub)
    }

    /// Makes a keeper in a space that holds the stub page at `stub` already.
    pub(crate) fn make(workshop: &Workshop, parent: Tid, stub: u64) -> Result<Self, Gone> {
        let tid = clone_from(workshop, parent, stub)?;
        expect(tid, Stop::Attention)?;
        raise_descriptor_limit(tid);
        Self::settle(workshop, tid, stub)
    }

    /// Goes to rest in the stub, leaves the program's session, and swaps its descriptors for the
    /// arena's.
    fn settle(workshop: &Workshop, tid: Tid, stub: u64) -> Result<Self, Gone> {
        let rest = rest_at(tid, stub)?;
        let mut keeper = Self {
            tid,
            rest,
            arena: 0,
        };
        keeper.call(libc::SYS_setsid, [0; 6])?;
        keeper.call(libc::SYS_close_range, [0, u64::from(u32::MAX), 0, 0, 0, 0])?;
        let arena = keeper.install(workshop, workshop.arena.as_fd())?;
        keeper.arena = u32::try_from(arena).map_err(|_| {
            kill(tid, libc::SIGKILL);
            Gone
        })?;
        Ok(keeper)
    }

    /// Moves the stub page to `stub`, where nothing is, and goes to rest there. What is left at the
    /// old place is the same page once more.
    pub(crate) fn move_stub(&mut self, from: u64, stub: u64) -> Result<(), Gone> {
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | libc::MREMAP_DONTUNMAP;
        let arguments = [from, stub::BYTES, stub::BYTES, flags as u64, stub, 0];
        if self.call(libc::SYS_mremap, arguments)? != stub as i64 {
            return Err(Gone);
        }
        self.rest = rest_at(self.tid, stub)?;
        Ok(())
    }

    /// The task.
    pub(crate) fn tid(&self) -> Tid {
        self.tid
    }

    /// The arena's number in its table.
    pub(crate) fn arena(&self) -> u32 {
        self.arena
    }

    /// Makes one host call; what the kernel answered.
    pub(crate) fn call(&mut self, number: i64, arguments: [u64; 6]) -> Result<i64, Gone> {
        let mut regs = self.rest;
        regs.set_call(number, arguments);
        ptrace::set_registers(self.tid, &regs)?;
        ptrace::resume(self.tid, 0)?;
        expect(self.tid, Stop::Seccomp)?;
        ptrace::stub_result(self.tid)
    }

    /// Installs a descriptor in its table; its number there, or what the kernel answered instead.
    pub(crate) fn install(
        &mut self,
        workshop: &Workshop,
        descriptor: BorrowedFd<'_>,
    ) -> Result<i64, Gone> {
        let mut regs = self.rest;
        regs.set_call(INSTALL_CALL, [workshop.cookie.word(), 0, 0, 0, 0, 0]);
        ptrace::set_registers(self.tid, &regs)?;
        ptrace::resume(self.tid, 0)?;
        let mut steered = Steered::new(self.tid);
        workshop.serve_install(&mut steered, Stop::Seccomp, (descriptor, KEPT))?;
        ptrace::stub_result(self.tid)
    }
}
