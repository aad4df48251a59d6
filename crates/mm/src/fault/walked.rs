//! The tables are walked down to the entry, which is looked at without a lock.
//!
//! * *Held:* the fault lock; an epoch pin, so that no table met is reused.
//! * *Known:* the entry as it was a moment ago, or that it has no table yet.
//! * *May:* look. Nothing is written before the entry is locked and found unchanged.
//! * *Next:* [`Case`](super::case::Case).
//!
//! Linux name: `__handle_mm_fault`, and the first lines of `handle_pte_fault`.

use addr::Level;
use pgtable::{Entry, Slot};
use sync::Pin;

use super::resolve::huge::HugeFault;
use super::vma_locked::VmaLocked;

/// The way down is known.
#[derive(Debug)]
pub(crate) struct Walked<'f, 'p> {
    pub(crate) locked: VmaLocked<'f>,
    pub(crate) pin: &'p Pin,
    /// The entry's place; `None` while a table is missing on the way.
    pub(crate) slot: Option<Slot<'f, 'p>>,
    /// The entry as it was looked at (`orig_pte`); empty if it has no place.
    pub(crate) snapshot: Entry,
}

impl<'f> VmaLocked<'f> {
    /// Walks down and looks at the entry. Missing tables are made only when it is known that
    /// something will be installed, so that a huge page can still take their place.
    #[inline]
    pub(crate) fn walk<'p>(mut self, pin: &'p Pin) -> Walked<'f, 'p> {
        let slot = self.mm.table().slot(self.page(), pin);
        if slot.is_none() {
            // A huge page would go here, before any table does.
            match self.create_huge(Level::Pmd) {
                HugeFault::Fallback => {}
            }
        }
        let snapshot = slot.map_or(Entry::NONE, |slot| slot.snapshot());
        self.request.note(
            "__handle_mm_fault",
            match (slot, snapshot.is_none()) {
                (None, _) => "a table is missing",
                (Some(_), true) => "the entry is empty",
                (Some(_), false) => "there is an entry",
            },
        );
        Walked {
            locked: self,
            pin,
            slot,
            snapshot,
        }
    }
}
