//! Making the first task of a tree, and the bell.
#![expect(unsafe_code, reason = "fork, and the code between it and exec")]

use super::seccomp::{Filter, INSTALL_CALL};
use super::signal::Inherited;
use super::{HostError, Tid};
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// What a new task reports by its install calls: the second argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// It is under the filter; the first argument is the listener's number in its table.
    Listening,
    /// No candidate could be executed; the first argument is the errno.
    NoProgram,
}

impl Report {
    /// The report with this number.
    pub(crate) fn from_word(word: u64) -> Option<Self> {
        match word {
            1 => Some(Self::Listening),
            2 => Some(Self::NoProgram),
            _ => None,
        }
    }

    fn word(self) -> u64 {
        match self {
            Self::Listening => 1,
            Self::NoProgram => 2,
        }
    }
}

/// What becomes, at the start, of the two signals that faults would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnSignals {
    /// They are neither blocked nor ignored.
    Reset,
    /// They stay as this process has them.
    Keep,
}

/// What to execute.
#[derive(Debug)]
pub(crate) struct Launch {
    /// The files to try, in order.
    pub(crate) candidates: Vec<CString>,
    /// Its arguments, the zeroth included.
    pub(crate) arguments: Vec<CString>,
    /// Its environment.
    pub(crate) environment: Vec<CString>,
    /// The filter that it runs under.
    pub(crate) filter: Filter,
    /// What becomes of the signals that Recto owns where faults are signals.
    pub(crate) owned: OwnSignals,
    /// How many descriptors it may have, if this process has changed that for itself.
    pub(crate) nr_descriptors: Option<libc::rlimit>,
}

/// A task that waits to be let go.
#[derive(Debug)]
pub(crate) struct Waiting {
    tid: Tid,
    go: OwnedFd,
    inherited: Inherited,
}

impl Waiting {
    /// The task.
    pub(crate) fn tid(&self) -> Tid {
        self.tid
    }

    /// What its program begins with of the two signals that Recto owns.
    pub(crate) fn inherited(&self) -> Inherited {
        self.inherited
    }

    /// Lets it go on.
    pub(crate) fn go(self) -> Tid {
        drop(self.go);
        self.tid
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), HostError> {
    let mut ends = [0i32; 2];
    // SAFETY: two numbers are stored.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } < 0 {
        return Err(HostError::last());
    }
    // SAFETY: both were just made, and nobody else knows them.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|s| s.as_ptr())
        .chain([core::ptr::null()])
        .collect()
}

/// Makes a task that waits to be seized, then comes under the filter and executes the program.
pub(crate) fn launch(launch: &Launch) -> Result<Waiting, HostError> {
    let (wait, go) = pipe()?;
    let inherited = Inherited::here();
    let arguments = pointers(&launch.arguments);
    let environment = pointers(&launch.environment);
    // SAFETY: the child calls `become_program` alone, which makes host calls and touches memory
    // that was made before, and never returns.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(HostError::last());
    }
    if pid == 0 {
        // SAFETY: a number of this process; closing it lets the read below end.
        unsafe { libc::close(go.as_raw_fd()) };
        become_program(launch, wait.as_raw_fd(), &arguments, &environment);
    }
    Ok(Waiting {
        tid: Tid::new(pid),
        go,
        inherited,
    })
}

fn become_program(
    launch: &Launch,
    wait: i32,
    arguments: &[*const libc::c_char],
    environment: &[*const libc::c_char],
) -> ! {
    let mut byte = 0u8;
    // SAFETY: 1. one byte is stored. 2. the limit is read by the call.
    unsafe {
        while libc::read(wait, (&raw mut byte).cast(), 1) < 0 {}
        if let Some(limit) = &launch.nr_descriptors {
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const *limit);
        }
    }
    Inherited::prepare_for_exec(launch.owned);
    match launch.filter.install() {
        Ok(listener) => {
            report(listener as u64, Report::Listening);
            // SAFETY: a number of this process.
            unsafe { libc::close(listener) };
        }
        // Without the filter no report is heard: the status tells.
        // SAFETY: ends the process and runs nothing of it.
        Err(error) => unsafe { libc::_exit(error.raw()) },
    }
    super::signal::close_as_found();
    let errno = execute(&launch.candidates, arguments, environment);
    report(errno as u64, Report::NoProgram);
    // SAFETY: ends the process and runs nothing of it.
    unsafe { libc::_exit(127) }
}

/// Tries each candidate as a shell's search of PATH does, or the only one; the errno of the refusal
/// that matters.
fn execute(
    candidates: &[CString],
    arguments: &[*const libc::c_char],
    environment: &[*const libc::c_char],
) -> i32 {
    let mut refused = None;
    let searched = candidates.len() > 1;
    for candidate in candidates {
        // SAFETY: three arrays that end with null, of strings that end with zero.
        unsafe { libc::execve(candidate.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        // SAFETY: the calling thread's errno.
        match unsafe { *libc::__errno_location() } {
            libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG if searched => {}
            libc::EACCES => refused = Some(libc::EACCES),
            errno => return errno,
        }
    }
    refused.unwrap_or(libc::ENOENT)
}

fn report(value: u64, what: Report) {
    // SAFETY: no such call exists; the filter stops the task, and the tracer reads the numbers.
    unsafe { libc::syscall(INSTALL_CALL, value, what.word(), 0, 0, 0, 0) };
}

/// A task that does nothing but to be rung: a signal sent to it becomes a stop that its tracer
/// waits for together with all others, so that other threads can wake the tracer without a race.
#[derive(Debug)]
pub(crate) struct Bell(Tid);

impl Bell {
    /// Makes the bell, traced by the calling thread.
    pub(crate) fn hang() -> Result<Self, HostError> {
        let (wait, go) = pipe()?;
        // SAFETY: the child makes host calls alone and never returns.
        let pid = unsafe { libc::fork() };
        if pid < 0 {
            return Err(HostError::last());
        }
        if pid == 0 {
            let name: &CStr = c"recto-bell";
            let mut byte = 0u8;
            // SAFETY: 1. numbers and strings that end with zero. 2. one byte is stored. 3. every
            // descriptor but the three standard ones and the pipe's is closed, then those too;
            // nothing of the parent's uses them here.
            unsafe {
                libc::close(go.as_raw_fd());
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                libc::prctl(libc::PR_SET_NAME, name.as_ptr());
                libc::setsid();
                libc::read(wait.as_raw_fd(), (&raw mut byte).cast(), 1);
                libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
                loop {
                    libc::pause();
                }
            }
        }
        let tid = Tid::new(pid);
        super::ptrace::seize(tid).inspect_err(|_| super::signal::kill(tid, libc::SIGKILL))?;
        drop(go);
        Ok(Self(tid))
    }

    /// The task.
    pub(crate) fn tid(&self) -> Tid {
        self.0
    }

    /// Wakes the tracer.
    pub(crate) fn ring(&self) {
        super::signal::kill(self.0, libc::SIGUSR1);
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        super::signal::kill(self.0, libc::SIGKILL);
        while let Ok(stop) = super::wait::one(self.0) {
            if matches!(stop, super::wait::Stop::Ending) {
                let _ = super::ptrace::resume(self.0, 0);
            }
        }
    }
}
