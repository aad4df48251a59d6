//! process_vm_readv and process_vm_writev, between programs of ours: both sides are our memories.

use addr::{Errno, VirtAddr};
use mm::Force;

use super::table::Verb;
use super::{Answer, Call};
use crate::halt::Halt;
use crate::ready;
use crate::sys::Tid;
use crate::tree::Tree;

const NR_PIECES_MAX: u64 = 1024;
const PIECE_BYTES: usize = 64 << 10;

/// Performs the call if it is about a program of ours; about any other process it runs as it is.
pub(crate) fn see(tree: &mut Tree, call: &mut Call<'_>, verb: Verb) -> Result<Answer, Halt> {
    if call.argument(5) != 0 || call.argument(2) > NR_PIECES_MAX || call.argument(4) > NR_PIECES_MAX
    {
        return Ok(Errno::EINVAL.into());
    }
    let pid = Tid::new(call.int(0));
    let other = if pid == call.thread.tid || pid == call.thread.process.pid {
        Some(call.thread.memory())
    } else {
        tree.threads.get(&pid).map(crate::thread::Thread::memory)
    };
    let Some(other) = other else {
        return Ok(Errno::ESRCH.into());
    };
    let local = pieces(call, 1, 2)?;
    let remote = pieces(call, 3, 4)?;
    let (Some(local), Some(remote)) = (local, remote) else {
        return Ok(Errno::EFAULT.into());
    };
    let own = call.thread.memory();
    let (from, to, from_pieces, to_pieces) = match verb {
        Verb::ProcessVmRead => (&other, &own, remote, local),
        _ => (&own, &other, local, remote),
    };
    let (mut from_at, mut to_at) = (Walk::over(from_pieces), Walk::over(to_pieces));
    let mut buffer = vec![0u8; PIECE_BYTES];
    let mut total = 0i64;
    while let (Some((source, source_bytes)), Some((target, target_bytes))) =
        (from_at.here(), to_at.here())
    {
        let bytes = source_bytes.min(target_bytes).min(PIECE_BYTES as u64) as usize;
        let piece = buffer.get_mut(..bytes).unwrap_or_default();
        let read = from
            .mm
            .read_memory(VirtAddr::new(source), piece, Force::Plain);
        let piece = piece.get(..read).unwrap_or_default();
        let written = to
            .mm
            .write_memory(VirtAddr::new(target), piece, Force::Plain);
        total += written as i64;
        if written < bytes {
            break;
        }
        from_at.advance(bytes as u64);
        to_at.advance(bytes as u64);
    }
    let wanted =
        from_at.has_begun() || total > 0 || from_at.here().is_none() || to_at.here().is_none();
    Ok(if total == 0 && !wanted {
        Errno::EFAULT.into()
    } else {
        Answer::Return(total)
    })
}

fn pieces(call: &Call<'_>, at: usize, count: usize) -> Result<Option<Vec<(u64, u64)>>, Halt> {
    let mut pieces = Vec::new();
    for index in 0..call.argument(count) {
        let mut entry = [0u8; 16];
        let address = call.argument(at).saturating_add(index * 16);
        if ready::read(call.thread, call.memory, address, &mut entry)? < entry.len() {
            return Ok(None);
        }
        let (words, _) = entry.as_chunks::<8>();
        if let [base, bytes] = words {
            pieces.push((u64::from_le_bytes(*base), u64::from_le_bytes(*bytes)));
        }
    }
    Ok(Some(pieces))
}

/// A place in a list of pieces.
struct Walk {
    pieces: Vec<(u64, u64)>,
    index: usize,
    offset: u64,
    begun: Begun,
}

#[derive(PartialEq, Eq)]
enum Begun {
    No,
    Yes,
}

impl Walk {
    fn over(pieces: Vec<(u64, u64)>) -> Self {
        let pieces = pieces.into_iter().filter(|(_, bytes)| *bytes > 0).collect();
        Self {
            pieces,
            index: 0,
            offset: 0,
            begun: Begun::No,
        }
    }

    fn here(&self) -> Option<(u64, u64)> {
        let (start, bytes) = self.pieces.get(self.index)?;
        Some((start.saturating_add(self.offset), bytes - self.offset))
    }

    fn advance(&mut self, bytes: u64) {
        self.begun = Begun::Yes;
        self.offset += bytes;
        if let Some((_, whole)) = self.pieces.get(self.index)
            && self.offset >= *whole
        {
            self.index += 1;
            self.offset = 0;
        }
    }

    fn has_begun(&self) -> bool {
        self.begun == Begun::Yes
    }
}
