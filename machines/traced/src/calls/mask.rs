//! The calls that change what signals do: wherever a program speaks of SIGSEGV and SIGBUS, the host
//! is told something else, and the program's own view is kept.

use std::rc::Rc;

use addr::Access;

use super::table::Verb;
use super::{Answer, Call};
use crate::actions::{ACTION_BYTES, Action, Actions};
use crate::fault::signal_bit;
use crate::halt::{Halt, Next};
use crate::ready;
use crate::signals::{MASK_IN_CONTEXT, OWNED, RED_ZONE, frame_bytes, release};
use crate::sys::ptrace;
use crate::thread::{OldAction, OnReturn, Phase, Thread};
use crate::tree::Tree;

const SET_BYTES: u64 = 8;
const NR_SIGNALS: i32 = 64;

/// Sees to one of these calls.
pub(crate) fn see(call: &mut Call<'_>, verb: Verb) -> Result<Answer, Halt> {
    match verb {
        Verb::Sigprocmask => change_mask(call),
        Verb::Sigaction => change_action(call),
        Verb::Sigreturn => come_back(call),
        Verb::Sigaltstack => change_stack(call),
        Verb::Sigsuspend => patch_mask_at(call, 0),
        _ => match call.regs.call_number() {
            libc::SYS_ppoll => patch_mask_at(call, 3),
            libc::SYS_pselect6 => patch_pair(call),
            _ => patch_mask_at(call, 4),
        },
    }
}

fn read_word(call: &Call<'_>, at: u64) -> Result<Option<u64>, Halt> {
    let mut word = [0u8; 8];
    if at == 0 || ready::read(call.memory, at, &mut word)? < word.len() {
        return Ok(None);
    }
    Ok(Some(u64::from_le_bytes(word)))
}

fn change_mask(call: &mut Call<'_>) -> Result<Answer, Halt> {
    let before = call.thread.blocked_owned;
    if call.argument(3) != SET_BYTES {
        return Ok(Answer::Run);
    }
    let set = read_word(call, call.argument(1))?;
    let after = match (set, call.int(0)) {
        (None, _) if call.argument(1) == 0 => before,
        (Some(set), libc::SIG_BLOCK) => before | (set & OWNED),
        (Some(set), libc::SIG_UNBLOCK) => before & !set,
        (Some(set), libc::SIG_SETMASK) => set & OWNED,
        _ => return Ok(Answer::Run),
    };
    if before == 0 && after == 0 {
        return Ok(Answer::Run);
    }
    let tid = call.thread.tid;
    let host = ptrace::signal_mask(tid)?;
    let wanted = match (set, call.int(0)) {
        (Some(set), libc::SIG_BLOCK) => host | set,
        (Some(set), libc::SIG_UNBLOCK) => host & !set,
        (Some(set), _) => set,
        (None, _) => host,
    };
    let never = signal_bit(libc::SIGKILL) | signal_bit(libc::SIGSTOP);
    ptrace::set_signal_mask(tid, wanted & !OWNED & !never)?;
    call.thread.blocked_owned = after;
    release(call.thread, !call.thread.blocked_owned);
    let old = (host | before).to_le_bytes();
    let out = call.argument(2);
    if out != 0 && !ready::write(call.memory, out, &old)? {
        return Ok(addr::Errno::EFAULT.into());
    }
    Ok(Answer::Return(0))
}

fn change_action(call: &mut Call<'_>) -> Result<Answer, Halt> {
    let signal = call.int(0);
    let (at, old_at) = (call.argument(1), call.argument(2));
    if !(1..=NR_SIGNALS).contains(&signal) || call.argument(3) != SET_BYTES {
        return Ok(Answer::Run);
    }
    let before = *call.thread.process.owned.borrow();
    let mut old = OldAction {
        signal,
        before,
        at: old_at,
        argument: None,
    };
    if at != 0 {
        let mut bytes = [0u8; ACTION_BYTES];
        if ready::read(call.memory, at, &mut bytes)? < bytes.len() {
            return Ok(Answer::Run);
        }
        let own = Action::from_bytes(&bytes);
        let host = Actions::for_host(signal, own);
        if host != own {
            let patched = scratch(call, ACTION_BYTES as u64);
            if !ready::write(call.memory, patched, &host.to_bytes())? {
                return Ok(Answer::Run);
            }
            old.argument = Some(at);
            call.regs.set_argument(1, patched);
            ptrace::set_registers(call.thread.tid, &call.regs)?;
        }
        call.thread.process.owned.borrow_mut().note(signal, own);
    }
    if old.argument.is_none() && (old_at == 0 || !before.differ(signal)) {
        return Ok(Answer::Run);
    }
    call.thread.phase = Phase::InCall(OnReturn::Action(old));
    Ok(Answer::Go(Next::ToCallEdge))
}

/// rt_sigaction comes back: the program is told its own view of the old action.
pub(crate) fn action_changed(
    tree: &mut Tree,
    thread: &mut Thread,
    old: OldAction,
) -> Result<Next, Halt> {
    let mut regs = ptrace::registers(thread.tid)?;
    let done = regs.result() == 0;
    if let Some(own) = old.argument {
        regs.set_argument(1, own);
        ptrace::set_registers(thread.tid, &regs)?;
    }
    if !done {
        *thread.process.owned.borrow_mut() = old.before;
        return Ok(Next::Resume);
    }
    if thread.process.owned.borrow().is_ignored(old.signal) {
        discard(tree, thread, old.signal);
    }
    if old.at != 0 {
        let memory = thread.memory();
        let mut bytes = [0u8; ACTION_BYTES];
        if ready::read(&memory, old.at, &mut bytes)? == bytes.len() {
            let own = old
                .before
                .for_program(old.signal, Action::from_bytes(&bytes));
            ready::write(&memory, old.at, &own.to_bytes())?;
        }
    }
    Ok(Next::Resume)
}

/// What is ignored does not wait any more.
fn discard(tree: &mut Tree, thread: &mut Thread, signal: i32) {
    thread.process.pending.borrow_mut().take(signal);
    let process = Rc::clone(&thread.process);
    for other in tree.threads.values_mut().chain([thread]) {
        if Rc::ptr_eq(&other.process, &process) {
            other.pending_owned.take(signal);
        }
    }
}

/// rt_sigreturn reads the frame that the handler was entered with: what the program blocks again is
/// the mask in it, which the host must not see whole.
fn come_back(call: &mut Call<'_>) -> Result<Answer, Halt> {
    let stack = call.regs.stack();
    call.memory.make_ready(
        stack.saturating_sub(8),
        stack.saturating_add(frame_bytes()),
        Access::Read,
    )?;
    let mut context = [0u8; MASK_IN_CONTEXT as usize + 8];
    if ready::read(call.memory, stack, &mut context)? < context.len() {
        return Ok(Answer::Run);
    }
    let (words, _) = context.as_chunks::<8>();
    let word = |index: usize| words.get(index).map_or(0, |word| u64::from_le_bytes(*word));
    call.thread.alternate_stack = stack_of([word(2), word(3), word(4)]);
    let mask = word(MASK_IN_CONTEXT as usize / 8);
    if mask & OWNED != 0 {
        let mask_at = stack.saturating_add(MASK_IN_CONTEXT);
        let own = (mask & !OWNED).to_le_bytes();
        ready::write(call.memory, mask_at, &own)?;
    }
    call.thread.blocked_owned = mask & OWNED;
    release(call.thread, !call.thread.blocked_owned);
    Ok(Answer::Run)
}

/// The stack that a `stack_t` speaks of: address, flags, size.
fn stack_of([at, flags, bytes]: [u64; 3]) -> Option<(u64, u64)> {
    let disabled = flags as i32 & libc::SS_DISABLE != 0;
    (!disabled).then_some((at, bytes))
}

fn change_stack(call: &mut Call<'_>) -> Result<Answer, Halt> {
    let mut stack = [0u8; 24];
    let at = call.argument(0);
    if at == 0 || ready::read(call.memory, at, &mut stack)? < stack.len() {
        return Ok(Answer::Run);
    }
    let (words, _) = stack.as_chunks::<8>();
    let word = |index: usize| words.get(index).map_or(0, |word| u64::from_le_bytes(*word));
    let stack = stack_of([word(0), word(1), word(2)]);
    call.thread.phase = Phase::InCall(OnReturn::AlternateStack(stack));
    Ok(Answer::Go(Next::ToCallEdge))
}

/// A mask that holds for the duration of the call, by its address in an argument.
fn patch_mask_at(call: &mut Call<'_>, argument: usize) -> Result<Answer, Halt> {
    match read_word(call, call.argument(argument))? {
        Some(mask) => own_mask(call, (argument, mask), &(mask & !OWNED).to_le_bytes()),
        None => Ok(Answer::Run),
    }
}

/// The same by way of the pair of pselect6: address and size.
fn patch_pair(call: &mut Call<'_>) -> Result<Answer, Halt> {
    const ARGUMENT: usize = 5;
    let Some(mask_at) = read_word(call, call.argument(ARGUMENT))? else {
        return Ok(Answer::Run);
    };
    ready::buffer(
        call.thread,
        call.memory,
        super::operand::Flow::In,
        (mask_at, SET_BYTES),
    )?;
    let Some(mask) = read_word(call, mask_at)? else {
        return Ok(Answer::Run);
    };
    let at = scratch(call, 24);
    let mut patched = Vec::with_capacity(24);
    for word in [at + 16, SET_BYTES, mask & !OWNED] {
        patched.extend_from_slice(&word.to_le_bytes());
    }
    own_mask(call, (ARGUMENT, mask), &patched)
}

/// Lets a call run with `mask`, to which `argument` leads: the host gets `patched` in its place if it
/// has one of the two.
fn own_mask(
    call: &mut Call<'_>,
    (argument, mask): (usize, u64),
    patched: &[u8],
) -> Result<Answer, Halt> {
    let before = call.thread.blocked_owned;
    if (mask | before) & OWNED == 0 {
        return Ok(Answer::Run);
    }
    let own = call.argument(argument);
    if mask & OWNED != 0 {
        let at = scratch(call, patched.len() as u64);
        if !ready::write(call.memory, at, patched)? {
            return Ok(Answer::Run);
        }
        call.regs.set_argument(argument, at);
        ptrace::set_registers(call.thread.tid, &call.regs)?;
    }
    call.thread.blocked_before = Some(before);
    call.thread.blocked_owned = mask & OWNED;
    release(call.thread, !call.thread.blocked_owned);
    call.thread.phase = Phase::InCall(OnReturn::OwnMask(argument, own));
    Ok(Answer::Go(Next::ToCallEdge))
}

/// The call comes back. If a signal interrupted it, its mask holds until that has its handler.
pub(crate) fn own_mask_over(thread: &mut Thread, argument: usize, own: u64) -> Result<Next, Halt> {
    let mut regs = ptrace::registers(thread.tid)?;
    regs.set_argument(argument, own);
    ptrace::set_registers(thread.tid, &regs)?;
    if !regs.is_interrupted()
        && let Some(before) = thread.blocked_before.take()
    {
        thread.blocked_owned = before;
        release(thread, !before);
    }
    Ok(Next::Resume)
}

/// A place below the stack that nobody uses until the call returns.
fn scratch(call: &Call<'_>, bytes: u64) -> u64 {
    call.regs.stack().saturating_sub(RED_ZONE + bytes) & !15
}
