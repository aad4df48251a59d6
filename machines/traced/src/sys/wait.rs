//! Waiting for stops and ends of traced tasks.
#![expect(unsafe_code, reason = "waitpid stores through a raw pointer")]

use super::{Gone, Tid};

/// How a task stopped or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It ended by itself.
    Exited {
        /// Its status.
        status: i32,
    },
    /// A signal ended it.
    Killed {
        /// The signal.
        signal: i32,
        /// Whether a core was written.
        core: bool,
    },
    /// It enters a call that the filter asks about.
    Seccomp,
    /// It enters or leaves a call, and was resumed to stop there.
    CallEdge,
    /// A signal is about to be delivered.
    Signal(i32),
    /// It made a task; the event message is its number.
    Birth,
    /// It runs a new program.
    Exec,
    /// It is about to end.
    Ending,
    /// A stopping signal stopped its process.
    Group(i32),
    /// It was interrupted, has just been born, or its process goes on after a stop.
    Attention,
    /// An event that is not asked for.
    Other,
}

/// Why no stop could be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoStop {
    /// There is nothing left to wait for.
    NoTasks,
    /// A signal came.
    Interrupted,
}

fn decode(status: i32) -> Stop {
    if libc::WIFEXITED(status) {
        return Stop::Exited {
            status: libc::WEXITSTATUS(status),
        };
    }
    if libc::WIFSIGNALED(status) {
        return Stop::Killed {
            signal: libc::WTERMSIG(status),
            core: libc::WCOREDUMP(status),
        };
    }
    let signal = libc::WSTOPSIG(status);
    match status >> 16 {
        0 if signal == libc::SIGTRAP | 0x80 => Stop::CallEdge,
        0 => Stop::Signal(signal),
        libc::PTRACE_EVENT_SECCOMP => Stop::Seccomp,
        libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
            Stop::Birth
        }
        libc::PTRACE_EVENT_EXEC => Stop::Exec,
        libc::PTRACE_EVENT_EXIT => Stop::Ending,
        libc::PTRACE_EVENT_STOP => match signal {
            libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => Stop::Group(signal),
            _ => Stop::Attention,
        },
        _ => Stop::Other,
    }
}

fn wait(tid: i32, flags: i32) -> Result<(i32, i32), i32> {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    let answer = unsafe { libc::waitpid(tid, &raw mut status, flags) };
    if answer < 0 {
        return Err(std::io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::ECHILD));
    }
    Ok((answer, status))
}

/// Waits for the next stop or end of any task that the calling thread traces or made.
pub(crate) fn any() -> Result<(Tid, Stop), NoStop> {
    match wait(-1, libc::__WALL | libc::__WNOTHREAD) {
        Ok((tid, status)) => Ok((Tid::new(tid), decode(status))),
        Err(libc::EINTR) => Err(NoStop::Interrupted),
        Err(_) => Err(NoStop::NoTasks),
    }
}

/// The stops and ends that need not be waited for: of each task the first.
pub(crate) fn all_at_hand() -> Vec<(Tid, Stop)> {
    let flags = libc::__WALL | libc::__WNOTHREAD | libc::WNOHANG;
    let mut all = Vec::new();
    while let Ok((tid, status)) = wait(-1, flags)
        && tid != 0
    {
        all.push((Tid::new(tid), decode(status)));
    }
    all
}

/// `waitid` on one task; the stop or end that it finds, if any.
fn look(tid: Tid, flags: i32) -> Result<Option<Stop>, i32> {
    // SAFETY: siginfo is integers, so zeroes are one.
    let mut info: libc::siginfo_t = unsafe { core::mem::zeroed() };
    let flags = flags | libc::__WALL | libc::__WNOTHREAD;
    // SAFETY: `info` outlives the call.
    let answer = unsafe { libc::waitid(libc::P_PID, tid.raw() as u32, &raw mut info, flags) };
    if answer < 0 {
        return Err(std::io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::ECHILD));
    }
    // SAFETY: waitid has stored the fields of a child, or left them zero.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    // A stop is told as the signal and the event above it; waitpid tells it one byte higher.
    Ok((pid != 0).then(|| decode(status << 8 | 0x7f)))
}

/// Waits for the next stop of one task. That it has ended is left for [`any`] to report, so that
/// whoever keeps account of tasks hears of it.
pub(crate) fn stop_of(tid: Tid) -> Result<Stop, Gone> {
    loop {
        match look(tid, libc::WSTOPPED) {
            Ok(Some(stop)) => return Ok(stop),
            Ok(None) | Err(libc::EINTR) => {}
            Err(_) => return Err(Gone),
        }
    }
}

/// The stop that one task is in and that nobody has been told of, if it is in one. Its end is left
/// to [`any`].
pub(crate) fn stop_at_hand(tid: Tid) -> Result<Option<Stop>, Gone> {
    match look(tid, libc::WSTOPPED | libc::WNOHANG) {
        Ok(stop) => Ok(stop),
        Err(libc::EINTR) => Ok(None),
        Err(_) => Err(Gone),
    }
}

/// Whether a task of this process has ended, whichever thread traces it.
pub(crate) fn has_ended(tid: Tid) -> bool {
    // SAFETY: siginfo is integers, so zeroes are one.
    let mut info: libc::siginfo_t = unsafe { core::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    // SAFETY: `info` outlives the call.
    let answer = unsafe { libc::waitid(libc::P_PID, tid.raw() as u32, &raw mut info, flags) };
    // A stop is told even if it was not asked for.
    let ends = [libc::CLD_EXITED, libc::CLD_KILLED, libc::CLD_DUMPED];
    answer < 0 || ends.contains(&info.si_code)
}

/// Whether there is still something to be heard of a task: [`any`] has not reported its end.
pub(crate) fn is_awaited(tid: Tid) -> bool {
    let flags = libc::WSTOPPED | libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    look(tid, flags).is_ok()
}

/// Waits for the next stop or end of one task.
pub(crate) fn one(tid: Tid) -> Result<Stop, Gone> {
    loop {
        match wait(tid.raw(), libc::__WALL | libc::__WNOTHREAD) {
            Ok((_, status)) => return Ok(decode(status)),
            Err(libc::EINTR) => {}
            Err(_) => return Err(Gone),
        }
    }
}

/// The stop or end of one task that need not be waited for, if there is one.
pub(crate) fn at_hand(tid: Tid) -> Result<Option<Stop>, Gone> {
    let flags = libc::__WALL | libc::__WNOTHREAD | libc::WNOHANG;
    match wait(tid.raw(), flags) {
        Ok((0, _)) | Err(libc::EINTR) => Ok(None),
        Ok((_, status)) => Ok(Some(decode(status))),
        Err(_) => Err(Gone),
    }
}

/// Waits until a task that has been killed has ended.
pub(crate) fn end_of(tid: Tid) {
    while let Ok(stop) = one(tid) {
        match stop {
            Stop::Exited { .. } | Stop::Killed { .. } => return,
            _ => {
                let _ = super::ptrace::resume(tid, 0);
            }
        }
    }
}
