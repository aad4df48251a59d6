//! Signals on their way to a program, and the two that Recto owns.
//!
//! The kernel forces SIGSEGV and SIGBUS: where a program blocks or ignores them, it takes their
//! handler away for good, even if the tracer swallows the signal. Every page that is not filled yet
//! is such a signal, so the host's mask never contains the two, and the host's action is never to
//! ignore them. What the program believes of them is kept here.

use addr::Access;

use crate::fault::signal_bit;
use crate::halt::{Halt, Next};
use crate::sys::ptrace::{self, Regs, SignalInfo};
use crate::sys::signal::kill_thread;
use crate::thread::Thread;

/// The signals whose host state is ours.
pub(crate) const OWNED: u64 = signal_bit(libc::SIGSEGV) | signal_bit(libc::SIGBUS);

const SEGV_MAPERR: i32 = 1;

/// What the kernel leaves alone below the stack pointer.
pub(crate) const RED_ZONE: u64 = 128;

/// Handles a stop for a signal that is no page fault.
pub(crate) fn on_signal(thread: &mut Thread, signal: i32) -> Result<Next, Halt> {
    if thread.in_stub && signal == libc::SIGSEGV {
        thread.in_stub = false;
        let info = SignalInfo::fault(signal, SEGV_MAPERR, thread.memory().space.stub());
        ptrace::set_signal_info(thread.tid, &info)?;
    }
    let blocked = thread.blocked_owned & signal_bit(signal) != 0;
    if signal_bit(signal) & OWNED != 0 && !is_sent(thread)? {
        if blocked && !thread.doomed {
            return end_by_blocked(thread, signal);
        }
    } else if signal_bit(signal) & OWNED != 0 {
        let ignored = thread.process.owned.borrow().is_ignored(signal);
        if blocked {
            thread.pending_owned |= signal_bit(signal);
            return Ok(Next::Resume);
        }
        if ignored {
            return Ok(Next::Resume);
        }
    }
    enter_handler(thread, signal)?;
    Ok(Next::ResumeWith(signal))
}

/// Whether a task sent the signal, rather than the kernel for something the program did.
fn is_sent(thread: &Thread) -> Result<bool, Halt> {
    Ok(ptrace::signal_info(thread.tid)?.code() <= 0)
}

/// A signal is about to be let through. If it has a handler, makes the pages ready that the kernel
/// writes the frame to, and blocks for the program what the handler blocks.
pub(crate) fn enter_handler(thread: &mut Thread, signal: i32) -> Result<(), Halt> {
    let actions = *thread.process.owned.borrow();
    if !actions.is_handled(signal) {
        return Ok(());
    }
    let stack = ptrace::registers(thread.tid)?.stack();
    make_frame_ready(thread, stack)?;
    thread
        .frames
        .enter(stack, thread.alternate_stack, thread.blocked_owned);
    thread.blocked_owned |= actions.blocked_by(signal);
    Ok(())
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

/// Sends again what was held back while the program blocked it.
pub(crate) fn release_pending(thread: &mut Thread) {
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        let bit = signal_bit(signal);
        if thread.pending_owned & bit != 0 && thread.blocked_owned & bit == 0 {
            thread.pending_owned &= !bit;
            kill_thread(thread.process.pid, thread.tid, signal);
        }
    }
}

/// The program blocks a signal that its own access raised: the kernel would end it whatever its
/// handler is. Blocked on the host as well, the same access makes the kernel do so.
pub(crate) fn end_by_blocked(thread: &mut Thread, signal: i32) -> Result<Next, Halt> {
    thread.doomed = true;
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
