//! The entries of a range, one table's lock at a time.

use core::fmt;

use addr::{VirtAddr, VirtRange};

use sync::Stable;

use crate::table::Walked;
use crate::{EntryLock, PageTable};

/// Which entries a cursor stops at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Visit {
    /// Those that are not empty.
    Filled,
    /// Every entry of every table there is.
    All,
}

/// Visits the entries of a range in ascending order (Linux: the nested `pgd`, `p4d`, `pud`, `pmd`
/// and `pte` range loops of zap, mprotect, mincore and the rest).
///
/// It holds the lock of one table at a time, skips what missing tables would cover in one step,
/// and can be made to let go anywhere: [`unlock`](Self::unlock) keeps only the address. A table
/// that vanishes between walk and lock is walked to again.
///
/// ```text
/// let mut cursor = table.cursor(range, &mmap_guard, Visit::Filled);
/// while let Some(entry) = cursor.advance() {
///     entry.clear(&mmap_guard, &mut gather);
/// }
/// ```
pub struct Cursor<'t> {
    table: &'t PageTable,
    visit: Visit,
    /// The next entry to look at.
    next: VirtAddr,
    end: VirtAddr,
    /// The last entry handed out.
    last: Option<VirtAddr>,
    lock: Option<EntryLock<'t>>,
}

impl PageTable {
    /// A cursor over `range`. The proof that the range is stable is borrowed for as long as the
    /// cursor lives.
    #[must_use]
    pub const fn cursor<'t>(
        &'t self,
        range: VirtRange,
        _proof: &'t impl Stable,
        visit: Visit,
    ) -> Cursor<'t> {
        Cursor {
            table: self,
            visit,
            next: range.start(),
            end: range.end(),
            last: None,
            lock: None,
        }
    }
}

impl<'t> Cursor<'t> {
    /// Locks and hands out the next entry; `None`, nothing locked, when the range is done.
    pub fn advance(&mut self) -> Option<&mut EntryLock<'t>> {
        while self.next < self.end {
            if self.lock.is_none() && !self.lock_next_table() {
                continue;
            }
            if self.find_in_table() {
                return self.lock.as_mut();
            }
            self.lock = None;
        }
        self.lock = None;
        None
    }

    /// Lets the table go. The next [`advance`](Self::advance) walks again from where this stands.
    pub fn unlock(&mut self) {
        self.lock = None;
    }

    /// Lets the table go, and goes back to the entry handed out last, to look at it again.
    pub fn retry(&mut self) {
        self.lock = None;
        if let Some(last) = self.last {
            self.next = last;
        }
    }

    /// The address that the next look begins at.
    #[must_use]
    pub const fn position(&self) -> VirtAddr {
        self.next
    }

    /// Goes on at `addr`, which may be in another table or past the end.
    pub fn skip_to(&mut self, addr: VirtAddr) {
        self.lock = None;
        self.next = addr.max(self.next);
    }

    /// Locks the table of the next entry. Where there is none, skips what it would cover.
    fn lock_next_table(&mut self) -> bool {
        let pin = sync::pin();
        match self.table.walk(self.next, &pin) {
            Walked::Missing(place) => {
                self.next = place.level.next_entry(self.next).unwrap_or(self.end);
                false
            }
            Walked::Found(_) => {
                self.lock = self
                    .table
                    .slot(self.next, &pin)
                    .and_then(|slot| slot.lock());
                self.lock.is_some()
            }
        }
    }

    /// Seeks the locked table's next entry to hand out; false when it has no more in the range.
    fn find_in_table(&mut self) -> bool {
        let Some(lock) = &mut self.lock else {
            return false;
        };
        while self.next < self.end && lock.seek(self.next).is_ok() {
            let here = self.next;
            self.next = lock.level().next_entry(here).unwrap_or(self.end);
            if self.visit == Visit::All || !lock.read().is_none() {
                self.last = Some(here);
                return true;
            }
        }
        false
    }
}

impl fmt::Debug for Cursor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor")
            .field("visit", &self.visit)
            .field("next", &self.next)
            .field("end", &self.end)
            .field("locked", &self.lock.is_some())
            .finish_non_exhaustive()
    }
}
