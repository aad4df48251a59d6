//! System calls of programs, at their entry and, where that is needed, at their return.

pub(crate) mod operand;
pub(crate) mod table;
mod affinity;
mod birth;
mod consume;
pub(crate) mod filter;
mod futex;
mod mask;
mod mem_file;
mod memory;
mod open;
pub(crate) mod prctl;
pub(crate) mod process_vm;
mod stops;

use std::rc::Rc;
use std::time::Instant;

use addr::Errno;

use crate::halt::{Halt, Next};
use crate::memory::Memory;
use crate::sys::ptrace::{self, Regs};
use crate::thread::{OnReturn, Phase, Thread};
use crate::tree::Tree;
use crate::{limits, newborn, ready, signals};
use table::{PLANS, Plan, Verb};

/// What becomes of a call that Recto looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It runs as it is.
    Run,
    /// It is skipped, and returns this.
    Return(i64),
    /// What is to be done has been said.
    Go(Next),
}

impl From<Errno> for Answer {
    fn from(errno: Errno) -> Self {
        Self::Return(errno.as_return())
    }
}

/// A call at its entry.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    /// Who makes it.
    pub(crate) thread: &'a mut Thread,
    /// The memory it is made in.
    pub(crate) memory: &'a Memory,
    /// Its number and arguments.
    pub(crate) regs: Regs,
}

impl Call<'_> {
    /// An argument.
    pub(crate) fn argument(&self, index: usize) -> u64 {
        self.regs.argument(index)
    }

    /// An argument that is an `int`.
    pub(crate) fn int(&self, index: usize) -> i32 {
        self.regs.argument(index) as i32
    }
}

/// A thread enters a call that the filter asks about.
pub(crate) fn on_entry(tree: &mut Tree, thread: &mut Thread) -> Result<Next, Halt> {
    let regs = ptrace::registers(thread.tid)?;
    if let Some(before) = thread.blocked_before.take() {
        thread.blocked_owned = before;
    }
    if thread.memory().space.is_in_stub(regs.instruction()) {
        return signals::refuse_stub(thread, regs);
    }
    if let Some(refusal) = filter::refusal(tree, thread)? {
        return filter::refuse(tree, thread, regs, refusal);
    }
    thread.process.count(|counts| counts.calls += 1);
    let memory = thread.memory();
    let number = usize::try_from(regs.call_number()).unwrap_or(usize::MAX);
    let mut call = Call {
        thread,
        memory: &memory,
        regs,
    };
    let answer = match PLANS.get(number) {
        Some(Plan::Prepare(operands)) => {
            ready::operands(call.thread, &memory, &regs, operands)?;
            Answer::Run
        }
        Some(Plan::See(verb, operands)) => {
            ready::operands(call.thread, &memory, &regs, operands)?;
            see(tree, &mut call, *verb)?
        }
        Some(Plan::Pass) => Answer::Run,
        Some(Plan::Fail(errno)) => Answer::Return(-i64::from(*errno)),
        None => Answer::Return(Errno::ENOSYS.as_return()),
    };
    let answer = match answer {
        Answer::Run => mem_file::see(tree, &mut call)?,
        other => other,
    };
    let answer = match answer {
        Answer::Run if !memory.space.is_watched() => consume::see(&mut call)?,
        other => other,
    };
    match answer {
        Answer::Run => Ok(Next::Resume),
        Answer::Return(value) => skip_with(thread, regs, value),
        Answer::Go(next) => Ok(next),
    }
}

fn see(tree: &mut Tree, call: &mut Call<'_>, verb: Verb) -> Result<Answer, Halt> {
    match verb {
        Verb::Fork | Verb::Vfork | Verb::Clone | Verb::Clone3 => birth::see(tree, call, verb),
        Verb::Exec => Ok(Answer::Run),
        Verb::Open => open::see(call),
        Verb::Fallocate => Ok(open::see_shift(call)),
        Verb::Truncate | Verb::Ftruncate => Ok(open::see_resize(call, verb)),
        Verb::Futex => futex::see(call),
        Verb::FutexWaitv => futex::see_waitv(call),
        Verb::SetTidAddress => {
            call.thread.clear_tid_at = call.argument(0);
            Ok(Answer::Run)
        }
        Verb::SetRobustList => {
            call.thread.robust_list = call.argument(0);
            Ok(Answer::Run)
        }
        Verb::Sigaction
        | Verb::Sigprocmask
        | Verb::Sigreturn
        | Verb::Sigsuspend
        | Verb::Sigaltstack
        | Verb::WithMask => mask::see(call, verb),
        // Nothing is changed where no new value is.
        Verb::Prlimit if call.argument(2) == 0 => Ok(Answer::Run),
        Verb::Setrlimit | Verb::Prlimit => {
            call.thread.phase = Phase::InCall(OnReturn::Limits);
            Ok(Answer::Go(Next::ToCallEdge))
        }
        Verb::Rights => {
            call.thread.phase = Phase::InCall(OnReturn::Rights);
            Ok(Answer::Go(Next::ToCallEdge))
        }
        Verb::Signalfd => consume::see_signalfd(call),
        Verb::Prctl => prctl::see(tree, call),
        Verb::Seccomp => prctl::see_seccomp(tree, call),
        Verb::Personality => Ok(prctl::see_personality(call)),
        Verb::ProcessVmRead | Verb::ProcessVmWrite => process_vm::see(tree, call, verb),
        Verb::SetAffinity => {
            tree.part(call.thread.tid);
            Ok(Answer::Run)
        }
        Verb::GetAffinity => Ok(affinity::see(tree, call)),
        _ => {
            let began = Instant::now();
            let answer = memory::see(tree, call, verb);
            call.thread
                .process
                .count(|counts| counts.in_core += began.elapsed());
            answer
        }
    }
}

/// Skips the call that a thread is entering.
pub(crate) fn skip(thread: &Thread, value: i64) -> Result<Next, Halt> {
    let regs = ptrace::registers(thread.tid)?;
    skip_with(thread, regs, value)
}

fn skip_with(thread: &Thread, mut regs: Regs, value: i64) -> Result<Next, Halt> {
    regs.skip_call(value);
    ptrace::set_registers(thread.tid, &regs)?;
    Ok(Next::Resume)
}

/// A thread comes back from a call that it was let into with something to be done afterwards.
pub(crate) fn on_return(tree: &mut Tree, thread: &mut Thread) -> Result<Next, Halt> {
    match std::mem::replace(&mut thread.phase, Phase::Running) {
        Phase::Forking(fork) => {
            thread.phase = Phase::Forking(fork);
            newborn::failed(tree, thread);
            Ok(Next::Resume)
        }
        Phase::InCall(then) => {
            let outcome = finish(tree, thread, then.clone());
            if matches!(outcome, Err(Halt::Wait(..))) {
                thread.phase = Phase::InCall(then);
            }
            outcome
        }
        other => {
            thread.phase = other;
            Ok(Next::Resume)
        }
    }
}

/// Does what is to be done when a call comes back.
fn finish(tree: &mut Tree, thread: &mut Thread, then: OnReturn) -> Result<Next, Halt> {
    match then {
        OnReturn::Opened => open::on_opened(tree, thread),
        OnReturn::StopAtCalls => stops::begin(thread),
        OnReturn::Resized(which, bytes) => {
            open::on_resized(tree, thread, which, bytes)?;
            Ok(Next::Resume)
        }
        OnReturn::Shifted(number, from) => {
            open::on_shifted(tree, thread, number, from)?;
            Ok(Next::Resume)
        }
        OnReturn::Limits => {
            for other in tree.threads.values() {
                limits::refresh(other.memory().mm.limits(), other.process.pid);
            }
            limits::refresh(thread.memory().mm.limits(), thread.process.pid);
            Ok(Next::Resume)
        }
        OnReturn::Rights => {
            rights_changed(tree, thread);
            Ok(Next::Resume)
        }
        OnReturn::Filtered(borrowed) => filter::installed(tree, thread, &borrowed),
        OnReturn::Personality(wanted) => {
            prctl::personality_changed(thread, wanted)?;
            Ok(Next::Resume)
        }
        OnReturn::Cpus(at) => affinity::came_back(tree, thread, at),
        OnReturn::Consumed => consume::came_back(thread),
        OnReturn::AlternateStack(stack) => {
            if ptrace::registers(thread.tid)?.result() == 0 {
                thread.alternate_stack = stack;
            }
            Ok(Next::Resume)
        }
        OnReturn::Action(old) => mask::action_changed(tree, thread, old),
        OnReturn::OwnMask(index, value) => mask::own_mask_over(thread, index, value),
    }
}

/// A thread may have gained or lost capabilities. A memory that another process shares (after vfork)
/// keeps the rights of the one that it belongs to.
fn rights_changed(tree: &Tree, thread: &Thread) {
    let memory = thread.memory();
    prctl::keep_readable(&memory);
    let is_shared = tree.threads.values().any(|other| {
        !Rc::ptr_eq(&other.process, &thread.process) && Rc::ptr_eq(&other.memory(), &memory)
    });
    if !is_shared {
        limits::refresh_rights(memory.mm.limits(), thread.tid);
    }
}

/// A thread is about to end: the kernel will clear its number and unlock its robust futexes.
pub(crate) fn on_ending(thread: &mut Thread) -> Result<(), Halt> {
    let memory = thread.memory();
    if thread.clear_tid_at != 0 {
        futex::dying_word_ready(thread, &memory, thread.clear_tid_at)?;
    }
    if thread.robust_list != 0 {
        futex::robust_list_ready(thread, &memory)?;
    }
    Ok(())
}
