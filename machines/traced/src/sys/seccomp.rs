//! The filter that decides which calls stop, and the listener that installs descriptors.
#![expect(unsafe_code, reason = "seccomp is a host call with raw pointers")]

use super::HostError;
use super::signal::undisturbed;
use leaf::{Leaf, look_up};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

mod leaf;

/// What the filter does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It runs, unseen.
    Pass,
    /// The tracer is asked.
    Ask,
    /// The tracer is asked, unless the call is of a futex of one memory alone.
    AskUnlessPrivate,
    /// The tracer is asked, unless the third argument is a null pointer.
    AskIfGivenThird,
    /// It fails with this errno, unseen.
    Fail(u16),
}

impl Verdict {
    fn action(self) -> u32 {
        match self {
            Self::Pass => libc::SECCOMP_RET_ALLOW,
            Self::Ask | Self::AskUnlessPrivate | Self::AskIfGivenThird => libc::SECCOMP_RET_TRACE,
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

/// The secrets by which the filter knows a call of Recto's, so that a program cannot make it. The
/// first lets through whatever a keeper does. A task that waits can be asked what it waits with, so
/// waiting has one of its own.
#[derive(Clone, Copy)]
pub(crate) struct Cookie {
    call: u64,
    wait: u64,
}

impl core::fmt::Debug for Cookie {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Cookie(..)")
    }
}

impl Cookie {
    /// Fresh secrets from the host.
    pub(crate) fn random() -> Result<Self, HostError> {
        let mut words = [0u64; 2];
        let bytes = size_of_val(&words);
        // SAFETY: the buffer is the words, and its size is given.
        let got = unsafe { libc::getrandom((&raw mut words).cast(), bytes, 0) };
        if got == bytes as isize {
            let [call, wait] = words;
            Ok(Self { call, wait })
        } else {
            Err(HostError::last())
        }
    }

    /// What a keeper has in the registers that its calls and its wait take them from.
    pub(crate) fn words(self) -> (u64, u64) {
        (self.call, self.wait)
    }

    /// The arguments of a call with what lets it through the filter: the last one, or of an mmap, which
    /// has six, the halves of flags and descriptor that the kernel does not look at.
    pub(crate) fn mark(self, number: i64, arguments: [u64; 6]) -> [u64; 6] {
        const LOW: u64 = u32::MAX as u64;
        let [a, b, c, d, e, f] = arguments;
        if number == libc::SYS_mmap {
            [
                a,
                b,
                c,
                d & LOW | self.call << 32,
                e & LOW | self.call & !LOW,
                f,
            ]
        } else {
            [a, b, c, d, e, self.call]
        }
    }
}

/// The calls that keepers make.
const KEPT: [i64; 14] = [
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_close,
    libc::SYS_futex,
    libc::SYS_write,
    libc::SYS_lseek,
    libc::SYS_setsid,
    libc::SYS_close_range,
    libc::SYS_ioctl,
    libc::SYS_prctl,
    libc::SYS_userfaultfd,
];

/// A filter ready to be installed.
#[derive(Debug)]
pub(crate) struct Filter {
    program: Vec<libc::sock_filter>,
}

const NR_OFFSET: u32 = 0;
const ARCH_OFFSET: u32 = 4;
const ARCH_X86_64: u32 = 0xc000_003e;

/// Where the halves of an argument are.
const fn low(argument: u32) -> u32 {
    16 + 8 * argument
}

const fn high(argument: u32) -> u32 {
    low(argument) + 4
}

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

/// Whether two words of the call are the halves of a secret. If not, what follows is passed over as
/// far as `behind` instructions.
fn compare(secret: u64, (low, high): (u32, u32), behind: u8) -> [libc::sock_filter; 4] {
    [
        load(low),
        jump(libc::BPF_JEQ, secret as u32, 0, behind + 2),
        load(high),
        jump(libc::BPF_JEQ, (secret >> 32) as u32, 0, behind),
    ]
}

impl Filter {
    /// A filter that answers for each call number below `verdicts.len()` as the table says, and fails
    /// all others, and all other architectures, with ENOSYS. What keepers do passes.
    pub(crate) fn new(verdicts: &[Verdict], cookie: Cookie) -> Self {
        let enosys = Verdict::Fail(libc::ENOSYS as u16);
        let mut program = vec![
            load(ARCH_OFFSET),
            jump(libc::BPF_JEQ, ARCH_X86_64, 1, 0),
            answer(enosys.action()),
            load(NR_OFFSET),
            jump(libc::BPF_JEQ, INSTALL_CALL as u32, 0, 13),
        ];
        program.extend(compare(cookie.call, (low(5), high(5)), 8));
        program.extend([
            load(low(1)),
            jump(libc::BPF_JEQ, Doom::KillProcess as u32, 0, 1),
            answer(libc::SECCOMP_RET_KILL_PROCESS),
            jump(libc::BPF_JEQ, Doom::KillThread as u32, 0, 1),
            answer(libc::SECCOMP_RET_KILL_THREAD),
            jump(libc::BPF_JEQ, Doom::Trap as u32, 0, 1),
            answer(libc::SECCOMP_RET_TRAP),
            answer(libc::SECCOMP_RET_USER_NOTIF),
            answer(libc::SECCOMP_RET_TRACE),
        ]);
        let leaves = (0..).zip(verdicts.iter().copied());
        let leaves = leaves.map(|(number, verdict)| Leaf::new(number, verdict, cookie));
        look_up(leaves.chain([Leaf::plain(enosys)]), &mut program);
        Self { program }
    }

    /// A filter beside another such one, which only asks about some calls more. It has no secrets: a
    /// program may read it. `reports_at` is what keepers write, which is no concern of it.
    pub(crate) fn beside(verdicts: &[Verdict], reports_at: [u64; 2]) -> Self {
        let pass = Verdict::Pass.action();
        let mut program = vec![
            load(ARCH_OFFSET),
            jump(libc::BPF_JEQ, ARCH_X86_64, 1, 0),
            answer(pass),
            load(NR_OFFSET),
            jump(libc::BPF_JEQ, libc::SYS_write as u32, 0, 11),
        ];
        for report_at in reports_at {
            program.extend(compare(report_at, (low(1), high(1)), 1));
            program.push(answer(pass));
        }
        program.push(load(NR_OFFSET));
        let verdicts = verdicts.iter().copied().chain([Verdict::Pass]);
        let leaves = verdicts.map(Leaf::plain);
        look_up(leaves, &mut program);
        Self { program }
    }

    /// The filter as a program's memory at `address` would hold it: a `struct sock_fprog`, and the
    /// instructions behind it.
    pub(crate) fn bytes_at(&self, address: u64) -> Vec<u8> {
        const HEAD_BYTES: u64 = 16;
        let length = self.program.len() as u64;
        let mut bytes = Vec::new();
        bytes.extend(length.to_le_bytes());
        bytes.extend(address.wrapping_add(HEAD_BYTES).to_le_bytes());
        for one in &self.program {
            bytes.extend(one.code.to_le_bytes());
            bytes.extend([one.jt, one.jf]);
            bytes.extend(one.k.to_le_bytes());
        }
        bytes
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
    pub(crate) fn give(self, descriptor: BorrowedFd<'_>, place: Place) -> Result<u32, HostError> {
        let added = self.add(descriptor, place);
        let answer = added.map_or_else(|error| (0, -error.raw()), |number| (number.into(), 0));
        self.answer(answer)?;
        added
    }

    /// Makes a duplicate of each descriptor the one of that number in the task's table; its call
    /// returns 0, or fails with the errno that the host refused one with.
    pub(crate) fn furnish(self, descriptors: &[BorrowedFd<'_>]) -> Result<(), HostError> {
        let added = (0..).zip(descriptors).try_for_each(|(number, descriptor)| {
            let place = Place::At(number, false);
            self.add(*descriptor, place).map(drop)
        });
        let error = added.map_or_else(|error| -error.raw(), |()| 0);
        self.answer((0, error))?;
        added
    }

    /// The answer is sent by itself. Sent along with the descriptor it would be taken for given when
    /// something breaks off our call before the task has woken: its call would return 0, and nothing
    /// be there. And no signal is let in, or so many could come that the task never wakes in time.
    fn add(&self, descriptor: BorrowedFd<'_>, place: Place) -> Result<u32, HostError> {
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
        undisturbed(|| uninterrupted(add)).map(|number| number as u32)
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

#[cfg(test)]
mod tests;
