//! The limits of a process, as the host keeps them.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{LazyLock, Mutex, PoisonError};

use mm::{Commit, CommitConfig, Limits, LockRight, LowRight, Overcommit, Resource, Rlimit, Sysctl};

use crate::host_maps::{contents, status_of};
use crate::sys::{Tid, memory};

/// The limits that matter to memory, and their lines in `/proc/PID/limits`.
const RESOURCES: [(u32, &str, Resource); 4] = [
    (libc::RLIMIT_AS, "Max address space", Resource::AddressSpace),
    (libc::RLIMIT_DATA, "Max data size", Resource::Data),
    (libc::RLIMIT_STACK, "Max stack size", Resource::Stack),
    (libc::RLIMIT_MEMLOCK, "Max locked memory", Resource::Memlock),
];

/// The limits of the process of `tid`. Its rights are looked at apart.
pub(crate) fn of(tid: Tid) -> Limits {
    let limits = Limits::new();
    refresh(&limits, tid);
    limits
}

/// Looks again whether `tid` may lock as much as it likes, and map as low as it likes.
pub(crate) fn refresh_rights(limits: &Limits, tid: Tid) {
    const CAP_IPC_LOCK: u32 = 14;
    const CAP_SYS_RAWIO: u32 = 17;
    let has = capabilities(tid);
    limits.set_lock_right(match has & (1 << CAP_IPC_LOCK) != 0 {
        true => LockRight::Any,
        false => LockRight::Limited,
    });
    limits.set_low_right(match has & (1 << CAP_SYS_RAWIO) != 0 {
        true => LowRight::Any,
        false => LowRight::Limited,
    });
}

/// Looks at the host's limits again, after a program has changed some. prlimit asks for the right to
/// change them, once the program runs as another user; the file may be read by all.
pub(crate) fn refresh(limits: &Limits, tid: Tid) {
    let text = LazyCell::new(|| contents(&format!("/proc/{tid}/limits")));
    for (number, name, resource) in RESOURCES {
        let told = memory::limit(tid, number).map(|(soft, hard)| Rlimit { soft, hard });
        if let Some(limit) = told.or_else(|| shown(&text, name)) {
            limits.set(resource, limit);
        }
    }
}

/// The limit that a line of `/proc/PID/limits` shows.
fn shown(text: &[u8], name: &str) -> Option<Rlimit> {
    let text = String::from_utf8_lossy(text);
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(parse)
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

/// The capabilities in force of a task, a bit each.
fn capabilities(tid: Tid) -> u64 {
    if let Some(told) = memory::capabilities(tid) {
        return told;
    }
    let effective = status_of(tid, "CapEff");
    effective
        .and_then(|hex| u64::from_str_radix(&hex, 16).ok())
        .unwrap_or(0)
}

/// Whether a task has a capability.
pub(crate) fn has_capability(tid: Tid, number: u32) -> bool {
    capabilities(tid) & (1 << number) != 0
}

/// A sysctl of the host's memory, `vm.NAME`.
pub(crate) fn sysctl(name: &'static str) -> Option<u64> {
    const LONGEST_BYTES: usize = 32;
    /// Open, since each program that begins asks for some.
    static FILES: Mutex<BTreeMap<&str, File>> = Mutex::new(BTreeMap::new());
    let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
    let file = match files.entry(name) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(vacant) => vacant.insert(File::open(format!("/proc/sys/vm/{name}")).ok()?),
    };
    let mut text = [0; LONGEST_BYTES];
    let got = file.read_at(&mut text, 0).ok()?;
    std::str::from_utf8(text.get(..got)?)
        .ok()?
        .trim()
        .parse()
        .ok()
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

/// Whether the host lets a task map all addresses without promising memory for them.
pub(crate) fn may_cover() -> bool {
    const NEVER_MORE: u64 = 2;
    sysctl("overcommit_memory") != Some(NEVER_MORE)
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
