//! Page faults step by step, each step under the name of the Linux function that does it.
//!
//! ```text
//! cargo run --example fault_trace
//! ```

use std::error::Error;

use recto::machine::Mode;
use recto::soft::{Computer, ComputerConfig, Process};
use recto::{Access, FaultInfo, MapRequest, PAGE_SIZE, Prot, VirtAddr};

fn show(process: &Process, what: &str, addr: VirtAddr, access: Access) {
    let info = FaultInfo::missing(addr, access, Mode::User);
    let (outcome, trace) = process.mm().handle_fault_traced(&info);
    println!("{what}");
    for step in trace.steps() {
        println!("  {:<28} {}", step.linux, step.note);
    }
    match outcome {
        Ok(handled) => println!("  => {:?}, attempt {}\n", handled.kind, handled.attempts),
        Err(error) => println!("  => {error} ({:?})\n", error.si_code()),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let computer = Computer::new(ComputerConfig::default())?;
    let process = Process::start(&computer)?;
    let at = process.mm().mmap(&MapRequest::anonymous(
        4 * PAGE_SIZE,
        Prot::READ | Prot::WRITE,
    ))?;

    show(
        &process,
        "a read of memory that was never written",
        at,
        Access::Read,
    );
    show(
        &process,
        "a write to it: the zero page gives way",
        at,
        Access::Write,
    );

    let child = process.fork()?;
    show(
        &process,
        "a write after fork: the page is shared",
        at,
        Access::Write,
    );
    show(
        &child,
        "a write in the child, now the only owner",
        at,
        Access::Write,
    );

    let beyond = at
        .checked_add(64 * PAGE_SIZE)
        .ok_or("past the end of the space")?;
    show(
        &process,
        "a read where nothing is mapped",
        beyond,
        Access::Read,
    );
    process.mm().mprotect(at, PAGE_SIZE, Prot::READ)?;
    show(
        &process,
        "a write to memory made read-only",
        at,
        Access::Write,
    );
    Ok(())
}
