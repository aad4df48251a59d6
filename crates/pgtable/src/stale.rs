//! The receipt for an entry that was replaced.

use core::mem;

use addr::{VirtAddr, VirtRange};
use frame::Folio;
use machine::{Flush, Mmu, Translation};
use sync::atomic::Ordering;
use sync::rank;

use crate::gather::ask;
use crate::{Entry, Gather, PageTable};

/// An entry has been replaced, and machines may still use what it was. The reference that the old
/// entry held is here.
///
/// It must be spent: [`flush`](Self::flush) or [`replace_with`](Self::replace_with) once the entry
/// lock is dropped, or [`defer`](Self::defer) into a gather. Only a flushed receipt gives the old
/// folio out, so no frame is reused before every machine has let go of it.
#[must_use = "machines still use the old entry until the receipt is spent"]
#[derive(Debug)]
pub struct Stale<'t> {
    table: &'t PageTable,
    addr: VirtAddr,
    old: Entry,
    placeholder: Entry,
}

/// An entry that was replaced and that no machine uses any more; it still holds its reference.
#[must_use = "it holds the old entry's reference"]
///
/// Dropping it drops that reference. It is kept until the replacement is complete, or given up and
/// whatever a machine was given instead forgotten again: whoever zapped the placeholder waits for
/// that.
#[derive(Debug)]
pub struct Flushed<'t> {
    table: &'t PageTable,
    old: Entry,
    placeholder: Entry,
}

impl<'t> Stale<'t> {
    pub(crate) const fn new(
        table: &'t PageTable,
        addr: VirtAddr,
        old: Entry,
        placeholder: Entry,
    ) -> Self {
        Self {
            table,
            addr,
            old,
            placeholder,
        }
    }

    /// The entry as it was at the moment of the replacement, accessed and dirty included. The
    /// hardware may write through a remembered translation until the flush.
    #[must_use]
    pub const fn old(&self) -> Entry {
        self.old
    }

    /// What stands in its place.
    #[must_use]
    pub const fn placeholder(&self) -> Entry {
        self.placeholder
    }

    /// Makes every machine forget (Linux: the flush of `ptep_clear_flush`). No entry lock, rmap
    /// lock or folio lock may be held.
    pub fn flush(self, mmu: &dyn Mmu) -> Flushed<'t> {
        if let (true, Some(page)) = (self.is_remembered(), VirtRange::page_of(self.addr)) {
            self.table.flush_beside_moves(mmu, &Flush::ranges(&[page]));
        }
        self.flushed()
    }

    /// Makes every machine use `new` instead: one host call where the machine is filled by
    /// software, a flush elsewhere. If the install is then refused, the machine must be made to
    /// forget `new` before its frame is freed, and what this returns kept until that is done.
    pub fn replace_with(self, mmu: &dyn Mmu, new: Translation) -> Flushed<'t> {
        if self.is_remembered() {
            if self.table.moves_pending.load(Ordering::Acquire) > 0 {
                ask(mmu, &Flush::space());
            }
            rank::assert_may_wait();
            mmu.replace(self.addr, new);
        }
        self.flushed()
    }

    /// Leaves flush and reference to `gather`.
    pub fn defer(self, gather: &mut Gather<'_>) {
        if let (true, Some(page)) = (self.is_remembered(), VirtRange::page_of(self.addr)) {
            gather.note(page, machine::FlushKind::Forget);
        }
        gather.hold(self.old);
    }

    const fn flushed(self) -> Flushed<'t> {
        Flushed {
            table: self.table,
            old: self.old,
            placeholder: self.placeholder,
        }
    }

    const fn is_remembered(&self) -> bool {
        self.old.is_hardware_present()
    }
}

impl Flushed<'_> {
    /// The entry as it was.
    #[must_use]
    pub const fn old(&self) -> Entry {
        self.old
    }

    /// The folio it mapped, with the entry's reference; `None` for what has none: the zero page,
    /// a bare pfn, device memory.
    #[must_use]
    pub fn into_folio(mut self) -> Option<Folio> {
        self.take_folio()
    }

    fn take_folio(&mut self) -> Option<Folio> {
        let old = mem::take(&mut self.old);
        let leaf = old.mapping()?;
        if old.is_special() || !self.table.arena().contains(leaf.pfn) {
            return None;
        }
        Some(self.table.arena().folio_of_entry(leaf.pfn))
    }
}

impl Drop for Flushed<'_> {
    fn drop(&mut self) {
        drop(self.take_folio());
        self.table.given_up(self.placeholder);
    }
}
