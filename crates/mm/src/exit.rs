//! The end of a space (Linux: `exit_mmap`).
//!
//! The kernel unmaps under the mmap lock for reading, so that the OOM reaper may run beside, and takes
//! it for writing to free tables and areas. Nobody faults any more: there are no users. Here the areas
//! leave the tree first, under the write lock; objects that reach in through the reverse map still
//! find the entries, and take entry locks, until the areas are unlinked from it.

use vma::RemovePlan;

use crate::mm::{Mm, MmFlags};

impl Mm {
    /// Takes all memory away: areas, entries, folios, tables, promises.
    pub(crate) fn exit_mmap(&self) {
        let mut held = self.write();
        held.def_flags = addr::VmFlags::empty();
        let plan = RemovePlan::everything(&held);
        let taken = self.commit_removal(&mut held, plan);
        self.set_flags(MmFlags::OOM_SKIP);
        let _held = held.downgrade();
        taken.clear_space();
    }
}
