//! Memory that a call names in memory: structures with pointers in them, or with arrays behind them.
//!
//! Drivers define such structures at will. Of those that are not known, every word counts as a pointer
//! that is one: what it leads to is made ready, if the program has anything there.

use crate::calls::operand::Flow;
use crate::halt::Halt;
use crate::memory::{Memory, TASK_SIZE};
use crate::ready;
use crate::sys::ptrace::Regs;
use crate::thread::Thread;

const SIOCGIFCONF: u64 = 0x8912;
const FS_IOC_FIEMAP: u64 = 0xc020_660b;
const FIDEDUPERANGE: u64 = 0xc018_9436;
const FS_IOC_GETFSMAP: u64 = 0xc0c0_583b;

/// As much is made ready where a pointer of unknown use leads.
const POINTED_BYTES: u64 = 64 << 10;
/// The longest structure that is looked through for pointers.
const STRUCTURE_BYTES_MAX: u64 = 4096;
/// Nothing of a program lies below.
const LOWEST: u64 = 64 << 10;

/// Makes the argument of an ioctl ready, and what it leads to.
pub(crate) fn ioctl(
    thread: &mut Thread,
    memory: &Memory,
    regs: &Regs,
    at: usize,
) -> Result<(), Halt> {
    let request = regs.argument(at.saturating_sub(1)) & 0xffff_ffff;
    let start = regs.argument(at);
    let Some((flow, bytes)) = crate::calls::operand::ioctl_operand(request) else {
        return Ok(());
    };
    let tail = match request {
        FS_IOC_FIEMAP => number(memory, start.saturating_add(24))?.saturating_mul(56),
        FS_IOC_GETFSMAP => number(memory, start.saturating_add(8))?.saturating_mul(64),
        FIDEDUPERANGE => {
            let count = number(memory, start.saturating_add(16))? & 0xffff;
            count.saturating_mul(32)
        }
        _ => 0,
    };
    let whole = (start, bytes.saturating_add(tail));
    ready::buffer(thread, memory, flow, whole)?;
    match request {
        SIOCGIFCONF => {
            let bytes = number(memory, start)?;
            let buffer = word(memory, start.saturating_add(8))?;
            ready::buffer(thread, memory, Flow::Out, (buffer, bytes))
        }
        _ if leads_on(request, flow) => pointers(thread, memory, (start, bytes)),
        _ => Ok(()),
    }
}

/// Whether a request may be one whose argument has pointers in it: those of terminals have none.
fn leads_on(request: u64, flow: Flow) -> bool {
    const TERMINAL: u64 = 0x54;
    flow != Flow::Out && request >> 8 & 0xff != TERMINAL
}

/// Makes ready what the words of a structure lead to, where they may be pointers.
pub(crate) fn pointers(
    thread: &mut Thread,
    memory: &Memory,
    (start, bytes): (u64, u64),
) -> Result<(), Halt> {
    let mut structure = vec![0u8; bytes.min(STRUCTURE_BYTES_MAX) as usize];
    let got = ready::read(memory, start, &mut structure)?;
    let (words, _) = structure.get(..got).unwrap_or_default().as_chunks::<8>();
    for word in words {
        let to = u64::from_le_bytes(*word);
        if !(LOWEST..TASK_SIZE).contains(&to) {
            continue;
        }
        let end = to.saturating_add(POINTED_BYTES);
        let end = memory.end_of_area(to).map_or(to, |area| area.min(end));
        ready::buffer(thread, memory, Flow::InOut, (to, end.saturating_sub(to)))?;
    }
    Ok(())
}

/// The 32-bit number at an address; 0 where there is nothing.
fn number(memory: &Memory, at: u64) -> Result<u64, Halt> {
    Ok(word(memory, at)? & 0xffff_ffff)
}

/// The word at an address; 0 where there is nothing.
fn word(memory: &Memory, at: u64) -> Result<u64, Halt> {
    let mut word = [0u8; 8];
    let got = ready::read(memory, at, &mut word)?;
    Ok(if got == word.len() {
        u64::from_le_bytes(word)
    } else {
        0
    })
}
