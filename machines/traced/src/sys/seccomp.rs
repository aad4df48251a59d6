//! The filter that decides which calls stop, and the listener that installs descriptors.
#![expect(unsafe_code, reason = "seccomp is a host call with raw pointers")]

use super::HostError;
use super::signal::undisturbed;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// What the filter does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It runs, unseen.
    Pass,
    /// The tracer is asked.
    Ask,
    /// It fails with this errno, unseen.
    Fail(u16),
}

impl Verdict {
    fn action(self) -> u32 {
        match self {
            Self::Pass => libc::SECCOMP_RET_ALLOW,
            Self::Ask => libc::SECCOMP_RET_TRACE,
            Self::Fail(errno) => libc::SECCOMP_RET_ERRNO | u32::from(errno),
        }
    }
}

/// The number of the call that installs a descriptor: no call of Linux.
pub(crate) const INSTALL_CALL: i64 = 0x5ec7;

/// What becomes of a task that makes the install call with this as its second argument: what a filter
/// of its own had for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doom {
    /// Its process dies of SIGSYS.
    KillProcess = 1,
    /// It dies of SIGSYS.
    KillThread = 2,
    /// It gets SIGSYS.
    Trap = 3,
}

/// The secret that the install call carries, so that a program cannot make it.
#[derive(Clone, Copy)]
pub(crate) struct Cookie(u64);

impl core::fmt::Debug for Cookie {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Cookie(..)")
    }
}

impl Cookie {
    /// A fresh secret from the host.
    pub(crate) fn random() -> Result<Self, HostError> {
        let mut word = 0u64;
        // SAFETY: the buffer is the word, and its size is given.
        let got = unsafe { libc::getrandom((&raw mut word).cast(), size_of::<u64>(), 0) };
        if got == size_of::<u64>() as isize {
            Ok(Self(word))
        } else {
            Err(HostError::last())
        }
    }

    /// The word to pass as first argument.
    pub(crate) fn word(self) -> u64 {
        self.0
    }
}

/// A filter ready to be installed.
#[derive(Debug)]
pub(crate) struct Filter {
    program: Vec<libc::sock_filter>,
}

const NR_OFFSET: u32 = 0;
const ARCH_OFFSET: u32 = 4;
const ARGUMENT_LOW: u32 = 16;
const ARGUMENT_HIGH: u32 = 20;
const SECOND_ARGUMENT_LOW: u32 = 24;
const ARCH_X86_64: u32 = 0xc000_003e;

fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

fn jump(code: u32, k: u32, yes: u8, no: u8) -> libc::sock_filter {
    libc::sock_filter {
        code: (libc::BPF_JMP | code | libc::BPF_K) as u16,
        jt: yes,
        jf: no,
        k,
    }
}

fn load(offset: u32) -> libc::sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn answer(action: u32) -> libc::sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, action)
}

/// A binary search over runs of numbers with the same verdict; `runs` holds (first number, verdict).
fn search(runs: &[(u32, Verdict)], out: &mut Vec<libc::sock_filter>) {
    let Some((middle, _)) = runs.get(runs.len() / 2) else {
        return;
    };
    if let [(_, verdict)] = runs {
        out.push(answer(verdict.action()));
        return;
    }
    let (low, high) = runs.split_at(runs.len() / 2);
    let mut below = Vec::new();
    search(low, &mut below);
    // A conditional jump reaches 255 instructions, an unconditional one all of them.
    out.push(jump(libc::BPF_JGE, *middle, 0, 1));
    out.push(statement(libc::BPF_JMP | libc::BPF_JA, below.len() as u32));
    out.append(&mut below);
    search(high, out);
}

impl Filter {
    /// A filter that answers for each call number below `verdicts.len()` as the table says, asks
    /// about number -1 (a keeper at rest), and fails all others, and all other architectures, with
    /// ENOSYS.
    pub(crate) fn new(verdicts: &[Verdict], cookie: Cookie) -> Self {
        let enosys = Verdict::Fail(libc::ENOSYS as u16);
        let mut program = vec![
            load(ARCH_OFFSET),
            jump(libc::BPF_JEQ, ARCH_X86_64, 1, 0),
            answer(enosys.action()),
            load(NR_OFFSET),
            jump(libc::BPF_JEQ, u32::MAX, 0, 1),
            answer(libc::SECCOMP_RET_TRACE),
            jump(libc::BPF_JEQ, INSTALL_CALL as u32, 0, 13),
            load(ARGUMENT_LOW),
            jump(libc::BPF_JEQ, cookie.0 as u32, 0, 10),
            load(ARGUMENT_HIGH),
            jump(libc::BPF_JEQ, (cookie.0 >> 32) as u32, 0, 8),
            load(SECOND_ARGUMENT_LOW),
            jump(libc::BPF_JEQ, Doom::KillProcess as u32, 0, 1),
            answer(libc::SECCOMP_RET_KILL_PROCESS),
            jump(libc::BPF_JEQ, Doom::KillThread as u32, 0, 1),
            answer(libc::SECCOMP_RET_KILL_THREAD),
            jump(libc::BPF_JEQ, Doom::Trap as u32, 0, 1),
            answer(libc::SECCOMP_RET_TRAP),
            answer(libc::SECCOMP_RET_USER_NOTIF),
            answer(libc::SECCOMP_RET_TRACE),
        ];
        let mut runs: Vec<(u32, Verdict)> = Vec::new();
        for (number, verdict) in (0..).zip(verdicts.iter().copied()) {
            if runs.last().is_none_or(|(_, last)| *last != verdict) {
                runs.push((number, verdict));
            }
        }
        runs.push((verdicts.len() as u32, enosys));
        search(&runs, &mut program);
        Self { program }
    }

    /// Puts the calling thread under the filter, for ever; the answer is the listener's descriptor.
    /// Allocates nothing, so that it may be called between fork and exec.
    pub(super) fn install(&self) -> Result<i32, HostError> {
        let program = libc::sock_fprog {
            len: self.program.len() as u16,
            filter: self.program.as_ptr().cast_mut(),
        };
        let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
        for attempt in 0..2 {
            // SAFETY: the program and what it points to outlive the call, which copies them.
            let listener = unsafe {
                libc::syscall(
                    libc::SYS_seccomp,
                    libc::SECCOMP_SET_MODE_FILTER,
                    flags,
                    &raw const program,
                )
            };
            if listener >= 0 {
                return Ok(listener as i32);
            }
            if attempt == 0 {
                // SAFETY: a prctl with numbers alone.
                unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
            }
        }
        Err(HostError::last())
    }
}

/// Where tasks that make the install call are served.
#[derive(Debug)]
pub(crate) struct Listener(OwnedFd);

/// Where a descriptor goes in the table of the task that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The lowest free number.
    Lowest {
        /// Whether an exec closes it.
        close_on_exec: bool,
    },
    /// This number, closing what is there.
    At(u32, bool),
}

impl Listener {
    /// The listener of an installed filter.
    pub(crate) fn new(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    /// Waits for a task to make the install call, up to `milliseconds`; `None` when none did.
    pub(crate) fn receive(&self, milliseconds: i32) -> Result<Option<Asking<'_>>, HostError> {
        let mut poll = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one pollfd, which outlives the call.
        let ready = unsafe { libc::poll(&raw mut poll, 1, milliseconds) };
        if ready <= 0 {
            return Ok(None);
        }
        // SAFETY: a notification is integers, so zeroes are one; the kernel wants it zeroed.
        let mut notification: libc::seccomp_notif = unsafe { core::mem::zeroed() };
        // SAFETY: the structure is of the size that the request stores.
        let got = unsafe {
            libc::ioctl(
                self.0.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_RECV as libc::c_ulong,
                &raw mut notification,
            )
        };
        if got < 0 {
            return match HostError::last() {
                error if error.raw() == libc::ENOENT || error.raw() == libc::EINTR => Ok(None),
                error => Err(error),
            };
        }
        Ok(Some(Asking {
            listener: self.0.as_fd(),
            id: notification.id,
        }))
    }
}

/// A task in the install call.
#[derive(Debug)]
pub(crate) struct Asking<'a> {
    listener: BorrowedFd<'a>,
    id: u64,
}

impl Asking<'_> {
    /// Gives the task a duplicate of `descriptor`; its call returns the number. When the task's
    /// table has no room its call fails with the same errno.
    ///
    /// The answer is sent by itself. Sent along with the descriptor it would be taken for given when
    /// something breaks off our call before the task has woken: its call would return 0, and nothing
    /// be there. And no signal is let in, or so many could come that the task never wakes in time.
    pub(crate) fn give(self, descriptor: BorrowedFd<'_>, place: Place) -> Result<u32, HostError> {
        let (newfd, flags, close_on_exec) = match place {
            Place::Lowest { close_on_exec } => (0, 0, close_on_exec),
            Place::At(number, close_on_exec) => {
                (number, libc::SECCOMP_ADDFD_FLAG_SETFD as u32, close_on_exec)
            }
        };
        let request = libc::seccomp_notif_addfd {
            id: self.id,
            flags,
            srcfd: descriptor.as_raw_fd() as u32,
            newfd,
            newfd_flags: if close_on_exec {
                libc::O_CLOEXEC as u32
            } else {
                0
            },
        };
        let add = || {
            // SAFETY: the structure is of the size that the request reads.
            unsafe {
                libc::ioctl(
                    self.listener.as_raw_fd(),
                    libc::SECCOMP_IOCTL_NOTIF_ADDFD as libc::c_ulong,
                    &raw const request,
                )
            }
        };
        let added = undisturbed(|| uninterrupted(add));
        let answer = added.map_or_else(|error| (0, -error.raw()), |number| (number.into(), 0));
        self.answer(answer)?;
        added.map(|number| number as u32)
    }

    /// Lets the call return a value, or fail with an error; ours is an error when the task is gone.
    fn answer(&self, (val, error): (i64, i32)) -> Result<(), HostError> {
        let response = libc::seccomp_notif_resp {
            id: self.id,
            val,
            error,
            flags: 0,
        };
        let sent = uninterrupted(|| {
            // SAFETY: the structure is of the size that the request reads.
            unsafe {
                libc::ioctl(
                    self.listener.as_raw_fd(),
                    libc::SECCOMP_IOCTL_NOTIF_SEND as libc::c_ulong,
                    &raw const response,
                )
            }
        });
        sent.map(drop)
    }
}

/// Makes a host call again while signals break it off.
fn uninterrupted(mut call: impl FnMut() -> libc::c_int) -> Result<libc::c_int, HostError> {
    loop {
        let answer = call();
        if answer >= 0 {
            return Ok(answer);
        }
        let error = HostError::last();
        if error.raw() != libc::EINTR {
            return Err(error);
        }
    }
}
