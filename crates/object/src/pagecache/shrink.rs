//! Pages on their way out: truncation and punched holes.

use alloc::vec::Vec;

use addr::{PAGE_SIZE, PgOff};
use frame::{Folio, FolioFlags, FolioLock, OwnerId};
use sync::atomic::Ordering;

use super::PageCache;
use super::fill::{FillWait, ZEROES};
use crate::request::PageRequest;
use crate::rmap::{EvenCows, Flushes};

/// How far a removal came. What it has removed stays removed.
#[derive(Debug)]
#[must_use = "pages may be left"]
pub enum Shrink {
    /// All pages are gone; so many were removed now.
    Done(u64),
    /// A page is being filled or is locked: perform this with no lock held, then call again.
    Later(PageRequest),
}

impl PageCache {
    /// Sets the size and removes what lies beyond it, private copies too
    /// (Linux: `truncate_setsize`). When it is done no entry maps a removed page, and none can come
    /// to (invariant 56): a fault that found one before sees, under its lock, that it has left.
    ///
    /// The end of a page that is cut in the middle becomes zero.
    pub fn truncate(&self, size_bytes: u64) -> Shrink {
        let old = self.size_bytes.swap(size_bytes, Ordering::AcqRel);
        if size_bytes >= old {
            return Shrink::Done(0);
        }
        let first = self.end();
        self.mappings.unmap(first, None, EvenCows::Yes);
        self.remove_from(first, None, EvenCows::Yes)
    }

    /// Removes the pages `[first, last]` and leaves a hole; private copies stay, as Linux has it
    /// (`shmem_fallocate` with FALLOC_FL_PUNCH_HOLE).
    pub fn punch(&self, first: PgOff, last: PgOff) -> Shrink {
        self.mappings.unmap(first, Some(last), EvenCows::No);
        self.remove_from(first, Some(last), EvenCows::No)
    }

    /// Goes on with a removal that had to wait.
    pub fn remove_from(&self, first: PgOff, last: Option<PgOff>, even_cows: EvenCows) -> Shrink {
        if even_cows == EvenCows::Yes
            && last.is_none()
            && let Some(request) = self.zero_tail(first)
        {
            return Shrink::Later(request);
        }
        let mut nr_removed = 0;
        let mut flushes = Flushes::new();
        let mut next = first;
        while let Some((pgoff, candidate)) = self.candidate(next, last) {
            let locked = match candidate {
                Candidate::Filling(request) => return Shrink::Later(request),
                Candidate::Folio(folio) => match folio.try_lock() {
                    Some(locked) => locked,
                    None => return Shrink::Later(PageRequest::folio_unlocked(folio)),
                },
            };
            if self.owns(&locked, pgoff) {
                self.remove_locked(pgoff, locked, even_cows, &mut flushes);
                nr_removed += 1;
            }
            let Some(after) = pgoff.checked_add(1) else {
                break;
            };
            next = after;
        }
        if even_cows == EvenCows::Yes {
            // A fault that had a page locked may have made a private copy of it since the range was
            // unmapped; now that the pages are gone, none can any more.
            self.mappings
                .unmap_later(first, last, even_cows, &mut flushes);
        }
        flushes.finish();
        Shrink::Done(nr_removed)
    }

    /// Removes one page of this object that is locked (Linux: `truncate_inode_folio`).
    fn remove_locked(
        &self,
        pgoff: PgOff,
        locked: FolioLock,
        even_cows: EvenCows,
        flushes: &mut Flushes,
    ) {
        // A fault may have mapped it since the range was unmapped; the lock keeps out the next.
        if locked.map_count() > 0 {
            self.mappings
                .unmap_later(pgoff, Some(pgoff), even_cows, flushes);
        }
        locked.clear(FolioFlags::DIRTY);
        locked.set_owner(OwnerId::NONE, 0);
        let slot = self.pages.write().remove(&pgoff);
        drop(locked);
        drop(slot);
    }

    fn candidate(&self, first: PgOff, last: Option<PgOff>) -> Option<(PgOff, Candidate)> {
        let last = last.unwrap_or(PgOff::new(u64::MAX));
        if first > last {
            return None;
        }
        let pages = self.pages.read();
        let (pgoff, slot) = pages.range(first..=last).next()?;
        let candidate = match &slot.fill {
            Some(fill) => Candidate::Filling(FillWait::request(fill)),
            None => Candidate::Folio(slot.folio.clone()),
        };
        Some((*pgoff, candidate))
    }

    /// Zeroes what the last page holds beyond the object's end, if the pages from `first` on are those
    /// beyond it: growing again shows none of it (Linux: `truncate_inode_partial_folio`). A page being
    /// filled is cut when its data comes. The request is to wait for a page that somebody has locked.
    fn zero_tail(&self, first: PgOff) -> Option<PageRequest> {
        let size_bytes = self.size_bytes();
        let tail = size_bytes % PAGE_SIZE;
        if tail == 0 || first != self.end() {
            return None;
        }
        let pgoff = PgOff::containing(size_bytes);
        let folio = {
            let pages = self.pages.read();
            let slot = pages.get(&pgoff)?;
            if let Some(fill) = &slot.fill {
                fill.cut(tail);
                return None;
            }
            slot.folio.clone()
        };
        let Some(locked) = folio.try_lock() else {
            return Some(PageRequest::folio_unlocked(folio));
        };
        if self.owns(&locked, pgoff) {
            locked.write(tail, &ZEROES[tail as usize..]);
        }
        None
    }

    /// Lets every page go. For an object that is no longer mapped or named by anybody.
    fn forget_all(&mut self) {
        let pages = core::mem::take(&mut *self.pages.write());
        let folios: Vec<Folio> = pages.into_values().map(|slot| slot.folio).collect();
        for folio in folios {
            if let Some(locked) = folio.try_lock() {
                locked.clear(FolioFlags::DIRTY);
                locked.set_owner(OwnerId::NONE, 0);
            }
        }
    }
}

impl Drop for PageCache {
    fn drop(&mut self) {
        self.forget_all();
    }
}

enum Candidate {
    Filling(PageRequest),
    Folio(Folio),
}
