//! A space on the soft machine, and a program in it.

use std::sync::Arc;

use addr::{Access, Errno, PAGE_SIZE, Pfn, Prot, VirtAddr, VirtRange};
use frame::{Arena, ArenaConfig, Usage};
use machine::{Cpu, FaultInfo, Mode, NoMmu, Trap};
use mm::{FaultError, FaultPolicy, MapRequest, Mm, MmConfig, MmUser};
use object::device::{DeviceSpace, HostFile, HostRights};
use pgtable::Entry;
use soft::{DeviceLost, DeviceMemory, LoadedSpace, SoftCpu, SoftMachine, SoftMmu};

/// An address that nothing else uses.
pub(crate) const BASE: VirtAddr = VirtAddr::new(0x10_0000_0000);

/// Device memory as the soft machine reaches it.
#[derive(Debug)]
struct Devices(Arc<DeviceSpace>);

impl Devices {
    /// The host's file and the byte in it, if the page still is before the file's end. Called with a
    /// TLB locked, so only the file is asked, which unmaps nothing.
    fn place(
        &self,
        pfn: Pfn,
        offset: u64,
        rights: HostRights,
    ) -> Result<(Arc<dyn HostFile>, u64), DeviceLost> {
        let lost = DeviceLost { pfn };
        let page = self.0.page(pfn).ok_or(lost)?;
        let file = page.pagemap.file(rights).ok_or(lost)?;
        let start = page.pgoff.bytes().ok_or(lost)?;
        match file.size_bytes() {
            Ok(size) if start < size => Ok((file, start + offset)),
            _ => Err(lost),
        }
    }
}

impl DeviceMemory for Devices {
    fn copy_in(&self, pfn: Pfn, offset: u64, bytes: &mut [u8]) -> Result<(), DeviceLost> {
        let (file, start) = self.place(pfn, offset, HostRights::Read)?;
        let read = file.read_at(start, bytes).map_err(|_| DeviceLost { pfn })?;
        bytes[read..].fill(0);
        Ok(())
    }

    fn copy_out(&self, pfn: Pfn, offset: u64, bytes: &[u8]) -> Result<(), DeviceLost> {
        let (file, start) = self.place(pfn, offset, HostRights::ReadWrite)?;
        file.write_at(start, bytes)
            .map(drop)
            .map_err(|_| DeviceLost { pfn })
    }
}

/// The arena and the machine.
pub(crate) struct Host {
    pub(crate) arena: Arc<Arena>,
    pub(crate) machine: Arc<SoftMachine>,
    pub(crate) devices: Arc<DeviceSpace>,
    cpus: std::sync::Mutex<Vec<SoftCpu>>,
}

impl Host {
    pub(crate) fn new(frames: u64) -> Self {
        let arena = Arena::new(ArenaConfig::heap(frames)).expect("an arena for the test");
        let devices = DeviceSpace::new();
        let memory = Arc::new(Devices(Arc::clone(&devices)));
        let (machine, cpus) = SoftMachine::new(Arc::clone(&arena), memory, 16);
        Host {
            arena,
            machine,
            devices,
            cpus: std::sync::Mutex::new(cpus),
        }
    }

    pub(crate) fn config(&self) -> (MmConfig, Arc<SoftMmu>) {
        let mmu = self.machine.new_space();
        let mut config = MmConfig::new(Arc::clone(&self.arena), Arc::clone(&mmu) as _);
        config.devices = Arc::clone(&self.devices);
        (config, mmu)
    }

    pub(crate) fn space(&self) -> Space<'_> {
        let (config, mmu) = self.config();
        self.space_of(config, mmu)
    }

    pub(crate) fn space_with(&self, policy: FaultPolicy) -> Space<'_> {
        let (mut config, mmu) = self.config();
        config.policy = policy;
        self.space_of(config, mmu)
    }

    pub(crate) fn space_of(&self, config: MmConfig, mmu: Arc<SoftMmu>) -> Space<'_> {
        Space {
            mm: Mm::create(config).expect("a space"),
            mmu,
            host: self,
        }
    }

    /// What the arena's frames are used for, when nothing is on its way to being freed.
    pub(crate) fn usage(&self) -> Usage {
        sync::barrier();
        self.arena.usage()
    }
}

/// An address space.
pub(crate) struct Space<'h> {
    pub(crate) mm: MmUser,
    pub(crate) mmu: Arc<SoftMmu>,
    host: &'h Host,
}

impl Space<'_> {
    /// A program running in it, on a CPU of its own.
    pub(crate) fn run(&self) -> Program<'_> {
        let mut cpu = self
            .host
            .cpus
            .lock()
            .expect("no test panics here")
            .pop()
            .expect("a CPU");
        cpu.switch_to(LoadedSpace {
            mmu: Arc::clone(&self.mmu),
            root: self.mm.table().root(),
            mode: self.mm.layout().mode(),
            owner: Arc::new(self.mm.clone()),
        });
        Program {
            cpu: Some(cpu),
            mm: self.mm.clone(),
            host: self.host,
        }
    }

    /// Private zeroed memory at [`BASE`].
    pub(crate) fn anon(&self, pages: u64, prot: Prot) -> VirtRange {
        let len = pages * PAGE_SIZE;
        let request = MapRequest::anonymous(len, prot).fixed_at(BASE);
        let addr = self.mm.mmap(&request).expect("mmap");
        VirtRange::from_len(addr, len).expect("a range")
    }

    pub(crate) fn fork(&self) -> Self {
        self.try_fork().expect("fork")
    }

    pub(crate) fn try_fork(&self) -> Result<Self, Errno> {
        let mmu = self.host.machine.new_space();
        let config = mm::ForkConfig::new(Arc::clone(&mmu) as _);
        Ok(Space {
            mm: self.mm.fork(&config)?,
            mmu,
            host: self.host,
        })
    }

    /// The entry of a page.
    pub(crate) fn entry(&self, addr: VirtAddr) -> Entry {
        entry_of(&self.mm, addr)
    }
}

/// The entry of a page.
pub(crate) fn entry_of(mm: &Mm, addr: VirtAddr) -> Entry {
    let pin = sync::pin();
    mm.table()
        .slot(addr, &pin)
        .map_or(Entry::NONE, |slot| slot.snapshot())
}

/// The frame mapped at a page.
pub(crate) fn pfn_of(mm: &Mm, addr: VirtAddr) -> Pfn {
    entry_of(mm, addr).mapping().expect("a mapping").pfn
}

/// A program: loads and stores that fault until they succeed or cannot.
pub(crate) struct Program<'h> {
    cpu: Option<SoftCpu>,
    pub(crate) mm: MmUser,
    host: &'h Host,
}

impl Program<'_> {
    fn cpu(&mut self) -> &mut SoftCpu {
        self.cpu.as_mut().expect("it has a CPU until it ends")
    }

    /// Tries an access until it is done.
    fn retry(
        &mut self,
        mut access: impl FnMut(&mut SoftCpu) -> Result<(), Trap>,
    ) -> Result<(), FaultError> {
        for _ in 0..10_000 {
            let trap = match access(self.cpu()) {
                Ok(()) => return Ok(()),
                Err(trap) => trap,
            };
            match trap {
                Trap::PageFault(info) => drop(self.mm.handle_fault(&info)?),
                Trap::Lost { addr, pfn, access } => {
                    let info = FaultInfo::missing(addr, access, Mode::User);
                    let _ = self.mm.handle_lost_page(&info, pfn)?;
                }
                Trap::NonCanonical { addr } => panic!("{addr:?} is no address"),
            }
        }
        panic!("an access that never succeeds and never fails");
    }

    pub(crate) fn load(&mut self, addr: VirtAddr) -> Result<u8, FaultError> {
        let mut byte = [0];
        self.retry(|cpu| cpu.load(addr, &mut byte))?;
        Ok(byte[0])
    }

    pub(crate) fn store(&mut self, addr: VirtAddr, byte: u8) -> Result<(), FaultError> {
        self.retry(|cpu| cpu.store(addr, &[byte]))
    }

    pub(crate) fn fetch(&mut self, addr: VirtAddr) -> Result<u8, FaultError> {
        let mut byte = [0];
        self.retry(|cpu| cpu.fetch(addr, &mut byte))?;
        Ok(byte[0])
    }

    pub(crate) fn load_word(&mut self, addr: VirtAddr) -> Result<u64, FaultError> {
        let mut bytes = [0; 8];
        self.retry(|cpu| cpu.load(addr, &mut bytes))?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(crate) fn store_word(&mut self, addr: VirtAddr, word: u64) -> Result<(), FaultError> {
        self.retry(|cpu| cpu.store(addr, &word.to_le_bytes()))
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        if let Some(mut cpu) = self.cpu.take() {
            cpu.switch_off();
            cpu.forget_all();
            if let Ok(mut cpus) = self.host.cpus.lock() {
                cpus.push(cpu);
            }
        }
    }
}

/// A space that no machine executes in.
pub(crate) fn bare(frames: u64) -> (Arc<Arena>, MmUser) {
    let arena = Arena::new(ArenaConfig::heap(frames)).expect("an arena for the test");
    let config = MmConfig::new(Arc::clone(&arena), Arc::new(NoMmu));
    (arena, Mm::create(config).expect("a space"))
}

/// Page `n` of a range.
pub(crate) fn page(range: VirtRange, n: u64) -> VirtAddr {
    range
        .start()
        .checked_add(n * PAGE_SIZE)
        .expect("an address")
}

pub(crate) fn read_at(addr: VirtAddr) -> FaultInfo {
    FaultInfo::missing(addr, Access::Read, Mode::User)
}

pub(crate) fn write_at(addr: VirtAddr) -> FaultInfo {
    FaultInfo::missing(addr, Access::Write, Mode::User)
}

pub(crate) const RW: Prot = Prot::READ.union(Prot::WRITE);

/// Numbers that look random, the same in every run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % sides
    }
}
