//! The numbers of a task. It has one in each PID namespace that it is in, from the outermost to its
//! own; Recto calls it by the one of its own namespace, and the program hears of others.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::host_maps::status_of;
use crate::sys::Tid;

/// The number by which a task calls itself.
pub(crate) fn own(tid: Tid) -> i32 {
    let namespace = |whose: &str| fs::metadata(format!("/proc/{whose}/ns/pid")).map(|m| m.ino());
    match (namespace("self"), namespace(&tid.to_string())) {
        (Ok(ours), Ok(its)) if ours != its => all(tid).last().copied().unwrap_or(tid.raw()),
        _ => tid.raw(),
    }
}

/// The task that `maker` has just made and calls `number`. The maker is stopped, and has not been
/// told yet that it has made one.
pub(crate) fn made_by(maker: Tid, number: i64) -> Option<Tid> {
    let number = i32::try_from(number).ok().filter(|number| *number > 0)?;
    let depth = all(maker).len();
    if depth <= 1 {
        return Some(Tid::new(number));
    }
    let children = fs::read_to_string(format!("/proc/{maker}/task/{maker}/children"));
    let threads = fs::read_dir(format!("/proc/{maker}/task"));
    let names = threads.into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let children = children.unwrap_or_default();
    let mut candidates = names
        .chain(children.split_whitespace().map(str::to_owned))
        .filter_map(|name| name.parse().ok().map(Tid::new));
    candidates.find(|candidate| all(*candidate).get(depth - 1) == Some(&number))
}

/// All numbers of a task, ours first.
fn all(tid: Tid) -> Vec<i32> {
    status_of(tid, "NSpid")
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|number| number.parse().ok())
        .collect()
}

/// Whether a task is the first of its process.
pub(crate) fn is_process(tid: Tid) -> bool {
    status_of(tid, "Tgid").and_then(|number| number.parse().ok()) == Some(tid.raw())
}

/// Whether a task is stopped, by a signal or for its tracer.
pub(crate) fn is_stopped(tid: Tid) -> bool {
    let state = status_of(tid, "State").unwrap_or_default();
    state.starts_with(['t', 'T'])
}
