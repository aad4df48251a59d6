//! The faults of the benches, few of them, for a profiler:
//!
//! ```text
//! cargo build --release -p recto-benches --example profile
//! valgrind --tool=callgrind --toggle-collect='*measured*' target/release/examples/profile write
//! ```

use recto::soft::Process;
use recto::{MapRequest, PAGE_SIZE, Prot, VirtAddr};
use recto_benches::ours::{self, Failure};

const PAGES: u64 = 2048;

fn main() -> Result<(), Failure> {
    let what = std::env::args().nth(1).unwrap_or_default();
    let computer = ours::computer(4 * PAGES)?;
    let process = Process::start(&computer)?;
    ours::write_fault(&process, PAGES)?;
    let request = MapRequest::anonymous(PAGES * PAGE_SIZE, Prot::READ | Prot::WRITE);
    let start = process.mm().mmap(&request)?;
    match &*what {
        "write" => measured(start, |addr| Ok(process.store(addr, &[1])?)),
        "read" => measured(start, |addr| Ok(process.load(addr, &mut [0])?)),
        "look-up" => {
            let (process, addresses) = ours::many_areas(&computer, PAGES)?;
            let tree = process.mm().mmap_lock().snapshot();
            measured(addresses[0], |_| {
                addresses
                    .iter()
                    .try_for_each(|addr| tree.find(*addr).map(|_| ()).ok_or("lost"))?;
                Ok(())
            })
        }
        _ => Err("say write, read or look-up".into()),
    }
}

/// `work` for each page; what the profiler looks at.
#[inline(never)]
fn measured(
    start: VirtAddr,
    mut work: impl FnMut(VirtAddr) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for number in 0..PAGES {
        work(
            start
                .checked_add(number * PAGE_SIZE)
                .ok_or("past the end of the space")?,
        )?;
    }
    Ok(())
}
