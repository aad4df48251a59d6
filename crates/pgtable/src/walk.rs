//! Walking down, and making the tables that are missing.

use addr::{Level, PAGE_SIZE, Pfn, VirtAddr};
use frame::OutOfFrames;
use sync::{MayInstall, Pin};

use crate::lock::EntryLock;
use crate::table::{Nesting, Place, Walked};
use crate::{Entry, PageTable, TableReserve};

/// The place of an entry, reached without a lock (Linux: what `pte_offset_map` returns).
///
/// It lends snapshots only. The table it is in may be unlinked at any moment; the pin it borrows
/// keeps that table's frame from being reused, so a snapshot is at worst an old value.
#[derive(Clone, Copy, Debug)]
pub struct Slot<'t, 'p> {
    table: &'t PageTable,
    place: Place,
    addr: VirtAddr,
    pin: &'p Pin,
}

impl<'t> Slot<'t, '_> {
    /// The page's address.
    #[must_use]
    pub const fn addr(&self) -> VirtAddr {
        self.addr
    }

    /// The level of the table it is in: the lowest, unless a huge leaf or a note stands above.
    #[must_use]
    #[inline]
    pub const fn level(&self) -> Level {
        self.place.level
    }

    /// The entry as it is at this moment (Linux: `ptep_get_lockless`).
    #[must_use]
    #[inline]
    pub fn snapshot(&self) -> Entry {
        self.table.load(self.place, self.addr)
    }

    /// The next page's entry, if it is in the same table of the lowest level: a walk saved. As this
    /// one, it may be of a table that has gone meanwhile.
    #[must_use]
    #[inline]
    pub fn next(&self) -> Option<Self> {
        let addr = self.addr.checked_add(PAGE_SIZE)?;
        let is_here = self.level() == Level::Pte && Level::Pte.index_of(addr) != 0;
        is_here.then_some(Slot { addr, ..*self })
    }

    pub(crate) const fn table_pfn(&self) -> Pfn {
        self.place.table
    }

    /// Locks the table it is in (Linux: `pte_offset_map_lock`).
    ///
    /// `None` when the table has gone away since the walk, or a huge leaf has made way for a table:
    /// start again from the address.
    #[must_use]
    #[inline]
    pub fn lock(&self) -> Option<EntryLock<'t>> {
        self.lock_as(Nesting::First)
    }

    /// Locks it while another table's lock is held; see the order in the crate's description.
    pub(crate) fn lock_second(&self) -> Option<EntryLock<'t>> {
        self.lock_as(Nesting::Second)
    }

    #[inline]
    fn lock_as(&self, nesting: Nesting) -> Option<EntryLock<'t>> {
        let guard = self
            .table
            .lock_table(self.place, self.addr, nesting, self.pin)?;
        if self.place.level != Level::Pte && self.snapshot().table_pfn().is_some() {
            return None;
        }
        Some(EntryLock::new(self.table, self.place, self.addr, guard))
    }
}

impl PageTable {
    /// Walks to the entry of `addr`; `None` when a table is missing on the way.
    #[must_use]
    #[inline]
    pub fn slot<'t, 'p>(&'t self, addr: VirtAddr, pin: &'p Pin) -> Option<Slot<'t, 'p>> {
        match self.walk(addr, pin) {
            Walked::Found(place) => Some(self.slot_at(place, addr, pin)),
            Walked::Missing(_) => None,
        }
    }

    /// Walks to the entry of `addr`, adding the tables that are missing (Linux: `p4d_alloc`,
    /// `pud_alloc`, `pmd_alloc`, `pte_alloc`).
    ///
    /// A frame is obtained outside every lock; whoever finds that another was first keeps its
    /// frame in `reserve`. A frame is zeroed before the entry that points to it is published.
    ///
    /// # Errors
    /// A table is missing, `reserve` is empty and the arena is out of frames.
    pub fn slot_or_alloc<'t, 'p>(
        &'t self,
        addr: VirtAddr,
        pin: &'p Pin,
        _proof: &impl MayInstall,
        reserve: &mut TableReserve,
    ) -> Result<Slot<'t, 'p>, OutOfFrames> {
        let mut walked = self.walk(addr, pin);
        loop {
            walked = match walked {
                Walked::Found(place) => return Ok(self.slot_at(place, addr, pin)),
                Walked::Missing(place) => self.add_table(place, addr, pin, reserve)?,
            };
        }
    }

    /// How many tables a walk to `addr` would have to add now: what a reserve should hold before
    /// locks are taken that an allocation must not meet.
    #[must_use]
    pub fn tables_missing(&self, addr: VirtAddr, pin: &Pin) -> usize {
        match self.walk(addr, pin) {
            Walked::Found(_) => 0,
            Walked::Missing(place) => place.level as usize - Level::Pte as usize,
        }
    }

    #[inline]
    fn slot_at<'t, 'p>(&'t self, place: Place, addr: VirtAddr, pin: &'p Pin) -> Slot<'t, 'p> {
        Slot {
            table: self,
            place,
            addr: addr.align_down(),
            pin,
        }
    }

    /// Hangs a table below the entry at `place` unless somebody else did, and walks on.
    fn add_table(
        &self,
        place: Place,
        addr: VirtAddr,
        pin: &Pin,
        reserve: &mut TableReserve,
    ) -> Result<Walked, OutOfFrames> {
        let fresh = reserve.take(self.arena())?;
        let Some(guard) = self.lock_table(place, addr, Nesting::First, pin) else {
            reserve.put_back(fresh);
            return Ok(self.walk(addr, pin));
        };
        let (Some(level), true) = (place.level.below(), self.load(place, addr).is_none()) else {
            drop(guard);
            reserve.put_back(fresh);
            return Ok(self.walk_from(place, addr, pin));
        };
        let table = fresh.publishable();
        self.count_table(level);
        self.words(place.table)
            .store(place.level.index_of(addr), Entry::table(table).bits());
        drop(guard);
        let next = Place {
            level,
            table,
            parent: Some(place.table),
        };
        Ok(self.walk_from(next, addr, pin))
    }
}
