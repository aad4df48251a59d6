//! A mapped page is written that may not be written yet.
//!
//! * *Held:* the fault lock; at first the entry, locked and unchanged.
//! * *Known:* the entry maps, without the write bit; the access writes, or wants a page of its own.
//! * *May:* make it writable in place under the lock; otherwise give the lock up and copy, or tell
//!   the object.
//! * *Next:* [`PteLocked`] again, if anything was done without the lock.
//!
//! Linux names: `do_wp_page`, `wp_can_reuse_anon_folio`, `wp_page_copy`, `wp_page_shared`,
//! `wp_pfn_shared`, `finish_mkwrite_fault`.
//!
//! # The copy: break before make
//!
//! Linux clears the entry, interrupts every CPU, and sets the new entry, all under the entry lock.
//! Here a machine may be another process, and asking it to forget takes microseconds; so the lock is
//! not held meanwhile, on any machine: one protocol, tested once.
//!
//! ```text
//! 1  no lock      a frame is allocated and filled; the old page is kept by a reference
//! 2  entry lock   unchanged?  the old entry is exchanged for a busy one; its reference is ours now
//! 3  no lock      Mmu::replace: from its return nobody reads the old page through this space
//! 4  entry lock   still our busy entry?  the new entry is installed
//! 5  no lock      only now the old page loses this mapping
//! ```
//!
//! Whoever faults between 2 and 4 finds the busy entry and waits for it to go. The area's lock keeps
//! writers out, but two may come and clear the entry: a walk of the reverse map (the page leaves its
//! file) and MADV_DONTNEED, which needs no more of a lock than we have. Step 4 then finds it gone,
//! makes the machine forget the copy and throws it away. A machine that walks our tables never had
//! it: step 3 is a plain flush there. One that is filled by software may show the copy, with what
//! the old page held, from the end of step 3 until it is told to forget; that is what a program that
//! writes to a page and drops it at the same moment may see of it, and no frame is ever reused under
//! a translation.

use addr::{Pfn, VirtRange, VmFlags};
use frame::{Contents, Folio, FolioFlags, FolioLock, FreshFolio, OwnerId};
use machine::{Flush, Translation};
use object::context::{Noticed, WriteNotice};
use object::{Callbacks, FaultFailure, Notified, VmOps};
use pgtable::{Entry, EntryFlags, Flushed, Stale};

use crate::accounts::{FaultKind, RssKind};
use crate::fault::case::Present;
use crate::fault::outcome::{Done, Exit, Step};
use crate::fault::pte_locked::{
    PteLocked, adopt_private, initial_rights, maybe_mkwrite, private_index, rss_kind,
};
use crate::fault::vma_locked::VmaLocked;

/// What is left to do about a mapped page once its entry has been looked at under the lock.
#[derive(Debug)]
pub(crate) enum Wp<'f> {
    /// Nothing.
    Done(Done),
    /// Copy it: `wp_page_copy`.
    Copy(CopyPage<'f>),
    /// Ask the object: `wp_page_shared`, `wp_pfn_shared`.
    Notify(NotifyWrite<'f>),
}

/// What a mapped entry leads to (`vm_normal_page`).
#[derive(Debug)]
pub(crate) enum Mapped {
    /// A folio, held.
    Folio(Folio),
    /// Device memory.
    Device(Pfn),
    /// The zero page, or a bare frame number: nothing to copy from but zeroes.
    Special,
}

/// A private page is to be copied.
#[derive(Debug)]
pub(crate) struct CopyPage<'f> {
    locked: VmaLocked<'f>,
    snapshot: Entry,
    old: Mapped,
}

/// The object of a shared page is to be told of the write.
#[derive(Debug)]
pub(crate) struct NotifyWrite<'f> {
    locked: VmaLocked<'f>,
    snapshot: Entry,
    page: Mapped,
}

impl<'f> Present<'f, '_> {
    /// The second half of `handle_pte_fault`: the entry is locked, then either the write is dealt
    /// with or accessed and dirty are noted.
    pub(crate) fn resolve(self) -> Step<Wp<'f>> {
        let wants_own = self.locked.request.is_write() || self.locked.request.is_unshare();
        let pte = PteLocked::lock(self.locked, self.slot, self.snapshot)?;
        if wants_own && !pte.entry().is_writable() {
            return pte.write_protected();
        }
        Ok(Wp::Done(pte.touch()))
    }
}

impl<'f> PteLocked<'f> {
    /// What the entry leads to; a folio is held from here on.
    fn mapped(&self) -> Mapped {
        let Some(leaf) = self.entry().mapping() else {
            return Mapped::Special;
        };
        if leaf.flags.contains(EntryFlags::SPECIAL) {
            return Mapped::Special;
        }
        match self.locked.mm.arena().try_get(leaf.pfn) {
            Some(folio) => Mapped::Folio(folio),
            None => Mapped::Device(leaf.pfn),
        }
    }

    /// `do_wp_page`.
    fn write_protected(self) -> Step<Wp<'f>> {
        let page = self.mapped();
        if self
            .vma()
            .flags()
            .intersects(VmFlags::SHARED | VmFlags::MAYSHARE)
        {
            return Ok(self.write_shared(page));
        }
        if let Mapped::Folio(folio) = &page
            && folio.is_anon()
            && (folio.has(FolioFlags::ANON_EXCLUSIVE) || self.take_over(folio))
        {
            if self.locked.request.is_unshare() {
                self.locked
                    .request
                    .note("do_wp_page", "the page is ours alone already");
                return Ok(Wp::Done(Done {
                    kind: FaultKind::Spurious,
                }));
            }
            drop(self.reuse());
            return Ok(Wp::Done(Done {
                kind: FaultKind::CowReused,
            }));
        }
        let snapshot = self.entry();
        self.locked
            .request
            .note("do_wp_page", "others may see the page: copy it");
        Ok(Wp::Copy(CopyPage {
            locked: self.locked,
            snapshot,
            old: page,
        }))
    }

    /// `wp_can_reuse_anon_folio`: whether nobody else can have the page, so that it may be made ours
    /// alone. The entry has one reference, and `folio` is another. Batches of the LRU hold none here,
    /// and there is no swap cache to take the page out of.
    fn take_over(&self, folio: &Folio) -> bool {
        const ENTRY_AND_OURS: u32 = 2;
        if folio.ref_count() > ENTRY_AND_OURS {
            return false;
        }
        // The lock's own reference is the third.
        let Some(locked) = folio.try_lock() else {
            return false;
        };
        let alone = folio.ref_count() == ENTRY_AND_OURS + 1;
        if alone && let Some(chain) = self.vma().anon_chain() {
            // `folio_move_anon_rmap`
            locked.set_owner(chain.owner_of_exclusive(), folio.index());
            locked.set(FolioFlags::ANON_EXCLUSIVE);
        }
        alone
    }

    /// The head of `wp_page_shared` and `wp_pfn_shared`: without anyone to ask, the write bit is set
    /// at once.
    fn write_shared(self, page: Mapped) -> Wp<'f> {
        let asks = match page {
            Mapped::Folio(_) => Callbacks::PAGE_MKWRITE,
            Mapped::Device(_) | Mapped::Special => Callbacks::PFN_MKWRITE,
        };
        if self.vma().callbacks().contains(asks) {
            let snapshot = self.entry();
            return Wp::Notify(NotifyWrite {
                locked: self.locked,
                snapshot,
                page,
            });
        }
        drop(self.reuse());
        if let Mapped::Folio(folio) = page {
            folio.set(FolioFlags::DIRTY);
        }
        Wp::Done(Done {
            kind: FaultKind::SharedWrite,
        })
    }
}

impl<'f> CopyPage<'f> {
    /// `wp_page_copy`: steps 1 to 5 of the protocol above.
    pub(crate) fn resolve(mut self) -> Step<Done> {
        self.locked
            .request
            .note("wp_page_copy", "a copy is made with no entry locked");
        let owner = self.locked.prepare_anon()?;
        let copy = self.fill_copy()?;
        let pte = PteLocked::find(self.locked, self.snapshot)?;
        let rights = copied_rights(&pte);
        let (locked, stale) = pte.make_busy()?;
        let replacing = Replacing {
            locked,
            rights,
            old: self.old,
        };
        replacing.finish(stale, copy, owner)
    }

    /// Step 1: the new page, filled with what the old one holds.
    fn fill_copy(&mut self) -> Step<FreshFolio> {
        match &self.old {
            Mapped::Special => self.locked.alloc_private(Contents::Zeroed),
            Mapped::Folio(old) => {
                let mut copy = self.locked.alloc_private(Contents::Uninit)?;
                copy.copy_from(old.pfn());
                Ok(copy)
            }
            Mapped::Device(_) => self.locked.copy_of_device(),
        }
    }
}

/// The rights of a private copy: dirty and writable after a write; after an unsharing read what the
/// old entry had, without either.
fn copied_rights(pte: &PteLocked<'_>) -> EntryFlags {
    let rights = initial_rights(pte.vma());
    if pte.locked.request.is_unshare() {
        return rights | (pte.entry().flags() & (EntryFlags::SOFT_DIRTY | EntryFlags::UFFD_WP));
    }
    maybe_mkwrite(rights | EntryFlags::DIRTY, pte.vma().flags())
}

/// A busy entry of ours stands in place of the old page: steps 3 to 5.
#[derive(Debug)]
struct Replacing<'f> {
    locked: VmaLocked<'f>,
    rights: EntryFlags,
    old: Mapped,
}

impl<'f> Replacing<'f> {
    fn finish(self, stale: Stale<'f>, copy: FreshFolio, owner: OwnerId) -> Step<Done> {
        let mm = self.locked.mm;
        let placeholder = stale.placeholder();
        let index = private_index(self.locked.vma(), self.locked.page());
        let pfn = adopt_private(copy, owner, index);
        let translation = Translation {
            pfn,
            prot: self.rights.prot(),
        };
        let flushed = stale.replace_with(mm.mmu(), translation);
        let done = match self.install_over(placeholder, Entry::leaf(pfn, self.rights)) {
            Ok(()) => {
                self.locked
                    .request
                    .note("wp_page_copy", "the copy is in place");
                mm.rss().add(RssKind::Anon, 1);
                Ok(Done {
                    kind: FaultKind::CowCopied,
                })
            }
            Err(Overtaken) => {
                self.locked
                    .request
                    .note("wp_page_copy", "the page has left its file meanwhile");
                self.forget_copy(pfn);
                Err(Exit::SPURIOUS)
            }
        };
        self.release_old(flushed);
        done
    }

    /// Step 4.
    fn install_over(&self, placeholder: Entry, new: Entry) -> Result<(), Overtaken> {
        let pin = sync::pin();
        let slot = self
            .locked
            .mm
            .table()
            .slot(self.locked.page(), &pin)
            .ok_or(Overtaken)?;
        let mut entry = slot.lock().ok_or(Overtaken)?;
        entry
            .install_over(&self.locked.lock, placeholder, new)
            .map_err(|_| Overtaken)?;
        self.locked.update_mmu_cache();
        Ok(())
    }

    /// The copy is nobody's: the machine that has it already forgets it, then it is freed.
    fn forget_copy(&self, pfn: Pfn) {
        if let Some(page) = VirtRange::page_of(self.locked.page()) {
            self.locked.mm.mmu().flush_tlb(&Flush::ranges(&[page]));
        }
        let copy = self.locked.mm.arena().folio_of_entry(pfn);
        copy.remove_map();
    }

    /// Step 5: the old page loses this mapping and the references of the entry and of the fault.
    fn release_old(self, flushed: Flushed<'f>) {
        let counted = match &self.old {
            Mapped::Folio(folio) => Some(rss_kind(folio)),
            Mapped::Device(_) => Some(RssKind::File),
            Mapped::Special => None,
        };
        if let Some(kind) = counted {
            let rss = self.locked.mm.rss();
            if kind != RssKind::Anon {
                rss.note_high_water_of(kind);
            }
            rss.add(kind, -1);
        }
        if let Some(old) = flushed.into_folio() {
            old.remove_map();
        }
    }
}

/// The busy entry was gone when we came back to it.
#[derive(Clone, Copy, Debug)]
struct Overtaken;

impl<'f> NotifyWrite<'f> {
    /// `wp_page_shared`, `wp_pfn_shared`: the object is told, then the entry made writable if it is
    /// still the same.
    pub(crate) fn resolve(mut self) -> Step<Done> {
        self.locked.may_ask_object()?;
        let vma = alloc::sync::Arc::clone(self.locked.vma());
        let Some(ops) = vma.ops() else {
            return Err(Exit::SPURIOUS);
        };
        let locked_folio = match &self.page {
            Mapped::Folio(folio) => {
                self.locked
                    .request
                    .note("do_page_mkwrite", "the object is told of the write");
                Some(self.locked.page_mkwrite(&**ops, folio)?)
            }
            Mapped::Device(pfn) => {
                self.locked.pfn_mkwrite(&**ops, *pfn)?;
                None
            }
            Mapped::Special => {
                let pfn = self.snapshot.mapping().map_or(Pfn::new(0), |leaf| leaf.pfn);
                self.locked.pfn_mkwrite(&**ops, pfn)?;
                None
            }
        };
        self.locked.request.note(
            "finish_mkwrite_fault",
            "the entry is locked again and compared",
        );
        let pte = PteLocked::find(self.locked, self.snapshot)?;
        drop(pte.reuse());
        if let Some(folio) = locked_folio {
            // `fault_dirty_shared_page`
            folio.set(FolioFlags::DIRTY);
        }
        Ok(Done {
            kind: FaultKind::SharedWrite,
        })
    }
}

impl VmaLocked<'_> {
    /// `do_page_mkwrite`: tells the object; comes back with the folio locked and still its page.
    pub(crate) fn page_mkwrite(&mut self, ops: &dyn VmOps, folio: &Folio) -> Step<FolioLock> {
        match self.notify(Noticed::Folio(folio), |notice| ops.page_mkwrite(notice))? {
            Some(locked) if locked.pfn() == folio.pfn() => Ok(locked),
            Some(_) => Err(FaultFailure::Bus.into()),
            None => self.lock_page(folio.clone()),
        }
    }

    /// `vm_ops->pfn_mkwrite`.
    fn pfn_mkwrite(&mut self, ops: &dyn VmOps, pfn: Pfn) -> Step<()> {
        self.request
            .note("wp_pfn_shared", "the object is told of the write");
        self.notify(Noticed::Device(pfn), |notice| ops.pfn_mkwrite(notice))?;
        Ok(())
    }

    fn notify(
        &mut self,
        page: Noticed<'_>,
        tell: impl FnOnce(&mut WriteNotice<'_>) -> Notified,
    ) -> Step<Option<FolioLock>> {
        let vma = alloc::sync::Arc::clone(self.vma());
        let obtained = self.request.obtained.take();
        let mut notice = WriteNotice::new(&vma, self.request.addr, page).with_obtained(obtained);
        let answer = tell(&mut notice);
        self.request.obtained = notice.into_obtained();
        match answer {
            Notified::Locked(folio) => Ok(Some(folio)),
            Notified::Allow => Ok(None),
            Notified::NoPage => Err(Exit::SPURIOUS),
            Notified::Later(request) => Err(Exit::Wait(request)),
            Notified::Error(failure) => Err(failure.into()),
            _ => Err(FaultFailure::Bus.into()),
        }
    }
}
