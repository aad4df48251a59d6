//! What has been unhooked, until it may be freed.

use alloc::vec::Vec;
use core::{fmt, mem};

use addr::{NonPresent, Pfn, VirtRange};
use frame::FolioFlags;
use machine::{Flush, FlushKind, FlushScope, Mmu};
use sync::atomic::Ordering;
use sync::rank;

use crate::table::free_through_epoch;
use crate::{Entry, PageTable};

/// Past so many separate ranges they are closed into fewer, wider ones.
const MAX_RANGES: usize = 32;
/// So many pages are held at most before the gather asks to be emptied.
const MAX_PAGES: usize = 8192;
/// In a held page's word, beside the frame number: it was dirty.
const DIRTY: u64 = 1 << 63;

/// Collects what machines must forget, and owns the folios and tables freed meanwhile (Linux:
/// `struct mmu_gather`).
///
/// Two phases. Under the locks, verbs add to it. With every entry, rmap and folio lock dropped,
/// [`finish`](Self::finish) asks the machine to forget and waits for its answer; only then the
/// folios' references and mapcounts are dropped, dirtiness handed to them first, and the tables
/// retired to the epoch. Dropping a gather finishes it, so an early return frees nothing too soon.
///
/// While gathers overlap, one that found an entry already empty must not return before the
/// machine has forgotten it, though another gather emptied it: so it flushes its whole `span`.
#[must_use = "what it holds is freed only once it is finished"]
pub struct Gather<'m> {
    table: &'m PageTable,
    mmu: &'m dyn Mmu,
    span: Span,
    forget: Ranges,
    write_protect: Ranges,
    pages: Vec<u64>,
    tables: Vec<Pfn>,
    /// Busy entries zapped, whose makers may have given the machine a page already.
    overtaken: Vec<Entry>,
    has_moved: bool,
}

/// What a gather answers for.
#[derive(Clone, Copy, Debug)]
enum Span {
    /// This range.
    Range(VirtRange),
    /// The whole space: it is flushed at once rather than by ranges (Linux: `fullmm`).
    Space,
}

impl<'m> Gather<'m> {
    /// A gather for changes within `span` (Linux: `tlb_gather_mmu`).
    pub fn new(table: &'m PageTable, mmu: &'m dyn Mmu, span: VirtRange) -> Self {
        Self::of_span(table, mmu, Span::Range(span))
    }

    /// A gather for the end of the whole space (Linux: `tlb_gather_mmu_fullmm`).
    pub fn of_space(table: &'m PageTable, mmu: &'m dyn Mmu) -> Self {
        Self::of_span(table, mmu, Span::Space)
    }

    fn of_span(table: &'m PageTable, mmu: &'m dyn Mmu, span: Span) -> Self {
        table.flushes_pending.fetch_add(1, Ordering::AcqRel);
        Self {
            table,
            mmu,
            span,
            forget: Ranges::new(),
            write_protect: Ranges::new(),
            pages: Vec::new(),
            tables: Vec::new(),
            overtaken: Vec::new(),
            has_moved: false,
        }
    }

    /// Adds a range that machines must forget though no verb here saw it.
    pub fn forget(&mut self, range: VirtRange) {
        self.note(range, FlushKind::Forget);
    }

    /// Whether it holds so much that the caller should drop its locks and [`flush`](Self::flush).
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.pages.len() >= MAX_PAGES
    }

    /// Flushes and frees what is here, and stays open (Linux: `tlb_flush_mmu`). No entry, rmap or
    /// folio lock may be held.
    pub fn flush(&mut self) {
        self.flush_machines();
        self.free();
    }

    /// Flushes, then frees (Linux: `tlb_finish_mmu`). No entry, rmap or folio lock may be held.
    pub fn finish(self) {}

    /// Whether it holds nothing and has nothing to make machines forget.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let alone = self.table.flushes_pending.load(Ordering::Acquire) <= 1;
        let still = self.forget.is_empty() && self.write_protect.is_empty();
        let holds = !self.pages.is_empty() || !self.tables.is_empty() || !self.overtaken.is_empty();
        alone && still && !holds && !self.has_moved
    }

    /// Takes what it holds out of its borrows, for a flush that can be made only when the caller has
    /// let go of its locks. It still counts as under way.
    pub fn suspend(mut self) -> SuspendedGather {
        let suspended = SuspendedGather {
            span: self.span,
            forget: mem::replace(&mut self.forget, Ranges::new()),
            write_protect: mem::replace(&mut self.write_protect, Ranges::new()),
            pages: mem::take(&mut self.pages),
            tables: mem::take(&mut self.tables),
            overtaken: mem::take(&mut self.overtaken),
            has_moved: self.has_moved,
        };
        // Nothing is left in it; its count goes over to the suspended one.
        mem::forget(self);
        suspended
    }

    pub(crate) fn note(&mut self, range: VirtRange, kind: FlushKind) {
        match kind {
            FlushKind::Forget => self.forget.add(range),
            FlushKind::WriteProtect => self.write_protect.add(range),
        }
    }

    /// Takes over the reference that a zapped entry held.
    pub(crate) fn hold(&mut self, old: Entry) {
        let (pfn, dirty) = match old.mapping() {
            Some(_) if old.is_special() => return,
            Some(leaf) => (leaf.pfn, old.is_dirty()),
            None => match old.non_present_kind() {
                Some(
                    NonPresent::DeviceExclusive { pfn } | NonPresent::DevicePrivate { pfn, .. },
                ) => (pfn, false),
                _ => return,
            },
        };
        if self.table.arena().record(pfn).is_some() {
            self.pages
                .push(pfn.as_u64() | if dirty { DIRTY } else { 0 });
        }
    }

    /// Takes over an unlinked table of `span`. A machine that walks our tables may remember the
    /// way through it, so the span is forgotten even where nothing was mapped.
    pub(crate) fn hold_table(&mut self, table: Pfn, span: VirtRange) {
        if self.mmu.caps().walks_tables() {
            self.forget.add(span);
        }
        self.tables.push(table);
    }

    /// A busy entry was zapped. A machine that is filled by software may have been given the page
    /// that its maker meant to install; so this gather is not done before that maker is.
    pub(crate) fn overtake(&mut self, busy: Entry) {
        if self.mmu.caps().is_filled_by_software() {
            self.table.overtaken.add(busy);
            self.overtaken.push(busy);
        }
    }

    /// A present entry has moved to another address: until its old place is flushed, whoever zaps
    /// the new one must flush more than that. Called under both entry locks.
    pub(crate) fn note_move(&mut self) {
        if !mem::replace(&mut self.has_moved, true) {
            self.table.moves_pending.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn flush_machines(&mut self) {
        match self.wider_than_noted() {
            Some(Span::Space) => {
                ask(self.mmu, &Flush::space());
                self.forget.0.clear();
                self.write_protect.0.clear();
            }
            Some(Span::Range(span)) => {
                ask(self.mmu, &Flush::ranges(&[span]));
                self.forget.0.retain(|range| !span.contains_range(range));
                self.write_protect
                    .0
                    .retain(|range| !span.contains_range(range));
            }
            None => {}
        }
        self.forget.flush(self.mmu, FlushKind::Forget);
        self.write_protect.flush(self.mmu, FlushKind::WriteProtect);
        if mem::take(&mut self.has_moved) {
            self.table.moves_pending.fetch_sub(1, Ordering::AcqRel);
        }
        for busy in mem::take(&mut self.overtaken) {
            self.table.wait_until_given_up(busy);
        }
    }

    /// What must be flushed for the sake of gathers beside this one, or because all of it goes.
    fn wider_than_noted(&self) -> Option<Span> {
        let own_moves = u32::from(self.has_moved);
        let moves_beside = self.table.moves_pending.load(Ordering::Acquire) > own_moves;
        let gathers_beside = self.table.flushes_pending.load(Ordering::Acquire) > 1;
        let noted = !self.forget.is_empty() || !self.write_protect.is_empty();
        match self.span {
            Span::Range(_) if moves_beside => Some(Span::Space),
            Span::Range(_) if gathers_beside => Some(self.span),
            Span::Space if noted || gathers_beside => Some(Span::Space),
            Span::Range(_) | Span::Space => None,
        }
    }

    fn free(&mut self) {
        let arena = self.table.arena();
        for page in self.pages.drain(..) {
            let pfn = Pfn::new(page & !DIRTY);
            let Some(record) = arena.record(pfn) else {
                continue;
            };
            if page & DIRTY != 0 {
                record.set(FolioFlags::DIRTY);
            }
            record.remove_map();
            drop(arena.folio_of_entry(pfn));
        }
        free_through_epoch(arena, mem::take(&mut self.tables));
    }
}

/// A gather apart from its table and machine. Dropping it leaks what it holds: resume it.
#[derive(Debug)]
#[must_use = "what it holds is freed only once it is resumed and finished"]
pub struct SuspendedGather {
    span: Span,
    forget: Ranges,
    write_protect: Ranges,
    pages: Vec<u64>,
    tables: Vec<Pfn>,
    overtaken: Vec<Entry>,
    has_moved: bool,
}

impl SuspendedGather {
    /// The gather again, of the table and machine that it was of.
    pub fn resume<'m>(self, table: &'m PageTable, mmu: &'m dyn Mmu) -> Gather<'m> {
        let Self {
            span,
            forget,
            write_protect,
            pages,
            tables,
            overtaken,
            has_moved,
        } = self;
        Gather {
            table,
            mmu,
            span,
            forget,
            write_protect,
            pages,
            tables,
            overtaken,
            has_moved,
        }
    }
}

impl PageTable {
    /// Flushes, and more than asked while an entry that moved may be remembered at its old place.
    pub(crate) fn flush_beside_moves(&self, mmu: &dyn Mmu, flush: &Flush<'_>) {
        if self.moves_pending.load(Ordering::Acquire) > 0 {
            ask(mmu, &Flush::space());
        } else {
            ask(mmu, flush);
        }
    }
}

/// Asks the machine, and waits for its answer: with no entry locked and nothing pinned.
pub(crate) fn ask(mmu: &dyn Mmu, flush: &Flush<'_>) {
    rank::assert_may_wait();
    mmu.flush_tlb(flush);
}

impl Drop for Gather<'_> {
    fn drop(&mut self) {
        self.flush();
        self.table.flushes_pending.fetch_sub(1, Ordering::AcqRel);
    }
}

impl fmt::Debug for Gather<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gather")
            .field("span", &self.span)
            .field("forget", &self.forget)
            .field("write_protect", &self.write_protect)
            .field("nr_pages", &self.pages.len())
            .field("nr_tables", &self.tables.len())
            .finish_non_exhaustive()
    }
}

/// Ranges in the order they came, neighbours joined.
#[derive(Debug)]
struct Ranges(Vec<VirtRange>);

impl Ranges {
    const fn new() -> Self {
        Self(Vec::new())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn add(&mut self, range: VirtRange) {
        if let Some(last) = self.0.last_mut()
            && let Some(joined) = joined(*last, range, 0)
        {
            *last = joined;
            return;
        }
        if self.0.len() == MAX_RANGES {
            self.tidy();
        }
        self.0.push(range);
    }

    fn flush(&mut self, mmu: &dyn Mmu, kind: FlushKind) {
        if !self.0.is_empty() {
            self.sort();
            ask(
                mmu,
                &Flush {
                    scope: FlushScope::Ranges(&self.0),
                    kind,
                },
            );
            self.0.clear();
        }
    }

    /// Sorts and joins what touches or overlaps.
    fn sort(&mut self) {
        self.0.sort_unstable_by_key(|range| range.start());
        self.close_gaps(0);
    }

    /// Makes room by closing gaps, the narrow ones first.
    fn tidy(&mut self) {
        self.sort();
        let mut gap = addr::PAGE_SIZE;
        while self.0.len() > MAX_RANGES / 2 {
            self.close_gaps(gap);
            gap = gap.saturating_mul(4);
        }
    }

    fn close_gaps(&mut self, widest: u64) {
        self.0
            .dedup_by(|next, kept| match joined(*kept, *next, widest) {
                Some(joined) => {
                    *kept = joined;
                    true
                }
                None => false,
            });
    }
}

/// Both as one if no more than `gap` bytes lie between them.
fn joined(a: VirtRange, b: VirtRange, gap: u64) -> Option<VirtRange> {
    let start = a.start().min(b.start());
    let end = a.end().max(b.end());
    let between = start
        .saturating_add(a.bytes())
        .saturating_add(b.bytes())
        .saturating_add(gap);
    if end <= between {
        VirtRange::new(start, end)
    } else {
        None
    }
}
