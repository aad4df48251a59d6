//! How much of a large transfer is made ready: a program may offer a buffer far larger than what
//! there is to read, and Linux touches only what it fills.

use std::fs::File;
use std::io::Seek;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use crate::sys::descriptor;
use crate::sys::ptrace::Regs;
use crate::thread::Thread;

/// So much is made ready of any transfer.
pub(crate) const WINDOW_BYTES: u64 = 1 << 20;

/// The most bytes that the read a thread is entering can bring at once. Where a short transfer is what
/// Linux could do as well - it ends where the memory does - that is a window.
pub(crate) fn most_bytes(thread: &Thread, regs: &Regs) -> u64 {
    let number = regs.argument(0) as i32;
    let file =
        descriptor::open_task(thread.tid).and_then(|task| descriptor::take(task.as_fd(), number));
    // Without such a descriptor the call fails before it touches anything.
    file.map_or(WINDOW_BYTES, |file| of(&File::from(file), regs))
}

fn of(file: &File, regs: &Regs) -> u64 {
    const ALL: u64 = u64::MAX;
    let Ok(meta) = file.metadata() else {
        return ALL;
    };
    match meta.mode() & libc::S_IFMT {
        // It may have grown when the call comes to it.
        libc::S_IFREG => (meta.len().saturating_sub(position(file, regs))).max(WINDOW_BYTES),
        libc::S_IFSOCK if wants_all(regs) || !descriptor::is_stream_socket(file.as_fd()) => ALL,
        // The last are those of no file: events, timers, signals.
        libc::S_IFIFO | libc::S_IFSOCK | 0 => WINDOW_BYTES,
        _ => ALL,
    }
}

/// Where the call begins to read.
fn position(mut file: &File, regs: &Regs) -> u64 {
    let mut own = || file.stream_position().unwrap_or(0);
    match regs.call_number() {
        libc::SYS_pread64 | libc::SYS_preadv => regs.argument(3),
        libc::SYS_preadv2 if regs.argument(3) != u64::MAX => regs.argument(3),
        _ => own(),
    }
}

/// Whether a socket's data is to come in one piece.
fn wants_all(regs: &Regs) -> bool {
    let flags = match regs.call_number() {
        libc::SYS_recvfrom | libc::SYS_recvmmsg => regs.argument(3),
        libc::SYS_recvmsg => regs.argument(2),
        _ => 0,
    };
    flags as i32 & libc::MSG_WAITALL != 0
}
