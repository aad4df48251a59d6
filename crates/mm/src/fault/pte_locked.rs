//! The entry is locked and still what it was when it was looked at.
//!
//! * *Held:* the fault lock, and the entry's table.
//! * *Known:* the entry equals its snapshot: whoever holds a [`PteLocked`] has passed the recheck,
//!   and the page-table fields of the fault can be reached through nothing else.
//! * *May:* install, reuse, note accessed and dirty, tell the machine. Not allocate, not wait.
//! * *Next:* the end: the locks go, the fault is counted.
//!
//! Linux names: `pte_offset_map_lock`, `vmf_pte_changed`, `finish_fault`, `set_pte_range`,
//! `wp_page_reuse`, `update_mmu_cache`.

use addr::{PAGE_SIZE, Pfn, PgOff, VirtAddr, VirtRange, VmFlags};
use frame::{FolioFlags, FolioLock, FrameRecord, FreshFolio, OwnerId};
use object::FaultFailure;
use pgtable::{
    Changed, Entry, EntryFlags, EntryLock, Gather, Grant, OutsideTable, Slot, Stale, TableReserve,
};
use sync::Pin;
use vma::Vma;

use super::outcome::{Done, Exit, Shortage, Step};
use super::vma_locked::VmaLocked;
use crate::accounts::{FaultKind, RssKind};

/// The entry is locked and unchanged.
#[derive(Debug)]
pub(crate) struct PteLocked<'f> {
    // Released before the fault lock is.
    entry: EntryLock<'f>,
    pub(crate) locked: VmaLocked<'f>,
    snapshot: Entry,
}

/// The rights that entries of an area start with (`vm_page_prot`): no write bit in a private one,
/// nor where the object wants to hear of first writes.
#[inline]
pub(crate) fn initial_rights(vma: &Vma) -> EntryFlags {
    let rights = EntryFlags::of_area(vma.flags());
    if vma.page_prot().access().contains(addr::Prot::WRITE) {
        rights
    } else {
        rights - EntryFlags::WRITABLE
    }
}

/// `maybe_mkwrite`: the write bit, if the area may be written. A forced write to a private area that
/// may not be written gets a private page, but not the right.
#[inline]
pub(crate) fn maybe_mkwrite(rights: EntryFlags, flags: VmFlags) -> EntryFlags {
    if flags.contains(VmFlags::WRITE) {
        rights | EntryFlags::WRITABLE
    } else {
        rights
    }
}

impl<'f> VmaLocked<'f> {
    /// Walks to the entry, adding the tables that are missing (`pte_alloc`).
    #[inline]
    pub(crate) fn slot_or_alloc<'p>(&mut self, pin: &'p Pin) -> Step<Slot<'f, 'p>> {
        let mm = self.mm;
        let page = self.request.page();
        let mut none = TableReserve::new();
        let tables = match &mut self.request.reserve {
            Some(reserve) => &mut reserve.tables,
            None => &mut none,
        };
        mm.table()
            .slot_or_alloc(page, pin, &self.lock, tables)
            .map_err(|_| Exit::Starved(Shortage::Table))
    }

    /// Tells a machine that is filled by software of what is mapped at the fault's page.
    #[inline]
    pub(crate) fn update_mmu_cache(&self) {
        if let Some(page) = VirtRange::page_of(self.request.addr) {
            self.mm.mmu().update_mmu_cache(page);
        }
    }
}

impl<'f> PteLocked<'f> {
    /// Locks the entry and compares it with what was looked at. A race lost here leaves no trace:
    /// the access is simply tried again.
    #[inline]
    pub(crate) fn lock(locked: VmaLocked<'f>, slot: Slot<'f, '_>, snapshot: Entry) -> Step<Self> {
        let Some(entry) = slot.lock() else {
            locked
                .request
                .note("pte_offset_map_lock", "the table has gone: try again");
            return Err(Exit::SPURIOUS);
        };
        if entry.recheck(snapshot).is_err() {
            locked
                .request
                .note("vmf_pte_changed", "somebody was first: try again");
            if entry.read().is_hardware_present() {
                // `update_mmu_tlb`: a machine filled by software may still miss what is there.
                locked.update_mmu_cache();
            }
            return Err(Exit::SPURIOUS);
        }
        Ok(PteLocked {
            entry,
            locked,
            snapshot,
        })
    }

    /// As [`PteLocked::lock`], walking to the entry again and adding tables that are missing: for
    /// resolvers that gave the pin up to call out.
    pub(crate) fn find(mut locked: VmaLocked<'f>, snapshot: Entry) -> Step<Self> {
        let pin = sync::pin();
        let slot = locked.slot_or_alloc(&pin)?;
        Self::lock(locked, slot, snapshot)
    }

    /// The entry (`vmf->orig_pte`, proven current).
    #[inline]
    pub(crate) fn entry(&self) -> Entry {
        self.snapshot
    }

    /// The area.
    #[inline]
    pub(crate) fn vma(&self) -> &Vma {
        self.locked.vma()
    }

    /// `check_stable_address_space`, after the recheck and before anything private is published.
    #[inline]
    pub(crate) fn check_stable(self) -> Step<Self> {
        self.locked.check_stable()?;
        Ok(self)
    }

    /// Whether the page still lies inside its object. Whoever cuts an object off sets its size first
    /// and then unmaps, locking each entry: so here either the new size is seen, or what is installed
    /// now will be unmapped.
    pub(crate) fn check_inside_object(self) -> Step<Self> {
        let vma = self.vma();
        let size = vma
            .file
            .as_ref()
            .and_then(|file| file.object().size_bytes());
        let index = private_index(vma, self.entry.addr()).as_u64();
        if size.is_some_and(|bytes| index >= bytes.div_ceil(PAGE_SIZE)) {
            return Err(FaultFailure::Bus.into());
        }
        Ok(self)
    }

    /// Puts `new` where the snapshot is: an empty entry, or a note that is consumed. A marker of
    /// userfaultfd write protection goes over to `new`.
    #[inline]
    fn put(&mut self, new: Entry) {
        let new = if self.snapshot.is_uffd_wp() {
            new.with_uffd_wp()
        } else {
            new
        };
        let done: Result<(), Changed> = if self.snapshot.is_none() {
            self.entry
                .install(&self.locked.lock, new)
                .map_err(|found| Changed(found.0))
        } else {
            self.entry
                .install_over(&self.locked.lock, self.snapshot, new)
        };
        debug_assert!(done.is_ok(), "inv 26: a locked entry changed: {done:?}");
        self.locked.update_mmu_cache();
    }

    /// The zero page, for reading. Nothing is counted for it.
    #[inline]
    pub(crate) fn install_zero(mut self) -> Done {
        let rights = initial_rights(self.vma()) - EntryFlags::WRITABLE;
        let zero = self.locked.mm.arena().zero_page();
        self.put(Entry::leaf(zero, rights | EntryFlags::SPECIAL));
        self.locked
            .request
            .note("do_anonymous_page", "the zero page is mapped");
        Done {
            kind: FaultKind::AnonZero,
        }
    }

    /// A private page of this space alone: writable if the area is, also after a read.
    #[inline]
    pub(crate) fn install_private(mut self, page: FreshFolio, owner: OwnerId) -> Installed<'f> {
        let pfn = adopt_private(page, owner, private_index(self.vma(), self.entry.addr()));
        let entry = Entry::leaf(pfn, private_rights(self.vma()));
        self.locked.mm.rss().add(RssKind::Anon, 1);
        self.put(entry);
        self.locked
            .request
            .note("set_ptes", "a fresh page, ours alone, is mapped");
        Installed {
            pte: self,
            untold: None,
        }
    }

    /// A private page made for a write (`do_cow_fault`): writable only if the area is.
    pub(crate) fn install_cow(mut self, page: FreshFolio, owner: OwnerId) {
        let pfn = adopt_private(page, owner, private_index(self.vma(), self.entry.addr()));
        let rights = initial_rights(self.vma()) | EntryFlags::DIRTY;
        let rights = maybe_mkwrite(rights, self.vma().flags());
        self.locked.mm.rss().add(RssKind::Anon, 1);
        self.put(Entry::leaf(pfn, rights));
    }

    /// A page of the object (`set_pte_range`): rights of the area, and for a write dirty and, if the
    /// area may be written, writable.
    pub(crate) fn install_page(mut self, folio: &FolioLock, pfn: Pfn) {
        let rights = self.rights_of_access();
        let kind = rss_kind(folio);
        map_page(folio);
        self.locked.mm.rss().add(kind, 1);
        self.put(Entry::leaf(pfn, rights));
    }

    /// A page of device memory: counted as a page of a file, without a folio.
    pub(crate) fn install_device(mut self, pfn: Pfn) {
        let rights = self.rights_of_access();
        self.locked.mm.rss().add(RssKind::File, 1);
        self.put(Entry::leaf(pfn, rights));
    }

    fn rights_of_access(&self) -> EntryFlags {
        let rights = initial_rights(self.vma());
        if !self.locked.request.is_write() {
            return rights;
        }
        maybe_mkwrite(rights | EntryFlags::DIRTY, self.vma().flags())
    }

    /// `wp_page_reuse`: the mapping is made writable where it is.
    pub(crate) fn reuse(mut self) -> Self {
        let rights = EntryFlags::ACCESSED | EntryFlags::DIRTY;
        let rights = maybe_mkwrite(rights, self.vma().flags());
        let _changed = self.entry.grant(&self.locked.lock, rights);
        self.locked.update_mmu_cache();
        self.locked
            .request
            .note("wp_page_reuse", "the page is ours alone: made writable");
        self
    }

    /// The tail of `handle_pte_fault`: notes that the page was used, and written if it may be.
    #[inline]
    pub(crate) fn touch(mut self) -> Done {
        let mut used = EntryFlags::ACCESSED;
        if self.locked.request.is_write() && self.snapshot.is_writable() {
            used |= EntryFlags::DIRTY;
        }
        let note = match self.entry.grant(&self.locked.lock, used) {
            Grant::Changed => "accessed and dirty are noted",
            Grant::AlreadyThere | Grant::NotPresent => "spurious: the entry allows it already",
        };
        self.locked.request.note("ptep_set_access_flags", note);
        self.locked.update_mmu_cache();
        Done {
            kind: FaultKind::Spurious,
        }
    }

    /// Makes a mapping accessible again that was made to fault. Nobody remembers it as accessible, so
    /// nothing is flushed.
    pub(crate) fn give_back_rights(self, rights: EntryFlags) -> Done {
        let PteLocked {
            mut entry, locked, ..
        } = self;
        if let Some(page) = VirtRange::page_of(locked.page()) {
            let mut gather = Gather::new(locked.mm.table(), locked.mm.mmu(), page);
            let _hinting = entry.protect(&locked.lock, &mut gather, rights);
            locked.update_mmu_cache();
            drop(entry);
            gather.finish();
        }
        Done {
            kind: FaultKind::Spurious,
        }
    }

    /// Begins break-before-make: see [`Replacing`](super::resolve::cow).
    pub(crate) fn make_busy(mut self) -> Step<(VmaLocked<'f>, Stale<'f>)> {
        match self.entry.make_busy(&self.locked.lock, self.snapshot) {
            Ok(stale) => Ok((self.locked, stale)),
            Err(_) => Err(Exit::SPURIOUS),
        }
    }

    /// Takes the entry away again, if it is a note that no longer means anything.
    pub(crate) fn drop_note(mut self) {
        let done = self
            .entry
            .install_over(&self.locked.lock, self.snapshot, Entry::NONE);
        debug_assert!(done.is_ok(), "inv 26: a locked entry changed");
    }
}

/// A private page has been installed, and its table is still locked.
#[derive(Debug)]
pub(crate) struct Installed<'f> {
    pte: PteLocked<'f>,
    /// Neighbours filled that the machine has not been told of yet.
    untold: Option<VirtRange>,
}

impl Installed<'_> {
    /// Gives all locks back.
    #[inline]
    pub(crate) fn done(mut self, kind: FaultKind) -> Done {
        self.tell();
        Done { kind }
    }

    /// Tells the machine of the neighbours filled since it was last told (`update_mmu_cache_range`).
    #[inline]
    fn tell(&mut self) {
        if let Some(range) = self.untold.take() {
            self.pte.locked.mm.mmu().update_mmu_cache(range);
        }
    }

    /// The machine is to be told of `page` too, in one word with the pages before it if it follows
    /// them.
    fn tell_of(&mut self, page: VirtAddr) {
        if self.untold.is_some_and(|range| range.end() != page) {
            self.tell();
        }
        let start = self.untold.map_or(page, |range| range.start());
        let end = page.saturating_add(addr::PAGE_SIZE);
        self.untold = VirtRange::new(start, end);
    }

    /// Fills the entry at `page`, of the same table, with another private page, if it is empty.
    pub(crate) fn fill_neighbour(
        &mut self,
        page: VirtAddr,
        folio: FreshFolio,
        owner: OwnerId,
    ) -> Result<Neighbour, OutsideTable> {
        let pte = &mut self.pte;
        pte.entry.seek(page)?;
        if !pte.entry.read().is_none() {
            return Ok(Neighbour::Occupied);
        }
        let pfn = adopt_private(folio, owner, private_index(pte.vma(), page));
        let entry = Entry::leaf(pfn, private_rights(pte.vma()));
        pte.locked.mm.rss().add(RssKind::Anon, 1);
        let done = pte.entry.install(&pte.locked.lock, entry);
        debug_assert!(done.is_ok(), "inv 26: a locked entry changed");
        self.tell_of(page);
        Ok(Neighbour::Filled)
    }
}

/// What became of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Neighbour {
    /// It has a page now.
    Filled,
    /// It had something.
    Occupied,
}

/// The page's place in the area's anonymous memory (`linear_page_index`).
#[inline]
pub(crate) fn private_index(vma: &Vma, page: VirtAddr) -> PgOff {
    vma.pgoff_of(page).unwrap_or(vma.pgoff)
}

/// Which counter a mapped folio goes to (`mm_counter`).
pub(crate) fn rss_kind(folio: &FrameRecord) -> RssKind {
    if folio.is_anon() {
        RssKind::Anon
    } else if folio.has(FolioFlags::SWAPBACKED) {
        RssKind::Shmem
    } else {
        RssKind::File
    }
}

/// One more entry maps the folio and holds a reference to it (`folio_get`, `folio_add_file_rmap`).
pub(crate) fn map_page(folio: &FolioLock) {
    folio.add_map();
    let _the_entry_holds_it = frame::Folio::clone(folio).into_entry();
}

/// The rights of a fresh private page: writable and dirty if the area may be written, even after a
/// read.
#[inline]
fn private_rights(vma: &Vma) -> EntryFlags {
    let rights = initial_rights(vma);
    if vma.flags().contains(VmFlags::WRITE) {
        rights | EntryFlags::WRITABLE | EntryFlags::DIRTY
    } else {
        rights
    }
}

/// `__folio_mark_uptodate`, `folio_add_new_anon_rmap(RMAP_EXCLUSIVE)`, `folio_add_lru_vma`: the
/// contents are valid; owner, index, one mapping, ours alone; on the LRU. The reference moves into the
/// entry that is about to be set.
#[inline]
pub(crate) fn adopt_private(page: FreshFolio, owner: OwnerId, index: PgOff) -> Pfn {
    page.into_mapped_anon(owner, index.as_u64()).into_entry()
}
