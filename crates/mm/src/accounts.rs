//! What an address space has, had, and did: pages by class, resident pages by kind, faults by kind.
//!
//! Three groups, by who writes them:
//!
//! * [`AreaAccounts`]: the `total_vm` family; written under the mmap write lock, read by anyone.
//! * [`Rss`]: resident pages by kind (`rss_stat`) and the faults served; written in any context that
//!   holds an entry lock, on the cache lines of the CPU that writes. The sum is exact whenever no
//!   fault and no verb is under way.
//! * [`TaskFaults`]: `min_flt` and `maj_flt` of one task, whoever's memory it touched.

use alloc::boxed::Box;
use alloc::vec::Vec;

use addr::{VmClass, VmFlags};
use sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Resident page kinds (`MM_FILEPAGES`, `MM_ANONPAGES`, `MM_SWAPENTS`, `MM_SHMEMPAGES`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RssKind {
    /// Pages of files, host files included.
    File,
    /// Private pages.
    Anon,
    /// Swap entries; not resident, and not part of [`RssCounts::resident`].
    Swap,
    /// Pages of shared anonymous memory and memory files.
    Shmem,
}

/// The kinds in the kernel's order of counters.
pub const RSS_KINDS: [RssKind; 4] = [RssKind::File, RssKind::Anon, RssKind::Swap, RssKind::Shmem];

/// What a fault turned out to be. Every completed fault is counted under exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// A read of untouched private memory: the zero page.
    AnonZero,
    /// A first touch of private memory that got a folio of its own.
    Anon,
    /// A page of an object, mapped for reading.
    File,
    /// A private copy was made, of a shared folio, a file's page or the zero page.
    CowCopied,
    /// A write-protected page turned out to be ours alone and was made writable.
    CowReused,
    /// A write to a shared mapping.
    SharedWrite,
    /// Nothing was missing: another thread was first, or only accessed and dirty were noted.
    Spurious,
    /// The access has no answer but a signal or the end of memory.
    Failed,
}

/// The fault kinds, in the order of [`FaultCounts`].
pub const FAULT_KINDS: [FaultKind; 8] = [
    FaultKind::AnonZero,
    FaultKind::Anon,
    FaultKind::File,
    FaultKind::CowCopied,
    FaultKind::CowReused,
    FaultKind::SharedWrite,
    FaultKind::Spurious,
    FaultKind::Failed,
];

/// Things counted beside the faults themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultEvent {
    /// A completed fault that needed data to be fetched, or more than one try (`maj_flt`).
    Major,
    /// A fetch of data was started (`PGMAJFAULT`).
    MajorStarted,
    /// A resident neighbour was mapped by fault-around.
    AroundHit,
    /// An empty neighbour was filled with zeroes by [`anon_around_pages`](crate::FaultPolicy).
    AnonAround,
    /// A private page was copied for a child at the fork itself.
    ForkCopied,
    /// A stack was grown.
    StackGrowth,
    /// The per-VMA lock was had, but the mmap lock was needed after all (`VMA_LOCK_RETRY`).
    VmaLockRetry,
    /// No area could be locked without the mmap lock (`VMA_LOCK_ABORT`).
    VmaLockAbort,
    /// An access failed before it was a fault: no area, or one that does not allow it (`bad_area`).
    Denied,
}

const EVENTS: usize = 9;

/// The counters one CPU writes, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    // Signed numbers in two's complement: a page may go away on another CPU than it came.
    rss: [AtomicU64; 4],
    faults: [AtomicU64; FAULT_KINDS.len()],
    events: [AtomicU64; EVENTS],
}

/// Resident pages and faults of one address space (`rss_stat`), one shard a CPU.
#[derive(Debug)]
pub struct Rss {
    shards: Box<[Shard]>,
    hiwater_rss: AtomicU64,
    hiwater_by_kind: [AtomicU64; RSS_KINDS.len()],
}

/// Resident pages by kind at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RssCounts {
    /// `MM_FILEPAGES`.
    pub file: u64,
    /// `MM_ANONPAGES`.
    pub anon: u64,
    /// `MM_SWAPENTS`.
    pub swap: u64,
    /// `MM_SHMEMPAGES`.
    pub shmem: u64,
}

impl RssCounts {
    /// Pages in memory: file, anonymous and shared-memory pages (`get_mm_rss`).
    pub fn resident(&self) -> u64 {
        self.file + self.anon + self.shmem
    }

    /// Those of one kind.
    pub fn of(&self, kind: RssKind) -> u64 {
        match kind {
            RssKind::File => self.file,
            RssKind::Anon => self.anon,
            RssKind::Swap => self.swap,
            RssKind::Shmem => self.shmem,
        }
    }

    fn by_kind(pages: impl Fn(RssKind) -> u64) -> Self {
        Self {
            file: pages(RssKind::File),
            anon: pages(RssKind::Anon),
            swap: pages(RssKind::Swap),
            shmem: pages(RssKind::Shmem),
        }
    }
}

/// Faults by kind at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Zero page mapped.
    pub anon_zero: u64,
    /// Fresh private page.
    pub anon: u64,
    /// Page of an object read.
    pub file: u64,
    /// Resident neighbours mapped along.
    pub around_hits: u64,
    /// Empty neighbours filled along.
    pub anon_around: u64,
    /// Private copies made.
    pub cow_copied: u64,
    /// Private pages copied for children at their forks, which no fault asked for.
    pub fork_copied: u64,
    /// Private pages reused in place.
    pub cow_reused: u64,
    /// Writes to shared mappings.
    pub shared_write: u64,
    /// Stacks grown.
    pub stack_growth: u64,
    /// Nothing was missing.
    pub spurious: u64,
    /// Ended in a signal or out of memory.
    pub failed: u64,
    /// Of the failed, those that no area allows. The kernel does not count them as faults.
    pub denied: u64,
    /// Completed without waiting for data (`min_flt`).
    pub minor: u64,
    /// Completed after waiting (`maj_flt`).
    pub major: u64,
    /// All completed faults, failures included, but for the denied (`PGFAULT`).
    pub pgfault: u64,
    /// Fetches started (`PGMAJFAULT`).
    pub pgmajfault: u64,
    /// `VMA_LOCK_RETRY`.
    pub vma_lock_retry: u64,
    /// `VMA_LOCK_ABORT`.
    pub vma_lock_abort: u64,
}

impl Rss {
    /// Counters at zero, with a shard for each CPU up to sixteen.
    pub fn new() -> Self {
        let shards = sync::nr_cpus().clamp(1, 16).next_power_of_two();
        let shards: Vec<Shard> = (0..shards).map(|_| Shard::default()).collect();
        Rss {
            shards: shards.into_boxed_slice(),
            hiwater_rss: AtomicU64::new(0),
            hiwater_by_kind: Default::default(),
        }
    }

    #[inline]
    fn shard(&self) -> &Shard {
        &self.shards[sync::cpu() & (self.shards.len() - 1)]
    }

    /// `add_mm_counter`: `change` pages more (or fewer) of `kind`. Called under the entry lock that
    /// installs or clears them. A caller that subtracts calls [`Rss::note_high_water`] first.
    #[inline]
    pub fn add(&self, kind: RssKind, change: i64) {
        if change != 0 {
            move_by(&self.shard().rss[kind as usize], change);
        }
    }

    /// `update_hiwater_rss`: to be called before pages are taken away.
    pub fn note_high_water(&self) {
        let now = self.counts();
        self.hiwater_rss.fetch_max(now.resident(), Relaxed);
        for kind in RSS_KINDS {
            self.hiwater_by_kind[kind as usize].fetch_max(now.of(kind), Relaxed);
        }
    }

    /// As [`Rss::note_high_water`], before a page of `kind` becomes one of another kind.
    pub fn note_high_water_of(&self, kind: RssKind) {
        self.hiwater_by_kind[kind as usize].fetch_max(self.get(kind), Relaxed);
    }

    /// `hiwater_rss`: the most pages ever resident, now included.
    pub fn high_water(&self) -> u64 {
        self.hiwater_rss.load(Relaxed).max(self.counts().resident())
    }

    /// The most pages ever resident of each kind, now included. They were not there at the same time:
    /// together they may be more than [`Rss::high_water`].
    pub fn high_water_by_kind(&self) -> RssCounts {
        let most = |kind: RssKind| {
            let mark = self.hiwater_by_kind[kind as usize].load(Relaxed);
            mark.max(self.get(kind))
        };
        RssCounts::by_kind(most)
    }

    /// Starts the marks again from what is resident now, as a fork child does.
    pub fn reset_high_water(&self) {
        let now = self.counts();
        self.hiwater_rss.store(now.resident(), Relaxed);
        for kind in RSS_KINDS {
            self.hiwater_by_kind[kind as usize].store(now.of(kind), Relaxed);
        }
    }

    /// Pages of `kind` now (`get_mm_counter`). Exact when nothing is under way; while a page moves
    /// from one CPU's shard to another's it may be off by what is in flight, never below zero.
    pub fn get(&self, kind: RssKind) -> u64 {
        u64::try_from(self.balance(kind)).unwrap_or(0)
    }

    /// The signed sum, for checks that must see a counter below zero as what it is: a bug.
    pub fn balance(&self, kind: RssKind) -> i64 {
        let add =
            |sum: u64, shard: &Shard| sum.wrapping_add(shard.rss[kind as usize].load(Relaxed));
        self.shards.iter().fold(0, add) as i64
    }

    /// All kinds now.
    pub fn counts(&self) -> RssCounts {
        RssCounts::by_kind(|kind| self.get(kind))
    }

    /// Counts one completed fault.
    #[inline]
    pub fn count_fault(&self, kind: FaultKind) {
        self.shard().faults[kind as usize].fetch_add(1, Relaxed);
    }

    /// Counts `n` of something beside a fault.
    pub fn count_event(&self, event: FaultEvent, n: u64) {
        if n != 0 {
            self.shard().events[event as usize].fetch_add(n, Relaxed);
        }
    }

    fn faults(&self, kind: FaultKind) -> u64 {
        self.shards
            .iter()
            .map(|s| s.faults[kind as usize].load(Relaxed))
            .sum()
    }

    fn event(&self, event: FaultEvent) -> u64 {
        self.shards
            .iter()
            .map(|s| s.events[event as usize].load(Relaxed))
            .sum()
    }

    /// Faults by kind. `minor` is derived: what completed, less what failed, less what was major.
    pub fn fault_counts(&self) -> FaultCounts {
        let pgfault = FAULT_KINDS
            .iter()
            .map(|&kind| self.faults(kind))
            .sum::<u64>();
        let failed = self.faults(FaultKind::Failed);
        let denied = self.event(FaultEvent::Denied);
        let major = self.event(FaultEvent::Major);
        FaultCounts {
            anon_zero: self.faults(FaultKind::AnonZero),
            anon: self.faults(FaultKind::Anon),
            file: self.faults(FaultKind::File),
            around_hits: self.event(FaultEvent::AroundHit),
            anon_around: self.event(FaultEvent::AnonAround),
            cow_copied: self.faults(FaultKind::CowCopied),
            fork_copied: self.event(FaultEvent::ForkCopied),
            cow_reused: self.faults(FaultKind::CowReused),
            shared_write: self.faults(FaultKind::SharedWrite),
            stack_growth: self.event(FaultEvent::StackGrowth),
            spurious: self.faults(FaultKind::Spurious),
            failed: failed + denied,
            denied,
            minor: pgfault.saturating_sub(failed).saturating_sub(major),
            major,
            pgfault,
            pgmajfault: self.event(FaultEvent::MajorStarted),
            vma_lock_retry: self.event(FaultEvent::VmaLockRetry),
            vma_lock_abort: self.event(FaultEvent::VmaLockAbort),
        }
    }
}

impl Default for Rss {
    fn default() -> Self {
        Self::new()
    }
}

/// `min_flt` and `maj_flt` of one task: the one that ran, also when it touched another's memory.
#[derive(Debug, Default)]
pub struct TaskFaults {
    minor: AtomicU64,
    major: AtomicU64,
}

impl TaskFaults {
    /// Counts one completed fault.
    pub fn count(&self, wait: Waited) {
        match wait {
            Waited::ForNothing => self.minor.fetch_add(1, Relaxed),
            Waited::ForData => self.major.fetch_add(1, Relaxed),
        };
    }

    /// Faults completed without waiting for data.
    pub fn minor(&self) -> u64 {
        self.minor.load(Relaxed)
    }

    /// Faults that waited.
    pub fn major(&self) -> u64 {
        self.major.load(Relaxed)
    }
}

/// Whether a completed fault is minor or major.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// Minor.
    ForNothing,
    /// Major.
    ForData,
}

/// The `total_vm` family, in pages. Written under the mmap write lock; read without it by views.
#[derive(Debug, Default)]
pub struct AreaAccounts {
    total_vm: AtomicU64,
    locked_vm: AtomicU64,
    pinned_vm: AtomicU64,
    data_vm: AtomicU64,
    exec_vm: AtomicU64,
    stack_vm: AtomicU64,
    hiwater_vm: AtomicU64,
}

/// The `total_vm` family at one moment, in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AreaCounts {
    /// Pages in all areas.
    pub total: u64,
    /// Pages of `VM_LOCKED` areas.
    pub locked: u64,
    /// Long-term pins.
    pub pinned: u64,
    /// Private writable pages that are no stack.
    pub data: u64,
    /// Executable pages that are neither writable nor stack.
    pub exec: u64,
    /// Stack pages.
    pub stack: u64,
    /// The most `total` ever was.
    pub hiwater: u64,
}

#[inline]
fn move_by(counter: &AtomicU64, change: i64) {
    counter.fetch_add(change as u64, Relaxed);
}

impl AreaAccounts {
    /// `vm_stat_account`: `change` pages more or fewer of an area with `flags`. The caller holds the
    /// mmap write lock.
    pub fn account(&self, flags: VmFlags, change: i64) {
        if change < 0 {
            self.note_high_water();
        }
        move_by(&self.total_vm, change);
        match flags.class() {
            Some(VmClass::Exec) => move_by(&self.exec_vm, change),
            Some(VmClass::Stack) => move_by(&self.stack_vm, change),
            Some(VmClass::Data) => move_by(&self.data_vm, change),
            None => {}
        }
    }

    /// `locked_vm += change`.
    pub fn account_locked(&self, change: i64) {
        move_by(&self.locked_vm, change);
    }

    /// `pinned_vm += change`.
    pub fn account_pinned(&self, change: i64) {
        move_by(&self.pinned_vm, change);
    }

    /// `update_hiwater_vm`.
    pub fn note_high_water(&self) {
        self.hiwater_vm
            .fetch_max(self.total_vm.load(Relaxed), Relaxed);
    }

    /// Takes over a parent's figures, as `dup_mmap` begins; locked and pinned pages are not inherited.
    pub fn copy_from(&self, parent: &AreaAccounts) {
        let counts = parent.counts();
        self.total_vm.store(counts.total, Relaxed);
        self.data_vm.store(counts.data, Relaxed);
        self.exec_vm.store(counts.exec, Relaxed);
        self.stack_vm.store(counts.stack, Relaxed);
        self.hiwater_vm.store(counts.total, Relaxed);
    }

    /// The figures now.
    pub fn counts(&self) -> AreaCounts {
        let total = self.total_vm.load(Relaxed);
        AreaCounts {
            total,
            locked: self.locked_vm.load(Relaxed),
            pinned: self.pinned_vm.load(Relaxed),
            data: self.data_vm.load(Relaxed),
            exec: self.exec_vm.load(Relaxed),
            stack: self.stack_vm.load(Relaxed),
            hiwater: self.hiwater_vm.load(Relaxed).max(total),
        }
    }
}
