//! An entry above the lowest table maps by itself.
//!
//! * *Held:* the fault lock. *Known:* the walk ended at a leaf or a note above the lowest table.
//! * *May:* nothing yet. *Next:* the end.
//!
//! Linux names: `do_huge_pmd_anonymous_page`, `wp_huge_pmd`, `do_huge_pmd_numa_page`,
//! `hugetlb_fault`. This build has no transparent huge pages and no hugetlb pool: `create_huge_pmd`
//! and `create_huge_pud` answer FALLBACK before they are asked, so no such entry is ever made, and a
//! VM_HUGETLB area cannot be mapped. An entry found here all the same is a corrupt table, which the
//! kernel reports and answers with SIGBUS.

use addr::Level;

use crate::fault::case::HugeLeaf;
use crate::fault::outcome::{Cause, Done, Exit, Step};
use crate::fault::vma_locked::VmaLocked;

/// What can be made of a missing huge page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HugeFault {
    /// `VM_FAULT_FALLBACK`: not in this size.
    Fallback,
}

impl VmaLocked<'_> {
    /// `create_huge_pud`, `create_huge_pmd`: `thp_vma_allowable_order` allows no order in this build.
    #[inline]
    pub(crate) fn create_huge(&mut self, level: Level) -> HugeFault {
        debug_assert!(level > Level::Pte);
        self.request
            .note("create_huge_pmd", "no huge pages in this build: small ones");
        HugeFault::Fallback
    }

    /// `hugetlb_fault`: without a pool there are no pages to be had.
    pub(crate) fn hugetlb_fault(&mut self) -> Exit {
        self.request.note("hugetlb_fault", "no pool of huge pages");
        Exit::Fail(Cause::Bus)
    }
}

impl HugeLeaf<'_> {
    /// The huge half of `__handle_mm_fault`.
    pub(crate) fn resolve(self) -> Step<Done> {
        let note = match self.level {
            Level::Pmd => "a huge page where none is made",
            _ => "a huge entry above the PMD",
        };
        self.locked.request.note("wp_huge_pmd", note);
        debug_assert!(false, "a leaf at {:?}: {:?}", self.level, self.snapshot);
        Err(Exit::Fail(Cause::Bus))
    }
}
