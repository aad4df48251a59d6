//! Our side: the same work on the machine `soft`.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use crate::sys::Stopwatch;
use recto::soft::{Computer, ComputerConfig, Process};
use recto::{ArenaConfig, MapFlags, MapRequest, PAGE_SIZE, Prot, VirtAddr};

/// What can go wrong while a bench sets itself up.
pub type Failure = Box<dyn Error>;

const READ_WRITE: Prot = Prot::READ.union(Prot::WRITE);

/// A computer whose arena is a memfd of `frames` frames.
///
/// # Errors
/// There is no memory for it.
pub fn computer(frames: u64) -> Result<Arc<Computer>, Failure> {
    let config = ComputerConfig {
        arena: ArenaConfig::memfd(frames),
        ..ComputerConfig::default()
    };
    Ok(Computer::new(config)?)
}

fn page(start: VirtAddr, number: u64) -> Result<VirtAddr, Failure> {
    start
        .checked_add(number * PAGE_SIZE)
        .ok_or_else(|| "past the end of the space".into())
}

/// Puts `items` into an order that no cache expects, always the same.
pub fn shuffle<T>(items: &mut [T]) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for last in (1..items.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let other = usize::try_from(state % (last as u64 + 1)).unwrap_or(0);
        items.swap(last, other);
    }
}

fn each(pages: u64, elapsed: Duration) -> Duration {
    elapsed / u32::try_from(pages).unwrap_or(u32::MAX)
}

/// The time of one anonymous write fault, over `pages` of them: the trap of the soft CPU, the
/// fault with zeroing, charge, rmap and LRU, and the store tried again. The frames go back to the
/// arena outside the measured time.
///
/// # Errors
/// What the process would have crashed with.
pub fn write_fault(process: &Process, pages: u64) -> Result<Duration, Failure> {
    let bytes = pages * PAGE_SIZE;
    let start = process
        .mm()
        .mmap(&MapRequest::anonymous(bytes, READ_WRITE))?;
    let clock = Stopwatch::start();
    for number in 0..pages {
        process.store(page(start, number)?, &[1])?;
    }
    let elapsed = clock.elapsed();
    process.mm().munmap(start, bytes)?;
    Ok(each(pages, elapsed))
}

/// The time of one read fault on untouched anonymous memory: the zero page.
///
/// # Errors
/// What the process would have crashed with.
pub fn zero_page_fault(process: &Process, pages: u64) -> Result<Duration, Failure> {
    let bytes = pages * PAGE_SIZE;
    let start = process
        .mm()
        .mmap(&MapRequest::anonymous(bytes, READ_WRITE))?;
    let mut byte = [0];
    let clock = Stopwatch::start();
    for number in 0..pages {
        process.load(page(start, number)?, &mut byte)?;
    }
    let elapsed = clock.elapsed();
    process.mm().munmap(start, bytes)?;
    Ok(each(pages, elapsed))
}

/// The time that clearing one resident frame takes.
///
/// # Errors
/// The arena is empty.
pub fn clear_frame(computer: &Computer, frames: u64) -> Result<Duration, Failure> {
    let arena = computer.arena();
    let request = recto::frame::AllocRequest::zeroed(recto::frame::Purpose::Anon);
    let held: Result<Vec<_>, _> = (0..frames).map(|_| arena.alloc(request)).collect();
    let held = held?;
    let clock = Stopwatch::start();
    for folio in &held {
        arena.zero_frame(folio.pfn());
    }
    Ok(each(frames, clock.elapsed()))
}

/// A process with `areas` areas that do not merge, and the address of each.
///
/// # Errors
/// What `mmap` says.
pub fn many_areas(
    computer: &Arc<Computer>,
    areas: u64,
) -> Result<(Process, Vec<VirtAddr>), Failure> {
    let process = Process::start(computer)?;
    let mut starts = Vec::new();
    for number in 0..areas {
        let prot = if number % 2 == 0 {
            Prot::READ
        } else {
            READ_WRITE
        };
        let request = MapRequest::anonymous(PAGE_SIZE, prot).with(MapFlags::NORESERVE);
        starts.push(process.mm().mmap(&request)?);
    }
    Ok((process, starts))
}

/// The time of one look-up, without a lock, of the area at each of `addresses`.
///
/// # Errors
/// An area is not found.
pub fn look_up(process: &Process, addresses: &[VirtAddr]) -> Result<Duration, Failure> {
    let tree = process.mm().mmap_lock().snapshot();
    let clock = Stopwatch::start();
    let mut found = 0;
    for addr in addresses {
        found += usize::from(tree.find(*addr).is_some());
    }
    let elapsed = clock.elapsed();
    if found != addresses.len() {
        return Err("an area was not found".into());
    }
    Ok(each(addresses.len() as u64, elapsed))
}

/// The time of one look-up of the area at each of `addresses`, as a fault does it: read-locked
/// without the mmap lock, and unlocked.
///
/// # Errors
/// An area is not found.
pub fn lock_area(process: &Process, addresses: &[VirtAddr]) -> Result<Duration, Failure> {
    let clock = Stopwatch::start();
    for addr in addresses {
        let locked = process.mm().mmap_lock().lock_vma_under_rcu(*addr);
        drop(locked.map_err(|why| format!("an area was not locked: {why:?}"))?);
    }
    Ok(each(addresses.len() as u64, clock.elapsed()))
}

/// A process with `pages` anonymous pages written.
///
/// # Errors
/// What the process would have crashed with.
pub fn resident(computer: &Arc<Computer>, pages: u64) -> Result<Process, Failure> {
    let process = Process::start(computer)?;
    let start = process
        .mm()
        .mmap(&MapRequest::anonymous(pages * PAGE_SIZE, READ_WRITE))?;
    for number in 0..pages {
        process.store(page(start, number)?, &[1])?;
    }
    Ok(process)
}

/// The time that a fork of `process` takes. The child ends outside the measured time.
///
/// # Errors
/// What `fork` says.
pub fn fork_time(process: &Process) -> Result<Duration, Failure> {
    let clock = Stopwatch::start();
    let child = process.fork()?;
    let elapsed = clock.elapsed();
    drop(child);
    Ok(elapsed)
}
