//! Recto's `Mm` on the machine `soft` as a subject.
//!
//! What a kernel's system-call layer does is done here: descriptors, arguments, buffers. What the
//! memory manager does is Recto's.

mod calls;
mod files;
mod run;

use std::path::Path;
use std::sync::Arc;

use recto::VirtAddr;
use recto::mm::Force;
use recto::mm::Limits;
use recto::soft::{Computer, ComputerConfig, Crash, Process};

use crate::subject::{
    Access, Accessed, Broken, Call, Caught, Door, Outside, Release, Returned, Runner, Subject,
    Transfer, Usage, Who,
};
use files::Descriptors;

/// Performs cases on the machine `soft`.
#[derive(Debug, Default)]
pub struct Soft;

impl Soft {
    /// A runner; each case gets a computer of its own.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl Runner for Soft {
    fn name(&self) -> &'static str {
        "soft"
    }

    fn offers(&self, need: &str) -> bool {
        matches!(
            need,
            "process_vm"
                | "proc_mem"
                | "guard"
                | "counters"
                | "memlock"
                | "mseal"
                | "remap_file_pages"
                | "memfd"
                | "no_pkeys"
        )
    }

    fn start(&self, _dir: &Path) -> Result<Box<dyn Subject>, Broken> {
        let computer = Computer::new(ComputerConfig::default()).map_err(broken)?;
        let process = Process::start_with(&computer, Limits::new()).map_err(broken)?;
        let main = Person {
            process,
            descriptors: Descriptors::new(&computer),
        };
        Ok(Box::new(People {
            people: vec![Some(main)],
        }))
    }
}

fn broken(error: impl std::fmt::Display) -> Broken {
    Broken(error.to_string())
}

/// A process with its descriptors.
#[derive(Debug)]
struct Person {
    process: Process,
    descriptors: Descriptors,
}

/// All processes of a case; those that have exited are gone.
#[derive(Debug)]
struct People {
    people: Vec<Option<Person>>,
}

impl People {
    fn person(&mut self, who: Who) -> Result<&mut Person, Broken> {
        let person = self.people.get_mut(who.0).and_then(Option::as_mut);
        person.ok_or_else(|| Broken("the process has exited".into()))
    }
}

impl Subject for People {
    fn release(&self) -> Release {
        Release::REFERENCE
    }

    fn call(&mut self, who: Who, call: &Call) -> Result<Returned, Broken> {
        Ok(calls::perform(self.person(who)?, call))
    }

    fn access(&mut self, who: Who, access: &Access) -> Result<Accessed, Broken> {
        let process = &self.person(who)?.process;
        let before = process.faults().minor();
        let result = match access {
            Access::Load { addr, len } => run::load(process, *addr, *len),
            Access::Store { addr, bytes } => run::store(process, *addr, bytes).map(|()| Vec::new()),
            Access::Execute { addr } => run::execute(process, *addr),
        };
        let faults = process.faults().minor() - before;
        match result {
            Ok(bytes) => Ok(Accessed {
                result: Ok(bytes),
                faults,
            }),
            Err(crash) => Ok(Accessed {
                result: Err(caught(&crash)?),
                faults,
            }),
        }
    }

    fn fork(&mut self, who: Who) -> Result<Result<Who, i32>, Broken> {
        let parent = self.person(who)?;
        let process = match parent.process.fork() {
            Ok(process) => process,
            Err(errno) => return Ok(Err(errno.raw())),
        };
        let descriptors = parent.descriptors.clone();
        self.people.push(Some(Person {
            process,
            descriptors,
        }));
        Ok(Ok(Who(self.people.len() - 1)))
    }

    fn exit(&mut self, who: Who) -> Result<(), Broken> {
        self.person(who)?;
        self.people[who.0] = None;
        Ok(())
    }

    fn outside(&mut self, transfer: &Outside) -> Result<Returned, Broken> {
        let mm = Arc::clone(self.person(transfer.of)?.process.mm().shared());
        let (force, nothing) = match transfer.door {
            Door::ProcessVm => (Force::Plain, recto::Errno::EFAULT),
            Door::ProcMem => (Force::Forced, recto::Errno::EIO),
        };
        let addr = VirtAddr::new(transfer.addr);
        let mut output = Vec::new();
        let count = match &transfer.transfer {
            Transfer::Read(len) => {
                output.resize(*len, 0);
                mm.read_memory(addr, &mut output, force)
            }
            Transfer::Write(bytes) => mm.write_memory(addr, bytes, force),
        };
        let value = if count == 0 {
            nothing.as_return()
        } else {
            count as i64
        };
        Ok(Returned { value, output })
    }

    fn maps(&mut self, who: Who) -> Result<String, Broken> {
        Ok(self.person(who)?.process.mm().maps_text())
    }

    fn usage(&mut self, who: Who) -> Result<Usage, Broken> {
        let stats = self.person(who)?.process.mm().stats();
        let bytes = |pages: u64| pages << 12;
        Ok(Usage {
            total: bytes(stats.pages.total),
            data: bytes(stats.pages.data),
            stack: bytes(stats.pages.stack),
            locked: bytes(stats.pages.locked),
            anon: bytes(stats.rss.anon),
            file: bytes(stats.rss.file),
            shmem: bytes(stats.rss.shmem),
            tables: stats.pgtables_bytes,
        })
    }
}

/// A crash as a signal handler sees it.
fn caught(crash: &Crash) -> Result<Caught, Broken> {
    /// `SI_KERNEL`: not from an address.
    const SI_KERNEL: i32 = 0x80;
    match crash {
        Crash::Signal { code, addr } => {
            let signal = code.signal().raw();
            Ok(Caught {
                signal,
                code: code.raw(),
                addr: addr.as_u64(),
            })
        }
        Crash::NonCanonical { .. } => Ok(Caught {
            signal: libc::SIGSEGV,
            code: SI_KERNEL,
            addr: 0,
        }),
        Crash::OutOfMemory { .. } => Err(broken(crash)),
    }
}
