//! fork, vfork, clone, clone3.

use super::table::Verb;
use super::{Answer, Call};
use crate::calls::operand::Flow;
use crate::halt::Halt;
use crate::newborn;
use crate::ready;
use crate::sys::ptrace;
use crate::thread::{KeptOff, Kin};
use crate::tree::Tree;

const CLONE_VM: u64 = libc::CLONE_VM as u64;
const CLONE_THREAD: u64 = libc::CLONE_THREAD as u64;
const CLONE_UNTRACED: u64 = libc::CLONE_UNTRACED as u64;
const CLONE_CHILD_SETTID: u64 = libc::CLONE_CHILD_SETTID as u64;
const CLONE_CHILD_CLEARTID: u64 = libc::CLONE_CHILD_CLEARTID as u64;
const CLONE_PARENT_SETTID: u64 = libc::CLONE_PARENT_SETTID as u64;

/// What a call asks for.
struct Wish {
    flags: u64,
    child_tid: u64,
}

/// Prepares the making of a task.
pub(crate) fn see(tree: &mut Tree, call: &mut Call<'_>, verb: Verb) -> Result<Answer, Halt> {
    let wish = match verb {
        Verb::Fork => Wish {
            flags: 0,
            child_tid: 0,
        },
        Verb::Vfork => Wish {
            flags: CLONE_VM,
            child_tid: 0,
        },
        Verb::Clone => {
            keep_traced(call)?;
            if call.argument(0) & (CLONE_PARENT_SETTID | libc::CLONE_PIDFD as u64) != 0 {
                // The maker waits for nothing while it forks: what it is told must be ready.
                let told_at = call.argument(2);
                ready::buffer(call.thread, call.memory, Flow::Out, (told_at, 4))?;
            }
            Wish {
                flags: call.argument(0),
                child_tid: call.argument(3),
            }
        }
        _ => match read_arguments(call)? {
            Some(wish) => wish,
            None => return Ok(Answer::Run),
        },
    };
    let kind = match (wish.flags & CLONE_VM != 0, wish.flags & CLONE_THREAD != 0) {
        (true, true) => Kin::Thread,
        (true, false) => Kin::Sharing,
        (false, _) => Kin::Copy,
    };
    let set_at = (wish.flags & CLONE_CHILD_SETTID != 0).then_some(wish.child_tid);
    let clear_at = if wish.flags & CLONE_CHILD_CLEARTID != 0 {
        wish.child_tid
    } else {
        0
    };
    if kind != Kin::Copy
        && let Some(at) = set_at
    {
        ready::buffer(call.thread, call.memory, Flow::Out, (at, 4))?;
    }
    let kept_off = match set_at {
        Some(at) if kind == Kin::Copy && call.memory.space.is_watched() => {
            keep_off(call, verb, at)?
        }
        _ => KeptOff::Not,
    };
    let wish = newborn::Wish {
        kind,
        child_tid_at: set_at,
        clear_tid_at: clear_at,
        kept_off,
    };
    newborn::prepare(tree, call.thread, wish).map(Answer::Go)
}

/// The kernel stores a child's number before the child has stopped: what it would have to wait for
/// there could not be served yet. So it is not asked to; or, where the flags are in memory, is
/// refused.
fn keep_off(call: &mut Call<'_>, verb: Verb, at: u64) -> Result<KeptOff, Halt> {
    if verb != Verb::Clone {
        return Ok(KeptOff::ByPage(at));
    }
    let flags = call.argument(0);
    call.regs.set_argument(0, flags & !CLONE_CHILD_SETTID);
    ptrace::set_registers(call.thread.tid, &call.regs)?;
    Ok(KeptOff::ByFlags(flags))
}

/// A program cannot make tasks that are not traced.
fn keep_traced(call: &mut Call<'_>) -> Result<(), Halt> {
    if call.argument(0) & CLONE_UNTRACED != 0 {
        let flags = call.argument(0) & !CLONE_UNTRACED;
        call.regs.set_argument(0, flags);
        ptrace::set_registers(call.thread.tid, &call.regs)?;
    }
    Ok(())
}

/// The arguments of clone3; `None` where the kernel will refuse them.
fn read_arguments(call: &mut Call<'_>) -> Result<Option<Wish>, Halt> {
    const LEAST_BYTES: u64 = 64;
    let mut words = [0u8; LEAST_BYTES as usize];
    let (at, bytes) = (call.argument(0), call.argument(1));
    if bytes < LEAST_BYTES || ready::read(call.memory, at, &mut words)? < words.len() {
        return Ok(None);
    }
    let (words, _) = words.as_chunks::<8>();
    let word = |index: usize| words.get(index).map_or(0, |word| u64::from_le_bytes(*word));
    let [flags, pidfd, child_tid, parent_tid] = [word(0), word(1), word(2), word(3)];
    if flags & CLONE_UNTRACED != 0 {
        return Ok(None);
    }
    if flags & CLONE_PARENT_SETTID != 0 {
        ready::buffer(call.thread, call.memory, Flow::Out, (parent_tid, 4))?;
    }
    if flags & libc::CLONE_PIDFD as u64 != 0 {
        ready::buffer(call.thread, call.memory, Flow::Out, (pidfd, 4))?;
    }
    Ok(Some(Wish { flags, child_tid }))
}
