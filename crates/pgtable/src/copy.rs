//! Two spaces at once: what fork copies.

use core::fmt;

use addr::{Level, VirtAddr, VirtRange};
use frame::OutOfFrames;
use sync::{MayInstall, Pin, Stable};

use crate::table::Walked;
use crate::{EntryLock, PageTable, TableReserve};

/// Copies a range from one space to the same addresses of another (Linux: `copy_page_range`).
///
/// It visits the parent's filled entries, makes the child's tables where there is something to
/// copy, and hands out both entries under both locks: the child's taken first, the parent's nested
/// in it. As with a [`Cursor`](crate::Cursor), [`unlock`](Self::unlock) keeps only the address.
pub struct CopyCursor<'t, P: MayInstall> {
    child: &'t PageTable,
    child_proof: &'t P,
    parent: &'t PageTable,
    next: VirtAddr,
    end: VirtAddr,
    last: Option<VirtAddr>,
    locks: Option<CopyPair<'t>>,
}

/// The same page in two spaces, both entries locked.
#[derive(Debug)]
pub struct CopyPair<'t> {
    /// The entry copied from.
    pub parent: EntryLock<'t>,
    /// The entry copied to; empty, unless the child's space was in use.
    pub child: EntryLock<'t>,
}

impl PageTable {
    /// A cursor that copies `range` of `self` into `child`.
    #[must_use]
    pub const fn copy_to<'t, P: MayInstall>(
        &'t self,
        child: &'t Self,
        range: VirtRange,
        _parent_proof: &'t impl Stable,
        child_proof: &'t P,
    ) -> CopyCursor<'t, P> {
        CopyCursor {
            child,
            child_proof,
            parent: self,
            next: range.start(),
            end: range.end(),
            last: None,
            locks: None,
        }
    }

    /// Where the next filled entry of a range may be, by a look without locks.
    pub(crate) fn next_filled(&self, from: VirtAddr, end: VirtAddr, pin: &Pin) -> Option<VirtAddr> {
        let mut addr = from;
        while addr < end {
            let level = match self.walk(addr, pin) {
                Walked::Missing(place) => place.level,
                Walked::Found(place) => {
                    let words = self.words(place.table);
                    let rest = place.level.index_of(addr)..addr::ENTRIES_PER_TABLE;
                    let skipped = rest
                        .clone()
                        .take_while(|index| words.load(*index) == 0)
                        .count();
                    let found = addr.saturating_add(skipped as u64 * place.level.bytes());
                    if skipped < rest.len() {
                        return (found < end).then_some(found);
                    }
                    place.level.above().unwrap_or(Level::Pgd)
                }
            };
            addr = level.next_entry(addr)?;
        }
        None
    }
}

impl<'t, P: MayInstall> CopyCursor<'t, P> {
    /// Locks and hands out the next filled entry of the parent with its place in the child;
    /// `None`, nothing locked, when the range is done.
    ///
    /// # Errors
    /// The child needs a table, `reserve` is empty and the arena is out of frames. Nothing is
    /// locked; fill the reserve and advance again.
    pub fn advance(
        &mut self,
        reserve: &mut TableReserve,
    ) -> Result<Option<&mut CopyPair<'t>>, OutOfFrames> {
        loop {
            if self.locks.is_none() && !self.lock_next_tables(reserve)? {
                return Ok(None);
            }
            if self.find_in_tables() {
                return Ok(self.locks.as_mut());
            }
            self.locks = None;
        }
    }

    /// Lets both tables go. The next [`advance`](Self::advance) walks again.
    pub fn unlock(&mut self) {
        self.locks = None;
    }

    /// Lets both tables go, and goes back to the entry handed out last.
    pub fn retry(&mut self) {
        self.locks = None;
        if let Some(last) = self.last {
            self.next = last;
        }
    }

    /// The address that the next look begins at.
    #[must_use]
    pub const fn position(&self) -> VirtAddr {
        self.next
    }

    /// Locks the tables of the next filled entry; false when there is none.
    fn lock_next_tables(&mut self, reserve: &mut TableReserve) -> Result<bool, OutOfFrames> {
        while self.next < self.end {
            let pin = sync::pin();
            let Some(addr) = self.parent.next_filled(self.next, self.end, &pin) else {
                break;
            };
            self.next = addr;
            let child = self
                .child
                .slot_or_alloc(addr, &pin, self.child_proof, reserve)?;
            let Some(child) = child.lock() else { continue };
            let parent = self
                .parent
                .slot(addr, &pin)
                .and_then(|slot| slot.lock_second());
            if let Some(parent) = parent {
                self.locks = Some(CopyPair { parent, child });
                return Ok(true);
            }
        }
        self.next = self.end;
        Ok(false)
    }

    /// Seeks the next filled entry in the locked tables.
    fn find_in_tables(&mut self) -> bool {
        let Some(CopyPair { parent, child }) = &mut self.locks else {
            return false;
        };
        while self.next < self.end && parent.seek(self.next).is_ok() {
            let here = self.next;
            self.next = parent.level().next_entry(here).unwrap_or(self.end);
            if !parent.read().is_none() && child.seek(here).is_ok() {
                self.last = Some(here);
                return true;
            }
        }
        false
    }
}

impl<P: MayInstall> fmt::Debug for CopyCursor<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyCursor")
            .field("next", &self.next)
            .field("end", &self.end)
            .field("locked", &self.locks.is_some())
            .finish_non_exhaustive()
    }
}
