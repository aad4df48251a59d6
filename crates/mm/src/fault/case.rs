//! The case is named from the area and the entry.
//!
//! * *Held:* as before: the fault lock and the pin. Cases whose resolvers may call out give the pin
//!   back here; it is not in their types.
//! * *Known:* which of the kernel's functions this fault is for.
//! * *May:* nothing; naming changes nothing.
//! * *Next:* one file of [`resolve`](super::resolve) a case.
//!
//! Linux names: `handle_pte_fault`, `do_pte_missing`.

use addr::{Level, NonPresent};
use pgtable::{Entry, Slot};
use sync::Pin;

use super::vma_locked::VmaLocked;
use super::walked::Walked;

/// What a fault is for.
#[derive(Debug)]
pub(crate) enum Case<'f, 'p> {
    /// Private memory, nothing there yet: `do_anonymous_page`.
    MissingAnon(MissingAnon<'f, 'p>),
    /// A page of an object, nothing there yet: `do_fault`.
    MissingPage(MissingPage<'f>),
    /// Something else than a mapping stands there: `do_swap_page`.
    Noted(Noted<'f>),
    /// Mapped, but every access is to fault: `do_numa_page`.
    Hinted(Present<'f, 'p>),
    /// Mapped: `do_wp_page`, or accessed and dirty.
    Present(Present<'f, 'p>),
    /// The entry above the lowest table maps by itself.
    Huge(HugeLeaf<'f>),
}

/// Private memory without a page.
#[derive(Debug)]
pub(crate) struct MissingAnon<'f, 'p> {
    pub(crate) locked: VmaLocked<'f>,
    pub(crate) pin: &'p Pin,
    pub(crate) slot: Option<Slot<'f, 'p>>,
}

/// A page of an object that is not mapped. `snapshot` is empty, or the userfaultfd marker found.
#[derive(Debug)]
pub(crate) struct MissingPage<'f> {
    pub(crate) locked: VmaLocked<'f>,
    pub(crate) snapshot: Entry,
}

/// An entry that is a note: memory elsewhere, or a marker.
#[derive(Debug)]
pub(crate) struct Noted<'f> {
    pub(crate) locked: VmaLocked<'f>,
    pub(crate) note: NonPresent,
    pub(crate) snapshot: Entry,
}

/// An entry that maps.
#[derive(Debug)]
pub(crate) struct Present<'f, 'p> {
    pub(crate) locked: VmaLocked<'f>,
    pub(crate) slot: Slot<'f, 'p>,
    pub(crate) snapshot: Entry,
}

/// A leaf above the lowest table.
#[derive(Debug)]
pub(crate) struct HugeLeaf<'f> {
    pub(crate) locked: VmaLocked<'f>,
    pub(crate) level: Level,
    pub(crate) snapshot: Entry,
}

impl<'f, 'p> Walked<'f, 'p> {
    /// `handle_pte_fault`: names the case, in the kernel's order of questions.
    #[inline]
    pub(crate) fn case(self) -> Case<'f, 'p> {
        let Walked {
            locked,
            pin,
            slot,
            snapshot,
        } = self;
        let Some(slot) = slot.filter(|_| !snapshot.is_none()) else {
            return Self::missing(locked, pin, slot);
        };
        if slot.level() != Level::Pte {
            return Case::Huge(HugeLeaf {
                locked,
                level: slot.level(),
                snapshot,
            });
        }
        if let Some(note) = snapshot.non_present_kind() {
            return Case::Noted(Noted {
                locked,
                note,
                snapshot,
            });
        }
        let present = Present {
            locked,
            slot,
            snapshot,
        };
        if snapshot.is_prot_none() && present.locked.flags().is_accessible() {
            return Case::Hinted(present);
        }
        Case::Present(present)
    }

    /// `do_pte_missing`.
    #[inline]
    fn missing(locked: VmaLocked<'f>, pin: &'p Pin, slot: Option<Slot<'f, 'p>>) -> Case<'f, 'p> {
        if locked.vma().is_anonymous() {
            Case::MissingAnon(MissingAnon { locked, pin, slot })
        } else {
            Case::MissingPage(MissingPage {
                locked,
                snapshot: Entry::NONE,
            })
        }
    }
}
