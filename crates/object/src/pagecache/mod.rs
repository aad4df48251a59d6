//! The pages of an object that are in our frames (Linux: `struct address_space` and `filemap.c`).
//!
//! A page is in one of three states:
//!
//! ```text
//! absent                       nothing in the map
//! being filled   [locked, not up to date]   a Filling owns the lock; others wait for its FillWait
//! present        [up to date]               locked only for bounded CPU time
//! ```
//!
//! Whoever finds a page missing allocates a frame *first* (so never under a folio lock, invariant
//! 60), then [begins a fill](PageCache::begin_fill): one of all that do so at once wins and fills,
//! the others get a request to wait for it. A fill that is given up takes its page out again and
//! lets them try anew.
//!
//! A page that has been found is used only while its lock is held and after checking again, under
//! it, that it is still this object's page and not beyond the object's end (invariants 55, 56).
//! [`PageCache::find_locked`] does all of that.

mod fill;
mod shrink;
#[cfg(all(test, shuttle))]
mod shuttle_tests;
#[cfg(all(test, not(shuttle)))]
mod tests;

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use addr::{PAGE_SIZE, PgOff};
use frame::{Arena, Folio, FolioFlags, FolioLock, FreshFolio, OwnerId};
use sync::RwLock;
use sync::atomic::{AtomicU64, Ordering};
use sync::rank::Rank;

use crate::context::{MapAround, Offered};
use crate::owner::OwnerEntry;
use crate::request::{PageRequest, Revalidate};
use crate::rmap::{FileMappings, Flushes};

pub use fill::{Begun, FillEnd, FillWait, Filling};
pub use shrink::Shrink;

/// The pages of one object, by offset.
#[derive(Debug)]
pub struct PageCache {
    entry: OwnerEntry,
    arena: Arc<Arena>,
    mappings: Arc<FileMappings>,
    pages: RwLock<BTreeMap<PgOff, Slot>>,
    size_bytes: AtomicU64,
    limit_pages: u64,
}

/// A page of the map. The map's own reference keeps the folio.
#[derive(Debug)]
struct Slot {
    folio: Folio,
    /// While it is being filled.
    fill: Option<Arc<FillWait>>,
}

/// What [`PageCache::find_locked`] found.
#[derive(Debug)]
#[must_use = "a page was locked, or is to be waited for"]
pub enum Found {
    /// The page: up to date, locked, of this object, inside it.
    Locked(FolioLock),
    /// Somebody fills it or has it locked: wait with no lock held and come again.
    Later(PageRequest),
    /// It is not there.
    Absent,
    /// The object ends before it (`SIGBUS`).
    BeyondEnd,
}

/// What became of a page that was to be added.
#[derive(Debug)]
#[must_use = "a page was locked, or was not added"]
pub enum Inserted {
    /// It was; here it is, locked.
    Locked(FolioLock),
    /// Somebody was first; the frame went back.
    Raced,
    /// The object holds as many as it may; the frame went back.
    Full,
    /// The object ends before it; the frame went back.
    BeyondEnd,
}

impl PageCache {
    /// The empty cache of an object of `size_bytes`, mapped by areas in `mappings`. Several caches
    /// may share their mappings: pages of one that is laid over another are found from both.
    pub fn new(arena: Arc<Arena>, mappings: Arc<FileMappings>, size_bytes: u64) -> Arc<Self> {
        PageCache::limited(arena, mappings, size_bytes, u64::MAX)
    }

    /// As [`PageCache::new`], holding at most `limit_pages` pages at once.
    pub fn limited(
        arena: Arc<Arena>,
        mappings: Arc<FileMappings>,
        size_bytes: u64,
        limit_pages: u64,
    ) -> Arc<Self> {
        Arc::new(PageCache {
            limit_pages,
            entry: OwnerEntry::file(&mappings),
            arena,
            mappings,
            pages: RwLock::ranked(Rank::Registry, BTreeMap::new()),
            size_bytes: AtomicU64::new(size_bytes),
        })
    }

    /// The number in the record of each of its folios (Linux: `folio->mapping`).
    pub fn id(&self) -> OwnerId {
        self.entry.id()
    }

    /// Where its frames come from.
    pub fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// The areas that map it.
    pub fn mappings(&self) -> &Arc<FileMappings> {
        &self.mappings
    }

    /// The object's size (Linux: `i_size`).
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes.load(Ordering::Acquire)
    }

    /// The first page beyond the end.
    pub fn end(&self) -> PgOff {
        PgOff::new(self.size_bytes().div_ceil(PAGE_SIZE))
    }

    /// How many pages are in frames.
    pub fn nr_pages(&self) -> u64 {
        self.pages.read().len() as u64
    }

    /// How many of them are dirty. Counted when asked: a fault, a zap and a pin mark a folio and know
    /// nothing of its object.
    pub fn nr_dirty(&self) -> u64 {
        let pages = self.pages.read();
        let dirty = |slot: &&Slot| slot.folio.has(FolioFlags::DIRTY);
        pages.values().filter(dirty).count() as u64
    }

    /// Whether the page is in memory and filled (what mincore reports of a file).
    pub fn is_resident(&self, pgoff: PgOff) -> bool {
        self.pages
            .read()
            .get(&pgoff)
            .is_some_and(|slot| slot.fill.is_none())
    }

    /// Whether the page is neither there nor being filled.
    pub fn is_absent(&self, pgoff: PgOff) -> bool {
        !self.pages.read().contains_key(&pgoff)
    }

    /// A reference to a filled page, which may leave the object at any time (Linux:
    /// `filemap_get_folio`).
    pub fn lookup(&self, pgoff: PgOff) -> Option<Folio> {
        let pages = self.pages.read();
        let slot = pages.get(&pgoff)?;
        slot.fill.is_none().then(|| slot.folio.clone())
    }

    /// What to compare before something obtained without locks is used for page `index`.
    pub fn revalidate(&self, index: PgOff) -> Revalidate {
        Revalidate {
            mapping: self.id(),
            index,
            size_bytes: Some(self.size_bytes()),
        }
    }

    /// The page locked and checked, or what to do about it. Never waits.
    pub fn find_locked(&self, pgoff: PgOff) -> Found {
        loop {
            if pgoff >= self.end() {
                return Found::BeyondEnd;
            }
            let folio = {
                let pages = self.pages.read();
                let Some(slot) = pages.get(&pgoff) else {
                    return Found::Absent;
                };
                if let Some(fill) = &slot.fill {
                    return Found::Later(FillWait::request(fill));
                }
                slot.folio.clone()
            };
            let Some(locked) = folio.try_lock() else {
                return Found::Later(PageRequest::folio_unlocked(folio));
            };
            if !self.owns(&locked, pgoff) {
                // It left the object between the look-up and the lock; look again.
                continue;
            }
            if pgoff >= self.end() {
                return Found::BeyondEnd;
            }
            return Found::Locked(locked);
        }
    }

    /// Whether a locked folio is this object's page `pgoff`, and filled: the recheck that every
    /// holder of a mere reference owes (Linux: `folio->mapping != mapping`).
    pub fn owns(&self, folio: &FolioLock, pgoff: PgOff) -> bool {
        folio.owner() == self.id()
            && folio.index() == pgoff.as_u64()
            && folio.has(FolioFlags::UPTODATE)
    }

    /// Adds a page whose data is complete.
    pub fn insert(&self, pgoff: PgOff, data: FreshFolio) -> Inserted {
        let locked = self.adopt(pgoff, data);
        locked.set(FolioFlags::UPTODATE);
        let mut pages = self.pages.write();
        if pages.contains_key(&pgoff) {
            drop(pages);
            return Inserted::Raced;
        }
        if self.is_full(&pages) {
            drop(pages);
            return Inserted::Full;
        }
        // Under the map's lock, which whoever cuts the object off takes after setting the size.
        if pgoff >= self.end() {
            drop(pages);
            return Inserted::BeyondEnd;
        }
        let folio = Folio::clone(&locked);
        pages.insert(pgoff, Slot { folio, fill: None });
        drop(pages);
        locked.add_to_lru();
        Inserted::Locked(locked)
    }

    /// A frame as this object's page, locked, before it can be found.
    fn adopt(&self, pgoff: PgOff, frame: FreshFolio) -> FolioLock {
        let locked = frame.into_locked_without_contents();
        locked.set_owner(self.id(), pgoff.as_u64());
        locked
    }

    fn is_full(&self, pages: &BTreeMap<PgOff, Slot>) -> bool {
        pages.len() as u64 >= self.limit_pages
    }

    /// Maps what is there of a fault's neighbourhood (Linux: `filemap_map_pages`): filled pages
    /// that can be locked without waiting, still of this object, inside it.
    pub fn map_pages(&self, around: &mut MapAround<'_>) {
        let (first, last) = (around.first(), around.last());
        if first > last {
            return;
        }
        let pages = self.pages.read();
        for (pgoff, slot) in pages.range(first..=last) {
            if slot.fill.is_some() || !around.wants(*pgoff) {
                continue;
            }
            let Some(locked) = slot.folio.try_lock() else {
                continue;
            };
            if !self.owns(&locked, *pgoff) || *pgoff >= self.end() {
                continue;
            }
            if around.offer_folio(*pgoff, &locked) == Offered::Outside {
                break;
            }
        }
    }

    /// Maps one page of a fault's neighbourhood, if it is filled, can be locked without waiting, and
    /// `still_wanted` says so under its lock.
    pub fn offer(
        &self,
        around: &mut MapAround<'_>,
        pgoff: PgOff,
        still_wanted: &dyn Fn(PgOff) -> bool,
    ) {
        let Some(locked) = self
            .lookup(pgoff)
            .and_then(|folio| folio.try_into_locked().ok())
        else {
            return;
        };
        if self.owns(&locked, pgoff) && pgoff < self.end() && still_wanted(pgoff) {
            around.offer_folio(pgoff, &locked);
        }
    }

    /// Notes that a page differs from its backing store (Linux: `folio_mark_dirty`).
    pub fn mark_dirty(&self, folio: &FolioLock) {
        folio.set(FolioFlags::DIRTY);
    }

    /// Takes the dirty mark off a page, so that its data may be written out; says whether it had
    /// one (Linux: `folio_clear_dirty_for_io`). Entries that map it become read-only, and once
    /// `flushes` is finished every later write is noticed (invariant 57). Read the data after that.
    pub fn clean(&self, folio: &FolioLock, flushes: &mut Flushes) -> Dirty {
        let index = PgOff::new(folio.index());
        if self.mappings.write_protect(index, index, flushes) > 0 {
            self.mark_dirty(folio);
        }
        if folio.clear(FolioFlags::DIRTY).contains(FolioFlags::DIRTY) {
            Dirty::Yes
        } else {
            Dirty::No
        }
    }

    /// The dirty pages among `[first, last]`, by offset.
    pub fn dirty_pages(&self, first: PgOff, last: PgOff) -> alloc::vec::Vec<(PgOff, Folio)> {
        if first > last {
            return alloc::vec::Vec::new();
        }
        let pages = self.pages.read();
        pages
            .range(first..=last)
            .filter(|(_, slot)| slot.folio.has(FolioFlags::DIRTY))
            .map(|(pgoff, slot)| (*pgoff, slot.folio.clone()))
            .collect()
    }
}

/// Whether a page differed from its backing store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dirty {
    /// It did.
    Yes,
    /// It did not.
    No,
}
