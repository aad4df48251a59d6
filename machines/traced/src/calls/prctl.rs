//! prctl, and what else a thread says of itself: names of areas, what may become executable, the
//! personality, and filters of its own.

use addr::{Errno, VirtAddr};
use mm::MmFlags;

use super::operand::Flow::{self, In, Out};
use super::{Answer, Call, filter};
use crate::halt::{Halt, Next};
use crate::host_maps::status_of;
use crate::memory::Memory;
use crate::ready;
use crate::space::Dumpable;
use crate::sys::ptrace;
use crate::thread::{OnReturn, Phase, Thread};
use crate::tree::Tree;

const PR_SET_VMA: i32 = 0x5356_4d41;
const PR_GET_AUXV: i32 = 0x4155_5856;
const PR_SET_SYSCALL_USER_DISPATCH: i32 = 59;
const PR_SCHED_CORE: i32 = 62;
const PR_SET_MDWE: i32 = 65;
const PR_GET_MDWE: i32 = 66;

/// Sees to prctl: what it names depends on the option.
pub(super) fn see(tree: &mut Tree, call: &mut Call<'_>) -> Result<Answer, Halt> {
    let (flow, argument, bytes): (Flow, usize, u64) = match call.int(0) {
        PR_SET_VMA => return set_vma(call),
        PR_SET_MDWE => return Ok(set_mdwe(call)),
        PR_GET_MDWE => return Ok(mdwe(call)),
        libc::PR_SET_DUMPABLE => return Ok(set_dumpable(call)),
        libc::PR_GET_DUMPABLE => {
            let is_dumpable = call.memory.mm.flags().contains(MmFlags::DUMPABLE);
            return Ok(Answer::Return(i64::from(is_dumpable)));
        }
        // What the kernel knows of the image is ours to say.
        libc::PR_SET_MM => return Ok(Errno::EPERM.into()),
        // The word that it names would be read at every call.
        PR_SET_SYSCALL_USER_DISPATCH => return Ok(Errno::EINVAL.into()),
        libc::PR_SET_SECCOMP if call.argument(1) == u64::from(libc::SECCOMP_MODE_FILTER) => {
            return filter::install(tree, call, 0);
        }
        libc::PR_SET_SECCOMP => return Ok(Errno::EINVAL.into()),
        libc::PR_GET_SECCOMP => return Ok(Answer::Return(seccomp_mode(call.thread))),
        libc::PR_SET_NO_NEW_PRIVS if is_well_formed(call) => {
            call.thread.no_new_privs = true;
            return Ok(Answer::Run);
        }
        libc::PR_GET_NO_NEW_PRIVS if (1..=4).all(|at| call.argument(at) == 0) => {
            return Ok(Answer::Return(i64::from(call.thread.no_new_privs)));
        }
        libc::PR_SET_NAME => (In, 1, 16),
        libc::PR_GET_NAME => (Out, 1, 16),
        libc::PR_GET_TID_ADDRESS => (Out, 1, 8),
        PR_GET_AUXV => (Out, 1, call.argument(2)),
        PR_SCHED_CORE => (Out, 4, 8),
        libc::PR_GET_PDEATHSIG
        | libc::PR_GET_TSC
        | libc::PR_GET_UNALIGN
        | libc::PR_GET_FPEMU
        | libc::PR_GET_FPEXC
        | libc::PR_GET_ENDIAN
        | libc::PR_GET_CHILD_SUBREAPER => (Out, 1, 4),
        _ => return Ok(Answer::Run),
    };
    let named = (call.argument(argument), bytes);
    ready::buffer(call.thread, call.memory, flow, named)?;
    Ok(Answer::Run)
}

/// The first program of a tree begins with the word of this process.
pub(crate) fn begin(thread: &mut Thread) {
    thread.no_new_privs = status_of("self", "NoNewPrivs").is_some_and(|word| word == "1");
}

/// Whether PR_SET_NO_NEW_PRIVS is called as it has to be.
fn is_well_formed(call: &Call<'_>) -> bool {
    call.argument(1) == 1 && (2..=4).all(|at| call.argument(at) == 0)
}

/// `prctl_set_vma`: the name of anonymous memory.
fn set_vma(call: &Call<'_>) -> Result<Answer, Halt> {
    const ANON_NAME: u64 = 0;
    if call.argument(1) != ANON_NAME {
        return Ok(Errno::EINVAL.into());
    }
    let name = match call.argument(4) {
        0 => None,
        at => match ready::read_text(call.memory, at)? {
            Some(name) => Some(name),
            None => return Ok(Errno::EFAULT.into()),
        },
    };
    // What is no UTF-8 has letters that no name may have.
    let Ok(name) = name.as_deref().map(str::from_utf8).transpose() else {
        return Ok(Errno::EINVAL.into());
    };
    let start = VirtAddr::new(call.argument(2));
    let named = call.memory.mm.set_anon_name(start, call.argument(3), name);
    Ok(named.map_or_else(Answer::from, |()| Answer::Return(0)))
}

/// The host keeps its own opinion, so that Recto can read what calls name and take descriptors; it
/// hears of the program's when that is ended by a signal.
fn set_dumpable(call: &Call<'_>) -> Answer {
    match call.argument(1) {
        0 => call.memory.mm.clear_flags(MmFlags::DUMPABLE),
        1 => drop(call.memory.mm.set_flags(MmFlags::DUMPABLE)),
        _ => return Errno::EINVAL.into(),
    }
    Answer::Return(0)
}

/// A call may have made the host keep others out of a process, as it does when rights change.
pub(super) fn keep_readable(memory: &Memory) {
    if !memory.space.is_dumpable() {
        memory.mm.clear_flags(MmFlags::DUMPABLE);
        memory.space.set_dumpable(Dumpable::Yes);
    }
}

const REFUSE_EXEC_GAIN: u64 = 1;
const NO_INHERIT: u64 = 2;

fn mdwe_bits(flags: MmFlags) -> u64 {
    let bit = |flag, bit| if flags.contains(flag) { bit } else { 0 };
    bit(MmFlags::HAS_MDWE, REFUSE_EXEC_GAIN) | bit(MmFlags::HAS_MDWE_NO_INHERIT, NO_INHERIT)
}

/// `prctl_set_mdwe`. The host does not hear of it: what is filled there would be refused.
fn set_mdwe(call: &Call<'_>) -> Answer {
    let bits = call.argument(1);
    let is_wrong = (2..=4).any(|at| call.argument(at) != 0)
        || bits & !(REFUSE_EXEC_GAIN | NO_INHERIT) != 0
        || bits == NO_INHERIT;
    if is_wrong {
        return Errno::EINVAL.into();
    }
    let now = mdwe_bits(call.memory.mm.flags());
    if now != 0 && now != bits {
        return Errno::EPERM.into();
    }
    let mut flags = MmFlags::empty();
    flags.set(MmFlags::HAS_MDWE, bits & REFUSE_EXEC_GAIN != 0);
    flags.set(MmFlags::HAS_MDWE_NO_INHERIT, bits & NO_INHERIT != 0);
    call.memory.mm.set_flags(flags);
    Answer::Return(0)
}

fn mdwe(call: &Call<'_>) -> Answer {
    match (1..=4).any(|at| call.argument(at) != 0) {
        true => Errno::EINVAL.into(),
        false => Answer::Return(mdwe_bits(call.memory.mm.flags()) as i64),
    }
}

/// The mode that a thread is in by its own doing (`prctl_get_seccomp`).
fn seccomp_mode(thread: &Thread) -> i64 {
    match thread.nr_filters {
        0 => 0,
        _ => i64::from(libc::SECCOMP_MODE_FILTER),
    }
}

/// seccomp. The strict mode is refused, as for every task that is under a filter.
pub(super) fn see_seccomp(tree: &mut Tree, call: &mut Call<'_>) -> Result<Answer, Halt> {
    let flags = call.argument(1);
    match call.argument(0) as u32 {
        libc::SECCOMP_SET_MODE_STRICT => Ok(Errno::EINVAL.into()),
        libc::SECCOMP_SET_MODE_FILTER => filter::install(tree, call, flags),
        _ => Ok(Answer::Run),
    }
}

/// Lets personality run; if it changes something, its return is looked at.
pub(super) fn see_personality(call: &mut Call<'_>) -> Answer {
    const ASK: u32 = u32::MAX;
    let wanted = call.argument(0) as u32;
    if wanted == ASK {
        return Answer::Run;
    }
    call.thread.phase = Phase::InCall(OnReturn::Personality(wanted));
    Answer::Go(Next::ToCallEdge)
}

/// The personality is `wanted` now, if the call succeeded.
pub(super) fn personality_changed(thread: &Thread, wanted: u32) -> Result<(), Halt> {
    if ptrace::registers(thread.tid)?.result() >= 0 {
        let memory = thread.memory();
        match wanted & libc::READ_IMPLIES_EXEC as u32 {
            0 => memory.mm.clear_flags(MmFlags::READ_IMPLIES_EXEC),
            _ => drop(memory.mm.set_flags(MmFlags::READ_IMPLIES_EXEC)),
        }
    }
    Ok(())
}
