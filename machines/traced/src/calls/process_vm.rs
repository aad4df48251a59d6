//! process_vm_readv and process_vm_writev, between programs of ours: both sides are our memories.

use addr::{Errno, VirtAddr};
use mm::Force;

use super::table::Verb;
use super::{Answer, Call};
use crate::halt::Halt;
use crate::memory::Memory;
use crate::pool::Work;
use crate::ready;
use crate::sys::Tid;
use crate::tree::Tree;

const NR_PIECES_MAX: u64 = 1024;
const PIECE_BYTES: usize = 64 << 10;
/// So much is copied before others have their turn.
const TURN_BYTES: u64 = 1 << 20;
/// The most bytes that one call transfers (`MAX_RW_COUNT`).
const TOTAL_BYTES_MAX: u64 = 0x7fff_f000;

/// Performs the call if it is about a program of ours; about any other process there is none. After
/// some of it the other programs have their turn.
pub(crate) fn see(tree: &mut Tree, call: &mut Call<'_>, verb: Verb) -> Result<Answer, Halt> {
    if call.argument(5) != 0 || call.argument(2) > NR_PIECES_MAX || call.argument(4) > NR_PIECES_MAX
    {
        return Ok(Errno::EINVAL.into());
    }
    let begun = call.thread.worked.take().and(call.thread.copying.take());
    let mut copying = match begun {
        Some(begun) => begun,
        None => match Copying::begin(call, verb)? {
            Ok(copying) => Box::new(copying),
            Err(errno) => return Ok(errno.into()),
        },
    };
    if copying.is_at_end() {
        return Ok(copying.answer());
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
    let own = call.thread.memory();
    let (from, to) = match verb {
        Verb::ProcessVmRead => (&other, &own),
        _ => (&own, &other),
    };
    match copying.go_on(from, to) {
        Progress::Over => Ok(copying.answer()),
        Progress::SoFar => {
            call.thread.copying = Some(copying);
            Err(Halt::Work(Work::new(|| Ok(()))))
        }
    }
}

/// A copy between two memories, under way.
#[derive(Debug)]
pub(crate) struct Copying {
    from: Walk,
    to: Walk,
    total: u64,
}

#[derive(PartialEq, Eq)]
enum Progress {
    SoFar,
    Over,
}

impl Copying {
    fn begin(call: &Call<'_>, verb: Verb) -> Result<Result<Self, Errno>, Halt> {
        let (local, remote) = (pieces(call, 1, 2)?, pieces(call, 3, 4)?);
        let (local, remote) = match (local, remote) {
            (Ok(local), Ok(remote)) => (Walk::over(local), Walk::over(remote)),
            (Err(errno), _) | (_, Err(errno)) => return Ok(Err(errno)),
        };
        let (from, to) = match verb {
            Verb::ProcessVmRead => (remote, local),
            _ => (local, remote),
        };
        let total = 0;
        Ok(Ok(Self { from, to, total }))
    }

    /// Copies as much as is done in one turn.
    fn go_on(&mut self, from: &Memory, to: &Memory) -> Progress {
        let mut buffer = vec![0u8; PIECE_BYTES];
        let turn_ends = self.total.saturating_add(TURN_BYTES).min(TOTAL_BYTES_MAX);
        while self.total < turn_ends {
            let (Some((source, source_bytes)), Some((target, target_bytes))) =
                (self.from.here(), self.to.here())
            else {
                return Progress::Over;
            };
            let bytes = source_bytes.min(target_bytes).min(PIECE_BYTES as u64);
            let bytes = bytes.min(turn_ends - self.total) as usize;
            let piece = buffer.get_mut(..bytes).unwrap_or_default();
            let (source, target) = (VirtAddr::new(source), VirtAddr::new(target));
            let read = from.mm.read_memory(source, piece, Force::Plain);
            let piece = piece.get(..read).unwrap_or_default();
            let written = to.mm.write_memory(target, piece, Force::Plain);
            self.total += written as u64;
            if written < bytes {
                return Progress::Over;
            }
            self.from.advance(bytes as u64);
            self.to.advance(bytes as u64);
        }
        match self.total < TOTAL_BYTES_MAX {
            true => Progress::SoFar,
            false => Progress::Over,
        }
    }

    fn is_at_end(&self) -> bool {
        self.from.here().is_none() || self.to.here().is_none()
    }

    fn answer(&self) -> Answer {
        if self.total == 0 && !self.is_at_end() {
            return Errno::EFAULT.into();
        }
        Answer::Return(self.total as i64)
    }
}

fn pieces(
    call: &Call<'_>,
    at: usize,
    count: usize,
) -> Result<Result<Vec<(u64, u64)>, Errno>, Halt> {
    let mut pieces = Vec::new();
    for index in 0..call.argument(count) {
        let mut entry = [0u8; 16];
        let address = call.argument(at).saturating_add(index * 16);
        if ready::read(call.memory, address, &mut entry)? < entry.len() {
            return Ok(Err(Errno::EFAULT));
        }
        let (words, _) = entry.as_chunks::<8>();
        if let [base, bytes] = words {
            let (base, bytes) = (u64::from_le_bytes(*base), u64::from_le_bytes(*bytes));
            if i64::try_from(bytes).is_err() {
                return Ok(Err(Errno::EINVAL));
            }
            pieces.push((base, bytes));
        }
    }
    Ok(Ok(pieces))
}

/// A place in a list of pieces.
#[derive(Debug)]
struct Walk {
    pieces: Vec<(u64, u64)>,
    index: usize,
    offset: u64,
}

impl Walk {
    fn over(pieces: Vec<(u64, u64)>) -> Self {
        let pieces = pieces.into_iter().filter(|(_, bytes)| *bytes > 0).collect();
        Self {
            pieces,
            index: 0,
            offset: 0,
        }
    }

    fn here(&self) -> Option<(u64, u64)> {
        let (start, bytes) = self.pieces.get(self.index)?;
        Some((start.saturating_add(self.offset), bytes - self.offset))
    }

    fn advance(&mut self, bytes: u64) {
        self.offset += bytes;
        if let Some((_, whole)) = self.pieces.get(self.index)
            && self.offset >= *whole
        {
            self.index += 1;
            self.offset = 0;
        }
    }
}
