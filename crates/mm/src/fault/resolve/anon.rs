//! Private memory that nobody has touched yet.
//!
//! * *Held:* the fault lock, the pin. *Known:* the area is anonymous, the entry was empty.
//! * *May:* allocate. *Next:* [`PteLocked`].
//!
//! Linux name: `do_anonymous_page`. The checks under the entry lock come in its order: race, stable
//! space, (userfaultfd, which this build does not have), publish.

use addr::{Order, PAGE_SHIFT, VirtAddr, VirtRange, VmFlags};
use frame::{AllocRequest, Contents, FreshFolio, OwnerId, Purpose};
use pgtable::{Entry, Slot};

use crate::accounts::{FaultEvent, FaultKind};
use crate::fault::case::MissingAnon;
use crate::fault::outcome::{Cause, Done, Exit, Shortage, Step};
use crate::fault::pte_locked::{Neighbour, PteLocked};
use crate::fault::vma_locked::VmaLocked;

impl<'f> VmaLocked<'f> {
    /// A frame for a private page: from the fault's reserve if it has one, else from the arena.
    #[inline]
    pub(crate) fn alloc_private(&mut self, contents: Contents) -> Step<FreshFolio> {
        // inv 60
        sync::rank::assert_no_folio_locked();
        if let Some(mut frame) = self
            .request
            .reserve
            .as_mut()
            .and_then(|kept| kept.frame.take())
        {
            if contents == Contents::Zeroed {
                frame.zero();
            }
            return Ok(frame);
        }
        self.mm
            .arena()
            .alloc(self.wish(contents))
            .map_err(|_| Exit::Starved(Shortage::Frame))
    }

    #[inline]
    fn wish(&self, contents: Contents) -> AllocRequest {
        AllocRequest {
            contents,
            ..AllocRequest::zeroed(Purpose::Anon)
        }
        .with_charge(self.mm.charge())
    }
}

impl<'f, 'p> MissingAnon<'f, 'p> {
    /// `do_anonymous_page`.
    pub(crate) fn resolve(mut self) -> Step<Done> {
        if self.locked.flags().contains(VmFlags::SHARED) {
            return Err(Exit::Fail(Cause::Bus));
        }
        let slot = match self.slot {
            Some(slot) => slot,
            None => self.locked.slot_or_alloc(self.pin)?,
        };
        if !self.locked.request.is_write() {
            let pte = PteLocked::lock(self.locked, slot, Entry::NONE)?;
            return Ok(pte.check_stable()?.install_zero());
        }
        self.locked
            .request
            .note("do_anonymous_page", "a write: a page of its own");
        let owner = self.locked.prepare_anon()?;
        if self.locked.mm.policy().anon_around_pages() > 1 {
            return self.fill_block(slot, owner);
        }
        let page = self.locked.alloc_private(Contents::Zeroed)?;
        publish(self.locked, slot, page, owner)
    }

    /// Fills the whole aligned block around the fault where it is empty, from one run of frames laid
    /// out as the block is, so that a machine filled by software sees one range. Neighbours that are
    /// taken stay as they are; if no run is free the page alone is filled.
    fn fill_block(mut self, slot: Slot<'f, 'p>, owner: OwnerId) -> Step<Done> {
        let page = self.locked.page();
        let pages = self.locked.mm.policy().anon_around_pages();
        let bytes = pages << PAGE_SHIFT;
        let base = page.align_down_to(bytes);
        let block = Order::covering(pages).and_then(|order| self.locked.mm.arena().reserve(order));
        let whole = VirtRange::from_len(base, bytes);
        let (Some(block), Some(whole)) = (block, whole) else {
            let page = self.locked.alloc_private(Contents::Zeroed)?;
            return publish(self.locked, slot, page, owner);
        };
        let range = self.locked.vma().range.intersect(&whole).unwrap_or(whole);
        let wish = self.locked.wish(Contents::Zeroed);
        let take = |at: VirtAddr| block.take(at.offset_from(base) >> PAGE_SHIFT, wish);
        let Ok(first) = take(page) else {
            return Err(Exit::Starved(Shortage::Frame));
        };
        let (mm, pin) = (self.locked.mm, self.pin);
        let empty = |at: &VirtAddr| {
            *at != page
                && mm
                    .table()
                    .slot(*at, pin)
                    .is_none_or(|slot| slot.snapshot().is_none())
        };
        let rest: alloc::vec::Vec<_> = range
            .page_addrs()
            .filter(empty)
            .map_while(|at| take(at).ok().map(|page| (at, page)))
            .collect();
        let pte = PteLocked::lock(self.locked, slot, Entry::NONE)?;
        let mut installed = pte.check_stable()?.install_private(first, owner);
        let mut filled = 0;
        for (at, page) in rest {
            if installed.fill_neighbour(at, page, owner) == Ok(Neighbour::Filled) {
                filled += 1;
            }
        }
        mm.rss().count_event(FaultEvent::AnonAround, filled);
        Ok(installed.done(FaultKind::Anon))
    }
}

#[inline]
fn publish<'f>(
    locked: VmaLocked<'f>,
    slot: Slot<'f, '_>,
    page: FreshFolio,
    owner: OwnerId,
) -> Step<Done> {
    let pte = PteLocked::lock(locked, slot, Entry::NONE)?;
    Ok(pte
        .check_stable()?
        .install_private(page, owner)
        .done(FaultKind::Anon))
}
