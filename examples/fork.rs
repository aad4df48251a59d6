//! A space forked and written on both sides: a copy costs what changes.
//!
//! ```text
//! cargo run --example fork
//! ```

use std::error::Error;

use recto::frame::Purpose;
use recto::soft::{Computer, ComputerConfig, Process};
use recto::{MapRequest, PAGE_SIZE, Prot};

const PAGES: u64 = 1_000;

/// Frames that hold anonymous pages: what the bill says.
fn frames(computer: &Computer) -> u64 {
    computer.arena().usage().of(Purpose::Anon)
}

fn main() -> Result<(), Box<dyn Error>> {
    let computer = Computer::new(ComputerConfig::default())?;
    let parent = Process::start(&computer)?;
    let memory = MapRequest::anonymous(PAGES * PAGE_SIZE, Prot::READ | Prot::WRITE);
    let at = parent.mm().mmap(&memory)?;
    for page in 0..PAGES {
        let addr = at
            .checked_add(page * PAGE_SIZE)
            .ok_or("past the end of the space")?;
        parent.store(addr, b"before")?;
    }
    println!("parent wrote {PAGES} pages: {} frames", frames(&computer));

    let child = parent.fork()?;
    println!("forked: {} frames", frames(&computer));

    child.store(at, b"child ")?;
    parent.store(at, b"parent")?;
    println!("each wrote the first page: {} frames", frames(&computer));

    let (mut ours, mut theirs) = ([0; 6], [0; 6]);
    parent.load(at, &mut ours)?;
    child.load(at, &mut theirs)?;
    println!(
        "parent reads {:?}, child reads {:?}",
        String::from_utf8_lossy(&ours),
        String::from_utf8_lossy(&theirs)
    );
    for (who, process) in [("parent", &parent), ("child", &child)] {
        let faults = process.mm().stats().faults;
        println!(
            "{who}: {} pages new, {} copied, {} reused",
            faults.anon, faults.cow_copied, faults.cow_reused
        );
    }

    drop(child);
    println!("child gone: {} frames", frames(&computer));
    drop(parent);
    println!("parent gone: {} frames", frames(&computer));
    Ok(())
}
