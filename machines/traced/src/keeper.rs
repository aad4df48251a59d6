//! A keeper: the task that makes host calls inside one space.
//!
//! It shares its program's host memory and nothing else: it has its own descriptor table, blocks
//! every signal, and is always stopped except while it makes one call. So pages are mapped and
//! forgotten in a process whose own threads run, sleep in a call, or are stopped.

use crate::stub;
use crate::sys::descriptor;
use crate::sys::ptrace::{self, Regs};
use crate::sys::seccomp::{Cookie, INSTALL_CALL, Listener, Place};
use crate::sys::wait::{self, Stop};
use crate::sys::{Gone, HostError, Tid, memory};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What is needed to make keepers, the same for a whole tree.
#[derive(Debug)]
pub(crate) struct Workshop {
    listener: Listener,
    cookie: Cookie,
    stub: OwnedFd,
    arena: OwnedFd,
}

impl Workshop {
    /// A workshop whose keepers map the arena behind `arena`.
    pub(crate) fn new(
        listener: Listener,
        cookie: Cookie,
        arena: BorrowedFd<'_>,
    ) -> Result<Self, HostError> {
        let stub = descriptor::sealed_file(c"recto-stub", &stub::page())?;
        Ok(Self {
            listener,
            cookie,
            stub,
            arena: arena.try_clone_to_owned()?,
        })
    }

    /// Serves a task that has just been resumed into the install call. The call returns the number,
    /// or the errno that the host refused with.
    fn serve_install(
        &self,
        tid: Tid,
        descriptor: BorrowedFd<'_>,
        place: Place,
    ) -> Result<(), Gone> {
        // A task that dies on the way never asks: look for its end now and then.
        for _ in 0..ASKS_MAX {
            match self.listener.receive(10) {
                Ok(Some(asking)) => {
                    // The task hears of a refusal, and if it is gone its next stop says so.
                    let _ = asking.give(descriptor, place);
                    return Ok(());
                }
                Ok(None) => {}
                Err(_) => return Err(Gone),
            }
            if is_dead(tid) {
                return Err(Gone);
            }
        }
        Err(Gone)
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
        let mut asking = *regs;
        let instruction = regs.instruction().wrapping_sub(SYSCALL_BYTES);
        asking.jump_to_call(
            instruction,
            INSTALL_CALL,
            [self.cookie.word(), 0, 0, 0, 0, 0],
        );
        ptrace::set_registers(tid, &asking)?;
        ptrace::resume_to_call_edge(tid, 0)?;
        expect(tid, Stop::CallEdge)?;
        ptrace::resume_to_call_edge(tid, 0)?;
        let served = self.serve_install(tid, descriptor, place);
        expect(tid, Stop::CallEdge)?;
        let answer = ptrace::registers(tid)?.result();
        let mut back = *regs;
        if served.is_ok() && answer >= 0 {
            back.set_result(answer);
        }
        ptrace::set_registers(tid, &back)?;
        ptrace::set_signal_mask(tid, mask)
    }
}

/// How often ten milliseconds are waited for a task to ask for a descriptor.
const ASKS_MAX: u32 = 6000;

/// How many stops that were not asked for are passed over before a task counts as lost.
const STRAY_STOPS: u32 = 64;

fn is_dead(tid: Tid) -> bool {
    let path = format!("/proc/{tid}/stat");
    let Ok(stat) = std::fs::read_to_string(path) else {
        return true;
    };
    let after_name = stat.rsplit(')').next().unwrap_or("");
    matches!(after_name.split_whitespace().next(), Some("Z" | "X"))
}

/// Waits for a stop of one kind. Group stops and signals that come instead are passed over: a task
/// that Recto steers blocks every signal that can be blocked.
pub(crate) fn expect(tid: Tid, wanted: Stop) -> Result<(), Gone> {
    for _ in 0..STRAY_STOPS {
        match wait::one(tid)? {
            stop if stop == wanted => return Ok(()),
            Stop::Exited { .. } | Stop::Killed { .. } => return Err(Gone),
            Stop::CallEdge if wanted == Stop::Seccomp => ptrace::resume(tid, 0)?,
            _ if wanted == Stop::CallEdge || wanted == Stop::Birth => {
                ptrace::resume_to_call_edge(tid, 0)?;
            }
            _ => ptrace::resume(tid, 0)?,
        }
    }
    crate::sys::signal::kill(tid, libc::SIGKILL);
    Err(Gone)
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
fn clone_from(parent: Tid, instruction: u64) -> Result<Tid, Gone> {
    let regs = ptrace::registers(parent)?;
    let mask = ptrace::signal_mask(parent)?;
    ptrace::set_signal_mask(parent, u64::MAX)?;
    let mut cloning = regs;
    let flags = libc::CLONE_VM as u64;
    cloning.jump_to_call(instruction, libc::SYS_clone, [flags, 0, 0, 0, 0, 0]);
    ptrace::set_registers(parent, &cloning)?;
    ptrace::resume(parent, 0)?;
    expect(parent, Stop::Seccomp)?;
    ptrace::resume_to_call_edge(parent, 0)?;
    let mut born = None;
    loop {
        match wait::one(parent)? {
            Stop::Birth => born = Some(Tid::new(ptrace::event_message(parent)? as i32)),
            Stop::CallEdge => break,
            Stop::Exited { .. } | Stop::Killed { .. } => {
                if let Some(keeper) = born {
                    crate::sys::signal::kill(keeper, libc::SIGKILL);
                }
                return Err(Gone);
            }
            _ => {}
        }
        ptrace::resume_to_call_edge(parent, 0)?;
    }
    ptrace::set_registers(parent, &regs)?;
    ptrace::set_signal_mask(parent, mask)?;
    born.ok_or(Gone)
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
        let tid = clone_from(parent, instruction)?;
        expect(tid, Stop::Attention)?;
        raise_descriptor_limit(tid);
        let all = [0, u64::from(u32::MAX), 0, 0, 0, 0];
        call_elsewhere(tid, instruction, libc::SYS_close_range, all)?;
        let mut regs = rest_at(tid, instruction)?;
        regs.set_call(INSTALL_CALL, [workshop.cookie.word(), 0, 0, 0, 0, 0]);
        ptrace::set_registers(tid, &regs)?;
        ptrace::resume_to_call_edge(tid, 0)?;
        let lowest = Place::Lowest {
            close_on_exec: true,
        };
        workshop.serve_install(tid, workshop.stub.as_fd(), lowest)?;
        expect(tid, Stop::CallEdge)?;
        let descriptor = ptrace::registers(tid)?.result();
        let protection = (libc::PROT_READ | libc::PROT_EXEC) as u64;
        let flags = (libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE) as u64;
        let mapping = [stub, stub::BYTES, protection, flags, descriptor as u64, 0];
        let at = call_elsewhere(tid, instruction, libc::SYS_mmap, mapping)?;
        if at != stub as i64 {
            crate::sys::signal::kill(tid, libc::SIGKILL);
            return Err(Gone);
        }
        Self::settle(workshop, tid, stub)
    }

    /// Makes a keeper in a space that holds the stub page at `stub` already.
    pub(crate) fn make(workshop: &Workshop, parent: Tid, stub: u64) -> Result<Self, Gone> {
        let tid = clone_from(parent, stub)?;
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
            crate::sys::signal::kill(tid, libc::SIGKILL);
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
        let lowest = Place::Lowest {
            close_on_exec: true,
        };
        workshop.serve_install(self.tid, descriptor, lowest)?;
        expect(self.tid, Stop::Seccomp)?;
        ptrace::stub_result(self.tid)
    }
}
