//! Two places of one space at once: what mremap moves.

use core::fmt;

use addr::{VirtAddr, VirtRange};
use frame::OutOfFrames;
use sync::MayInstall;

use crate::{Entry, EntryLock, Gather, Occupied, PageTable, TableReserve};

/// Visits the filled entries of a range together with the places they are to move to (Linux:
/// `move_page_tables`, `move_ptes`).
///
/// The old table's lock is taken first, the new one's nested in it; one lock serves when a single
/// table holds both places. The mmap lock, held for write, keeps two moves from crossing.
pub struct MoveCursor<'t, P: MayInstall> {
    table: &'t PageTable,
    proof: &'t P,
    start: VirtAddr,
    target: VirtAddr,
    next: VirtAddr,
    end: VirtAddr,
    locks: Option<Locks<'t>>,
}

struct Locks<'t> {
    old: EntryLock<'t>,
    /// `None` when the old place's table holds the new place as well.
    new: Option<EntryLock<'t>>,
}

/// A filled entry and the place it is to move to, both locked.
pub struct MovePair<'c, 't, P: MayInstall> {
    locks: &'c mut Locks<'t>,
    proof: &'c P,
    from: VirtAddr,
    to: VirtAddr,
}

impl PageTable {
    /// A cursor that moves the entries of `from` to the addresses from `to` on.
    #[must_use]
    pub const fn move_entries<'t, P: MayInstall>(
        &'t self,
        from: VirtRange,
        to: VirtAddr,
        proof: &'t P,
    ) -> MoveCursor<'t, P> {
        MoveCursor {
            table: self,
            proof,
            start: from.start(),
            target: to,
            next: from.start(),
            end: from.end(),
            locks: None,
        }
    }
}

impl<'t, P: MayInstall> MoveCursor<'t, P> {
    /// Locks and hands out the next filled entry with its new place; `None`, nothing locked, when
    /// the range is done.
    ///
    /// # Errors
    /// The new place needs a table, `reserve` is empty and the arena is out of frames. Nothing is
    /// locked; fill the reserve and advance again.
    pub fn advance(
        &mut self,
        reserve: &mut TableReserve,
    ) -> Result<Option<MovePair<'_, 't, P>>, OutOfFrames> {
        let from = loop {
            if self.locks.is_none() && !self.lock_next_tables(reserve)? {
                return Ok(None);
            }
            match self.find_in_tables() {
                Some(from) => break from,
                None => self.locks = None,
            }
        };
        let (to, proof) = (self.target_of(from), self.proof);
        Ok(self.locks.as_mut().map(|locks| MovePair {
            locks,
            proof,
            from,
            to,
        }))
    }

    /// Lets both tables go. The next [`advance`](Self::advance) walks again.
    pub fn unlock(&mut self) {
        self.locks = None;
    }

    /// The address that the next look begins at: what is below has been handed out.
    #[must_use]
    pub const fn position(&self) -> VirtAddr {
        self.next
    }

    const fn target_of(&self, from: VirtAddr) -> VirtAddr {
        self.target.saturating_add(from.offset_from(self.start))
    }

    /// Locks the tables of the next filled entry and its new place; false when there is none.
    fn lock_next_tables(&mut self, reserve: &mut TableReserve) -> Result<bool, OutOfFrames> {
        while self.next < self.end {
            let pin = sync::pin();
            let Some(from) = self.table.next_filled(self.next, self.end, &pin) else {
                break;
            };
            self.next = from;
            let to = self.target_of(from);
            let target = self.table.slot_or_alloc(to, &pin, self.proof, reserve)?;
            let Some(old) = self.table.slot(from, &pin).and_then(|slot| slot.lock()) else {
                continue;
            };
            if target.table_pfn() == old.table_pfn() {
                self.locks = Some(Locks { old, new: None });
                return Ok(true);
            }
            if let Some(new) = target.lock_second() {
                self.locks = Some(Locks {
                    old,
                    new: Some(new),
                });
                return Ok(true);
            }
        }
        self.next = self.end;
        Ok(false)
    }

    /// Seeks the next filled entry whose two places are both locked.
    fn find_in_tables(&mut self) -> Option<VirtAddr> {
        while self.next < self.end {
            let (from, to) = (self.next, self.target_of(self.next));
            let locks = self.locks.as_mut()?;
            locks.seek(from, to)?;
            self.next = locks.old.level().next_entry(from).unwrap_or(self.end);
            if !locks.old.read().is_none() {
                return Some(from);
            }
        }
        None
    }
}

impl Locks<'_> {
    /// Positions both locks; `None` when either place is in another table.
    fn seek(&mut self, from: VirtAddr, to: VirtAddr) -> Option<()> {
        match &mut self.new {
            Some(new) => new.seek(to).ok()?,
            None => self.old.seek(to).ok()?,
        }
        self.old.seek(from).ok()
    }

    /// Does `act` at the new place.
    fn at_new<R>(
        &mut self,
        from: VirtAddr,
        to: VirtAddr,
        act: impl FnOnce(&mut EntryLock<'_>) -> R,
    ) -> Option<R> {
        let Some(new) = &mut self.new else {
            self.old.seek(to).ok()?;
            let result = act(&mut self.old);
            self.old.seek(from).ok()?;
            return Some(result);
        };
        Some(act(new))
    }
}

impl<P: MayInstall> MovePair<'_, '_, P> {
    /// The entry at the old place.
    #[must_use]
    pub fn entry(&self) -> Entry {
        self.locks.old.read()
    }

    /// The old place.
    #[must_use]
    pub const fn from(&self) -> VirtAddr {
        self.from
    }

    /// The new place.
    #[must_use]
    pub const fn to(&self) -> VirtAddr {
        self.to
    }

    /// Moves the entry, as `change` makes it and soft-dirty, and returns what it was.
    ///
    /// `gather` makes machines forget the old place. Linux flushes before it lets the old table
    /// go; here every flush of the space is one of all of it until `gather` has flushed, so nobody
    /// who frees the page at its new place leaves it remembered at the old one.
    ///
    /// # Errors
    /// Something is at the new place; nothing has moved.
    pub fn shift(
        self,
        gather: &mut Gather<'_>,
        change: impl FnOnce(Entry) -> Entry,
    ) -> Result<Entry, Occupied> {
        let Self {
            locks,
            proof,
            from,
            to,
        } = self;
        let occupant = locks.at_new(from, to, |new| new.read()).unwrap_or_default();
        if !occupant.is_none() {
            return Err(Occupied(occupant));
        }
        let old = locks.old.lift(proof);
        if old.is_hardware_present()
            && let Some(range) = locks.old.covers()
        {
            gather.note_move();
            gather.forget(range);
        }
        let moved = change(old).with_soft_dirty();
        match locks.at_new(from, to, |new| new.install(proof, moved)) {
            Some(Err(occupied)) => Err(occupied),
            Some(Ok(())) | None => Ok(old),
        }
    }
}

impl<P: MayInstall> fmt::Debug for MoveCursor<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MoveCursor")
            .field("start", &self.start)
            .field("target", &self.target)
            .field("next", &self.next)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl<P: MayInstall> fmt::Debug for MovePair<'_, '_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MovePair")
            .field("from", &self.from)
            .field("to", &self.to)
            .field("entry", &self.entry())
            .finish_non_exhaustive()
    }
}
