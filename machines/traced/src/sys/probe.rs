//! Children that try what the machine needs, and answer word by word how the host took it.
#![expect(
    unsafe_code,
    reason = "fork, and the host calls of a child that does nothing else"
)]

pub(crate) mod faults;

use super::seccomp::{Cookie, Filter, INSTALL_CALL};
use super::wait::{self, Stop};
use super::{Gone, HostError, Tid, ptrace, signal};
use core::cell::Cell;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a child may take for one step. It makes a host call and says so.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to sleep before a stop or an end is looked for again.
const LOOK_AGAIN: Duration = Duration::from_micros(200);
const WORD: usize = size_of::<i64>();

/// Why a child gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// It took too long.
    Silent,
    /// It is dead; the signal that killed it, if one did and it is known.
    Ended(Option<i32>),
}

/// The child's ends of the two pipes.
#[derive(Debug)]
struct Wire {
    hears: OwnedFd,
    tells: OwnedFd,
}

impl Wire {
    /// Waits for the word to go on. Without a parent there is nothing to go on for.
    fn hear(&self) {
        let mut word = 0i64;
        if self.hear_at((&raw mut word).cast()) != WORD as i64 {
            // SAFETY: ends the process and runs nothing of it.
            unsafe { libc::_exit(1) };
        }
    }

    /// Has the kernel store a word at `place`; what the call answered, as [`answer`] gives it.
    fn hear_at(&self, place: *mut libc::c_void) -> i64 {
        // SAFETY: 1. callers pass a word of theirs, or a page that they have mapped. 2. the kernel
        // answers EFAULT for what it cannot store to.
        answer(unsafe { libc::read(self.hears.as_raw_fd(), place, WORD) } as i64)
    }

    fn tell(&self, word: i64) {
        // SAFETY: a word is read. That nobody hears it is found by the next `hear`.
        unsafe { libc::write(self.tells.as_raw_fd(), (&raw const word).cast(), WORD) };
    }
}

/// What a host call answered: its result, or its errno below zero.
fn answer(result: i64) -> i64 {
    if result < 0 {
        -i64::from(HostError::last().raw())
    } else {
        result
    }
}

/// A child of a trial. It is killed when the trial is over.
#[derive(Debug)]
pub(crate) struct Child {
    tid: Tid,
    hears: File,
    tells: File,
    ended: Cell<bool>,
}

/// Makes a child that does `act` and ends. `act` makes host calls alone: it neither allocates nor
/// panics.
fn make(act: impl FnOnce(&Wire)) -> Result<Child, HostError> {
    let (child_hears, tells) = pipe()?;
    let (hears, child_tells) = pipe()?;
    // SAFETY: the child makes host calls alone and never returns.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(HostError::last());
    }
    if pid == 0 {
        // SAFETY: 1. numbers alone. 2. descriptors of this process, which nothing here uses: an end
        // of a pipe is only found when nobody else holds the other. 3. ends the process and runs
        // nothing of it.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::close(tells.as_raw_fd());
            libc::close(hears.as_raw_fd());
            act(&Wire {
                hears: child_hears,
                tells: child_tells,
            });
            libc::_exit(0);
        }
    }
    Ok(Child {
        tid: Tid::new(pid),
        hears: hears.into(),
        tells: tells.into(),
        ended: Cell::new(false),
    })
}

fn pipe() -> Result<(OwnedFd, OwnedFd), HostError> {
    let (reader, writer) = std::io::pipe()?;
    Ok((reader.into(), writer.into()))
}

impl Child {
    /// A child that tells where a word of its memory is that holds [`Child::SECRET`], and the number
    /// of a descriptor of its table; then it answers each word.
    pub(crate) fn at_hand() -> Result<Self, HostError> {
        make(|wire| {
            let secret = Self::SECRET;
            wire.tell((&raw const secret).expose_provenance() as i64);
            wire.tell(i64::from(wire.tells.as_raw_fd()));
            loop {
                wire.hear();
                wire.tell(core::hint::black_box(secret) as i64);
            }
        })
    }

    /// What [`Child::at_hand`] has in its memory.
    pub(crate) const SECRET: u64 = 0x7265_6374_6f21;

    /// A child that, at each word, takes its next step: it comes under `filter` and tells the number
    /// of the listener; makes the install call; makes it without the secret.
    pub(crate) fn under(filter: &Filter, cookie: Cookie) -> Result<Self, HostError> {
        make(|wire| {
            wire.hear();
            match filter.install() {
                Ok(listener) => wire.tell(i64::from(listener)),
                Err(error) => return wire.tell(-i64::from(error.raw())),
            }
            wire.hear();
            // SAFETY: no such call exists: the filter has it answered with numbers alone.
            wire.tell(answer(unsafe {
                let [a, b, c, d, e, f] = cookie.mark(INSTALL_CALL, [0; 6]);
                libc::syscall(INSTALL_CALL, a, b, c, d, e, f)
            }));
            wire.hear();
            // SAFETY: as above.
            wire.tell(answer(unsafe {
                libc::syscall(INSTALL_CALL, 0, 0, 0, 0, 0, 0)
            }));
        })
    }

    /// A child that tells whether it could make a user namespace.
    pub(crate) fn in_user_namespace() -> Result<Self, HostError> {
        make(|wire| {
            // SAFETY: numbers alone; the child does nothing else.
            let made = unsafe { libc::unshare(libc::CLONE_NEWUSER) };
            wire.tell(answer(i64::from(made)));
        })
    }

    /// The child.
    pub(crate) fn tid(&self) -> Tid {
        self.tid
    }

    /// Lets the child go on to its next step. That it is dead is found when it does not answer.
    pub(crate) fn go(&self) {
        // A pipe that nobody reads is an error, and no signal: the runtime of Rust ignores SIGPIPE.
        let _ = (&self.tells).write_all(&0i64.to_ne_bytes());
    }

    /// The child's next word.
    pub(crate) fn hear(&self) -> Result<i64, NoAnswer> {
        let until = Deadline::of_a_step();
        loop {
            if let Some(word) = self.hear_for(until.left())? {
                return Ok(word);
            }
            if until.is_over() {
                return Err(NoAnswer::Silent);
            }
        }
    }

    /// The child's next word, if it comes within this time or before a signal does.
    pub(crate) fn hear_for(&self, time: Duration) -> Result<Option<i64>, NoAnswer> {
        if !is_readable(self.hears.as_fd(), time) {
            return Ok(None);
        }
        let mut word = [0; WORD];
        match (&self.hears).read_exact(&mut word) {
            Ok(()) => Ok(Some(i64::from_ne_bytes(word))),
            Err(_) => Err(NoAnswer::Ended(self.end())),
        }
    }

    /// Waits for the child, which is traced by the calling thread, to stop.
    pub(crate) fn stop(&self) -> Result<Stop, NoAnswer> {
        let until = Deadline::of_a_step();
        loop {
            match self.stop_at_hand()? {
                Some(stop) => return Ok(stop),
                None if until.is_over() => return Err(NoAnswer::Silent),
                None => std::thread::sleep(LOOK_AGAIN),
            }
        }
    }

    /// The stop that it is in and that nobody has been told of, if it is in one.
    pub(crate) fn stop_at_hand(&self) -> Result<Option<Stop>, NoAnswer> {
        wait::stop_at_hand(self.tid).map_err(|Gone| NoAnswer::Ended(self.end()))
    }

    /// Ends the child and takes its status; the signal that ended it, if one did. Where somebody else
    /// traces it and does not let it end, its status is left for others.
    fn end(&self) -> Option<i32> {
        if self.ended.replace(true) {
            return None;
        }
        let until = Deadline::of_a_step();
        signal::kill(self.tid, libc::SIGKILL);
        loop {
            match wait::at_hand(self.tid) {
                Ok(Some(Stop::Killed { signal, .. })) => return Some(signal),
                Ok(Some(Stop::Exited { .. })) | Err(Gone) => return None,
                Ok(Some(_)) => drop(ptrace::resume(self.tid, 0)),
                Ok(None) if until.is_over() => return None,
                Ok(None) => std::thread::sleep(LOOK_AGAIN),
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

/// When a step has taken too long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// From now on, the time that a child may take for one step.
    pub(crate) fn of_a_step() -> Self {
        Self(Instant::now() + PATIENCE)
    }

    /// Whether it is past.
    pub(crate) fn is_over(self) -> bool {
        self.left().is_zero()
    }

    fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// Whether something can be read within this time.
fn is_readable(descriptor: BorrowedFd<'_>, time: Duration) -> bool {
    let mut poll = libc::pollfd {
        fd: descriptor.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let milliseconds = i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: one pollfd, which outlives the call.
    unsafe { libc::poll(&raw mut poll, 1, milliseconds) > 0 }
}

/// Whether the host maps a page of a file as code.
pub(crate) fn map_code(descriptor: BorrowedFd<'_>) -> Result<(), HostError> {
    const BYTES: usize = 4096;
    let prot = libc::PROT_READ | libc::PROT_EXEC;
    let (shared, fd) = (libc::MAP_SHARED, descriptor.as_raw_fd());
    // SAFETY: a mapping at a place that the kernel chooses overlaps nothing.
    let at = unsafe { libc::mmap(core::ptr::null_mut(), BYTES, prot, shared, fd, 0) };
    if at == libc::MAP_FAILED {
        return Err(HostError::last());
    }
    // SAFETY: the mapping just made, which nothing points into.
    unsafe { libc::munmap(at, BYTES) };
    Ok(())
}

/// Whether others of the same user may look into this process (`PR_GET_DUMPABLE`).
pub(crate) fn is_dumpable() -> bool {
    // SAFETY: numbers alone.
    unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) == 1 }
}
