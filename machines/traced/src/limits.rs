//! The limits of a process, as the host keeps them.

use std::sync::LazyLock;

use mm::{Limits, LockRight, Resource, Rlimit};

use crate::host_maps::contents;
use crate::sys::Tid;

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
    refresh_lock_right(&limits, tid);
    limits
}

/// Looks again whether `tid` may lock as much as it likes.
pub(crate) fn refresh_lock_right(limits: &Limits, tid: Tid) {
    limits.set_lock_right(lock_right(tid));
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

/// Whether a task has a capability.
pub(crate) fn has_capability(tid: Tid, number: u32) -> bool {
    let status = contents(&format!("/proc/{tid}/status"));
    let status = String::from_utf8_lossy(&status);
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    bits.is_some_and(|bits| bits & (1 << number) != 0)
}

/// `vm.mmap_min_addr` of the host, as it was when it was asked first.
pub(crate) fn mmap_min_addr() -> u64 {
    static AT_START: LazyLock<u64> = LazyLock::new(|| {
        let text = std::fs::read_to_string("/proc/sys/vm/mmap_min_addr").unwrap_or_default();
        text.trim().parse().unwrap_or(65_536)
    });
    *AT_START
}
