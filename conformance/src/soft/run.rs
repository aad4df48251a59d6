//! Accesses as a program makes them: byte after byte, and code of the two instructions that the
//! cases use.

use recto::VirtAddr;
use recto::soft::{Crash, Process};

const PAGE: u64 = 4096;

/// The parts of a range that lie in one page each.
pub(super) fn pieces(
    addr: u64,
    len: usize,
) -> impl Iterator<Item = (VirtAddr, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = addr.wrapping_add(done as u64);
        let room = usize::try_from(PAGE - at % PAGE).unwrap_or(len);
        let start = done;
        done = len.min(done + room);
        Some((VirtAddr::new(at), start..done))
    })
}

pub(super) fn load(process: &Process, addr: u64, len: usize) -> Result<Vec<u8>, Crash> {
    let mut bytes = vec![0; len];
    for (at, part) in pieces(addr, len) {
        process.load(at, &mut bytes[part])?;
    }
    Ok(bytes)
}

pub(super) fn store(process: &Process, addr: u64, bytes: &[u8]) -> Result<(), Crash> {
    for (at, part) in pieces(addr, bytes.len()) {
        process.store(at, &bytes[part])?;
    }
    Ok(())
}

/// `mov eax, value` and `ret`; the bytes of the value.
pub(super) fn execute(process: &Process, addr: u64) -> Result<Vec<u8>, Crash> {
    let mut code = [0; 6];
    for (at, part) in pieces(addr, code.len()) {
        process.fetch(at, &mut code[part])?;
    }
    Ok(code[1..5].to_vec())
}
