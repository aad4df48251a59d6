//! A page of an object is missing.
//!
//! * *Held:* the fault lock; no pin, since the object is called.
//! * *Known:* the area has operations, the entry was empty.
//! * *May:* map neighbours the object has; ask it for the page; lock the folio if that needs no wait.
//! * *Next:* [`PteLocked`].
//!
//! Linux names: `do_fault`, `do_read_fault`, `do_fault_around`, `do_cow_fault`, `do_shared_fault`,
//! `__do_fault`, `finish_fault`.

use alloc::sync::Arc;

use addr::{ENTRIES_PER_TABLE, FaultFlags, Level, PAGE_SHIFT, Pfn, PgOff, VirtAddr, VmFlags};
use frame::{Contents, Folio, FolioFlags, FolioLock, FreshFolio};
use object::context::{AroundPage, AroundSink, FaultPage, Intent, Major, Offered};
use object::device::is_device;
use object::ops::Privacy;
use object::{Callbacks, FaultContext, FaultFailure, MapAround, PageRequest, Supplied};
use pgtable::{Entry, EntryLock};
use vma::Vma;

use crate::accounts::{FaultEvent, FaultKind, RssKind, Waited};
use crate::fault::case::MissingPage;
use crate::fault::outcome::{Cause, Done, Exit, Step};
use crate::fault::pte_locked::{PteLocked, initial_rights, map_page, rss_kind};
use crate::fault::vma_locked::VmaLocked;

/// What the object gave, ready to be mapped.
#[derive(Debug)]
pub(crate) enum Ready {
    /// A folio of the object, locked, still its page; and the frame of it that is meant.
    Page(FolioLock, Pfn),
    /// Device memory.
    Device(Pfn),
    /// A private page with the data in it.
    Private(FreshFolio),
    /// Nothing but zeroes.
    Zeroes,
}

impl<'f> MissingPage<'f> {
    /// `do_fault`.
    pub(crate) fn resolve(self) -> Step<Done> {
        if !self.locked.vma().callbacks().contains(Callbacks::FAULT) {
            return self.without_fault();
        }
        let flags = self.locked.request.flags - FaultFlags::UNSHARE;
        match Intent::of(self.locked.flags(), flags) {
            Intent::Read => self.read(),
            Intent::Copy => self.copy(),
            Intent::Share => self.share(),
        }
    }

    /// `vm_ops->fault == NULL`: whatever is missing stays missing.
    fn without_fault(self) -> Step<Done> {
        let pin = sync::pin();
        let slot = self.locked.mm.table().slot(self.locked.page(), &pin);
        let entry = slot.and_then(|slot| slot.lock()).map(|entry| entry.read());
        self.locked
            .request
            .note("do_fault", "the object has no fault callback");
        match entry {
            Some(entry) if !entry.is_none() => Err(Exit::SPURIOUS),
            _ => Err(Exit::Fail(Cause::Bus)),
        }
    }

    /// `do_read_fault`: neighbours first, for they may hold the page itself.
    fn read(mut self) -> Step<Done> {
        self.locked
            .request
            .note("do_read_fault", "a page of the object, to read");
        if self.locked.fault_around()? == FaultPage::Mapped {
            return Ok(Done {
                kind: FaultKind::File,
            });
        }
        self.locked.may_ask_object()?;
        match self.locked.ask_object()? {
            Ready::Page(folio, pfn) => {
                let pte = self.finish()?;
                pte.install_page(&folio, pfn);
            }
            Ready::Device(pfn) => self.finish()?.install_device(pfn),
            Ready::Zeroes => return Ok(self.finish()?.install_zero()),
            Ready::Private(fresh) => {
                let owner = self.locked.prepare_anon()?;
                return Ok(self
                    .finish()?
                    .install_private(fresh, owner)
                    .done(FaultKind::File));
            }
        }
        Ok(Done {
            kind: FaultKind::File,
        })
    }

    /// `do_cow_fault`: the private page is there before the object is asked, so that no memory is
    /// wanted under a folio lock.
    fn copy(mut self) -> Step<Done> {
        self.locked
            .request
            .note("do_cow_fault", "a private copy of the object's page");
        self.locked.may_ask_object()?;
        let owner = self.locked.prepare_anon()?;
        let prepared = self.locked.alloc_private(Contents::Uninit)?;
        let (ready, prepared) = self.locked.ask_for_copy(prepared)?;
        // The object's page stays locked until the copy is mapped: whoever removes it then finds the
        // copy.
        let mut copied = None;
        let (page, kind) = match (ready, prepared) {
            (Ready::Page(folio, pfn), Some(mut page)) => {
                page.copy_from(pfn);
                copied = Some(folio);
                (page, FaultKind::CowCopied)
            }
            (Ready::Private(filled), _) => (filled, FaultKind::CowCopied),
            (Ready::Zeroes, Some(mut page)) => {
                page.zero();
                (page, FaultKind::Anon)
            }
            // A device page is read by its object, which then brings the data; and whoever takes the
            // prepared page has to answer with it.
            (Ready::Device(_), _) | (_, None) => return Err(FaultFailure::Bus.into()),
        };
        self.finish()?.install_cow(page, owner);
        drop(copied);
        Ok(Done { kind })
    }

    /// `do_shared_fault`: an object that has `page_mkwrite` is told before the page becomes writable.
    fn share(mut self) -> Step<Done> {
        self.locked
            .request
            .note("do_shared_fault", "a page of the object, to write");
        self.locked.may_ask_object()?;
        match self.locked.ask_object()? {
            Ready::Page(folio, pfn) => {
                let folio = self.notify_of_write(folio)?;
                let pte = self.finish()?;
                pte.install_page(&folio, pfn);
                // `fault_dirty_shared_page`
                folio.set(FolioFlags::DIRTY);
            }
            Ready::Device(pfn) => self.finish()?.install_device(pfn),
            Ready::Private(_) | Ready::Zeroes => return Err(FaultFailure::Bus.into()),
        }
        Ok(Done {
            kind: FaultKind::SharedWrite,
        })
    }

    fn notify_of_write(&mut self, folio: FolioLock) -> Step<FolioLock> {
        let vma = Arc::clone(self.locked.vma());
        let Some(ops) = vma
            .ops()
            .filter(|_| vma.callbacks().contains(Callbacks::PAGE_MKWRITE))
        else {
            return Ok(folio);
        };
        self.locked
            .request
            .note("do_page_mkwrite", "the object is told of the write");
        let unlocked = folio.unlock();
        self.locked.page_mkwrite(&**ops, &unlocked)
    }

    /// `finish_fault`: the space vouches for private memory, the entry is locked, and still empty, and
    /// the object has not been cut off before it.
    fn finish(self) -> Step<PteLocked<'f>> {
        self.locked
            .request
            .note("finish_fault", "the entry is locked and compared");
        if !self.locked.flags().contains(VmFlags::SHARED) {
            self.locked.check_stable()?;
        }
        PteLocked::find(self.locked, self.snapshot)?.check_inside_object()
    }
}

impl VmaLocked<'_> {
    /// `__do_fault`: tables put aside, then the object is asked, then its folio locked.
    pub(crate) fn ask_object(&mut self) -> Step<Ready> {
        let flags = self.request.flags - FaultFlags::UNSHARE;
        self.ask(flags, None).map(|(ready, _)| ready)
    }

    /// The same for a private copy, with a page at hand to put it into; which comes back unless it
    /// was used.
    pub(crate) fn ask_for_copy(
        &mut self,
        prepared: FreshFolio,
    ) -> Step<(Ready, Option<FreshFolio>)> {
        self.ask(self.request.flags, Some(prepared))
    }

    fn ask(
        &mut self,
        flags: FaultFlags,
        cow_page: Option<FreshFolio>,
    ) -> Step<(Ready, Option<FreshFolio>)> {
        self.reserve_tables()?;
        let vma = Arc::clone(self.vma());
        let Some(ops) = vma.ops() else {
            return Err(Exit::Fail(Cause::Bus));
        };
        let obtained = self.request.obtained.take();
        let mut context = FaultContext::new(&vma, self.request.addr, flags, self.mm.arena())
            .charged_to(self.mm.charge())
            .with_obtained(obtained)
            .with_cow_page(cow_page);
        let supplied = ops.fault(&mut context);
        let breach = supplied.breach(context.intent(), Privacy::of(vma.flags()));
        let remains = context.into_remains();
        self.request.obtained = remains.obtained;
        if remains.major == Major::Yes {
            self.request.waited = Waited::ForData;
        }
        if breach.is_some() {
            self.request
                .note("__do_fault", "the object may not answer that");
            return Err(FaultFailure::Bus.into());
        }
        self.request.note("__do_fault", "the object has answered");
        self.make_ready(supplied, remains.cow_page)
    }

    /// What the object supplied, with its folio locked; or the way out.
    fn make_ready(
        &mut self,
        supplied: Supplied,
        cow_page: Option<FreshFolio>,
    ) -> Step<(Ready, Option<FreshFolio>)> {
        let ready = match supplied {
            Supplied::Locked(folio) => self.page_of(folio)?,
            Supplied::Folio(folio) => {
                let locked = self.lock_page(folio)?;
                self.page_of(locked)?
            }
            Supplied::Device(pfn) => Ready::Device(pfn),
            Supplied::Zeroes => Ready::Zeroes,
            Supplied::Data(page) => Ready::Private(page),
            Supplied::DoneCow => match cow_page {
                Some(page) => return Ok((Ready::Private(page), None)),
                None => return Err(FaultFailure::Bus.into()),
            },
            Supplied::NoPage => return Err(Exit::SPURIOUS),
            Supplied::Later(request) => return Err(self.wait_for(request)),
            Supplied::Error(failure) => return Err(failure.into()),
            _ => return Err(FaultFailure::Bus.into()),
        };
        Ok((ready, cow_page))
    }

    /// A fetch that the object has begun.
    fn wait_for(&mut self, request: PageRequest) -> Exit {
        if request.waiting().is_major() {
            self.mm.rss().count_event(FaultEvent::MajorStarted, 1);
        }
        Exit::Wait(request)
    }

    /// `folio_lock_or_retry`: locks a folio that the object gave unlocked, if that needs no wait, and
    /// sees that it is still a page of an object.
    pub(crate) fn lock_page(&mut self, folio: Folio) -> Step<FolioLock> {
        let Some(locked) = folio.try_lock() else {
            self.request.note(
                "folio_lock_or_retry",
                "locked by someone: wait with nothing held",
            );
            return Err(Exit::Wait(PageRequest::folio_unlocked(folio)));
        };
        let owner = locked.owner();
        if owner.is_none() || owner.is_anon() {
            // It has left its object meanwhile (`folio->mapping` changed).
            return Err(Exit::SPURIOUS);
        }
        Ok(locked)
    }

    /// Which frame of a folio is the page that was asked for.
    fn page_of(&mut self, folio: FolioLock) -> Step<Ready> {
        let pgoff = self
            .vma()
            .pgoff_of(self.request.addr)
            .unwrap_or(self.vma().pgoff);
        match frame_of(&folio, pgoff.as_u64()) {
            Some(pfn) => Ok(Ready::Page(folio, pfn)),
            None => Err(Exit::SPURIOUS),
        }
    }

    /// `do_fault_around`: the object maps what it has at hand in the window around the fault.
    fn fault_around(&mut self) -> Step<FaultPage> {
        let pages = self.mm.policy().around_pages();
        let flags = self.flags();
        let wanted = self.vma().callbacks().contains(Callbacks::MAP_PAGES)
            && pages > 1
            && !flags.intersects(VmFlags::UFFD_WP | VmFlags::UFFD_MINOR);
        if !wanted {
            return Ok(FaultPage::Missing);
        }
        self.request
            .note("do_fault_around", "neighbours that are at hand are mapped");
        self.reserve_tables()?;
        let pin = sync::pin();
        let slot = self.slot_or_alloc(&pin)?;
        let Some(entry) = slot.lock().filter(|entry| entry.level() == Level::Pte) else {
            return Ok(FaultPage::Missing);
        };
        let vma = Arc::clone(self.vma());
        let Some(ops) = vma.ops() else {
            return Ok(FaultPage::Missing);
        };
        let window = around_window(&vma, self.page(), pages);
        let page = self.page();
        let mut sink = Window {
            locked: self,
            entry,
            vma: &vma,
            pin: &pin,
        };
        let mut around = MapAround::new(&vma, page, window, &mut sink);
        let fault_page = ops.map_pages(&mut around);
        let mapped = around.nr_mapped();
        let own = u64::from(fault_page == FaultPage::Mapped);
        self.mm
            .rss()
            .count_event(FaultEvent::AroundHit, mapped.saturating_sub(own));
        Ok(fault_page)
    }
}

/// The frame that is page `pgoff` of the object, if the folio has that page. A page of no object, which a
/// driver has locked for itself, is whichever page the driver says.
fn frame_of(folio: &FolioLock, pgoff: u64) -> Option<Pfn> {
    if folio.owner().is_none() {
        return Some(folio.pfn());
    }
    let page = pgoff.checked_sub(folio.index())?;
    let frame = folio.pfn().checked_add(page)?;
    (page < folio.order().nr_pages()).then_some(frame)
}

/// The window: naturally aligned, inside the area and inside one table. As in the kernel its end is
/// counted from the clamped start.
fn around_window(vma: &Vma, page: VirtAddr, pages: u64) -> (PgOff, PgOff) {
    let index = Level::Pte.index_of(page) as u64;
    let before = page.offset_from(vma.range.start()) >> PAGE_SHIFT;
    let after = vma.range.end().offset_from(page) >> PAGE_SHIFT;
    let aligned = index & !(pages - 1);
    let from = aligned.max(index.saturating_sub(before));
    let to = (from + pages)
        .min(ENTRIES_PER_TABLE as u64)
        .min(index + after)
        - 1;
    let pgoff = vma.pgoff_of(page).unwrap_or(vma.pgoff).as_u64();
    (
        PgOff::new(pgoff - (index - from)),
        PgOff::new(pgoff + (to - index)),
    )
}

/// The entries of the window, their table locked (`set_pte_range` of `filemap_map_pages`).
struct Window<'w, 'f> {
    entry: EntryLock<'f>,
    locked: &'w VmaLocked<'f>,
    vma: &'w Vma,
    pin: &'w sync::Pin,
}

impl AroundSink for Window<'_, '_> {
    fn is_empty(&self, address: VirtAddr) -> bool {
        let slot = self.locked.mm.table().slot(address, self.pin);
        slot.is_none_or(|slot| slot.snapshot().is_none())
    }

    fn install(&mut self, address: VirtAddr, page: AroundPage<'_>) -> Offered {
        if self.entry.seek(address).is_err() {
            return Offered::Outside;
        }
        if !self.entry.read().is_none() {
            return Offered::Occupied;
        }
        let rights = initial_rights(self.vma);
        let (pfn, kind) = match page {
            AroundPage::Folio(folio) => {
                let pgoff = self
                    .vma
                    .pgoff_of(address)
                    .unwrap_or(self.vma.pgoff)
                    .as_u64();
                let Some(pfn) = frame_of(folio, pgoff) else {
                    return Offered::Outside;
                };
                map_page(folio);
                (pfn, rss_kind(folio))
            }
            AroundPage::Device(pfn) if is_device(pfn) => (pfn, RssKind::File),
            AroundPage::Device(_) => return Offered::Outside,
        };
        let done = self
            .entry
            .install(&self.locked.lock, Entry::leaf(pfn, rights));
        debug_assert!(done.is_ok(), "inv 61: a neighbour was taken");
        self.locked.mm.rss().add(kind, 1);
        if let Some(range) = addr::VirtRange::page_of(address) {
            self.locked.mm.mmu().update_mmu_cache(range);
        }
        Offered::Mapped
    }
}
