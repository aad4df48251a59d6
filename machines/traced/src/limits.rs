//! The limits of a process, as the host keeps them.

use std::sync::LazyLock;

use mm::{Commit, CommitConfig, Limits, LockRight, LowRight, Overcommit, Resource, Rlimit, Sysctl};

use crate::host_maps::contents;
use crate::sys::{Tid, memory};

/// The lines of `/proc/PID/limits` that matter to memory.
const RESOURCES: [(&str, Resource); 4] = [
    ("Max address space", Resource::AddressSpace),
    ("Max data size", Resource::Data),
    ("Max stack size", Resource::Stack),
    ("Max locked memory", Resource::Memlock),
];

/// The limits of the process of `tid`.
pub(crate) fn of(tid: Tid) -> Limits {
    let limits = Limits::new();
    refresh(&limits, tid);
    refresh_rights(&limits, tid);
    limits
}

/// Looks again whether `tid` may lock as much as it likes, and map as low as it likes.
pub(crate) fn refresh_rights(limits: &Limits, tid: Tid) {
    limits.set_lock_right(lock_right(tid));
    limits.set_low_right(low_right(tid));
}

/// Looks at the host's limits again, after a program has changed some. The file may be read by all:
/// prlimit asks for the right to change them, once the program runs as another user.
pub(crate) fn refresh(limits: &Limits, tid: Tid) {
    let text = contents(&format!("/proc/{tid}/limits"));
    let text = String::from_utf8_lossy(&text);
    for (name, resource) in RESOURCES {
        let values = text.lines().find_map(|line| line.strip_prefix(name));
        if let Some(limit) = values.and_then(parse) {
            limits.set(resource, limit);
        }
    }
}

/// Soft and hard value, as `/proc/PID/limits` shows them.
fn parse(values: &str) -> Option<Rlimit> {
    let mut values = values.split_whitespace().map(|value| match value {
        "unlimited" => Some(mm::limits::RLIM_INFINITY),
        number => number.parse().ok(),
    });
    Some(Rlimit {
        soft: values.next()??,
        hard: values.next()??,
    })
}

/// Whether the process has CAP_IPC_LOCK.
fn lock_right(tid: Tid) -> LockRight {
    const CAP_IPC_LOCK: u32 = 14;
    match has_capability(tid, CAP_IPC_LOCK) {
        true => LockRight::Any,
        false => LockRight::Limited,
    }
}

/// Whether the process has CAP_SYS_RAWIO.
fn low_right(tid: Tid) -> LowRight {
    const CAP_SYS_RAWIO: u32 = 17;
    match has_capability(tid, CAP_SYS_RAWIO) {
        true => LowRight::Any,
        false => LowRight::Limited,
    }
}

/// Whether a task has a capability.
pub(crate) fn has_capability(tid: Tid, number: u32) -> bool {
    let status = contents(&format!("/proc/{tid}/status"));
    let status = String::from_utf8_lossy(&status);
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    bits.is_some_and(|bits| bits & (1 << number) != 0)
}

/// A sysctl of the host's memory, `vm.NAME`.
pub(crate) fn sysctl(name: &str) -> Option<u64> {
    let text = contents(&format!("/proc/sys/vm/{name}"));
    String::from_utf8_lossy(&text).trim().parse().ok()
}

/// The host's settings.
pub(crate) fn sysctls() -> Sysctl {
    // What the kernel was built with may be more than what `vm.mmap_min_addr` says: it takes effect
    // on hints, and is seen nowhere else.
    static LOWEST_HINT: LazyLock<Option<u64>> = LazyLock::new(memory::lowest_hint);
    let usual = Sysctl::default();
    let max_map_count = sysctl("max_map_count").and_then(|count| count.try_into().ok());
    let dac_mmap_min_addr = sysctl("mmap_min_addr").unwrap_or(usual.dac_mmap_min_addr);
    Sysctl {
        max_map_count: max_map_count.unwrap_or(usual.max_map_count),
        dac_mmap_min_addr,
        mmap_min_addr: LOWEST_HINT.unwrap_or(dac_mmap_min_addr.max(usual.mmap_min_addr)),
        ..usual
    }
}

/// The ledger of what programs are promised, with the host's rule where that is to promise
/// everything.
pub(crate) fn commit(ram_pages: u64) -> Commit {
    const ALWAYS: u64 = 1;
    let guess = Commit::guess(ram_pages);
    match sysctl("overcommit_memory") {
        Some(ALWAYS) => Commit::new(CommitConfig {
            mode: Overcommit::Always,
            ..*guess.config()
        }),
        _ => guess,
    }
}
