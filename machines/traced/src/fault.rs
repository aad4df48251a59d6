//! A program's own page fault: a SIGSEGV or SIGBUS that the host was about to deliver.

use std::time::Instant;

use addr::{Access, Prot};
use mm::{Cause, FaultError, FaultKind};

use crate::decode;
use crate::halt::{Halt, Next};
use crate::memory::{Memory, Refused, Served, fault_of};
use crate::sys::ptrace::{self, Regs, SignalInfo};
use crate::thread::{Repeat, Thread};

const SEGV_MAPERR: i32 = 1;
const SEGV_ACCERR: i32 = 2;
const BUS_ADRERR: i32 = 2;

/// How often an instruction may fault at one address, with our tables and the host's memory both
/// ready for it, before the program gets the signal.
const REPEATS_MAX: u32 = 16;

/// What a stop for SIGSEGV or SIGBUS is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// A page fault.
    PageFault(Refused),
    /// The host's file has no such page (any more).
    Lost,
    /// Something else: sent by a task, a non-canonical address, an alignment check.
    NotOurs,
}

fn meaning(signal: i32, info: &SignalInfo) -> Meaning {
    match (signal, info.code()) {
        (libc::SIGSEGV, SEGV_MAPERR) => Meaning::PageFault(Refused::Missing),
        (libc::SIGSEGV, SEGV_ACCERR) => Meaning::PageFault(Refused::Forbidden),
        (libc::SIGBUS, BUS_ADRERR) => Meaning::Lost,
        _ => Meaning::NotOurs,
    }
}

/// Handles such a stop. `Ok(None)`: the signal is not a page fault and goes its way.
pub(crate) fn on_signal(thread: &mut Thread, signal: i32) -> Result<Option<Next>, Halt> {
    let info = ptrace::signal_info(thread.tid)?;
    let meaning = meaning(signal, &info);
    let refused = match meaning {
        Meaning::NotOurs => return Ok(None),
        Meaning::PageFault(refused) => refused,
        Meaning::Lost => Refused::Missing,
    };
    thread.process.count(|counts| counts.faults += 1);
    let is_alone = thread.process.is_alone();
    let memory = thread.memory();
    let _held_back = is_alone.then(|| memory.space.hold_back());
    let regs = ptrace::registers(thread.tid)?;
    let address = info.address();
    if meaning == Meaning::Lost {
        look_at_file_again(&memory, address);
    }
    let access = match access_kind(&memory, &regs, address, refused) {
        Access::Read => memory.access_of_read(address),
        other => other,
    };
    let refused = match refused {
        // The host has it with fewer rights than it has by now.
        Refused::Forbidden if memory.allows(address, access) => Refused::Missing,
        other => other,
    };
    if repeats(thread, &regs, address) {
        return Ok(None);
    }
    let began = Instant::now();
    let mut served = memory.serve_access(address, access, refused);
    if let Served::No(FaultError {
        cause: Cause::Denied,
        ..
    }) = &served
        && (access, refused) == (Access::Write, Refused::Missing)
    {
        // The host has not said that it was a write. If it was, it will, once the page is there; if
        // that cannot be had, the write's own error stands.
        match memory.serve(&fault_of(address, Access::Read, refused)) {
            Served::No(error) if !matches!(error.cause, Cause::OutOfMemory) => {}
            other => served = other,
        }
    }
    thread
        .process
        .count(|counts| counts.in_core += began.elapsed());
    finish(thread, &memory, address, served).map(Some)
}

fn finish(
    thread: &mut Thread,
    memory: &Memory,
    address: u64,
    served: Served,
) -> Result<Next, Halt> {
    match served {
        Served::Yes(kind) => {
            let before = memory.space.rights_at(address);
            memory.fill(address, address.saturating_add(1));
            let filled = memory.space.rights_at(address) != before;
            if filled || kind != FaultKind::Spurious {
                thread.repeat = Repeat::default();
            }
            Ok(Next::Resume)
        }
        Served::Wait(fault, request) => Err(Halt::Wait(fault, request)),
        Served::No(error) if matches!(error.cause, Cause::OutOfMemory) => Err(Halt::OutOfMemory),
        Served::No(error) => deliver(thread, &error),
    }
}

/// The program's access failed: it gets the signal that Linux would send, or, if it blocks or
/// ignores that one, is ended by it.
fn deliver(thread: &mut Thread, error: &FaultError) -> Result<Next, Halt> {
    let Some(code) = error.si_code() else {
        return Err(Halt::OutOfMemory);
    };
    let signal = code.signal();
    let raw = signal.raw();
    let info = SignalInfo::fault(raw, code.raw(), error.addr.as_u64());
    if thread.memory().space.is_watched() {
        ptrace::set_signal_info(thread.tid, &info)?;
        return crate::signals::pass_on(thread, raw);
    }
    let ignored = thread.process.owned.borrow().is_ignored(raw);
    if !ignored && !thread.doomed && thread.blocked_owned & signal_bit(raw) != 0 {
        return crate::signals::end_by_blocked(thread, raw);
    }
    ptrace::set_signal_info(thread.tid, &info)?;
    crate::signals::enter_handler(thread, raw)
}

/// The bit of a signal in a mask.
pub(crate) const fn signal_bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// The host has no page where its file had one: learn the file's length anew, so that the fault is
/// decided by it, and let nobody use the old page.
fn look_at_file_again(memory: &Memory, address: u64) {
    let page = address & !(addr::PAGE_SIZE - 1);
    let Some(range) = addr::VirtRange::from_len(addr::VirtAddr::new(page), addr::PAGE_SIZE) else {
        return;
    };
    let mut device = None;
    memory
        .mm
        .translations(range, |run| device = Some(run.target));
    if let Some(mm::Target::Device(pfn)) = device
        && let Some(page) = memory.mm.devices().page(pfn)
    {
        let _ = page.pagemap.refresh_size();
    }
    memory.space.forget(page, page + addr::PAGE_SIZE);
}

/// What the instruction was doing. The host's own rights often tell; else it is decoded.
fn access_kind(memory: &Memory, regs: &Regs, address: u64, refused: Refused) -> Access {
    let instruction = regs.instruction();
    // Another thread may have had the page filled since, so what the host has now says nothing.
    if address == instruction {
        return Access::Execute;
    }
    // An instruction that begins on the page before.
    let continues_here = address.is_multiple_of(addr::PAGE_SIZE)
        && address.wrapping_sub(instruction) < decode::INSTRUCTION_BYTES as u64;
    let rights = memory.space.rights_at(address).unwrap_or(Prot::NONE);
    if continues_here && !rights.contains(Prot::EXEC) {
        return Access::Execute;
    }
    if refused == Refused::Forbidden && rights.contains(Prot::READ) {
        return Access::Write;
    }
    let mut code = [0; decode::INSTRUCTION_BYTES];
    let got = read_code(memory, instruction, &mut code);
    let access = decode::access_of(code.get(..got).unwrap_or(&code), regs, address);
    access.unwrap_or(Access::Read)
}

/// The bytes at the instruction pointer, up to the end of what is there.
fn read_code(memory: &Memory, at: u64, code: &mut [u8; decode::INSTRUCTION_BYTES]) -> usize {
    let at = addr::VirtAddr::new(at);
    memory.mm.read_memory(at, code, mm::Force::Plain)
}

/// Whether the same fault has come so often, and found our tables ready for it, that serving it
/// again is of no use.
fn repeats(thread: &mut Thread, regs: &Regs, address: u64) -> bool {
    let instruction = regs.instruction();
    let times = match thread.repeat {
        Repeat {
            address: a,
            instruction: i,
            times,
        } if (a, i) == (address, instruction) => times + 1,
        _ => 0,
    };
    thread.repeat = Repeat {
        address,
        instruction,
        times,
    };
    times > REPEATS_MAX
}
