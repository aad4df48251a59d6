//! Any sequence of memory calls, accesses and forks: no panic, and nothing is left behind.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use recto::frame::Purpose;
use recto::soft::{Computer, ComputerConfig, Process};
use recto::{
    Advice, ArenaConfig, Errno, MapFlags, MapRequest, MmUser, Prot, RemapFlags, RemapRequest, VirtAddr,
};

const FRAMES: u64 = 512;
const STEPS_MAX: usize = 64;
const PROCESSES_MAX: usize = 4;

#[derive(Arbitrary, Debug)]
struct Step {
    process: u8,
    call: Call,
}

#[derive(Arbitrary, Debug)]
enum Call {
    Map {
        page: u8,
        bytes: u32,
        prot: u8,
        flags: u32,
    },
    Unmap {
        page: u8,
        bytes: u32,
    },
    Protect {
        page: u8,
        bytes: u32,
        prot: u8,
    },
    Remap {
        page: u8,
        old: u32,
        new: u32,
        flags: u8,
        to: u8,
    },
    Break {
        to: u32,
    },
    Advise {
        page: u8,
        bytes: u32,
        advice: i8,
    },
    Residence {
        page: u8,
        bytes: u16,
    },
    Lock {
        page: u8,
        bytes: u32,
    },
    Unlock {
        page: u8,
        bytes: u32,
    },
    Load {
        page: u8,
        offset: u16,
    },
    Store {
        page: u8,
        offset: u16,
        byte: u8,
    },
    Fetch {
        page: u8,
        offset: u16,
    },
    Anywhere {
        addr: u64,
    },
    Fork,
    End,
}

/// An address in a window of 256 pages, so that calls meet.
fn at(page: u8) -> VirtAddr {
    VirtAddr::new(0x1000_0000 + (u64::from(page) << 12))
}

fn length(bytes: u32) -> u64 {
    u64::from(bytes) & 0xf_ffff
}

fn prot(bits: u8) -> Prot {
    Prot::from_bits_truncate(u32::from(bits & 7))
}

/// Performs one call; its error is an outcome like any other.
fn perform(process: &Process, call: &Call) {
    let mut byte = [0];
    match *call {
        Call::Load { page, offset } => {
            let _ = process.load(within(page, offset), &mut byte);
        }
        Call::Store { page, offset, byte } => {
            let _ = process.store(within(page, offset), &[byte]);
        }
        Call::Fetch { page, offset } => {
            let _ = process.fetch(within(page, offset), &mut byte);
        }
        Call::Anywhere { addr } => {
            let _ = process.load(VirtAddr::new(addr), &mut byte);
        }
        _ => {
            let _ = call_memory(process.mm(), call);
        }
    }
}

/// The memory calls among them.
fn call_memory(mm: &MmUser, call: &Call) -> Result<(), Errno> {
    match *call {
        Call::Map { page, bytes, prot: bits, flags } => {
            let flags = MapFlags::from_bits_truncate(flags) - MapFlags::POPULATE;
            let request = MapRequest::anonymous(length(bytes), prot(bits)).near(at(page));
            mm.mmap(&request.with(flags)).map(|_| ())
        }
        Call::Unmap { page, bytes } => mm.munmap(at(page), length(bytes)),
        Call::Protect { page, bytes, prot: bits } => {
            mm.mprotect(at(page), length(bytes), prot(bits))
        }
        Call::Remap { page, old, new, flags, to } => mm
            .mremap(&RemapRequest {
                addr: at(page),
                old_len: length(old),
                new_len: length(new),
                flags: RemapFlags::from_bits_truncate(u32::from(flags)),
                new_addr: at(to),
            })
            .map(|_| ()),
        Call::Break { to } => {
            let now = mm.brk(VirtAddr::new(0));
            if let Some(to) = now.checked_add(length(to)) {
                mm.brk(to);
            }
            Ok(())
        }
        Call::Advise { page, bytes, advice } => match Advice::from_raw(i32::from(advice)) {
            Some(advice) => mm.madvise(at(page), length(bytes), advice),
            None => Err(Errno::EINVAL),
        },
        Call::Residence { page, bytes } => mm.mincore(at(page), u64::from(bytes), |_| Ok(())),
        Call::Lock { page, bytes } => mm.mlock(at(page), length(bytes)),
        Call::Unlock { page, bytes } => mm.munlock(at(page), length(bytes)),
        _ => Ok(()),
    }
}

fn within(page: u8, offset: u16) -> VirtAddr {
    VirtAddr::new(at(page).as_u64() + u64::from(offset & 0xfff))
}

fuzz_target!(|steps: Vec<Step>| {
    let config = ComputerConfig {
        arena: ArenaConfig::heap(FRAMES),
        nr_cpus: 1,
        ..Default::default()
    };
    let Ok(computer) = Computer::new(config) else {
        return;
    };
    let Ok(first) = Process::start(&computer) else {
        return;
    };
    let mut processes = vec![first];
    for step in steps.iter().take(STEPS_MAX) {
        let index = usize::from(step.process) % processes.len();
        match step.call {
            Call::Fork if processes.len() < PROCESSES_MAX => {
                if let Ok(child) = processes[index].fork() {
                    processes.push(child);
                }
            }
            Call::End if processes.len() > 1 => drop(processes.swap_remove(index)),
            _ => perform(&processes[index], &step.call),
        }
    }
    drop(processes);
    recto::sync::barrier();
    let usage = computer.arena().usage();
    for purpose in [Purpose::Anon, Purpose::PageCache, Purpose::Shmem] {
        assert_eq!(usage.of(purpose), 0, "{purpose:?}");
    }
    // A CPU keeps the root table of the space it ran last until it runs another, as Linux's do.
    assert!(usage.of(Purpose::Table) <= 1, "page tables");
});
