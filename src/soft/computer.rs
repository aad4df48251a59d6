//! Memory and CPUs for many spaces.

use std::sync::Arc;

use frame::{Arena, ArenaConfig, ArenaError};
use mm::{Commit, Sysctl};
use object::device::DeviceSpace;
use soft::{SoftCpu, SoftMachine};
use sync::{Mutex, MutexGuard};

use super::devices::Devices;

/// What a computer is made of.
#[derive(Clone, Copy, Debug)]
pub struct ComputerConfig {
    /// Its memory.
    pub arena: ArenaConfig,
    /// Its CPUs, at least one.
    pub nr_cpus: usize,
    /// Its settings.
    pub sysctl: Sysctl,
}

impl Default for ComputerConfig {
    /// 64 MiB, two CPUs, a kernel's settings.
    fn default() -> Self {
        Self {
            arena: ArenaConfig::heap(16 << 10),
            nr_cpus: 2,
            sysctl: Sysctl::default(),
        }
    }
}

/// An arena, CPUs, the numbers of device pages and the ledger of promises.
#[derive(Debug)]
pub struct Computer {
    machine: Arc<SoftMachine>,
    cpus: Vec<Mutex<SoftCpu>>,
    devices: Arc<DeviceSpace>,
    commit: Arc<Commit>,
    sysctl: Sysctl,
}

impl Computer {
    /// A computer without processes.
    ///
    /// # Errors
    /// There is no memory for the arena.
    pub fn new(config: ComputerConfig) -> Result<Arc<Self>, ArenaError> {
        let arena = Arena::new(config.arena)?;
        let devices = DeviceSpace::new();
        let commit = Arc::new(Commit::guess(arena.nr_frames()));
        let reach = Arc::new(Devices::new(&devices));
        let (machine, cpus) = SoftMachine::new(arena, reach, config.nr_cpus);
        let cpus = cpus.into_iter().map(Mutex::new).collect();
        Ok(Arc::new(Self {
            machine,
            cpus,
            devices,
            commit,
            sysctl: config.sysctl,
        }))
    }

    /// Its memory.
    #[must_use]
    pub fn arena(&self) -> &Arc<Arena> {
        self.machine.arena()
    }

    /// Where the pages of mapped files get their numbers.
    #[must_use]
    pub const fn devices(&self) -> &Arc<DeviceSpace> {
        &self.devices
    }

    /// The ledger of what processes were promised.
    #[must_use]
    pub const fn commit(&self) -> &Arc<Commit> {
        &self.commit
    }

    /// Its settings.
    #[must_use]
    pub const fn sysctl(&self) -> Sysctl {
        self.sysctl
    }

    pub(super) const fn machine(&self) -> &Arc<SoftMachine> {
        &self.machine
    }

    /// A CPU that nobody else uses now, rather the one this thread used last.
    pub(super) fn cpu(&self) -> MutexGuard<'_, SoftCpu> {
        let mine = &self.cpus[sync::cpu() % self.cpus.len()];
        match mine.try_lock() {
            Some(cpu) => cpu,
            None => self.another_cpu().unwrap_or_else(|| mine.lock()),
        }
    }

    #[cold]
    fn another_cpu(&self) -> Option<MutexGuard<'_, SoftCpu>> {
        self.cpus.iter().find_map(Mutex::try_lock)
    }
}
