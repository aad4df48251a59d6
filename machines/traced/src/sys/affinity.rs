//! On which CPUs a task may run.
#![expect(
    unsafe_code,
    reason = "host calls that take a set of CPUs by raw pointer"
)]

use super::Tid;

/// A set of CPUs.
#[derive(Clone, Copy)]
pub(crate) struct Cpus(libc::cpu_set_t);

const BYTES: usize = size_of::<libc::cpu_set_t>();

impl Cpus {
    /// Those of the calling thread; `None` where the host has more than the set can name.
    pub(crate) fn of_self() -> Option<Self> {
        // SAFETY: 1. the set is plain words, for which zero is a value. 2. the call writes at most
        // `BYTES` to it.
        unsafe {
            let mut set: libc::cpu_set_t = core::mem::zeroed();
            (libc::sched_getaffinity(0, BYTES, &raw mut set) == 0).then_some(Self(set))
        }
    }

    /// The one that the calling thread runs on now.
    pub(crate) fn here() -> Option<Self> {
        // SAFETY: no memory is named.
        let cpu = usize::try_from(unsafe { libc::sched_getcpu() }).ok()?;
        // SAFETY: 1. as above. 2. `CPU_SET` ignores a number beyond the set.
        unsafe {
            let mut set: libc::cpu_set_t = core::mem::zeroed();
            libc::CPU_SET(cpu, &mut set);
            (libc::CPU_COUNT(&set) == 1).then_some(Self(set))
        }
    }

    /// The set as the kernel writes it: a bit each, the lowest first.
    pub(crate) fn to_bytes(self) -> [u8; BYTES] {
        // SAFETY: the set is plain words, and every byte of them a byte.
        unsafe { core::mem::transmute(self.0) }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> i32 {
        // SAFETY: reads the set.
        unsafe { libc::CPU_COUNT(&self.0) }
    }

    /// Lets a task, or the calling thread, run on these only. A task that is gone, or that the host
    /// does not let us move, stays as it is.
    pub(crate) fn confine(&self, task: Option<Tid>) {
        let task = task.map_or(0, Tid::raw);
        // SAFETY: the call reads `BYTES` of the set.
        unsafe { libc::sched_setaffinity(task, BYTES, &raw const self.0) };
    }
}

impl core::fmt::Debug for Cpus {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} CPUs", self.count())
    }
}

impl Tid {
    /// The calling thread.
    pub(crate) fn own_thread() -> Self {
        // SAFETY: no arguments.
        Self::new(unsafe { libc::gettid() })
    }
}
