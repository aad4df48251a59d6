//! A region of memory that a closure serves, page by page, when it is first touched.
//!
//! The closure may answer with zeroes, with data, with "later", or with an error of its own type
//! that comes out of the fault as it went in. Frames, rights, limits and accounts stay with Recto.
//!
//! ```text
//! cargo run --example lazy_region
//! ```

use std::error::Error;
use std::sync::Arc;
use std::thread;

use recto::machine::Mode;
use recto::object::ObjectConfig;
use recto::object::VmOps;
use recto::object::source::{Delivery, Fetched, SourceRegion, from_fn, promise};
use recto::soft::{Computer, ComputerConfig, Process};
use recto::{
    Access, FaultInfo, FileRights, MapFlags, MapRequest, ObjectTarget, PAGE_SIZE, PgOff, Prot,
    VirtAddr,
};

/// The archive's own error. A program would see SIGBUS; an embedder gets this back.
#[derive(Debug)]
struct Torn {
    page: u64,
}

impl std::fmt::Display for Torn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "page {} of the archive is torn", self.page)
    }
}

impl Error for Torn {}

/// What the archive has for each page.
fn fetch(page: PgOff) -> Fetched {
    match page.as_u64() {
        0 => Fetched::Zeroes,
        1 => Fetched::Data(b"straight from the closure".to_vec()),
        2 => {
            // "Later": the fault waits for the ticket and holds no lock meanwhile.
            let (completer, ticket) = promise();
            thread::spawn(move || completer.complete(Delivery::Data(b"from a thread".to_vec())));
            Fetched::Later(ticket)
        }
        page => Fetched::fail(Torn { page }),
    }
}

fn text_at(process: &Process, addr: VirtAddr) -> Result<String, Box<dyn Error>> {
    let mut bytes = [0; 32];
    process.load(addr, &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes)
        .trim_end_matches('\0')
        .to_string())
}

fn main() -> Result<(), Box<dyn Error>> {
    let computer = Computer::new(ComputerConfig::default())?;
    let process = Process::start(&computer)?;

    let config = ObjectConfig::new(4 * PAGE_SIZE, "archive");
    let region = SourceRegion::new(computer.arena(), from_fn(fetch), config);
    let ops: Arc<dyn VmOps> = Arc::clone(&region) as _;
    let target = ObjectTarget::new(ops).with_file(region.open_file(), FileRights::READ);
    let at = process.mm().mmap(&MapRequest::object(
        target,
        4 * PAGE_SIZE,
        Prot::READ,
        MapFlags::PRIVATE,
    ))?;
    println!(
        "mapped at {at:x}; the closure was asked {} times",
        region.stats().nr_fetches
    );

    for page in 0..3 {
        let addr = at
            .checked_add(page * PAGE_SIZE)
            .ok_or("past the end of the space")?;
        println!("page {page}: {:?}", text_at(&process, addr)?);
    }

    let torn = at
        .checked_add(3 * PAGE_SIZE)
        .ok_or("past the end of the space")?;
    println!(
        "page 3, as a program: {}",
        text_at(&process, torn).unwrap_err()
    );
    let info = FaultInfo::missing(torn, Access::Read, Mode::User);
    let error = process.mm().handle_fault(&info).unwrap_err();
    println!("page 3, as an embedder: {:?}", error.source_error::<Torn>());

    let stats = region.stats();
    println!(
        "the closure was asked {} times for {} pages",
        stats.nr_fetches, stats.nr_pages
    );
    Ok(())
}
