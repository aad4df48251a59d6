//! The tree of one address space.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use addr::{ENTRIES_PER_TABLE, Level, PAGE_SIZE, PagingMode, Pfn, VirtAddr};
use frame::{Arena, OutOfFrames, Words};
use sync::atomic::{AtomicU32, AtomicU64, Ordering};
use sync::rank::Rank;
use sync::{ByteGuard, Mutex, MutexGuard, Pin, WaitQueue};

use crate::busy::Overtaken;
use crate::{Entry, TableReserve};

/// The page tables of one address space (Linux: `mm->pgd` with `pgtables_bytes` and
/// `page_table_lock`).
///
/// Dropping it frees what tables are left, through the epoch. By then every entry must have been
/// zapped: a folio that an entry still holds is leaked rather than freed under somebody.
pub struct PageTable {
    arena: Arc<Arena>,
    mode: PagingMode,
    root: Pfn,
    /// PTE, PMD and PUD tables, as Linux counts them: neither the root nor a P4D table.
    nr_tables: AtomicU64,
    /// Guards the entries of tables above the PMD level.
    upper: Mutex<()>,
    /// Gathers under way (Linux: `tlb_flush_pending`).
    pub(crate) flushes_pending: AtomicU32,
    /// Gathers under way that have moved a present entry to another address.
    pub(crate) moves_pending: AtomicU32,
    /// Told apart busy entries.
    pub(crate) tickets: AtomicU64,
    /// Woken when a busy entry goes, and when a replacement that was overtaken has given up.
    pub(crate) busy: WaitQueue,
    /// Replacements under way whose busy entry was zapped.
    pub(crate) overtaken: Overtaken,
}

/// Where an entry stands: a table, and the table that must point to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) level: Level,
    pub(crate) table: Pfn,
    pub(crate) parent: Option<Pfn>,
}

/// The lock of a table's entries, held.
#[derive(Debug)]
pub(crate) enum TableGuard<'t> {
    /// The byte in the record of the table's own frame.
    Split(#[expect(dead_code, reason = "held")] ByteGuard<'t>),
    /// The space's `page_table_lock`.
    Upper(#[expect(dead_code, reason = "held")] MutexGuard<'t, ()>),
}

/// Whether a table's lock is taken while another is held.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Nesting {
    /// It is the first.
    First,
    /// It is the second, in the order that the crate's description gives.
    Second,
}

/// The result of a walk down.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Walked {
    /// An entry that points to no further table: one of the lowest table, or a leaf or note above.
    Found(Place),
    /// The empty entry where the next table would hang.
    Missing(Place),
}

impl PageTable {
    /// A tree of `mode` with an empty root.
    ///
    /// # Errors
    /// No frame for the root.
    pub fn new(arena: Arc<Arena>, mode: PagingMode) -> Result<Self, OutOfFrames> {
        let root = TableReserve::new().take(&arena)?.publishable();
        Ok(Self {
            arena,
            mode,
            root,
            nr_tables: AtomicU64::new(0),
            upper: Mutex::ranked(Rank::Table, ()),
            flushes_pending: AtomicU32::new(0),
            moves_pending: AtomicU32::new(0),
            tickets: AtomicU64::new(0),
            busy: WaitQueue::new(),
            overtaken: Overtaken::new(),
        })
    }

    /// The arena that holds the tables and the frames they lead to.
    #[must_use]
    pub const fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// Four or five levels.
    #[must_use]
    pub const fn mode(&self) -> PagingMode {
        self.mode
    }

    /// The frame of the root, as CR3 would name it.
    #[must_use]
    pub const fn root(&self) -> Pfn {
        self.root
    }

    /// Bytes of PTE, PMD and PUD tables (Linux: `mm_pgtables_bytes`). Exact.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.nr_tables.load(Ordering::Relaxed) * PAGE_SIZE
    }

    /// How many gathers have changed entries, or may have, without having flushed yet (Linux:
    /// `mm_tlb_flush_pending`). To be read under the entry lock.
    #[must_use]
    pub fn flushes_pending(&self) -> u32 {
        self.flushes_pending.load(Ordering::Acquire)
    }

    pub(crate) fn count_table(&self, level: Level) {
        if Self::is_counted(level) {
            self.nr_tables.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn discount_table(&self, level: Level) {
        if Self::is_counted(level) {
            self.nr_tables.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn is_counted(level: Level) -> bool {
        matches!(level, Level::Pte | Level::Pmd | Level::Pud)
    }

    #[inline]
    pub(crate) const fn top(&self) -> Place {
        Place {
            level: self.mode.top_level(),
            table: self.root,
            parent: None,
        }
    }

    #[inline]
    pub(crate) fn words(&self, table: Pfn) -> Words<'_> {
        self.arena.words(table)
    }

    #[inline]
    pub(crate) fn load(&self, place: Place, addr: VirtAddr) -> Entry {
        Entry::from_bits(self.words(place.table).load(place.level.index_of(addr)))
    }

    /// Walks down as far as tables go. The pin keeps every table met from being reused.
    #[inline]
    pub(crate) fn walk(&self, addr: VirtAddr, pin: &Pin) -> Walked {
        self.walk_from(self.top(), addr, pin)
    }

    #[inline]
    pub(crate) fn walk_from(&self, start: Place, addr: VirtAddr, _pin: &Pin) -> Walked {
        let mut place = start;
        while place.level != Level::Pte {
            let entry = self.load(place, addr);
            if let Some(next) = Self::below(place, entry) {
                place = next;
            } else if entry.is_none() {
                return Walked::Missing(place);
            } else {
                break;
            }
        }
        Walked::Found(place)
    }

    /// The place in the table that `entry`, read at `place`, points to.
    #[inline]
    pub(crate) fn below(place: Place, entry: Entry) -> Option<Place> {
        let level = place.level.below()?;
        let table = entry.table_pfn()?;
        Some(Place {
            level,
            table,
            parent: Some(place.table),
        })
    }

    /// Locks the table of `place`; `None` when its parent no longer points to it.
    ///
    /// The pin must date from before the walk that found `place`: it is what keeps the parent's
    /// frame from having become something else.
    #[inline]
    pub(crate) fn lock_table(
        &self,
        place: Place,
        addr: VirtAddr,
        nesting: Nesting,
        _pin: &Pin,
    ) -> Option<TableGuard<'_>> {
        let guard = self.guard(place, nesting)?;
        self.is_linked(place, addr).then_some(guard)
    }

    /// Takes the lock that guards the entries of the table of `place`, linked or not.
    #[inline]
    pub(crate) fn guard(&self, place: Place, nesting: Nesting) -> Option<TableGuard<'_>> {
        Some(match place.level {
            Level::Pte | Level::Pmd => {
                let lock = self.arena.record(place.table)?.entry_lock();
                TableGuard::Split(match nesting {
                    Nesting::First => lock.lock(Rank::Table),
                    Nesting::Second => lock.lock_nested(Rank::Table),
                })
            }
            Level::Pud | Level::P4d | Level::Pgd => TableGuard::Upper(match nesting {
                Nesting::First => self.upper.lock(),
                Nesting::Second => self.upper.lock_nested(),
            }),
        })
    }

    #[inline]
    fn is_linked(&self, place: Place, addr: VirtAddr) -> bool {
        let (Some(parent), Some(above)) = (place.parent, place.level.above()) else {
            return true;
        };
        let entry = Entry::from_bits(self.words(parent).load(above.index_of(addr)));
        entry.table_pfn() == Some(place.table)
    }

    /// Every table below `place`, lowest first, for a tree that nobody can lock any more.
    fn collect_tables(&self, place: Place, found: &mut Vec<Pfn>) {
        if place.level != Level::Pte {
            let words = self.words(place.table);
            for index in 0..ENTRIES_PER_TABLE {
                if let Some(next) = Self::below(place, Entry::from_bits(words.load(index))) {
                    self.collect_tables(next, found);
                }
            }
        }
        found.push(place.table);
    }
}

impl Drop for PageTable {
    fn drop(&mut self) {
        let mut tables = Vec::new();
        self.collect_tables(self.top(), &mut tables);
        free_through_epoch(&self.arena, tables);
    }
}

impl fmt::Debug for PageTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageTable")
            .field("mode", &self.mode)
            .field("root", &self.root)
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

/// Frees unlinked tables once nobody who might still walk them is pinned.
pub(crate) fn free_through_epoch(arena: &Arc<Arena>, tables: Vec<Pfn>) {
    if tables.is_empty() {
        return;
    }
    let arena = Arc::clone(arena);
    sync::retire(move || {
        for table in tables {
            drop(arena.folio_of_entry(table));
        }
    });
}
