//! Making the memory that a call names ready for the kernel, which reads and writes it on its own.

use std::collections::HashMap;

use addr::{Access, PAGE_SIZE, Prot, VirtAddr};
use mm::Force;

use crate::calls::operand::{Flow, Length, Operand};
use crate::halt::Halt;
use crate::memory::{Memory, TASK_SIZE};
use crate::nested;
use crate::sys::ptrace::Regs;
use crate::thread::Thread;
use crate::transfer;

/// The longest path or argument page that the kernel reads as one string.
const TEXT_BYTES_MAX: u64 = 32 * PAGE_SIZE;
/// The most buffers in one vector (`UIO_MAXIOV`).
const NR_BUFFERS_MAX: u64 = 1024;
/// The most strings that are looked at in one array.
const NR_TEXTS_MAX: u64 = 1 << 20;
/// The most bytes that one call transfers (`MAX_RW_COUNT`).
const TRANSFER_BYTES_MAX: u64 = 0x7fff_f000;

/// Makes all operands of a call ready, where the kernel could not wait for them.
pub(crate) fn operands(
    thread: &mut Thread,
    memory: &Memory,
    regs: &Regs,
    operands: &[Operand],
) -> Result<(), Halt> {
    if !memory.space.is_prepared_for_calls() {
        return Ok(());
    }
    for operand in operands {
        one(thread, memory, regs, operand)?;
    }
    Ok(())
}

fn one(thread: &mut Thread, memory: &Memory, regs: &Regs, operand: &Operand) -> Result<(), Halt> {
    match *operand {
        Operand::Buffer(flow, at, length) => {
            let bytes = bytes_of(thread, memory, regs, length)?;
            buffer(thread, memory, flow, (regs.argument(at), bytes))
        }
        Operand::Text(at) => text(memory, thread, regs.argument(at)),
        Operand::Texts(at) => texts(thread, memory, regs.argument(at)),
        Operand::Vector(flow, at, count) => {
            let count = regs.argument(count).min(NR_BUFFERS_MAX);
            vector(thread, memory, (flow, regs), (regs.argument(at), count))
        }
        Operand::Message(flow, at) => message(thread, memory, (flow, regs), regs.argument(at)),
        Operand::Messages(flow, at, count) => {
            const BYTES: u64 = 64;
            let count = regs.argument(count).min(NR_BUFFERS_MAX);
            for index in 0..count {
                let address = regs.argument(at).saturating_add(index * BYTES);
                message(thread, memory, (flow, regs), address)?;
                buffer(thread, memory, Flow::InOut, (address, BYTES))?;
            }
            Ok(())
        }
        Operand::Ioctl(at) => nested::ioctl(thread, memory, regs, at),
        Operand::Pointers(at, length) => {
            let bytes = bytes_of(thread, memory, regs, length)?;
            buffer(thread, memory, Flow::InOut, (regs.argument(at), bytes))?;
            nested::pointers(thread, memory, (regs.argument(at), bytes))
        }
        Operand::When(selector, values, operand) => {
            if values.contains(&(regs.argument(selector) & 0xffff_ffff)) {
                return one(thread, memory, regs, operand);
            }
            Ok(())
        }
    }
}

fn bytes_of(
    thread: &mut Thread,
    memory: &Memory,
    regs: &Regs,
    length: Length,
) -> Result<u64, Halt> {
    Ok(match length {
        Length::Bytes(bytes) => bytes,
        Length::Argument(at) => regs.argument(at),
        Length::AtMost(at) => match regs.argument(at) {
            bytes if bytes > transfer::WINDOW_BYTES => {
                bytes.min(transfer::most_bytes(thread, regs))
            }
            bytes => bytes,
        },
        Length::Items(at, bytes) => (regs.argument(at) & 0xffff_ffff).saturating_mul(bytes),
        Length::ArgumentAnd(at, bytes) => regs.argument(at).saturating_add(bytes),
        Length::AtPointer(at) => {
            let mut word = [0; 4];
            if read(memory, regs.argument(at), &mut word)? < word.len() {
                return Ok(0);
            }
            u64::from(u32::from_le_bytes(word))
        }
        Length::Bits(at) => (regs.argument(at) & 0xffff_ffff).min(1 << 20).div_ceil(64) * 8,
    })
}

/// Makes the bytes at an address ready, and notes that the call names them.
pub(crate) fn buffer(
    thread: &mut Thread,
    memory: &Memory,
    flow: Flow,
    (start, bytes): (u64, u64),
) -> Result<(), Halt> {
    if start == 0 || bytes == 0 || start >= TASK_SIZE {
        return Ok(());
    }
    let end = start
        .saturating_add(bytes.min(TRANSFER_BYTES_MAX))
        .min(TASK_SIZE);
    let access = flow.access();
    thread.note_in_flight(memory, (start, end), access);
    memory.make_ready(start, end, access)?;
    if flow == Flow::InOut
        && memory
            .space
            .first_refused(start, end, Prot::WRITE)
            .is_some()
    {
        memory.make_ready(start, end, Access::Read)?;
    }
    Ok(())
}

/// Makes a string ready, to its zero or as far as it is there.
fn text(memory: &Memory, thread: &mut Thread, start: u64) -> Result<(), Halt> {
    if start == 0 || start >= TASK_SIZE {
        return Ok(());
    }
    let limit = start.saturating_add(TEXT_BYTES_MAX).min(TASK_SIZE);
    let mut at = start;
    let mut page = [0u8; PAGE_SIZE as usize];
    while at < limit {
        let end = ((at / PAGE_SIZE) + 1) * PAGE_SIZE;
        thread.note_in_flight(memory, (at, at + 1), Access::Read);
        memory.make_ready(at, at + 1, Access::Read)?;
        // A string that would have to be longer than any path to leave what is ready has its zero
        // there, or is refused by the kernel.
        if memory
            .space
            .first_refused(at, start.saturating_add(PAGE_SIZE), Prot::READ)
            .is_none()
        {
            return Ok(());
        }
        let bytes = page.get_mut(..(end - at) as usize).unwrap_or_default();
        let got = memory
            .mm
            .read_memory(VirtAddr::new(at), bytes, Force::Plain);
        if got < bytes.len() || bytes.contains(&0) {
            return Ok(());
        }
        at = end;
    }
    Ok(())
}

/// Pages of a program's memory as the strings of one call are looked through: most of them lie on a
/// few pages.
#[derive(Default)]
struct Pages(HashMap<u64, Vec<u8>>);

impl Pages {
    /// Whether the string that has a part at `at` ends on that page, or is cut off there.
    fn ends_at(&mut self, memory: &Memory, at: u64) -> bool {
        let start = at - at % PAGE_SIZE;
        let page = self.0.entry(start).or_insert_with(|| {
            let mut bytes = vec![0; PAGE_SIZE as usize];
            let got = memory
                .mm
                .read_memory(VirtAddr::new(start), &mut bytes, Force::Plain);
            bytes.truncate(got);
            bytes
        });
        let rest = page.get((at - start) as usize..).unwrap_or_default();
        page.len() < PAGE_SIZE as usize || rest.contains(&0)
    }
}

/// As [`text`], for argument strings, which are longer than paths.
fn long_text(
    memory: &Memory,
    thread: &mut Thread,
    pages: &mut Pages,
    start: u64,
) -> Result<(), Halt> {
    let mut at = start;
    let limit = start.saturating_add(TEXT_BYTES_MAX).min(TASK_SIZE);
    while at < limit {
        thread.note_in_flight(memory, (at, at + 1), Access::Read);
        memory.make_ready(at, at + 1, Access::Read)?;
        if pages.ends_at(memory, at) {
            return Ok(());
        }
        at = ((at / PAGE_SIZE) + 1) * PAGE_SIZE;
    }
    Ok(())
}

fn texts(thread: &mut Thread, memory: &Memory, start: u64) -> Result<(), Halt> {
    const WORDS: usize = 64;
    if start == 0 {
        return Ok(());
    }
    let mut at = start;
    let mut pages = Pages::default();
    for _ in 0..NR_TEXTS_MAX / WORDS as u64 {
        let mut words = [0u8; WORDS * 8];
        let got = read_some(memory, at, &mut words)?;
        let (words, _) = words.get(..got).unwrap_or_default().as_chunks::<8>();
        if words.is_empty() {
            return Ok(());
        }
        for word in words {
            match u64::from_le_bytes(*word) {
                0 => return Ok(()),
                address => long_text(memory, thread, &mut pages, address)?,
            }
        }
        at = at.saturating_add(words.len() as u64 * 8);
    }
    Ok(())
}

fn vector(
    thread: &mut Thread,
    memory: &Memory,
    (flow, regs): (Flow, &Regs),
    (start, count): (u64, u64),
) -> Result<(), Halt> {
    let (mut done, mut most) = (0u64, None);
    for index in 0..count {
        let mut entry = [0u8; 16];
        let at = start.saturating_add(index * 16);
        if read(memory, at, &mut entry)? < entry.len() {
            return Ok(());
        }
        let (words, _) = entry.as_chunks::<8>();
        if let [base, bytes] = words {
            let (base, bytes) = (u64::from_le_bytes(*base), u64::from_le_bytes(*bytes));
            let end = bytes.saturating_add(done);
            if flow == Flow::Out && end > transfer::WINDOW_BYTES {
                most = most.or_else(|| Some(transfer::most_bytes(thread, regs)));
            }
            let left = most.unwrap_or(u64::MAX).saturating_sub(done);
            buffer(thread, memory, flow, (base, bytes.min(left)))?;
            done = end;
        }
    }
    buffer(thread, memory, Flow::In, (start, count * 16))
}

/// A `struct msghdr`: name, vector, control data.
fn message(
    thread: &mut Thread,
    memory: &Memory,
    (flow, regs): (Flow, &Regs),
    start: u64,
) -> Result<(), Halt> {
    let mut header = [0u8; 56];
    if read(memory, start, &mut header)? < header.len() {
        return Ok(());
    }
    let (words, _) = header.as_chunks::<8>();
    let word = |index: usize| words.get(index).map_or(0, |word| u64::from_le_bytes(*word));
    let name_bytes = word(1) & 0xffff_ffff;
    buffer(thread, memory, flow, (word(0), name_bytes))?;
    let pieces = (word(2), word(3).min(NR_BUFFERS_MAX));
    vector(thread, memory, (flow, regs), pieces)?;
    buffer(thread, memory, flow, (word(4), word(5)))?;
    let header_flow = match flow {
        Flow::In => Flow::In,
        _ => Flow::InOut,
    };
    buffer(thread, memory, header_flow, (start, header.len() as u64))
}

/// Copies from the program's memory; how many bytes could be read.
pub(crate) fn read(memory: &Memory, start: u64, out: &mut [u8]) -> Result<usize, Halt> {
    if start == 0 || start >= TASK_SIZE {
        return Ok(0);
    }
    let end = start.saturating_add(out.len() as u64);
    memory.make_reachable(start, end, Access::Read)?;
    Ok(memory
        .mm
        .read_memory(VirtAddr::new(start), out, Force::Plain))
}

/// As [`read`], up to the end of the page if what follows is not there.
fn read_some(memory: &Memory, start: u64, out: &mut [u8]) -> Result<usize, Halt> {
    let in_page = (PAGE_SIZE - start % PAGE_SIZE) as usize;
    let part = in_page.min(out.len());
    read(memory, start, out.get_mut(..part).unwrap_or_default())
}

/// Copies to the program's memory; whether all of it could be written.
pub(crate) fn write(memory: &Memory, start: u64, bytes: &[u8]) -> Result<bool, Halt> {
    if start == 0 || start >= TASK_SIZE {
        return Ok(false);
    }
    let end = start.saturating_add(bytes.len() as u64);
    if memory.space.is_watched() {
        memory.make_reachable(start, end, Access::Write)?;
    } else {
        memory.make_ready(start, end, Access::Write)?;
    }
    let written = memory
        .mm
        .write_memory(VirtAddr::new(start), bytes, Force::Plain);
    Ok(written == bytes.len())
}

/// The string at an address, without its zero; `None` when it is not there or has no end.
pub(crate) fn read_text(memory: &Memory, start: u64) -> Result<Option<Vec<u8>>, Halt> {
    let mut text = Vec::new();
    let mut at = start;
    while text.len() < PAGE_SIZE as usize {
        let mut piece = [0u8; 256];
        let got = read_some(memory, at, &mut piece)?;
        let piece = piece.get(..got).unwrap_or_default();
        if piece.is_empty() {
            return Ok(None);
        }
        if let Some(end) = piece.iter().position(|byte| *byte == 0) {
            text.extend_from_slice(piece.get(..end).unwrap_or_default());
            return Ok(Some(text));
        }
        text.extend_from_slice(piece);
        at = at.saturating_add(got as u64);
    }
    Ok(None)
}
