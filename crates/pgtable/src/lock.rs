//! What may be done to an entry, and by whom.

use core::fmt;

use addr::{Level, Markers, NonPresent, Pfn, VirtAddr, VirtRange};
use frame::{FolioLock, Words};
use machine::FlushKind;
use sync::atomic::Ordering;
use sync::{MayInstall, Stable};

use crate::table::{Place, TableGuard};
use crate::{Entry, EntryFlags, Gather, PageTable, Stale, State};

/// The lock of one table, positioned at one of its entries (Linux: `pte_offset_map_lock`'s pair
/// of pointer and ptl).
///
/// While it is held nobody but the hardware changes the table's entries, and the hardware only
/// sets accessed and dirty in present ones; so every change to an entry that may be present is a
/// compare-exchange or a swap. The entries of the table are reachable only through this type.
///
/// It is a leaf for sleeping: nothing that waits may be called while it is held.
#[must_use = "the lock is released at once if it is not held"]
pub struct EntryLock<'t> {
    table: &'t PageTable,
    words: Words<'t>,
    place: Place,
    addr: VirtAddr,
    index: usize,
    /// `None` only while being dropped.
    guard: Option<TableGuard<'t>>,
    /// A busy entry went: its waiters are woken once the lock is released.
    woke_busy: bool,
}

/// An install found something there.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupied(pub Entry);

/// The entry is no longer what it was when it was looked at.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed(pub Entry);

/// The address belongs to another table.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutsideTable;

/// What granting rights came to.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// The entry allows more now: tell the machine.
    Changed,
    /// It allowed all of it already: the fault was spurious.
    AlreadyThere,
    /// It is not a mapping.
    NotPresent,
}

impl<'t> EntryLock<'t> {
    #[inline]
    pub(crate) fn new(
        table: &'t PageTable,
        place: Place,
        addr: VirtAddr,
        guard: TableGuard<'t>,
    ) -> Self {
        Self {
            table,
            words: table.words(place.table),
            place,
            addr: addr.align_down(),
            index: place.level.index_of(addr),
            guard: Some(guard),
            woke_busy: false,
        }
    }

    /// The page's address.
    #[must_use]
    pub const fn addr(&self) -> VirtAddr {
        self.addr
    }

    /// The level of the locked table.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.place.level
    }

    /// What the entry covers, whole.
    #[must_use]
    pub fn covers(&self) -> Option<VirtRange> {
        let bytes = self.place.level.bytes();
        VirtRange::from_len(self.addr.align_down_to(bytes), bytes)
    }

    /// Moves to the entry of `addr` if the same table holds it.
    ///
    /// # Errors
    /// Another table holds it, or one below this; the lock stays where it was.
    pub fn seek(&mut self, addr: VirtAddr) -> Result<(), OutsideTable> {
        let span = self.place.level.table_bytes();
        if addr.align_down_to(span) != self.addr.align_down_to(span) {
            return Err(OutsideTable);
        }
        let index = self.place.level.index_of(addr);
        if self.place.level != Level::Pte && self.entry_at(index).table_pfn().is_some() {
            return Err(OutsideTable);
        }
        self.addr = addr.align_down();
        self.index = index;
        Ok(())
    }

    /// The entry now.
    #[must_use]
    #[inline]
    pub fn read(&self) -> Entry {
        self.entry_at(self.index)
    }

    /// What the entry now means.
    #[must_use]
    pub fn state(&self) -> State {
        self.read().decode_at(self.place.level)
    }

    /// Whether the entry is still what a lockless look saw (Linux: `pte_same` under the lock,
    /// `vmf_pte_changed`).
    ///
    /// # Errors
    /// It changed: back out and start again from the address.
    #[inline]
    pub fn recheck(&self, snapshot: Entry) -> Result<(), Changed> {
        let now = self.read();
        if now == snapshot {
            Ok(())
        } else {
            Err(Changed(now))
        }
    }

    /// Installs `new` into the empty entry (Linux: `set_pte_at` after `pte_none`). No flush: the
    /// machine remembers nothing of an empty entry.
    ///
    /// The contents and state of the folio behind `new` are visible before the entry is.
    ///
    /// # Errors
    /// Something is there already.
    #[inline]
    pub fn install(&mut self, _proof: &impl MayInstall, new: Entry) -> Result<(), Occupied> {
        let now = self.read();
        if !now.is_none() {
            return Err(Occupied(now));
        }
        self.words.store(self.index, new.bits());
        Ok(())
    }

    /// Installs `new` over the non-present entry `snapshot`: a swap entry read back, a marker
    /// consumed, a busy entry ended.
    ///
    /// # Errors
    /// The entry is no longer `snapshot`, or `snapshot` is a mapping.
    pub fn install_over(
        &mut self,
        _proof: &impl MayInstall,
        snapshot: Entry,
        new: Entry,
    ) -> Result<(), Changed> {
        self.exchange_non_present(snapshot, new)
    }

    /// Turns on `add` in a mapping; only what [`EntryFlags::GRANTABLE`] names (Linux:
    /// `ptep_set_access_flags`). Needs no flush: whoever remembers less faults once more.
    ///
    /// A mapping that userfaultfd write-protects is not made writable.
    #[inline]
    pub fn grant(&mut self, _proof: &impl MayInstall, add: EntryFlags) -> Grant {
        let add = add & EntryFlags::GRANTABLE;
        let (old, new) = self.update(|entry| {
            let uffd_wp = entry.flags().contains(EntryFlags::UFFD_WP);
            entry.with(if uffd_wp {
                add - EntryFlags::WRITABLE
            } else {
                add
            })
        });
        match old {
            _ if !old.is_present() => Grant::NotPresent,
            _ if old == new => Grant::AlreadyThere,
            _ => Grant::Changed,
        }
    }

    /// Gives a mapping other rights and returns what it was (Linux: `ptep_modify_prot_start`,
    /// `pte_modify`, `ptep_modify_prot_commit`). Accessed and dirty survive whatever the hardware
    /// does meanwhile; lost rights go to `gather`.
    pub fn protect(
        &mut self,
        _proof: &impl MayInstall,
        gather: &mut Gather<'_>,
        rights: EntryFlags,
    ) -> Entry {
        let (old, new) = self.update(|entry| entry.with_rights(rights));
        self.collect(gather, old, new);
        old
    }

    /// Takes `remove` away from a mapping and returns what it was, dirty and accessed bits as they
    /// stood at that moment (Linux: `ptep_set_wrprotect`, `pte_mkclean`, `pte_mkold`).
    pub fn restrict(
        &mut self,
        _proof: &impl Stable,
        gather: &mut Gather<'_>,
        remove: EntryFlags,
    ) -> Entry {
        let (old, new) = self.update(|entry| entry.without(remove & EntryFlags::GRANTABLE));
        self.collect(gather, old, new);
        old
    }

    /// Write-protects a mapping for userfaultfd, or a non-present entry's page.
    pub fn uffd_write_protect(&mut self, _proof: &impl Stable, gather: &mut Gather<'_>) -> Entry {
        let (old, new) = self.update(Entry::with_uffd_wp);
        self.collect(gather, old, new);
        old
    }

    /// Ends userfaultfd write protection. The mapping is not made writable by that.
    pub fn uffd_write_unprotect(&mut self, _proof: &impl Stable) -> Entry {
        self.update(Entry::without_uffd_wp).0
    }

    /// Clears accessed, and says whether it was set (Linux: `ptep_test_and_clear_young`). As on
    /// x86, nothing is flushed: a machine that still remembers the page reports its use late.
    #[must_use]
    pub fn test_and_clear_young(&mut self, _proof: &impl Stable) -> bool {
        self.update(|entry| entry.without(EntryFlags::ACCESSED))
            .0
            .is_young()
    }

    /// Zaps the entry and returns what it was (Linux: `ptep_get_and_clear` in `zap_pte_range`).
    ///
    /// A mapping's reference to its folio, and that of a device-exclusive entry, moves into
    /// `gather`, which drops it after the flush. What other non-present entries hold (a swap
    /// count, a reference to device memory) is the caller's to give back.
    #[must_use = "what a non-present entry held is the caller's to give back"]
    pub fn clear(&mut self, proof: &impl Stable, gather: &mut Gather<'_>) -> Entry {
        self.zap(proof, gather, Entry::NONE)
    }

    /// Zaps the entry and leaves `markers` in its place.
    #[must_use = "what a non-present entry held is the caller's to give back"]
    pub fn clear_leaving(
        &mut self,
        proof: &impl Stable,
        gather: &mut Gather<'_>,
        markers: Markers,
    ) -> Entry {
        self.zap(
            proof,
            gather,
            Entry::non_present(NonPresent::Marker(markers)),
        )
    }

    /// Replaces the mapping of `folio` by `new`: its swap, migration or device-exclusive entry
    /// (Linux: `ptep_clear_flush` and `set_pte_at` in `try_to_unmap`, `try_to_migrate`).
    ///
    /// The caller holds the rmap lock, which `proof` is, and the folio's lock.
    ///
    /// # Errors
    /// The entry does not map that folio.
    pub fn replace(
        &mut self,
        _proof: &impl Stable,
        folio: &FolioLock,
        new: NonPresent,
    ) -> Result<Stale<'t>, Changed> {
        let now = self.read();
        let mapped = now.mapping().is_some_and(|leaf| folio_has(folio, leaf.pfn));
        if !mapped || now.is_special() {
            return Err(Changed(now));
        }
        Ok(self.take_leaving(Entry::non_present(new)))
    }

    /// Puts back the mapping of `folio` in place of the non-present entry `snapshot` (Linux:
    /// `remove_migration_pte`, `restore_exclusive_pte`). The other half of [`replace`].
    ///
    /// # Errors
    /// The entry is no longer `snapshot`, or neither of the two names that folio.
    ///
    /// [`replace`]: Self::replace
    pub fn restore(
        &mut self,
        _proof: &impl Stable,
        folio: &FolioLock,
        snapshot: Entry,
        new: Entry,
    ) -> Result<(), Changed> {
        let names = |pfn| folio_has(folio, pfn);
        let before = snapshot.non_present_kind().and_then(|kind| kind.pfn());
        let after = new.mapping().map(|leaf| leaf.pfn);
        if !before.is_some_and(names) && !after.is_some_and(names) {
            return Err(Changed(self.read()));
        }
        self.exchange_non_present(snapshot, new)
    }

    /// Begins break-before-make: puts a busy entry in place of the mapping `snapshot`, which the
    /// receipt takes over. Drop this lock, spend the receipt, lock again and
    /// [`install_over`](Self::install_over) the receipt's placeholder.
    ///
    /// The hardware may have set accessed and dirty since the look; that is no change.
    ///
    /// # Errors
    /// The entry is no longer `snapshot`, or is not a mapping.
    pub fn make_busy(
        &mut self,
        _proof: &impl MayInstall,
        snapshot: Entry,
    ) -> Result<Stale<'t>, Changed> {
        let touched = EntryFlags::ACCESSED | EntryFlags::DIRTY;
        let now = self.read();
        if !now.is_present() || now.without(touched) != snapshot.without(touched) {
            return Err(Changed(now));
        }
        let ticket = self.table.tickets.fetch_add(1, Ordering::Relaxed);
        Ok(self.take_leaving(Entry::busy(ticket)))
    }

    fn entry_at(&self, index: usize) -> Entry {
        Entry::from_bits(self.words.load(index))
    }

    /// The frame of the locked table.
    pub(crate) const fn table_pfn(&self) -> Pfn {
        self.place.table
    }

    /// Takes the entry out for a move within the space; what it holds goes with the value.
    pub(crate) fn lift(&mut self, _proof: &impl MayInstall) -> Entry {
        Entry::from_bits(self.words.swap(self.index, Entry::NONE.bits()))
    }

    fn take_leaving(&mut self, left: Entry) -> Stale<'t> {
        let old = Entry::from_bits(self.words.swap(self.index, left.bits()));
        Stale::new(self.table, self.addr, old, left)
    }

    fn zap(&mut self, _proof: &impl Stable, gather: &mut Gather<'_>, left: Entry) -> Entry {
        let old = Entry::from_bits(self.words.swap(self.index, left.bits()));
        self.collect(gather, old, left);
        if old.is_busy() {
            // Its maker took a mapping away and may not have told the machine of that yet.
            if let Some(range) = self.covers() {
                gather.note(range, FlushKind::Forget);
            }
            gather.overtake(old);
            self.woke_busy = true;
        } else {
            gather.hold(old);
        }
        old
    }

    fn exchange_non_present(&mut self, snapshot: Entry, new: Entry) -> Result<(), Changed> {
        let now = self.read();
        if now != snapshot || !now.is_non_present() {
            return Err(Changed(now));
        }
        self.words.store(self.index, new.bits());
        self.woke_busy |= now.is_busy();
        Ok(())
    }

    /// Changes the entry whatever accessed and dirty bits the hardware sets meanwhile.
    #[inline]
    fn update(&mut self, change: impl Fn(Entry) -> Entry) -> (Entry, Entry) {
        let mut old = self.read();
        loop {
            let new = change(old);
            if new == old {
                return (old, new);
            }
            match self
                .words
                .compare_exchange(self.index, old.bits(), new.bits())
            {
                Ok(_) => return (old, new),
                Err(now) => old = Entry::from_bits(now),
            }
        }
    }

    /// Notes in `gather` what a machine that remembers `old` must forget now that `new` stands.
    fn collect(&self, gather: &mut Gather<'_>, old: Entry, new: Entry) {
        if let Some(kind) = lost_rights(old, new)
            && let Some(range) = self.covers()
        {
            gather.note(range, kind);
        }
    }
}

/// What the change from `old` to `new` takes away from a machine that remembers `old`.
fn lost_rights(old: Entry, new: Entry) -> Option<FlushKind> {
    if !old.is_hardware_present() {
        return None;
    }
    let (Some(before), Some(after)) = (old.mapping(), new.mapping()) else {
        return Some(FlushKind::Forget);
    };
    let lost = before.flags - after.flags;
    let gained = after.flags - before.flags;
    let forget = lost.intersects(EntryFlags::PRESENT | EntryFlags::USER)
        || gained.contains(EntryFlags::NO_EXECUTE)
        || (lost | gained).intersects(EntryFlags::PKEY)
        || before.pfn != after.pfn;
    if forget {
        Some(FlushKind::Forget)
    } else {
        let write = EntryFlags::WRITABLE | EntryFlags::DIRTY;
        lost.intersects(write).then_some(FlushKind::WriteProtect)
    }
}

fn folio_has(folio: &FolioLock, pfn: Pfn) -> bool {
    let first = folio.pfn().as_u64();
    (first..first + folio.order().nr_pages()).contains(&pfn.as_u64())
}

impl Drop for EntryLock<'_> {
    #[inline]
    fn drop(&mut self) {
        drop(self.guard.take());
        if self.woke_busy {
            self.table.busy.wake_all();
        }
    }
}

impl fmt::Debug for EntryLock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryLock")
            .field("addr", &self.addr)
            .field("level", &self.place.level)
            .field("entry", &self.read())
            .finish_non_exhaustive()
    }
}
