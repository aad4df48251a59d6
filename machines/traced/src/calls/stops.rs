//! A program that has to stop at its calls although its accesses can wait.
//!
//! Two things are not to be had without: a page of a file that a program may write but has only
//! read, which must follow the file until it is written (the copying that loaders ask for apart);
//! and reads and writes through `/proc/PID/mem`. A process that does either comes under one more
//! filter, which asks about every call that names memory; what it names is made ready as where
//! faults are signals.

use addr::{VirtAddr, VirtRange, VmFlags};
use mm::MapFlags;
use object::rmap::FileMappings;
use std::sync::Arc;

use super::table::{PLANS, Plan, Verb};
use super::{Answer, Call, filter};
use crate::halt::{Halt, Next};
use crate::signals::RED_ZONE;
use crate::steered;
use crate::stub;
use crate::sys::Tid;
use crate::sys::ptrace::{self, Regs};
use crate::sys::seccomp::{Filter, Verdict};
use crate::thread::{OnReturn, Phase, Thread};

/// `MAP_DENYWRITE`: loaders ask for a copy of the file with it (`MAP_COPY`).
const COPY: u32 = 0x800;

/// Whether a memory call that has succeeded with `value` lets the program write private pages of a
/// file that have to follow it.
pub(super) fn are_needed(call: &Call<'_>, verb: Verb, value: u64) -> bool {
    if call.thread.process.stops_at_calls.get() || !call.memory.space.is_watched() {
        return false;
    }
    let (start, bytes) = match verb {
        Verb::Mmap if call.argument(3) as u32 & COPY == 0 => (value, call.argument(1)),
        Verb::Mprotect => (call.argument(0), call.argument(1)),
        _ => return false,
    };
    let writable = call.argument(2) as u32 & libc::PROT_WRITE as u32 != 0;
    let anonymous = verb == Verb::Mmap
        && MapFlags::from_bits_retain(call.argument(3) as u32).contains(MapFlags::ANONYMOUS);
    let start = VirtAddr::new(start);
    let range = VirtRange::new(start, start.saturating_add(bytes));
    match range {
        Some(range) if writable && !anonymous => has_followers(call, range),
        _ => false,
    }
}

/// Whether a range has pages that follow a file which is no program or library here.
fn has_followers(call: &Call<'_>, range: VirtRange) -> bool {
    let areas = call.memory.mm.mmap_lock().snapshot();
    let is_image = |file: &Arc<FileMappings>| {
        areas.iter().any(|area| {
            let link = area.file_link();
            area.flags().contains(VmFlags::EXEC)
                && link.is_some_and(|link| Arc::ptr_eq(link.mappings(), file))
        })
    };
    areas.range(range).any(|area| {
        area.flags().contains(VmFlags::WRITE)
            && !area.flags().contains(VmFlags::SHARED)
            && area
                .file_link()
                .is_some_and(|link| !is_image(link.mappings()))
    })
}

/// Skips the call, which has returned `value`, as far as to its return.
pub(super) fn begin_on_return(call: &mut Call<'_>, value: i64) -> Result<Answer, Halt> {
    call.regs.skip_call(value);
    ptrace::set_registers(call.thread.tid, &call.regs)?;
    call.thread.phase = Phase::InCall(OnReturn::StopAtCalls);
    Ok(Answer::Go(Next::ToCallEdge))
}

/// Puts the process of a thread that is stopped on the return of a call under the filter. Where the
/// host does not let it, everything stays as it is.
pub(super) fn begin(thread: &Thread) -> Result<Next, Halt> {
    let process = &thread.process;
    // Of two filters that ask, the younger is heard: it must not be ours where the other refuses.
    if process.stops_at_calls.get() || thread.nr_filters > 0 {
        return Ok(Next::Resume);
    }
    let regs = ptrace::registers(thread.tid)?;
    let memory = thread.memory();
    let asking = Filter::beside(&verdicts(), stub::reports_at(memory.space.stub()));
    let room = asking.bytes_at(0).len() as u64;
    let at = regs.stack().saturating_sub(RED_ZONE + room) & !15;
    let program = asking.bytes_at(at);
    if !filter::put(&memory, at, &program)? {
        return Ok(Next::Resume);
    }
    if install(thread.tid, &regs, at)? {
        process.stops_at_calls.set(true);
        memory.space.prepare_for_calls();
    }
    Ok(Next::Resume)
}

/// Lets a thread put its process under the filter at `at`; whether it is. Who may not do that for want
/// of a right may once it has given up gaining any.
fn install(tid: Tid, regs: &Regs, at: u64) -> Result<bool, Halt> {
    let set_filter = u64::from(libc::SECCOMP_SET_MODE_FILTER);
    let filter = [set_filter, libc::SECCOMP_FILTER_FLAG_TSYNC, at, 0, 0, 0];
    let no_gain = [libc::PR_SET_NO_NEW_PRIVS as u64, 1, 0, 0, 0, 0];
    let mut answer = steered::call_on_return(tid, regs, libc::SYS_seccomp, filter)?;
    if answer == -i64::from(libc::EACCES) {
        steered::call_on_return(tid, regs, libc::SYS_prctl, no_gain)?;
        answer = steered::call_on_return(tid, regs, libc::SYS_seccomp, filter)?;
    }
    Ok(answer == 0)
}

/// The calls that it is asked about.
fn verdicts() -> Vec<Verdict> {
    let verdict = |plan: &Plan| match plan {
        Plan::Prepare(_) => Verdict::Ask,
        _ => Verdict::Pass,
    };
    PLANS.iter().map(verdict).collect()
}
