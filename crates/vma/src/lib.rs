//! Areas: the range tree, its gaps, its locks, and plans to change it.
//!
//! The layers of this crate, lowest first:
//!
//! | file | what | Linux |
//! |---|---|---|
//! | [`tree`] | ordered disjoint ranges, persistent | maple tree, `mm_mt` |
//! | [`gap`] | the lowest and the highest free range | `vm_unmapped_area` |
//! | [`prot`] | hardware rights that follow from flags | `vm_page_prot`, `vma_set_page_prot` |
//! | [`vma_lock`] | the lock of one area | `vm_refcnt`, `vm_lock_seq` |
//! | [`area`] | one area | `vm_area_struct` |
//! | [`lock`] | the lock of the space, and finding an area without it | `mmap_lock`, `lock_vma_under_rcu` |
//! | [`fault_lock`] | either of them, as a fault holds it | `FAULT_FLAG_VMA_LOCK` |
//! | [`plan`] | merge, split, map, remove, grow, copy | `mm/vma.c` |
//!
//! **An area never changes.** Splitting, merging, growing or reprotecting makes new areas and a new
//! arrangement of them; the old ones are write-locked before it is published and detached after, so
//! no fault sees a half-changed area. Only the lock words, the anon_vma link (set once) and the
//! MAYBE_GUARD mark (Linux: the one flag that may be set under a read lock) change in place.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod tree;
pub mod gap;
#[cfg(all(test, not(any(loom, shuttle))))]
mod gap_tests;
pub mod prot;
pub mod vma_lock;
pub mod area;
pub mod lock;
pub mod fault_lock;
pub mod plan;
pub mod anon;
#[cfg(all(test, not(loom)))]
#[cfg_attr(
    shuttle,
    expect(dead_code, reason = "the tests of the locks use some of it")
)]
mod fixtures;
#[cfg(all(test, not(loom)))]
mod lock_tests;
#[cfg(all(test, loom))]
mod loom_tests;

pub use anon::anon_vma_prepare;
pub use area::{NewArea, Vma};
pub use fault_lock::{FaultLock, FaultLockKind};
pub use gap::{GapRequest, StartGap};
pub use lock::{MmapHeld, MmapLock, MmapRead, MmapWrite, RefusalCounts, Speculation, VmaRead, Why};
pub use plan::{
    Attributes, ForkPlan, Forked, GrowPlan, GrowRefused, Inherit, MapPlan, MapScope, Modified,
    ModifyPlan, NeedRmapLocks, Placed, Placement, PlanError, Refused, RemovePlan, Removed,
    RemovedArea, Unclosed, Unlinked,
};
pub use prot::PageProt;
pub use tree::{RangeTree, Spanned};
pub use vma_lock::SpaceLock;

use addr::PAGE_SIZE;
use alloc::sync::Arc;

/// The areas of a space (Linux: `mm_mt`).
pub type VmaTree = RangeTree<Arc<Vma>>;

/// What is kept free below a GROWSDOWN area unless told otherwise: 256 pages (Linux:
/// `stack_guard_gap`).
pub const STACK_GUARD_BYTES: u64 = 256 * PAGE_SIZE;

/// How many areas a space may have unless told otherwise (Linux: `sysctl_max_map_count`).
pub const MAX_MAP_COUNT: usize = 65_530;

/// The limits that plans keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// A split that would leave more areas than this fails; so does a mapping when there are more
    /// (Linux: `sysctl_max_map_count`).
    pub max_map_count: usize,
    /// What is kept free below a GROWSDOWN area (Linux: `stack_guard_gap`, in bytes here).
    pub stack_guard_bytes: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            max_map_count: MAX_MAP_COUNT,
            stack_guard_bytes: STACK_GUARD_BYTES,
        }
    }
}
