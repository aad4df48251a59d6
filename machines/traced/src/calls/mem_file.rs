//! `/proc/PID/mem`: what is read and written through it is ours, not what the host happens to have
//! filled.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::fd::AsFd;
use std::rc::Rc;

use addr::{Errno, VirtAddr};
use mm::Force;

use super::open::{self, Opened};
use super::{Answer, Call};
use crate::halt::Halt;
use crate::memory::Memory;
use crate::ready;
use crate::sys::descriptor;
use crate::tree::Tree;

/// The name of the file.
pub(super) const NAME: &str = "mem";

/// So much is moved at a time.
const PIECE_BYTES: usize = 64 << 10;
/// The most that one call moves; then it has done a part.
const MOST_BYTES: u64 = 4 << 20;

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Out of the file's memory.
    Read,
    /// Into it.
    Write,
}

/// A call on such a file.
#[derive(Debug)]
struct Transfer {
    way: Way,
    memory: Rc<Memory>,
    file: File,
    /// Where in the memory.
    place: u64,
    /// Whether the file's own place moves on.
    moves_on: bool,
}

/// Performs a read or write of such a file; any other call runs.
pub(super) fn see(tree: &Tree, call: &mut Call<'_>) -> Result<Answer, Halt> {
    let way = match call.regs.call_number() {
        libc::SYS_read | libc::SYS_pread64 => Way::Read,
        libc::SYS_write | libc::SYS_pwrite64 => Way::Write,
        _ => return Ok(Answer::Run),
    };
    if !call.thread.process.has_mem_file.get() {
        return Ok(Answer::Run);
    }
    let Some(mut transfer) = transfer_of(tree, call, way) else {
        return Ok(Answer::Run);
    };
    let mode = descriptor::open_flags(transfer.file.as_fd()).unwrap_or(0) & libc::O_ACCMODE;
    if (way, mode) == (Way::Read, libc::O_WRONLY) || (way, mode) == (Way::Write, libc::O_RDONLY) {
        return Ok(Errno::EBADF.into());
    }
    let done = move_all(call, &transfer)?;
    if let Ok(bytes) = done
        && transfer.moves_on
    {
        let _ = transfer
            .file
            .seek(SeekFrom::Start(transfer.place.saturating_add(bytes)));
    }
    Ok(match done {
        Ok(bytes) => Answer::Return(bytes as i64),
        // The vDSO family is the host's to read.
        Err(Errno::EIO) if is_of_the_host(&transfer) => Answer::Run,
        Err(errno) => errno.into(),
    })
}

fn transfer_of(tree: &Tree, call: &Call<'_>, way: Way) -> Option<Transfer> {
    let Opened {
        file, name, memory, ..
    } = open::opened(tree, call.thread, call.int(0))?;
    if name != NAME {
        return None;
    }
    let mut file = File::from(file);
    let is_at = matches!(
        call.regs.call_number(),
        libc::SYS_pread64 | libc::SYS_pwrite64
    );
    let place = match is_at {
        true => call.argument(3),
        false => file.stream_position().ok()?,
    };
    Some(Transfer {
        way,
        memory,
        file,
        place,
        moves_on: !is_at,
    })
}

/// Moves as much as can be moved (`mem_rw`).
fn move_all(call: &Call<'_>, transfer: &Transfer) -> Result<Result<u64, Errno>, Halt> {
    let (mm, own) = (&transfer.memory.mm, call.argument(1));
    let count = call.argument(2).min(MOST_BYTES);
    let mut done = 0;
    let mut piece = vec![0u8; PIECE_BYTES.min(count as usize)];
    while done < count {
        let bytes = piece.len().min((count - done) as usize);
        let Some(piece) = piece.get_mut(..bytes) else {
            break;
        };
        let at = VirtAddr::new(transfer.place.saturating_add(done));
        let own = own.saturating_add(done);
        let moved = if transfer.way == Way::Write {
            let got = ready::read(call.memory, own, piece)?;
            if got == 0 {
                return Ok(part_or(done, Errno::EFAULT));
            }
            mm.write_memory(at, piece.get(..got).unwrap_or_default(), Force::Forced)
        } else {
            let got = mm.read_memory(at, piece, Force::Forced);
            let got_bytes = piece.get(..got).unwrap_or_default();
            if !ready::write(call.memory, own, got_bytes)? {
                return Ok(part_or(done, Errno::EFAULT));
            }
            got
        };
        done += moved as u64;
        if moved < bytes {
            break;
        }
    }
    match count {
        0 => Ok(Ok(0)),
        _ => Ok(part_or(done, Errno::EIO)),
    }
}

fn part_or(done: u64, errno: Errno) -> Result<u64, Errno> {
    match done {
        0 => Err(errno),
        part => Ok(part),
    }
}

fn is_of_the_host(transfer: &Transfer) -> bool {
    let space = &transfer.memory.space;
    !space.is_in_stub(transfer.place) && space.rights_at(transfer.place).is_some()
}
