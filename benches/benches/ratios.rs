//! `cargo bench -p recto-benches --bench ratios`: each promise as a ratio against the host kernel,
//! both sides in turn, medians.

use std::time::Duration;

use recto_benches::ours::{self, Failure};
use recto_benches::pairs::{Pair, compare, median};
use recto_benches::sys;

const ROUNDS: usize = 31;
const FAULTS: u64 = 4096;
const FORKED: u64 = 50_000;
const AREAS: u64 = 50_000;

fn main() -> Result<(), Failure> {
    println!(
        "{:<34} {:>12} {:>12} {:>8}",
        "medians", "ours", "host", "ratio"
    );
    let fork = fork()?;
    for pair in faults()? {
        println!("{pair}");
    }
    println!("{fork}");
    look_up()
}

fn faults() -> Result<Vec<Pair>, Failure> {
    let computer = ours::computer(4 * FAULTS)?;
    let process = recto::soft::Process::start(&computer)?;
    let pages = usize::try_from(FAULTS)?;
    let write = compare(
        "anonymous write fault",
        ROUNDS,
        || ours::write_fault(&process, FAULTS).unwrap_or_default(),
        || sys::write_fault(pages).unwrap_or_default(),
    );
    let read = compare(
        "read fault on the zero page",
        ROUNDS,
        || ours::zero_page_fault(&process, FAULTS).unwrap_or_default(),
        || sys::zero_page_fault(pages).unwrap_or_default(),
    );
    let cleared = (0..ROUNDS).filter_map(|_| ours::clear_frame(&computer, FAULTS).ok());
    let cleared = median(cleared.collect());
    println!("{:<34} {cleared:>12.1?}", "(clearing one frame)");
    Ok(vec![
        Pair {
            limit: Some(0.4),
            ..write
        },
        Pair {
            limit: Some(0.4),
            ..read
        },
    ])
}

fn fork() -> Result<Pair, Failure> {
    let mut mapping = sys::HostMapping::new(usize::try_from(FORKED)?)?;
    let computer = ours::computer(2 * FORKED)?;
    let process = ours::resident(&computer, FORKED)?;
    let pair = compare(
        "fork of 50,000 anonymous pages",
        ROUNDS,
        || ours::fork_time(&process).unwrap_or_default(),
        || sys::fork_time(&mut mapping).unwrap_or_default(),
    );
    Ok(Pair {
        limit: Some(1.0),
        ..pair
    })
}

fn look_up() -> Result<(), Failure> {
    let computer = ours::computer(8192)?;
    let (process, mut addresses) = ours::many_areas(&computer, AREAS)?;
    let middle = |look: &dyn Fn() -> Result<Duration, Failure>| {
        median((0..ROUNDS).filter_map(|_| look().ok()).collect())
    };
    let in_order = middle(&|| ours::look_up(&process, &addresses));
    ours::shuffle(&mut addresses);
    let random = middle(&|| ours::look_up(&process, &addresses));
    let locked = middle(&|| ours::lock_area(&process, &addresses));
    println!(
        "{:<34} {random:>12.1?}   (at most 100 ns)",
        "look-up among 50,000 areas"
    );
    println!("{:<34} {in_order:>12.1?}", "(the same, in order)");
    println!("{:<34} {locked:>12.1?}", "(the same, and the area's lock)");
    Ok(())
}
