//! A process: a space, and accesses that fault and are tried again.

use std::fmt;
use std::sync::Arc;

use addr::{Errno, PAGE_SIZE, Pfn, Prot, SigCode, Signal, VirtAddr};
use machine::{Cpu, FaultInfo, Trap};
use mm::{FaultError, ForkConfig, Limits, MapFlags, MapRequest, Mm, MmConfig, MmUser, TaskFaults};
use soft::{LoadedSpace, SoftCpu, SoftMmu};
use thiserror::Error;

use super::Computer;

/// Where the heap of a process begins.
const HEAP: VirtAddr = VirtAddr::new(0x5555_5580_0000);

/// How an access ended that could not be done.
#[derive(Clone, Debug, Error)]
pub enum Crash {
    /// By a signal (`force_sig_fault`).
    #[error("{} at {addr:x}", .code.signal().name())]
    Signal {
        /// Its `si_code`, which names the signal too.
        code: SigCode,
        /// Its `si_addr`.
        addr: VirtAddr,
    },
    /// The address can be nobody's: a general protection fault, without an address.
    #[error("SIGSEGV: {addr:x} is not canonical")]
    NonCanonical {
        /// The address.
        addr: VirtAddr,
    },
    /// No memory is left, and none is to be had.
    #[error("out of memory at {addr:x}")]
    OutOfMemory {
        /// The address.
        addr: VirtAddr,
    },
}

impl Crash {
    /// The signal; `None` if memory ran out.
    #[must_use]
    pub const fn signal(&self) -> Option<Signal> {
        match self {
            Self::Signal { code, .. } => Some(code.signal()),
            Self::NonCanonical { .. } => Some(Signal::Segv),
            Self::OutOfMemory { .. } => None,
        }
    }
}

impl From<FaultError> for Crash {
    fn from(error: FaultError) -> Self {
        match error.si_code() {
            Some(code) => Self::Signal {
                code,
                addr: error.addr,
            },
            None => Self::OutOfMemory { addr: error.addr },
        }
    }
}

/// A space on a [`Computer`], with a heap and a main stack.
///
/// Any number of threads may use it at once; each access is done on a CPU that is free.
pub struct Process {
    computer: Arc<Computer>,
    mm: MmUser,
    mmu: Arc<SoftMmu>,
    faults: TaskFaults,
}

impl Process {
    /// An empty process with a kernel's default limits.
    ///
    /// # Errors
    /// `ENOMEM` if there is no frame for its first table.
    pub fn start(computer: &Arc<Computer>) -> Result<Self, Errno> {
        Self::start_with(computer, Limits::new())
    }

    /// An empty process with these limits.
    ///
    /// # Errors
    /// `ENOMEM` if there is no frame for its first table.
    pub fn start_with(computer: &Arc<Computer>, limits: Limits) -> Result<Self, Errno> {
        let mmu = computer.machine().new_space();
        let shared: Arc<dyn machine::Mmu> = Arc::clone(&mmu) as _;
        let mut config = MmConfig::new(Arc::clone(computer.arena()), shared);
        config.limits = limits;
        config.commit = Arc::clone(computer.commit());
        config.devices = Arc::clone(computer.devices());
        config.sysctl = computer.sysctl();
        let mm = Mm::create(config)?;
        set_up_stack(&mm)?;
        let mut image = mm.image();
        (image.start_brk, image.brk) = (HEAP, HEAP);
        drop(image);
        let computer = Arc::clone(computer);
        Ok(Self {
            computer,
            mm,
            mmu,
            faults: TaskFaults::default(),
        })
    }

    /// The space.
    #[must_use]
    pub const fn mm(&self) -> &MmUser {
        &self.mm
    }

    /// Where it runs.
    #[must_use]
    pub const fn computer(&self) -> &Arc<Computer> {
        &self.computer
    }

    /// Faults counted so far (`min_flt`, `maj_flt`).
    #[must_use]
    pub fn faults(&self) -> &TaskFaults {
        &self.faults
    }

    /// Another process with the same memory.
    ///
    /// # Errors
    /// `ENOMEM` when what it needs cannot be had.
    pub fn fork(&self) -> Result<Self, Errno> {
        let mmu = self.computer.machine().new_space();
        let mm = self.mm.fork(&ForkConfig::new(Arc::clone(&mmu) as _))?;
        let computer = Arc::clone(&self.computer);
        Ok(Self {
            computer,
            mm,
            mmu,
            faults: TaskFaults::default(),
        })
    }

    /// Loads bytes from an address.
    ///
    /// # Errors
    /// How the process would have crashed.
    pub fn load(&self, addr: VirtAddr, bytes: &mut [u8]) -> Result<(), Crash> {
        self.until_done(|cpu| cpu.load(addr, bytes))
    }

    /// Stores bytes at an address.
    ///
    /// # Errors
    /// How the process would have crashed.
    pub fn store(&self, addr: VirtAddr, bytes: &[u8]) -> Result<(), Crash> {
        self.until_done(|cpu| cpu.store(addr, bytes))
    }

    /// Fetches instruction bytes from an address.
    ///
    /// # Errors
    /// How the process would have crashed.
    pub fn fetch(&self, addr: VirtAddr, bytes: &mut [u8]) -> Result<(), Crash> {
        self.until_done(|cpu| cpu.fetch(addr, bytes))
    }

    /// Trap, serve, repeat: what a program and its kernel do.
    fn until_done(
        &self,
        mut access: impl FnMut(&mut SoftCpu) -> Result<(), Trap>,
    ) -> Result<(), Crash> {
        let mut lost_before = None;
        loop {
            let outcome = {
                let mut cpu = self.computer.cpu();
                if !cpu.is_in(&self.mmu) {
                    cpu.switch_to(self.loaded());
                }
                access(&mut cpu)
            };
            match outcome {
                Ok(()) => return Ok(()),
                Err(Trap::PageFault(info)) => self.serve(&info)?,
                Err(Trap::NonCanonical { addr }) => return Err(Crash::NonCanonical { addr }),
                Err(Trap::Lost { addr, pfn, .. }) => {
                    if lost_before == Some(addr) {
                        return Err(Crash::Signal {
                            code: SigCode::BusAdrErr,
                            addr,
                        });
                    }
                    lost_before = Some(addr);
                    self.look_again(pfn);
                }
            }
        }
    }

    fn loaded(&self) -> LoadedSpace {
        LoadedSpace {
            mmu: Arc::clone(&self.mmu),
            root: self.mm.table().root(),
            mode: self.mm.layout().mode(),
            owner: self.mm.grab(),
        }
    }

    /// Serves a fault, waiting where it must, with no CPU held.
    fn serve(&self, info: &FaultInfo) -> Result<(), Crash> {
        let handled = self.mm.handle_fault(info)?;
        self.faults.count(handled.waited);
        Ok(())
    }

    /// The host took a page away that we hold present. If the file is shorter than we knew, its
    /// pages are unmapped by learning so, and the access faults.
    fn look_again(&self, pfn: Pfn) {
        if let Some(page) = self.computer.devices().page(pfn) {
            // A host that does not answer is met again by the access.
            let _ = page.pagemap.refresh_size();
        }
    }
}

/// The main stack, as exec leaves it (`setup_arg_pages`).
fn set_up_stack(mm: &Mm) -> Result<(), Errno> {
    let range = mm
        .layout()
        .initial_stack(PAGE_SIZE, mm.limits())
        .ok_or(Errno::ENOMEM)?;
    let request = MapRequest::anonymous(range.bytes(), Prot::READ | Prot::WRITE)
        .with(MapFlags::GROWSDOWN)
        .fixed_at(range.start());
    mm.mmap(&request)?;
    mm.image().start_stack = range.end().saturating_sub(8);
    Ok(())
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("mmu", &self.mmu)
            .finish_non_exhaustive()
    }
}
