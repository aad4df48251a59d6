//! `cargo bench -p recto-benches --bench memory`: what the manager itself costs, with a large arena
//! in use: the promise is less than 3 % of the arena in use and 32 MiB.
//!
//! The arena is a memory file, so the host counts its frames apart (`RssShmem`); what else is
//! resident is the manager: frame records, areas, locks, the program itself. Page tables live in
//! frames; they are the manager's too.

use std::sync::Arc;

use recto::soft::{Computer, Process};
use recto::{MapRequest, PAGE_SIZE, Prot};
use recto_benches::ours::{self, Failure};
use recto_benches::resident::Resident;

const MIB: u64 = 1 << 20;

/// Spaces, the areas of each, and the pages of an area: 1 GiB in all.
const SPACES: u64 = 8;
const AREAS: u64 = 64;
const AREA_PAGES: u64 = 512;

const FIXED: u64 = 32 * MIB;
const SHARE: f64 = 0.03;

fn main() -> Result<(), Failure> {
    let pages = SPACES * AREAS * AREA_PAGES;
    let computer = ours::computer(pages + pages / 64)?;
    let spaces = (0..SPACES).map(|_| Process::start(&computer));
    let spaces = spaces.collect::<Result<Vec<_>, _>>()?;
    report("nothing in use", &computer)?;
    for space in &spaces {
        (0..AREAS).try_for_each(|area| fill(space, area))?;
    }
    report("1 GiB of anonymous pages", &computer)?;
    let children = spaces.iter().map(Process::fork);
    let _children = children.collect::<Result<Vec<_>, _>>()?;
    report("each space forked", &computer)?;
    drop(spaces);
    Ok(())
}

/// An area of which each page is written. Neighbours differ, so that they do not merge.
fn fill(space: &Process, number: u64) -> Result<(), Failure> {
    let prot = match number % 2 {
        0 => Prot::READ | Prot::WRITE,
        _ => Prot::READ | Prot::WRITE | Prot::EXEC,
    };
    let request = MapRequest::anonymous(AREA_PAGES * PAGE_SIZE, prot);
    let start = space.mm().mmap(&request)?;
    for page in 0..AREA_PAGES {
        let at = start.checked_add(page * PAGE_SIZE);
        space.store(at.ok_or("past the end of the space")?, &[1])?;
    }
    Ok(())
}

fn report(when: &str, computer: &Arc<Computer>) -> Result<(), Failure> {
    recto::sync::barrier();
    let usage = computer.arena().usage();
    let in_use = usage.nr_in_use() * PAGE_SIZE;
    let tables = usage.of(recto::frame::Purpose::Table) * PAGE_SIZE;
    let resident = Resident::now()?;
    let own = resident.private + resident.files + tables;
    let limit = FIXED + (in_use as f64 * SHARE) as u64;
    let verdict = if own <= limit { "<=" } else { "ABOVE" };
    let share = 100.0 * own as f64 / in_use as f64;
    println!("{when}: {} MiB of the arena in use", in_use / MIB);
    println!("  outside the arena {:>8} KiB", resident.private / 1024);
    println!("  the program file  {:>8} KiB", resident.files / 1024);
    println!("  page tables       {:>8} KiB", tables / 1024);
    println!(
        "  together          {:>8} KiB   {verdict} {} KiB",
        own / 1024,
        limit / 1024
    );
    if in_use >= MIB {
        println!("                    {share:>8.2} % of the arena in use");
    }
    Ok(())
}
