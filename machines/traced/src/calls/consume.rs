//! Calls that take, or tell of, signals that wait: for their duration the host blocks what the
//! program blocks, and has what waits here. A thread runs no code of its own in a call, so no page
//! that is missing can be a signal meanwhile.

use super::{Answer, Call};
use crate::halt::{Halt, Next};
use crate::ready;
use crate::signals::{OWNED, release};
use crate::sys::ptrace::{self, Regs};
use crate::thread::{OnReturn, Phase, Thread};

/// Lets a call run; if it may meet one of the two that the program blocks, as the kernel would have
/// it.
pub(super) fn see(call: &mut Call<'_>) -> Result<Answer, Halt> {
    let blocked = call.thread.blocked_owned;
    if blocked == 0 || !may_meet(call, blocked)? {
        return Ok(Answer::Run);
    }
    let tid = call.thread.tid;
    let mask = ptrace::signal_mask(tid)?;
    ptrace::set_signal_mask(tid, mask | blocked)?;
    release(call.thread, blocked);
    call.thread.phase = Phase::InCall(OnReturn::Consumed);
    Ok(Answer::Go(Next::ToCallEdge))
}

fn may_meet(call: &Call<'_>, blocked: u64) -> Result<bool, Halt> {
    Ok(match call.regs.call_number() {
        libc::SYS_rt_sigpending => {
            let process = call.thread.process.pending.borrow().set();
            (call.thread.pending_owned.set() | process) & blocked != 0
        }
        libc::SYS_rt_sigtimedwait => {
            let mut set = [0u8; 8];
            let at = call.argument(0);
            ready::read(call.memory, at, &mut set)? == set.len()
                && u64::from_le_bytes(set) & blocked != 0
        }
        libc::SYS_read
        | libc::SYS_readv
        | libc::SYS_poll
        | libc::SYS_ppoll
        | libc::SYS_select
        | libc::SYS_pselect6
        | libc::SYS_epoll_wait
        | libc::SYS_epoll_pwait
        | libc::SYS_epoll_pwait2 => call.thread.process.has_signalfd.get(),
        _ => false,
    })
}

/// signalfd: notes that reads and polls of the process may meet the two.
pub(super) fn see_signalfd(call: &Call<'_>) -> Result<Answer, Halt> {
    let mut set = [0u8; 8];
    let got = ready::read(call.memory, call.argument(1), &mut set)?;
    if got == set.len() && u64::from_le_bytes(set) & OWNED != 0 {
        call.thread.process.has_signalfd.set(true);
    }
    Ok(Answer::Run)
}

/// Such a call comes back. What it took is told as it came; what it left comes to us again.
pub(super) fn came_back(thread: &mut Thread) -> Result<Next, Halt> {
    let mask = ptrace::signal_mask(thread.tid)?;
    ptrace::set_signal_mask(thread.tid, mask & !OWNED)?;
    let regs = ptrace::registers(thread.tid)?;
    match regs.call_number() {
        libc::SYS_rt_sigtimedwait => tell_waiter(thread, &regs)?,
        libc::SYS_read if thread.handed_over.set() != 0 => tell_reader(thread, &regs)?,
        _ => {}
    }
    Ok(Next::Resume)
}

fn tell_waiter(thread: &mut Thread, regs: &Regs) -> Result<(), Halt> {
    let signal = i32::try_from(regs.result()).unwrap_or(0);
    if let Some(info) = thread.handed_over.take(signal) {
        let memory = thread.memory();
        ready::write(&memory, regs.argument(1), &info.to_bytes())?;
    }
    Ok(())
}

/// In the records of a signalfd (`struct signalfd_siginfo`), only the code differs from what came.
fn tell_reader(thread: &mut Thread, regs: &Regs) -> Result<(), Halt> {
    const BYTES: u64 = 128;
    const CODE: u64 = 8;
    let link = format!("/proc/{}/fd/{}", thread.tid, regs.argument(0) as i32);
    let is_signalfd =
        std::fs::read_link(link).is_ok_and(|path| path.as_os_str() == "anon_inode:[signalfd]");
    let read = u64::try_from(regs.result()).unwrap_or(0);
    if !is_signalfd {
        return Ok(());
    }
    let memory = thread.memory();
    // At most one record for each signal there is.
    for index in 0..(read / BYTES).min(64) {
        let at = regs.argument(1).saturating_add(index * BYTES);
        let mut number = [0u8; 4];
        ready::read(&memory, at, &mut number)?;
        let signal = i32::from_le_bytes(number);
        if let Some(info) = thread.handed_over.take(signal) {
            let code = info.code().to_le_bytes();
            ready::write(&memory, at.saturating_add(CODE), &code)?;
        }
    }
    Ok(())
}
