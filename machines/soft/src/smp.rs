//! The machine: its CPUs' TLBs, its memory.

use std::sync::Arc;

use frame::Arena;
use sync::atomic::{AtomicU32, AtomicU64, Ordering};
use sync::{Mutex, MutexGuard};

use crate::tlb::{SpaceId, Tlb};
use crate::{DeviceMemory, SoftCpu, SoftMmu};

/// The most CPUs of a machine.
pub const MAX_CPUS: usize = u64::BITS as usize;

/// One CPU's TLB, and the interrupts that ask to get at it.
#[derive(Debug)]
pub(crate) struct CpuTlb {
    tlb: Mutex<Tlb>,
    nr_interrupts: AtomicU32,
}

impl CpuTlb {
    fn new() -> Self {
        Self {
            tlb: Mutex::new(Tlb::new()),
            nr_interrupts: AtomicU32::new(0),
        }
    }

    /// For the CPU itself, for one access. Between accesses it takes interrupts first: a program
    /// in a tight loop keeps nobody from flushing.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Tlb> {
        while self.nr_interrupts.load(Ordering::Relaxed) != 0 {
            std::thread::yield_now();
        }
        self.tlb.lock()
    }

    /// For another thread: interrupts the CPU once its access under way is done.
    pub(crate) fn interrupt(&self) -> MutexGuard<'_, Tlb> {
        self.nr_interrupts.fetch_add(1, Ordering::Relaxed);
        let tlb = self.tlb.lock();
        self.nr_interrupts.fetch_sub(1, Ordering::Relaxed);
        tlb
    }
}

/// Several virtual CPUs over one arena.
#[derive(Debug)]
pub struct SoftMachine {
    arena: Arc<Arena>,
    devices: Arc<dyn DeviceMemory>,
    tlbs: Vec<CpuTlb>,
    next_space: AtomicU64,
}

impl SoftMachine {
    /// A machine of `nr_cpus` CPUs, from 1 to [`MAX_CPUS`], and those CPUs. Each may be driven by
    /// a thread of its own.
    #[must_use]
    pub fn new(
        arena: Arc<Arena>,
        devices: Arc<dyn DeviceMemory>,
        nr_cpus: usize,
    ) -> (Arc<Self>, Vec<SoftCpu>) {
        let nr_cpus = nr_cpus.clamp(1, MAX_CPUS);
        let machine = Arc::new(Self {
            arena,
            devices,
            tlbs: (0..nr_cpus).map(|_| CpuTlb::new()).collect(),
            next_space: AtomicU64::new(0),
        });
        let cpus = (0..nr_cpus)
            .map(|number| SoftCpu::new(Arc::clone(&machine), number))
            .collect();
        (machine, cpus)
    }

    /// The cache of a new space, to be given to the address space that will own it.
    #[must_use]
    pub fn new_space(self: &Arc<Self>) -> Arc<SoftMmu> {
        let id = SpaceId(self.next_space.fetch_add(1, Ordering::Relaxed));
        Arc::new(SoftMmu::new(Arc::clone(self), id))
    }

    /// The machine's memory.
    #[must_use]
    pub const fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// How many CPUs it has.
    #[must_use]
    pub const fn nr_cpus(&self) -> usize {
        self.tlbs.len()
    }

    pub(crate) fn devices(&self) -> &dyn DeviceMemory {
        &*self.devices
    }

    pub(crate) fn tlb(&self, number: usize) -> &CpuTlb {
        &self.tlbs[number]
    }
}
