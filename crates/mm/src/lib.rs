//! An address space: the fault, the verbs, the accounts.
//!
//! [`Mm`] is Linux's `mm_struct`. It is small and dumb: fields grouped by the lock that guards them.
//! What it can do is in files of their own, one per verb, each an `impl Mm` block:
//!
//! | verb | file | | verb | file |
//! |---|---|---|---|---|
//! | a page fault | [`fault`] | | `mlock` family | `mlock.rs` |
//! | `mmap` | `map.rs` | | `fork` | `fork.rs` |
//! | `munmap` | `unmap.rs` | | `exit_mmap` | `exit.rs` |
//! | `mprotect`, protection keys | `protect.rs`, `pkeys.rs` | | access from outside, pins | [`access`] |
//! | `mremap` | `remap.rs` | | fault in without a trap | `populate.rs` |
//! | `brk` | `brk.rs` | | duties towards objects (rmap) | `space.rs` |
//! | `madvise` | `advise.rs` | | `/proc` text, statistics | [`views`] |
//! | `msync`, `mincore` | `sync.rs`, `mincore.rs` | | | |
//!
//! The order of locks is that of the kernel's table: mmap lock, area lock, rmap locks, entry lock.
//! No verb waits for anything but locks while it holds one; whatever has to be waited for longer is
//! handed back as a value ([`object::PageRequest`]).

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod mm;
pub mod accounts;
pub mod limits;
pub mod layout;
pub mod fault;
pub mod access;
mod reach;
mod populate;
mod stack;
pub mod views;
mod pagesize;

mod map;
mod unmap;
mod zap;
mod protect;
mod pkeys;
mod remap;
mod brk;
mod advise;
mod sync;
mod mincore;
mod mlock;
mod seal;
mod shortage;
mod fork;
mod exec;
mod exit;
mod space;

pub use access::{Force, PinStep, Pinned, Pinning, Pins};
pub use accounts::{AreaCounts, FaultCounts, FaultKind, RssCounts, RssKind, TaskFaults, Waited};
pub use fault::{
    Attempt, Cause, Fault, FaultError, FaultTrace, Handled, HasMmu, NoMmuBuild, ThisBuild,
    TraceStep, handle_mm_fault,
};
#[cfg(not(feature = "no-mmu"))]
pub use fault::{attempt, attempt_traced};
pub use fork::ForkConfig;
pub use layout::{Image, Layout, LayoutConfig, Placement};
pub use limits::{
    Commit, CommitConfig, CommitLimit, Limits, LockRight, LowRight, Overcommit, Resource, Rlimit,
    Sysctl,
};
pub use map::{
    Advice, FileRights, LockAllFlags, LockFlags, MapDescription, MapFlags, MapKind, MapPrepare,
    MapRequest, MapTarget, ObjectTarget, PrivateData, RemapFlags, SyncFlags,
};
pub use mm::{FaultPolicy, Guarded, Mm, MmConfig, MmFlags, MmUser};
pub use populate::{PopulateRefusal, PopulateStop};
pub use remap::RemapRequest;
pub use views::{FirstWrite, MmStats, Run, Target, smaps_of_nothing};
