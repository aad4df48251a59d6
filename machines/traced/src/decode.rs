//! What kind of access an instruction was making when it faulted: ptrace reports the address of a
//! fault, not the hardware's error code.

use addr::Access;
use iced_x86::{Decoder, DecoderOptions, InstructionInfoFactory, OpAccess, Register};

use crate::sys::ptrace::Regs;

/// The longest instruction there is.
pub(crate) const INSTRUCTION_BYTES: usize = 15;

/// Finds the access of the instruction `code` at the registers' instruction pointer that touches
/// `address`. `None` when the bytes are no instruction, or it touches no memory.
pub(crate) fn access_of(code: &[u8], regs: &Regs, address: u64) -> Option<Access> {
    let mut decoder = Decoder::with_ip(64, code, regs.instruction(), DecoderOptions::NONE);
    let instruction = decoder.decode();
    if instruction.is_invalid() {
        return None;
    }
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(&instruction);
    let mut nearest: Option<(u64, Access)> = None;
    for memory in info.used_memory() {
        let Some(access) = kind(memory.access()) else {
            continue;
        };
        // A gather or scatter touches one place an element; their index registers are not at hand,
        // so the first is as good as any.
        let start = memory.virtual_address(0, |register, _, _| value(regs, register))?;
        let distance = distance(start, memory.memory_size().size() as u64, address);
        let closer = match nearest {
            None => true,
            Some((best, found)) => distance < best || (distance == best && found == Access::Read),
        };
        if closer {
            nearest = Some((distance, access));
        }
    }
    nearest.map(|(_, access)| access)
}

/// How far `address` lies from `bytes` bytes at `start`.
fn distance(start: u64, bytes: u64, address: u64) -> u64 {
    let offset = address.wrapping_sub(start);
    if offset < bytes.max(1) {
        0
    } else {
        offset.min(start.wrapping_sub(address))
    }
}

fn kind(access: OpAccess) -> Option<Access> {
    match access {
        OpAccess::Read | OpAccess::CondRead => Some(Access::Read),
        OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite => {
            Some(Access::Write)
        }
        OpAccess::None | OpAccess::NoMemAccess => None,
    }
}

/// The value of an address register. Vector registers, which only gathers and scatters use, count
/// as zero.
fn value(regs: &Regs, register: Register) -> Option<u64> {
    match register {
        Register::ES | Register::CS | Register::SS | Register::DS => return Some(0),
        Register::FS => return Some(regs.segment_bases().0),
        Register::GS => return Some(regs.segment_bases().1),
        Register::RIP | Register::EIP => return Some(regs.instruction()),
        _ => {}
    }
    if !register.is_gpr() {
        return Some(0);
    }
    let full = regs
        .general()
        .get(register.full_register().number())
        .copied()?;
    Some(match register.size() {
        8 => full,
        4 => full & 0xffff_ffff,
        2 => full & 0xffff,
        _ => full & 0xff,
    })
}

#[cfg(test)]
mod tests;
