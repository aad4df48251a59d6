//! Signals: sent to tasks, and those that come to this process.
#![expect(unsafe_code, reason = "signal handlers and kill are host calls")]

use super::Tid;
use super::ptrace::SignalInfo;
use super::spawn::OwnSignals;
use crate::fault::signal_bit;
use crate::signals::OWNED;
use core::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// Sends a signal to a process; that it is gone already is no error.
pub(crate) fn kill(tid: Tid, signal: i32) {
    // SAFETY: numbers alone.
    unsafe { libc::kill(tid.raw(), signal) };
}

/// Sends a signal to one thread of a process.
pub(crate) fn kill_thread(process: Tid, thread: Tid, signal: i32) {
    // SAFETY: numbers alone.
    unsafe { libc::syscall(libc::SYS_tgkill, process.raw(), thread.raw(), signal) };
}

/// Sends SIGSTOP to a thread, of whichever process.
pub(crate) fn stop_thread(tid: Tid) {
    // SAFETY: numbers alone.
    unsafe { libc::syscall(libc::SYS_tkill, tid.raw(), libc::SIGSTOP) };
}

/// Sends a signal to one thread of a process, with `info`, which must be one that a task may send.
pub(crate) fn queue_to_thread(process: Tid, thread: Tid, signal: i32, info: &SignalInfo) {
    // SAFETY: the structure is of the kernel's size, and read by the call.
    unsafe {
        libc::syscall(
            libc::SYS_rt_tgsigqueueinfo,
            process.raw(),
            thread.raw(),
            signal,
            &raw const *info,
        )
    };
}

/// Does `work` while no signal comes to this thread but those that end or stop it at once.
pub(crate) fn undisturbed<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: 1. zeroes are a set of signals. 2. both sets outlive the calls, which store to them or
    // read them.
    let before = unsafe {
        let mut all: libc::sigset_t = core::mem::zeroed();
        let mut before: libc::sigset_t = core::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, &raw mut before);
        before
    };
    let result = work();
    // SAFETY: the set outlives the call.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, core::ptr::null_mut()) };
    result
}

static IGNORED_SIGPIPE: AtomicBool = AtomicBool::new(false);
/// The standard descriptors that were closed, a bit each.
static CLOSED: AtomicI32 = AtomicI32::new(0);
const STANDARD: core::ops::Range<i32> = 0..3;

/// Runs before `main`: the runtime of Rust ignores SIGPIPE and opens standard descriptors that are
/// closed, and a program that is started inherits what was before.
extern "C" fn note_what_the_runtime_changes() {
    let ignored = is_ignored(libc::SIGPIPE);
    IGNORED_SIGPIPE.store(ignored, Ordering::SeqCst);
    // SAFETY: numbers alone; of an open descriptor it only tells.
    let is_closed = |fd: &i32| unsafe { libc::fcntl(*fd, libc::F_GETFD) } < 0;
    let closed = STANDARD
        .filter(is_closed)
        .fold(0, |bits, fd| bits | 1 << fd);
    CLOSED.store(closed, Ordering::SeqCst);
}

// SAFETY: the section holds functions without arguments that are called before `main`; this one makes
// host calls alone.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = note_what_the_runtime_changes;

/// Before an exec: closes the standard descriptors that were closed when this process began, if they
/// still are what the runtime opened in their place. Async-signal-safe.
pub(super) fn close_as_found() {
    let closed = CLOSED.load(Ordering::SeqCst);
    for fd in STANDARD.filter(|fd| closed & 1 << fd != 0) {
        // SAFETY: 1. zeroes are a `stat`, which is stored to and outlives the call. 2. a number of
        // this process, which is about to be another program.
        unsafe {
            let mut stat: libc::stat = core::mem::zeroed();
            if libc::fstat(fd, &raw mut stat) == 0 && stat.st_rdev == libc::makedev(1, 3) {
                libc::close(fd);
            }
        }
    }
}

fn is_ignored(signal: i32) -> bool {
    // SAFETY: 1. zeroes are an empty action. 2. it is stored to, and outlives the call.
    unsafe {
        let mut action: libc::sigaction = core::mem::zeroed();
        libc::sigaction(signal, core::ptr::null(), &raw mut action);
        action.sa_sigaction == libc::SIG_IGN
    }
}

/// Whether this process was started with a signal ignored, or has chosen itself to ignore it.
fn was_ignored(signal: i32) -> bool {
    match signal {
        libc::SIGPIPE => IGNORED_SIGPIPE.load(Ordering::SeqCst),
        signal => is_ignored(signal),
    }
}

/// What a program inherits of some signals from the task that starts it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inherited {
    /// Those that are ignored.
    pub(crate) ignored: u64,
    /// Those of the two that Recto owns that are blocked.
    pub(crate) blocked: u64,
}

impl Inherited {
    /// What the calling thread passes on.
    pub(crate) fn here() -> Self {
        const NR_SIGNALS: i32 = 64;
        let mut mask = 0u64;
        // SAFETY: a set of the kernel's size, which is stored to and outlives the call.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigprocmask,
                libc::SIG_BLOCK,
                core::ptr::null::<u64>(),
                &raw mut mask,
                size_of::<u64>(),
            )
        };
        let ignored = (1..=NR_SIGNALS).filter(|signal| was_ignored(*signal));
        Self {
            ignored: ignored.fold(0, |set, signal| set | signal_bit(signal)),
            blocked: mask & OWNED,
        }
    }

    /// Before an exec: the host neither blocks nor ignores the two, if they are ours, and SIGPIPE is as this process
    /// found it. Async-signal-safe.
    pub(super) fn prepare_for_exec(owned: OwnSignals) {
        let two = OWNED;
        // SAFETY: 1. the default action runs no code of ours. 2. a set of the kernel's size, which is
        // read by the call.
        unsafe {
            if !IGNORED_SIGPIPE.load(Ordering::SeqCst) {
                libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            }
            if owned == OwnSignals::Keep {
                return;
            }
            libc::signal(libc::SIGSEGV, libc::SIG_DFL);
            libc::signal(libc::SIGBUS, libc::SIG_DFL);
            libc::syscall(
                libc::SYS_rt_sigprocmask,
                libc::SIG_UNBLOCK,
                &raw const two,
                core::ptr::null::<u64>(),
                size_of::<u64>(),
            );
        }
    }
}

/// Continues a stopped process, if it is in the process group of this one.
pub(crate) fn continue_in_own_group(process: Tid) {
    // SAFETY: numbers alone.
    unsafe {
        if libc::getpgid(process.raw()) == libc::getpgrp() {
            libc::kill(process.raw(), libc::SIGCONT);
        }
    }
}

/// Stops the calling process until it is continued.
pub(crate) fn stop_self() {
    // SAFETY: numbers alone.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// Ends the calling process by `signal`, as far as it can be ended by it.
pub fn end_self_by(signal: i32) {
    let no_core = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: 1. the limit is read by the call. 2. the default action runs no code of ours. 3. the
    // set holds one signal.
    unsafe {
        libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core);
        libc::signal(signal, libc::SIG_DFL);
        let mut set: libc::sigset_t = core::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, core::ptr::null_mut());
        libc::raise(signal);
    }
}

static BELL: AtomicI32 = AtomicI32::new(0);
static ENDING: AtomicI32 = AtomicI32::new(0);
static STOPPING: AtomicBool = AtomicBool::new(false);

/// The signals that ask this process to end its tree.
const END: [i32; 2] = [libc::SIGTERM, libc::SIGHUP];
/// The signals with which the terminal interrupts a job: the tree gets them too, and decides.
const INTERRUPT: [i32; 2] = [libc::SIGINT, libc::SIGQUIT];
/// Those that the runtime of Rust keeps from ending this process: sent by another, they end it as any
/// signal does.
const KEPT: [i32; 3] = [libc::SIGPIPE, libc::SIGSEGV, libc::SIGBUS];
/// Those with which it stops one: when the first program has stopped, so does this process.
const STOP: [i32; 3] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

extern "C" fn note(signal: i32, info: *mut libc::siginfo_t, _frame: *mut libc::c_void) {
    let sent_by_task = if info.is_null() {
        false
    } else {
        // A write to a pipe without readers sends SIGPIPE in the name of the writer.
        // SAFETY: 1. the kernel passes a valid siginfo to a handler with SA_SIGINFO. 2. every code
        // that is not above zero comes with the number of a sender. 3. getpid may be called in a
        // handler.
        unsafe { (*info).si_code <= 0 && (*info).si_pid() != libc::getpid() }
    };
    let fault = matches!(signal, libc::SIGSEGV | libc::SIGBUS);
    if fault && !sent_by_task {
        // The instruction faults again when the handler is left, and that ends this process.
        // SAFETY: the default action runs no code of ours; may be called in a handler.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let left_alone = INTERRUPT.contains(&signal) || KEPT.contains(&signal);
    if STOP.contains(&signal) {
        STOPPING.store(true, Ordering::SeqCst);
        ring_bell();
    }
    if END.contains(&signal) || (left_alone && sent_by_task) {
        if ENDING.swap(signal, Ordering::SeqCst) != 0 {
            // Asked twice: the tree dies with its tracer.
            // SAFETY: ends the process and runs nothing of it; may be called in a handler.
            unsafe { libc::_exit(128 + signal) };
        }
        ring_bell();
    }
}

fn ring_bell() {
    let bell = BELL.load(Ordering::SeqCst);
    if bell > 0 {
        // SAFETY: kill may be called in a handler; numbers alone.
        unsafe { libc::kill(bell, libc::SIGUSR1) };
    }
}

/// The signals of this process, answered for a tree of programs while it lives.
#[derive(Debug)]
pub(crate) struct Answered {
    before: Vec<(i32, libc::sigaction)>,
}

impl Answered {
    /// From now on a request to end is noted and rings the bell, and the terminal's signals are
    /// left to the programs. Signals that this process was to ignore stay so.
    pub(crate) fn ringing(bell: Tid) -> Self {
        BELL.store(bell.raw(), Ordering::SeqCst);
        ENDING.store(0, Ordering::SeqCst);
        STOPPING.store(false, Ordering::SeqCst);
        let mut before = Vec::new();
        for signal in END.into_iter().chain(INTERRUPT).chain(KEPT).chain(STOP) {
            if was_ignored(signal) {
                continue;
            }
            // SAFETY: 1. zeroes are an empty action. 2. the handler is async-signal-safe: atomics
            // and kill. 3. both actions outlive the calls.
            unsafe {
                let mut old: libc::sigaction = core::mem::zeroed();
                libc::sigaction(signal, core::ptr::null(), &raw mut old);
                let mut new: libc::sigaction = core::mem::zeroed();
                new.sa_sigaction = note as *const () as usize;
                new.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
                libc::sigaction(signal, &raw const new, core::ptr::null_mut());
                before.push((signal, old));
            }
        }
        before.extend(hear_of_no_stops());
        Self { before }
    }

    /// Whether this process answers its signals for a tree now.
    pub(crate) fn is_in_force() -> bool {
        BELL.load(Ordering::SeqCst) > 0
    }

    /// Whether the terminal has stopped the job since the tree was last continued.
    pub(crate) fn is_asked_to_stop() -> bool {
        STOPPING.load(Ordering::SeqCst)
    }

    /// The tree is continued.
    pub(crate) fn forget_stop() {
        STOPPING.store(false, Ordering::SeqCst);
    }

    /// The signal that asked for the end, if one did.
    pub(crate) fn ending() -> Option<i32> {
        match ENDING.load(Ordering::SeqCst) {
            0 => None,
            signal => Some(signal),
        }
    }
}

/// Stops are waited for, so no signal needs to tell of them: it would cost each stop a little.
fn hear_of_no_stops() -> Option<(i32, libc::sigaction)> {
    // SAFETY: 1. zeroes are an empty action. 2. what was in force stays so, but for a flag. 3. both
    // actions outlive the calls.
    unsafe {
        let mut old: libc::sigaction = core::mem::zeroed();
        libc::sigaction(libc::SIGCHLD, core::ptr::null(), &raw mut old);
        let mut new = old;
        new.sa_flags |= libc::SA_NOCLDSTOP;
        (libc::sigaction(libc::SIGCHLD, &raw const new, core::ptr::null_mut()) == 0)
            .then_some((libc::SIGCHLD, old))
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        BELL.store(0, Ordering::SeqCst);
        for (signal, action) in &self.before {
            // SAFETY: an action that was in force before.
            unsafe { libc::sigaction(*signal, &raw const *action, core::ptr::null_mut()) };
        }
    }
}

/// How large the kernel says that a signal frame can be; 0 when it does not say.
pub(crate) fn frame_bytes() -> u64 {
    const AT_MINSIGSTKSZ: libc::c_ulong = 51;
    // SAFETY: reads the auxiliary vector of this process.
    unsafe { libc::getauxval(AT_MINSIGSTKSZ) }
}
