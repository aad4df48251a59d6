//! Plans: a change of the arrangement is decided first, which may fail and changes nothing, and then
//! committed, which cannot fail and allocates nothing.
//!
//! | plan | verb | Linux |
//! |---|---|---|
//! | [`MapPlan`] | a new range: mmap, brk, growth and copy of mremap | `vma_merge_new_range`, `vma_expand`, `copy_vma` |
//! | [`RemovePlan`] | munmap, the old areas under MAP_FIXED, exit | `vms_gather_munmap_vmas`, `vms_complete_munmap_vmas` |
//! | [`ModifyPlan`] | mprotect, madvise, mlock, mseal, names, policies | `vma_modify`, `vma_merge_existing_range`, `split_vma` |
//! | [`GrowPlan`] | a stack grows | `expand_downwards` |
//! | [`ForkPlan`] | the areas of a fork's child | `dup_mmap` |
//!
//! Deciding takes the mmap write guard and write-locks the areas it will replace, so that what it
//! read of them stays true. All new areas, their links in the reverse map and the new tree exist
//! before the commit; a plan that is dropped takes its links back. The commit:
//!
//! 1. write-locks the new areas, and lets readers count on them;
//! 2. publishes the new tree (the point of no return);
//! 3. detaches the old areas;
//! 4. unlinks from the reverse map what was replaced (a removed range stays linked until its
//!    [`Removed`] is told that the entries are gone);
//! 5. calls `open` of areas that a split made.
//!
//! What a commit gives back must be used: it says what to zap, what to close, what to account.

mod pieces;
mod merge;
mod rearrange;
mod refused;
mod map;
mod modify;
mod remove;
mod grow;
mod fork;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
#[cfg(all(test, not(any(loom, shuttle))))]
mod model_tests;

pub use fork::{ForkPlan, Forked, Inherit};
pub use grow::{GrowPlan, GrowRefused};
pub use map::{MapPlan, MapScope, NeedRmapLocks, Placed, Placement};
pub use modify::{Attributes, Modified, ModifyPlan};
pub use refused::{PlanError, Refused};
pub use remove::{RemovePlan, Removed, RemovedArea, Unclosed, Unlinked};

#[doc(hidden)]
pub use merge::could_merge;
pub(crate) use pieces::{mapping, pgoff_at};
