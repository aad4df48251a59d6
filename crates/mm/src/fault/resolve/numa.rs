//! The entry was made to fault, to learn who uses the page.
//!
//! * *Held:* the fault lock, the pin. *Known:* the entry maps but no access may use it, while the area
//!   allows access. *May:* give the rights back. *Next:* the end.
//!
//! Linux name: `do_numa_page`. There is one node, so no page is ever misplaced: the hint is counted as
//! nothing and the entry made accessible again, as a kernel does for a page it does not migrate.
//! Nothing needs to be flushed, since nobody remembers such an entry as accessible.

use frame::FolioFlags;
use pgtable::{Entry, EntryFlags};

use crate::fault::case::Present;
use crate::fault::outcome::{Done, Step};
use crate::fault::pte_locked::{PteLocked, initial_rights};

impl Present<'_, '_> {
    /// `do_numa_page`.
    pub(crate) fn resolve_hint(self) -> Step<Done> {
        let pte = PteLocked::lock(self.locked, self.slot, self.snapshot)?;
        pte.locked
            .request
            .note("do_numa_page", "one node: the rights are given back");
        let rights = initial_rights(pte.vma()) | EntryFlags::ACCESSED;
        let writable = pte.can_change_writable();
        Ok(pte.give_back_rights(if writable {
            rights | EntryFlags::WRITABLE
        } else {
            rights
        }))
    }
}

impl PteLocked<'_> {
    /// `can_change_pte_writable`, for an area that wants entries upgraded without a fault.
    fn can_change_writable(&self) -> bool {
        let entry: Entry = self.entry();
        let flags = self.vma().flags();
        if !flags.contains(addr::VmFlags::WRITE)
            || !self.vma().wants_manual_write_upgrade()
            || entry.is_uffd_wp()
        {
            return false;
        }
        if flags.contains(addr::VmFlags::SHARED) {
            return entry.is_dirty();
        }
        let folio = entry
            .mapping()
            .and_then(|leaf| self.locked.mm.arena().try_get(leaf.pfn));
        folio.is_some_and(|folio| folio.is_anon() && folio.has(FolioFlags::ANON_EXCLUSIVE))
    }
}
