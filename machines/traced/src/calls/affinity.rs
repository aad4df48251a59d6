//! sched_getaffinity: while a tree is kept on one CPU, its programs hear of all that they may have.

use super::{Answer, Call};
use crate::halt::{Halt, Next};
use crate::ready;
use crate::sys::{Tid, ptrace};
use crate::thread::{OnReturn, Phase, Thread};
use crate::tree::Tree;

/// Lets the host answer, and looks at the answer if it is about a task of the tree.
pub(crate) fn see(tree: &Tree, call: &mut Call<'_>) -> Answer {
    let task = Tid::new(call.int(0));
    let is_ours = task.raw() == 0 || task == call.thread.tid || tree.threads.contains_key(&task);
    let believed = tree
        .together
        .as_ref()
        .and_then(|together| together.believed());
    if !is_ours || believed.is_none() {
        return Answer::Run;
    }
    call.thread.phase = Phase::InCall(OnReturn::Cpus(call.argument(2)));
    Answer::Go(Next::ToCallEdge)
}

/// The host has written its set at `at`, and answered how many bytes that is.
pub(crate) fn came_back(tree: &Tree, thread: &Thread, at: u64) -> Result<Next, Halt> {
    let answer = ptrace::registers(thread.tid)?.result();
    let believed = tree
        .together
        .as_ref()
        .and_then(|together| together.believed());
    if let (Ok(bytes), Some(cpus)) = (usize::try_from(answer), believed) {
        let set = cpus.to_bytes();
        let known = set.get(..bytes.min(set.len())).unwrap_or_default();
        ready::write(&thread.memory(), at, known)?;
    }
    Ok(Next::Resume)
}
