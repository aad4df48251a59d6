//! Running a program on our page tables.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use frame::{Arena, ArenaConfig, ArenaError};
use object::device::DeviceSpace;

use crate::adopt::{Materials, Unadoptable};
use crate::errands::Errands;
use crate::faults::Faults;
use crate::give_back::GiveBack;
use crate::keeper::Workshop;
use crate::readers::Readers;
use crate::space::Shared;
use crate::stats::TreeStats;
use crate::sys::seccomp::{Cookie, Filter, INSTALL_CALL, Listener};
use crate::sys::signal::{Answered, Inherited, kill};
use crate::sys::spawn::{Bell, Launch, Report, launch};
use crate::sys::wait::{self, Stop};
use crate::sys::{Gone, HostError, Tid, descriptor, memory, ptrace};
use crate::together::Together;
use crate::tree::{End, Tree};
use crate::watch::Watcher;
use crate::{faults, limits, probe};

/// Whether this process answers its own signals for the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalPolicy {
    /// SIGTERM and SIGHUP end the tree; the terminal's signals are left to the programs; when the
    /// first program stops, so does this process. For a program that does nothing else.
    Answer,
    /// They stay as they are. For embedders and tests.
    Leave,
}

/// Whether each process's counts are kept until the tree has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatsPolicy {
    /// They are: as much memory as there were processes.
    Keep,
    /// They go with the process.
    Drop,
}

/// What to run.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// The program: a path if it has a slash, else a name to be found by `PATH`.
    pub program: OsString,
    /// Its arguments, without the zeroth.
    pub arguments: Vec<OsString>,
    /// Its environment; `None` is this process's.
    pub environment: Option<Vec<(OsString, OsString)>>,
    /// How many frames of 4 KiB the tree may have.
    pub arena_frames: u64,
    /// What becomes of this process's signals.
    pub signals: SignalPolicy,
    /// What becomes of what is counted.
    pub stats: StatsPolicy,
    /// How faults come to us.
    pub faults: Faults,
}

impl RunConfig {
    /// `program` with `arguments`, in this environment, with `arena_frames` frames.
    pub fn new(program: impl Into<OsString>, arguments: Vec<OsString>, arena_frames: u64) -> Self {
        Self {
            program: program.into(),
            arguments,
            environment: None,
            arena_frames,
            signals: SignalPolicy::Leave,
            stats: StatsPolicy::Keep,
            faults: Faults::Waiting,
        }
    }
}

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// This process got this signal, and ended the tree.
    Asked(i32),
}

/// A run that happened.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How the program ended.
    pub ending: Ending,
    /// What was counted.
    pub stats: TreeStats,
}

impl Outcome {
    /// The new process ended before it had a program.
    fn before_the_program(ending: Ending) -> Self {
        let stats = TreeStats::default();
        Self { ending, stats }
    }
}

/// Why a program could not be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// There is no such program, or the interpreter it names is missing.
    #[error("{program}: {text}")]
    NotFound {
        /// The program as given.
        program: String,
        /// The errno's text.
        text: String,
    },
    /// It is there, but cannot be executed.
    #[error("{program}: {text}")]
    NotExecutable {
        /// The program as given.
        program: String,
        /// The errno's text.
        text: String,
    },
    /// The host does not let this process trace another.
    #[error("tracing is not permitted ({text}): {cause}")]
    NotPermitted {
        /// The errno's text.
        text: String,
        /// What forbids it, and what to do about that.
        cause: String,
    },
    /// The host has no seccomp filters with listeners, or does not let this process install one.
    #[error("a seccomp filter with a listener cannot be installed ({text}): {cause}")]
    NoFilter {
        /// The errno's text.
        text: String,
        /// What forbids it, and what to do about that.
        cause: String,
    },
    /// There can be no arena of this size here.
    #[error("{text}")]
    ArenaSize {
        /// Why.
        text: String,
    },
    /// The arena cannot be made, or has no room for the program's image.
    #[error("out of memory: {text}")]
    NoMemory {
        /// What was wanted.
        text: String,
    },
    /// Something else that the host refused.
    #[error("{what}: {text}")]
    Host {
        /// What was tried.
        what: &'static str,
        /// The errno's text.
        text: String,
    },
}

impl RunError {
    /// The exit status that a shell would use.
    pub fn exit_status(&self) -> i32 {
        match self {
            Self::NotFound { .. } => 127,
            Self::NotExecutable { .. } => 126,
            Self::ArenaSize { .. } => 2,
            _ => 1,
        }
    }
}

fn host(what: &'static str) -> impl FnOnce(HostError) -> RunError {
    move |error| RunError::Host {
        what,
        text: error.to_string(),
    }
}

/// Runs a program, and all that it starts, until the last of them has ended. The calling thread
/// traces them: no other wait for children must be made on it meanwhile.
///
/// # Errors
/// When the program could not be started. What happens to it afterwards is an [`Outcome`].
pub fn run(config: &RunConfig) -> Result<Outcome, RunError> {
    let arena = Arena::new(ArenaConfig::memfd(config.arena_frames)).map_err(no_arena)?;
    let nr_descriptors = descriptor::raise_limit();
    let cookie = Cookie::random().map_err(host("random numbers"))?;
    let faults = faults::possible(config.faults);
    let plan = Launch {
        candidates: candidates(config),
        arguments: arguments(config),
        environment: environment(config),
        filter: Filter::new(&faults::verdicts(faults), cookie),
        owned: faults::own_signals(faults),
        nr_descriptors,
    };
    let bell = Arc::new(Bell::hang().map_err(not_permitted("ptrace"))?);
    let together = Together::begin();
    let waiting = launch(&plan).map_err(host("fork"))?;
    let root = waiting.tid();
    if let Err(error) = ptrace::seize(root) {
        kill(root, libc::SIGKILL);
        reap(root);
        return Err(not_permitted("ptrace")(error));
    }
    let answered = match config.signals {
        SignalPolicy::Answer => Some(Answered::ringing(bell.tid())),
        SignalPolicy::Leave => None,
    };
    let inherited = waiting.inherited();
    waiting.go();
    let watcher = faults::watcher(faults).map_err(host("the thread that serves faults"))?;
    let means = (&bell, cookie, together, watcher);
    let outcome = start(config, (root, inherited), &arena, means);
    drop(answered);
    outcome.inspect_err(|_| {
        kill(root, libc::SIGKILL);
        reap(root);
    })
}

fn no_arena(error: ArenaError) -> RunError {
    let text = error.to_string();
    match error {
        ArenaError::Frames(_) | ArenaError::AddressSpace(_) => RunError::ArenaSize { text },
        _ => RunError::NoMemory { text },
    }
}

/// The host refused this call: it forbids it, or is short of something.
fn not_permitted(call: &'static str) -> impl FnOnce(HostError) -> RunError {
    move |error| match error.raw() {
        libc::EPERM | libc::EACCES | libc::ENOSYS => RunError::NotPermitted {
            text: error.to_string(),
            cause: probe::why_untraceable(call, error).to_string(),
        },
        _ => host("start")(error),
    }
}

fn no_filter(errno: HostError) -> RunError {
    RunError::NoFilter {
        text: errno.to_string(),
        cause: probe::why_no_filter(errno).to_string(),
    }
}

fn start(
    config: &RunConfig,
    (root, inherited): (Tid, Inherited),
    arena: &Arc<Arena>,
    (bell, cookie, together, watcher): (&Arc<Bell>, Cookie, Option<Together>, Option<Watcher>),
) -> Result<Outcome, RunError> {
    let listener = listener_of(root)?;
    let fd = arena.fd().ok_or_else(|| RunError::NoMemory {
        text: "the arena is no file".to_owned(),
    })?;
    let zeroes = faults::zeroes(watcher.as_ref()).map_err(host("the file of zeroes"))?;
    let workshop = Workshop::new(listener, cookie, fd, zeroes, root);
    let workshop = workshop.map_err(host("the stub page"))?;
    let shared = Arc::new(Shared {
        workshop,
        devices: DeviceSpace::new(),
        errands: Errands::new(Arc::clone(bell)),
        disturbed: AtomicBool::new(false),
        readers: Readers::default(),
        habits: sync::Mutex::default(),
        watcher,
    });
    let materials = Materials {
        arena: Arc::clone(arena),
        commit: Arc::new(limits::commit(arena.nr_frames())),
    };
    if let Some(ending) = until_exec(config, root)? {
        return Ok(Outcome::before_the_program(ending));
    }
    let mut tree = Tree::new(&shared, materials, bell.tid(), root);
    match tree.begin(inherited) {
        Ok(()) => {}
        Err(Unadoptable::Gone) => {
            kill(root, libc::SIGKILL);
            return reap(root).map(Outcome::before_the_program).ok_or_else(lost);
        }
        Err(reason) => return Err(unadoptable(config, reason)),
    }
    tree.together = together;
    tree.stats_policy = config.stats;
    let idle = GiveBack::begin(arena);
    let mut ended = tree.serve();
    drop(idle);
    ended.stats.nr_frames_given_back = arena.usage().nr_given_back;
    let ending = match (ended.asked_by, ended.end) {
        (Some(signal), _) => Ending::Asked(signal),
        (None, End::Exited(status)) => Ending::Exited(status),
        (None, End::Killed(signal)) => Ending::Killed(signal),
    };
    Ok(Outcome {
        ending,
        stats: ended.stats,
    })
}

fn unadoptable(config: &RunConfig, reason: Unadoptable) -> RunError {
    let program = config.program.to_string_lossy().into_owned();
    match reason {
        Unadoptable::ThirtyTwoBit => RunError::NotExecutable {
            program,
            text: "32-bit programs are not supported".to_owned(),
        },
        Unadoptable::OutOfMemory => RunError::NoMemory {
            text: format!("no room for the image of {program}"),
        },
        Unadoptable::Gone => lost(),
        Unadoptable::Strange(what) => RunError::Host {
            what: "start",
            text: what.to_owned(),
        },
    }
}

fn lost() -> RunError {
    RunError::Host {
        what: "start",
        text: "the new process died".to_owned(),
    }
}

/// Waits for the new task's report that it is under the filter, and takes the listener. If it cannot
/// come under one, it ends with the errno.
fn listener_of(root: Tid) -> Result<Listener, RunError> {
    loop {
        match wait::one(root).map_err(|Gone| lost())? {
            Stop::Seccomp => break,
            Stop::Exited { status } if status != 0 => {
                return Err(no_filter(HostError::new(status)));
            }
            Stop::Exited { .. } | Stop::Killed { .. } => return Err(lost()),
            Stop::Signal(signal) => ptrace::resume(root, signal).map_err(|Gone| lost())?,
            _ => ptrace::resume(root, 0).map_err(|Gone| lost())?,
        }
    }
    let regs = ptrace::registers(root).map_err(|Gone| lost())?;
    let value = regs.argument(0) as i32;
    let report = Report::from_word(regs.argument(1));
    if (regs.call_number(), report) != (INSTALL_CALL, Some(Report::Listening)) {
        // The report did not stop it: this is a call that it makes later.
        return Err(RunError::Host {
            what: "seccomp",
            text: probe::why_unheard().to_string(),
        });
    }
    let task = descriptor::open_task(root).map_err(not_permitted("pidfd_open"))?;
    let listener = descriptor::take(task.as_fd(), value).map_err(not_permitted("pidfd_getfd"))?;
    memory::try_read(root, regs.stack(), &mut [0]).map_err(not_permitted("process_vm_readv"))?;
    ptrace::resume(root, 0).map_err(|Gone| lost())?;
    Ok(Listener::new(listener))
}

/// Lets the new task go on until the program has been executed, or could not be. The answer is how
/// it ended, if a signal ended it: the host kills a task when it finds too late that it cannot build
/// the image of a file that it took for a program.
fn until_exec(config: &RunConfig, root: Tid) -> Result<Option<Ending>, RunError> {
    let program = config.program.to_string_lossy().into_owned();
    loop {
        match wait::one(root).map_err(|Gone| lost())? {
            Stop::Exec => return Ok(None),
            Stop::Killed { signal, .. } => return Ok(Some(Ending::Killed(signal))),
            Stop::Exited { .. } => return Err(lost()),
            Stop::Seccomp => {
                let regs = ptrace::registers(root).map_err(|Gone| lost())?;
                if Report::from_word(regs.argument(1)) == Some(Report::NoProgram)
                    && regs.call_number() == INSTALL_CALL
                {
                    let errno = HostError::new(regs.argument(0) as i32);
                    return Err(no_program(program, errno));
                }
                ptrace::resume(root, 0).map_err(|Gone| lost())?;
            }
            Stop::Signal(signal) => ptrace::resume(root, signal).map_err(|Gone| lost())?,
            _ => ptrace::resume(root, 0).map_err(|Gone| lost())?,
        }
    }
}

fn no_program(program: String, errno: HostError) -> RunError {
    let searched = !program.contains('/');
    let text = errno.to_string();
    match errno.raw() {
        libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG if searched => RunError::NotFound {
            program,
            text: "command not found".to_owned(),
        },
        libc::ENOENT => RunError::NotFound { program, text },
        libc::EACCES if Path::new(&program).is_dir() => RunError::NotExecutable {
            program,
            text: HostError::new(libc::EISDIR).to_string(),
        },
        _ => RunError::NotExecutable { program, text },
    }
}

/// Waits for the end of a task; the answer is how it ended, if it has not been told before.
fn reap(root: Tid) -> Option<Ending> {
    while let Ok(stop) = wait::one(root) {
        match stop {
            Stop::Exited { status } => return Some(Ending::Exited(status)),
            Stop::Killed { signal, .. } => return Some(Ending::Killed(signal)),
            _ => {}
        }
        let _ = ptrace::resume(root, 0);
    }
    None
}

/// The files to try, as a shell does: its search passes over directories.
fn candidates(config: &RunConfig) -> Vec<CString> {
    let program = config.program.as_bytes();
    if program.contains(&b'/') || program.is_empty() {
        return CString::new(program).into_iter().collect();
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
    std::env::split_paths(&path)
        .map(|directory| {
            if directory.as_os_str().is_empty() {
                PathBuf::from(".")
            } else {
                directory
            }
        })
        .map(|directory| directory.join(&config.program))
        .filter(|file| !file.is_dir())
        .filter_map(|file| CString::new(file.into_os_string().into_vec()).ok())
        .collect()
}

fn arguments(config: &RunConfig) -> Vec<CString> {
    let all = std::iter::once(&config.program).chain(&config.arguments);
    all.filter_map(|argument| CString::new(argument.as_bytes()).ok())
        .collect()
}

fn environment(config: &RunConfig) -> Vec<CString> {
    let variables: Vec<(OsString, OsString)> = match &config.environment {
        Some(variables) => variables.clone(),
        None => std::env::vars_os().collect(),
    };
    variables
        .into_iter()
        .filter_map(|(name, value)| {
            let mut bytes = name.into_vec();
            bytes.push(b'=');
            bytes.extend_from_slice(value.as_bytes());
            CString::new(bytes).ok()
        })
        .collect()
}

impl From<RunError> for io::Error {
    fn from(error: RunError) -> Self {
        io::Error::other(error)
    }
}

#[cfg(test)]
mod tests;
