//! Opening files: those whose text speaks of a program's memory are served from ours. And changing
//! the length of files, which mappings have to hear of.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use super::table::Verb;
use super::{Answer, Call, mem_file, stops};
use crate::fault::signal_bit;
use crate::halt::{Halt, Next};
use crate::memory::{Frozen, Memory, TASK_SIZE};
use crate::sys::seccomp::Place;
use crate::sys::{Tid, descriptor, ptrace};
use crate::thread::{OnReturn, Phase, Resized, Thread};
use crate::tree::Tree;
use crate::{proc_text, ready};

const PROC_SUPER_MAGIC: i64 = 0x9fa0;

/// Lets an open run; one that may be of a file that Recto answers for, or that empties the file, is
/// looked at on its return.
pub(crate) fn see(call: &mut Call<'_>) -> Result<Answer, Halt> {
    let number = call.regs.call_number();
    let argument = usize::from(!matches!(number, libc::SYS_open | libc::SYS_creat));
    let path = ready::read_text(call.memory, call.argument(argument))?;
    let then = if path.is_some_and(|path| may_be_ours(&path)) {
        OnReturn::Opened
    } else if flags(call)? & libc::O_TRUNC != 0 {
        OnReturn::Resized(Resized::Returned, 0)
    } else {
        return Ok(Answer::Run);
    };
    call.thread.phase = Phase::InCall(then);
    Ok(Answer::Go(Next::ToCallEdge))
}

/// What a file is opened for.
fn flags(call: &Call<'_>) -> Result<i32, Halt> {
    Ok(match call.regs.call_number() {
        libc::SYS_open => call.int(1),
        libc::SYS_openat => call.int(2),
        libc::SYS_creat => libc::O_TRUNC,
        _ => {
            let mut word = [0u8; 8];
            ready::read(call.memory, call.argument(2), &mut word)?;
            u64::from_le_bytes(word) as i32
        }
    })
}

/// Whether the last part of a path is the name of a file that Recto answers for. What was really
/// opened is looked at afterwards.
fn may_be_ours(path: &[u8]) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    proc_text::NAMES
        .iter()
        .chain([&mem_file::NAME])
        .any(|known| known.as_bytes() == name)
}

/// The descriptor that a call returned may be of a file of ours: then the program gets our text in
/// its place.
pub(crate) fn on_opened(tree: &mut Tree, thread: &mut Thread) -> Result<Next, Halt> {
    let regs = ptrace::registers(thread.tid)?;
    let Ok(number) = u32::try_from(regs.result()) else {
        return Ok(Next::Resume);
    };
    let Some(opened) = opened(tree, thread, number as i32) else {
        return Ok(Next::Resume);
    };
    if opened.name == mem_file::NAME {
        thread.process.has_mem_file.set(true);
        if thread.memory().space.is_watched() {
            return stops::begin(thread);
        }
    }
    let Some(text) = text_of(tree, opened) else {
        return Ok(Next::Resume);
    };
    let name = CString::from(c"recto-text");
    let Ok(file) = descriptor::text_file(&name, &text) else {
        return Ok(Next::Resume);
    };
    let close_on_exec = is_close_on_exec(thread.tid, number);
    let place = Place::At(number, close_on_exec);
    tree.shared
        .workshop
        .install_after_call(thread.tid, &regs, file.as_fd(), place)?;
    Ok(Next::Resume)
}

fn is_close_on_exec(tid: Tid, number: u32) -> bool {
    let info = std::fs::read_to_string(format!("/proc/{tid}/fdinfo/{number}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let bits = flags
        .and_then(|octal| i32::from_str_radix(octal.trim(), 8).ok())
        .unwrap_or(0);
    bits & libc::O_CLOEXEC != 0
}

/// A file of `/proc/PID` that a descriptor leads to.
#[derive(Debug)]
pub(super) struct Opened<'t> {
    /// The file.
    pub(super) file: OwnedFd,
    /// The last part of its name.
    pub(super) name: String,
    /// The thread that it is about, if that still is.
    subject: Option<&'t Thread>,
    /// The memory that it is about.
    pub(super) memory: Rc<Memory>,
}

/// What the descriptor of a thread leads to; `None` when that is no file about a program of ours.
pub(super) fn opened<'t>(tree: &'t Tree, thread: &'t Thread, number: i32) -> Option<Opened<'t>> {
    let task = descriptor::open_task(thread.tid).ok()?;
    let file = descriptor::take(task.as_fd(), number).ok()?;
    if descriptor::filesystem_kind(file.as_fd()).ok()? != PROC_SUPER_MAGIC {
        return None;
    }
    let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    let path = path.to_str()?;
    let mut parts = path.rsplit('/');
    let name = parts.next()?.to_owned();
    let tid = Tid::new(parts.next()?.parse().ok()?);
    let subject = if tid == thread.tid {
        Some(thread)
    } else {
        tree.threads.get(&tid)
    };
    let is_own_process = tid == thread.process.pid;
    let memory = match subject {
        Some(subject) => subject.memory(),
        None => is_own_process.then(|| thread.memory())?,
    };
    Some(Opened {
        file,
        name,
        subject,
        memory,
    })
}

/// Our text for a file; `None` for one that is not ours.
fn text_of(tree: &Tree, opened: Opened<'_>) -> Option<Vec<u8>> {
    let subject = proc_text::Subject {
        mm: &opened.memory.mm,
        beliefs: opened.subject.map(beliefs_of).unwrap_or_default(),
        at_large: tree.task_at_large(),
    };
    proc_text::of(&opened.name, &subject, || host_text(opened.file.into()))
}

fn beliefs_of(thread: &Thread) -> proc_text::Beliefs {
    let ignored = |signal: i32| match thread.process.owned.borrow().is_ignored(signal) {
        true => signal_bit(signal),
        false => 0,
    };
    proc_text::Beliefs {
        pending: thread.pending_owned.set(),
        shared_pending: thread.process.pending.borrow().set(),
        blocked: thread.blocked_owned,
        ignored: ignored(libc::SIGSEGV) | ignored(libc::SIGBUS),
        stopped: matches!(thread.phase, Phase::GroupStopped),
        nr_filters: thread.nr_filters,
        no_new_privs: thread.no_new_privs,
    }
}

/// What the host says in a file. The program's place in it stays where it is.
fn host_text(file: File) -> String {
    const BYTES_MAX: usize = 64 << 10;
    let mut bytes = vec![0; BYTES_MAX];
    let mut got = 0;
    while let Some(rest) = bytes.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, got as u64) {
            Ok(0) | Err(_) => break,
            Ok(more) => got += more,
        }
    }
    bytes.truncate(got);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Lets truncate and ftruncate run; on their return our mappings of the file hear of it.
pub(crate) fn see_resize(call: &mut Call<'_>, verb: Verb) -> Answer {
    let which = match verb {
        Verb::Ftruncate => Resized::At(call.int(0)),
        _ => Resized::ByPath,
    };
    call.thread.phase = Phase::InCall(OnReturn::Resized(which, call.argument(1)));
    Answer::Go(Next::ToCallEdge)
}

/// A file may have another length now.
pub(crate) fn on_resized(
    tree: &Tree,
    thread: &Thread,
    which: Resized,
    bytes: u64,
) -> Result<(), Halt> {
    let result = ptrace::registers(thread.tid)?.result();
    if result >= 0 {
        // What the host refuses behind the end of a file may be there now.
        let others = tree.threads.values().map(Thread::memory);
        let memories = others.chain([thread.memory()]);
        for memory in memories.filter(|memory| memory.frozen.get() == Frozen::No) {
            memory.space.open(0, TASK_SIZE);
        }
    }
    let number = match which {
        _ if result < 0 => return Ok(()),
        Resized::ByPath => {
            tree.files.look_at_lengths();
            return Ok(());
        }
        Resized::At(number) => number,
        Resized::Returned => result as i32,
    };
    let file =
        descriptor::open_task(thread.tid).and_then(|task| descriptor::take(task.as_fd(), number));
    if let Ok(file) = file {
        tree.files.note_resized(file, bytes);
    }
    Ok(())
}

/// Lets fallocate run; if it takes a part out of a file or puts one in, our mappings hear of it on its
/// return.
pub(crate) fn see_shift(call: &mut Call<'_>) -> Answer {
    const SHIFTS: i32 = libc::FALLOC_FL_COLLAPSE_RANGE | libc::FALLOC_FL_INSERT_RANGE;
    if call.int(1) & SHIFTS == 0 {
        return Answer::Run;
    }
    call.thread.phase = Phase::InCall(OnReturn::Shifted(call.int(0), call.argument(2)));
    Answer::Go(Next::ToCallEdge)
}

/// What a file holds from `offset` on may be elsewhere in it now.
pub(crate) fn on_shifted(
    tree: &Tree,
    thread: &Thread,
    number: i32,
    offset: u64,
) -> Result<(), Halt> {
    if ptrace::registers(thread.tid)?.result() < 0 {
        return Ok(());
    }
    let file =
        descriptor::open_task(thread.tid).and_then(|task| descriptor::take(task.as_fd(), number));
    if let Ok(file) = file {
        tree.files.note_shifted(file, offset);
    }
    Ok(())
}
