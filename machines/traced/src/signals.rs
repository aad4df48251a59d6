//! Signals on their way to a program, and the two that Recto owns.
//!
//! The kernel forces SIGSEGV and SIGBUS: where a program blocks or ignores them, it takes their
//! handler away for good, even if the tracer swallows the signal. Every page that is not filled yet
//! is such a signal, so the host's mask never contains the two, and the host's action is never to
//! ignore them. What the program believes of them is kept here.

use std::rc::Rc;

use addr::Access;
use mm::MmFlags;

use crate::calls::filter;
use crate::fault::signal_bit;
use crate::halt::{Halt, Next};
use crate::host_maps::status_of;
use crate::ready;
use crate::space::Dumpable;
use crate::sys::ptrace::{self, Regs, SignalInfo};
use crate::sys::signal::{kill_thread, queue_to_thread};
use crate::thread::{OnReturn, Phase, Thread};
use crate::tree::Tree;

/// The signals whose host state is ours.
pub(crate) const OWNED: u64 = signal_bit(libc::SIGSEGV) | signal_bit(libc::SIGBUS);

/// The signals that dump core by default.
const DUMPING: u64 = signal_bit(libc::SIGQUIT)
    | signal_bit(libc::SIGILL)
    | signal_bit(libc::SIGTRAP)
    | signal_bit(libc::SIGABRT)
    | signal_bit(libc::SIGFPE)
    | signal_bit(libc::SIGSYS)
    | signal_bit(libc::SIGXCPU)
    | signal_bit(libc::SIGXFSZ)
    | OWNED;

const SEGV_MAPERR: i32 = 1;

/// Where the mask is in a `struct ucontext`: behind flags, link, stack and registers.
pub(crate) const MASK_IN_CONTEXT: u64 = 8 + 8 + 24 + 256;

/// What the kernel leaves alone below the stack pointer.
pub(crate) const RED_ZONE: u64 = 128;

/// Handles a stop for a signal that is no page fault.
pub(crate) fn on_signal(tree: &mut Tree, thread: &mut Thread, signal: i32) -> Result<Next, Halt> {
    if thread.in_stub && signal == libc::SIGSEGV {
        thread.in_stub = false;
        let info = SignalInfo::fault(signal, SEGV_MAPERR, thread.memory().space.stub());
        ptrace::set_signal_info(thread.tid, &info)?;
    }
    if thread.memory().space.is_watched() {
        if signal == libc::SIGSYS {
            filter::trap(thread)?;
        }
        return pass_on(thread, signal);
    }
    if signal_bit(signal) & OWNED != 0 {
        let blocked = thread.blocked_owned & signal_bit(signal) != 0;
        if is_sent(thread)? {
            let info = what_came(thread, signal)?;
            if blocked {
                hold(tree, thread, signal, info);
                return Ok(Next::Resume);
            }
            if thread.process.owned.borrow().is_ignored(signal) {
                return Ok(Next::Resume);
            }
        } else if blocked && !thread.doomed {
            return end_by_blocked(thread, signal);
        }
    }
    if signal == libc::SIGSYS {
        filter::trap(thread)?;
    }
    enter_handler(thread, signal)
}

/// Lets a signal through whose state is the host's.
pub(crate) fn pass_on(thread: &Thread, signal: i32) -> Result<Next, Halt> {
    let is_kept = thread.memory().mm.flags().contains(MmFlags::DUMPABLE);
    if !is_kept && !is_caught(thread, signal) {
        without_core(thread, signal);
    }
    Ok(Next::ResumeWith(signal))
}

/// Whether a signal has a handler, by the host's word.
fn is_caught(thread: &Thread, signal: i32) -> bool {
    let word = status_of(thread.tid.to_string(), "SigCgt");
    let caught = word.and_then(|word| u64::from_str_radix(&word, 16).ok());
    caught.unwrap_or(0) & signal_bit(signal) != 0
}

/// What came with a signal that it was sent: of one that Recto handed over, what came at first.
fn what_came(thread: &mut Thread, signal: i32) -> Result<SignalInfo, Halt> {
    match thread.handed_over.take(signal) {
        Some(info) => {
            ptrace::set_signal_info(thread.tid, &info)?;
            Ok(info)
        }
        None => Ok(ptrace::signal_info(thread.tid)?),
    }
}

/// The thread blocks a signal that it was sent. One for the whole process goes to another thread if
/// that takes it; else it waits.
fn hold(tree: &mut Tree, thread: &mut Thread, signal: i32, info: SignalInfo) {
    if info.code() == libc::SI_TKILL {
        return thread.pending_owned.put(signal, info);
    }
    let takes_it = |other: &&mut Thread| {
        Rc::ptr_eq(&other.process, &thread.process)
            && (other.blocked_owned & signal_bit(signal) == 0
                || matches!(other.phase, Phase::InCall(OnReturn::Consumed)))
    };
    match tree.threads.values_mut().find(takes_it) {
        Some(other) => hand_over(other, signal, info),
        None => thread.process.pending.borrow_mut().put(signal, info),
    }
}

/// Hands a signal that waited to the host, for this thread.
fn hand_over(thread: &mut Thread, signal: i32, info: SignalInfo) {
    thread.handed_over.put(signal, info);
    queue_to_thread(thread.process.pid, thread.tid, signal, &info.queued());
}

/// Hands over those of `signals` that wait for the thread or its process.
pub(crate) fn release(thread: &mut Thread, signals: u64) {
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        if signals & signal_bit(signal) == 0 {
            continue;
        }
        let own = thread.pending_owned.take(signal);
        let process = Rc::clone(&thread.process);
        if let Some(info) = own.or_else(|| process.pending.borrow_mut().take(signal)) {
            hand_over(thread, signal, info);
        }
    }
}

/// Whether a task sent the signal, rather than the kernel for something the program did.
fn is_sent(thread: &Thread) -> Result<bool, Halt> {
    Ok(ptrace::signal_info(thread.tid)?.code() <= 0)
}

/// Lets a signal through. If it has a handler, makes the pages ready that the kernel writes the frame
/// to, and blocks for the program what the handler blocks.
pub(crate) fn enter_handler(thread: &mut Thread, signal: i32) -> Result<Next, Halt> {
    let actions = *thread.process.owned.borrow();
    if !actions.is_handled(signal) {
        if !actions.is_ignored(signal) {
            without_core(thread, signal);
        }
        return Ok(Next::ResumeWith(signal));
    }
    let stack = ptrace::registers(thread.tid)?.stack();
    make_frame_ready(thread, stack)?;
    // The frame has the mask from before a call that had one of its own.
    let before = thread.blocked_before.take();
    let before = before.unwrap_or(thread.blocked_owned);
    thread.blocked_owned |= actions.blocked_by(signal);
    thread.process.owned.borrow_mut().entered(signal);
    if before == 0 {
        return Ok(Next::ResumeWith(signal));
    }
    thread.phase = Phase::EnteringHandler(before);
    Ok(Next::IntoHandler(signal))
}

/// The thread is at the first instruction of a handler: the mask in its frame (`struct rt_sigframe`),
/// which is in force again when the handler returns, gets those of the two that were blocked.
pub(crate) fn in_handler(thread: &mut Thread, before: u64) -> Result<(), Halt> {
    const RETURN_ADDRESS: u64 = 8;
    let frame = ptrace::registers(thread.tid)?.stack();
    let mask_at = frame.saturating_add(RETURN_ADDRESS + MASK_IN_CONTEXT);
    let mut mask = [0u8; 8];
    let memory = thread.memory();
    if ready::read(&memory, mask_at, &mut mask)? == mask.len() {
        let mask = u64::from_le_bytes(mask) | before;
        ready::write(&memory, mask_at, &mask.to_le_bytes())?;
    }
    Ok(())
}

/// A signal ends the program. If that does not let itself be dumped, the host is told now: not
/// before, since it would keep Recto out too.
pub(crate) fn without_core(thread: &Thread, signal: i32) {
    let memory = thread.memory();
    if DUMPING & signal_bit(signal) != 0 && !memory.mm.flags().contains(MmFlags::DUMPABLE) {
        memory.space.set_dumpable(Dumpable::No);
    }
}

fn make_frame_ready(thread: &Thread, stack: u64) -> Result<(), Halt> {
    let memory = thread.memory();
    let bytes = frame_bytes();
    let own = (stack.saturating_sub(RED_ZONE + bytes), stack);
    let alternate = thread.alternate_stack.map(|(start, size)| {
        let end = start.saturating_add(size);
        (end.saturating_sub(bytes).max(start), end)
    });
    for (start, end) in [own].into_iter().chain(alternate) {
        thread.note_in_flight(&memory, (start, end), Access::Write);
        memory.make_ready(start, end, Access::Write)?;
    }
    Ok(())
}

/// How large a signal frame can be on this CPU.
pub(crate) fn frame_bytes() -> u64 {
    const MARGIN: u64 = 512;
    const LEAST: u64 = 2048;
    crate::sys::signal::frame_bytes().max(LEAST) + MARGIN
}

/// The program blocks a signal that its own access raised: the kernel would end it whatever its
/// handler is. Blocked on the host as well, the same access makes the kernel do so.
pub(crate) fn end_by_blocked(thread: &mut Thread, signal: i32) -> Result<Next, Halt> {
    thread.doomed = true;
    without_core(thread, signal);
    let mask = ptrace::signal_mask(thread.tid)?;
    ptrace::set_signal_mask(thread.tid, mask | signal_bit(signal))?;
    Ok(Next::Resume)
}

/// A program's own thread has run into the stub, where its memory has nothing: it gets the signal
/// of a jump to nowhere.
pub(crate) fn refuse_stub(thread: &mut Thread, mut regs: Regs) -> Result<Next, Halt> {
    let number = regs.call_number();
    regs.skip_call(number);
    regs.set_instruction(thread.memory().space.stub());
    ptrace::set_registers(thread.tid, &regs)?;
    thread.in_stub = true;
    kill_thread(thread.process.pid, thread.tid, libc::SIGSEGV);
    Ok(Next::Resume)
}
