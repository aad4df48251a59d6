//! The machine: its CPUs' TLBs, its memory.

use std::sync::Arc;

use frame::Arena;
use sync::Mutex;
use sync::atomic::{AtomicU64, Ordering};

use crate::tlb::{SpaceId, Tlb};
use crate::{DeviceMemory, SoftCpu, SoftMmu};

/// The most CPUs of a machine.
pub const MAX_CPUS: usize = u64::BITS as usize;

/// Several virtual CPUs over one arena.
#[derive(Debug)]
pub struct SoftMachine {
    arena: Arc<Arena>,
    devices: Arc<dyn DeviceMemory>,
    tlbs: Vec<Mutex<Tlb>>,
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
            tlbs: (0..nr_cpus).map(|_| Mutex::new(Tlb::new())).collect(),
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

    pub(crate) fn tlb(&self, number: usize) -> &Mutex<Tlb> {
        &self.tlbs[number]
    }
}
