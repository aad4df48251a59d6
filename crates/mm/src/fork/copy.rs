//! Entries are copied into the child (Linux: `copy_page_range`, `copy_pte_range`,
//! `copy_present_ptes`, `copy_nonpresent_pte`).
//!
//! | parent has | child gets | parent's entry |
//! |---|---|---|
//! | page of private memory | the same page, read-only, old | write-protected |
//! | page of a shared mapping | the same page, clean, old | as it was |
//! | private page that is pinned and its own | a copy, writable and dirty | as it was |
//! | private page of its own that it writes to, if [`Ahead`] has the area | a copy, writable and dirty | as it was |
//! | zero page, bare frame number | the same | write-protected if private |
//! | migration, writable or exclusive, private | read | read |
//! | device-private, writable, private | read, referenced and mapped once more | read |
//! | guard, poison, broken memory | the same | as it was |

use addr::{Errno, Markers, MigrationKind, NonPresent, VirtAddr};
use frame::{AllocRequest, FolioFlags, FreshFolio, OutOfFrames, Purpose};
use pgtable::{CopyPair, Entry, EntryFlags, Gather, Leaf, TableReserve};
use vma::{Forked, MmapWrite};

use super::ahead::Ahead;
use crate::accounts::{FaultEvent, RssKind};
use crate::fault::{initial_rights, maybe_mkwrite};
use crate::mm::{Guarded, Mm, MmFlags};
use crate::shortage::Stop;
use crate::zap::RssChange;

/// A copy under way.
pub(super) struct EntryCopy<'c, 'g> {
    parent: &'c Mm,
    child: &'c Mm,
    parent_held: &'c MmapWrite<'g, Guarded>,
    child_held: &'c MmapWrite<'g, Guarded>,
    /// Whether any page of the parent was ever pinned.
    may_be_pinned: bool,
    /// A frame for the copy of a pinned page, obtained with no entry locked.
    frame: Option<FreshFolio>,
    /// What else is copied.
    ahead: Option<Ahead>,
    /// The copies made.
    nr_copied: u64,
    tables: TableReserve,
    counted: RssChange,
}

/// What became of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Copied,
    /// A frame must be put aside first.
    NeedsFrame,
    /// The entry cannot be copied now (`-EBUSY`).
    Refused,
}

/// The pair of areas whose entries are copied.
#[derive(Clone, Copy)]
struct Areas<'a> {
    pair: &'a Forked,
    /// Whether writes are private (`is_cow_mapping`).
    private: bool,
    /// Whether what the parent writes to is copied.
    ahead: bool,
}

impl<'c, 'g> EntryCopy<'c, 'g> {
    /// A copy of `parent` into `child`, both locked for writing.
    pub(super) fn new(
        parent: &'c Mm,
        child: &'c Mm,
        held: (&'c MmapWrite<'g, Guarded>, &'c MmapWrite<'g, Guarded>),
        ahead: Option<Ahead>,
    ) -> Self {
        EntryCopy {
            parent,
            child,
            parent_held: held.0,
            child_held: held.1,
            may_be_pinned: parent.flags().contains(MmFlags::HAS_PINNED),
            frame: None,
            ahead,
            nr_copied: 0,
            tables: TableReserve::new(),
            counted: RssChange::default(),
        }
    }

    /// Copies the entries of one area.
    pub(super) fn area(&mut self, pair: &Forked, gather: &mut Gather<'_>) -> Result<(), Stop> {
        let areas = Areas {
            pair,
            private: pair.parent.flags().is_cow_mapping(),
            ahead: self.ahead.as_ref().is_some_and(|ahead| ahead.has(pair)),
        };
        let (parent, child) = (self.parent, self.child);
        let mut cursor = parent.table().copy_to(
            child.table(),
            pair.parent.range,
            self.parent_held,
            self.child_held,
        );
        let mut tables = core::mem::take(&mut self.tables);
        while let Some(entries) = cursor.advance(&mut tables)? {
            match self.entry(areas, entries, gather) {
                Step::Copied => {}
                Step::NeedsFrame => {
                    cursor.retry();
                    self.frame = Some(self.allocate()?);
                }
                Step::Refused => return Err(Errno::ENOMEM.into()),
            }
        }
        self.tables = tables;
        Ok(())
    }

    /// Enters what was copied in the child's counters, and the copies in the parent's.
    pub(super) fn finish(self) {
        self.counted.enter(self.child);
        let rss = self.parent.rss();
        rss.count_event(FaultEvent::ForkCopied, self.nr_copied);
    }

    fn allocate(&self) -> Result<FreshFolio, OutOfFrames> {
        let charge = self.child.charge();
        let request = AllocRequest {
            charge,
            ..AllocRequest::uninit(Purpose::Anon)
        };
        self.child.arena().alloc(request)
    }

    fn entry(
        &mut self,
        areas: Areas<'_>,
        entries: &mut CopyPair<'_>,
        gather: &mut Gather<'_>,
    ) -> Step {
        let entry = entries.parent.read();
        match entry.mapping() {
            Some(leaf) => self.present(areas, entries, leaf, gather),
            None => self.note(areas, entries, entry),
        }
    }

    /// `copy_present_page`, `copy_present_ptes`.
    fn present(
        &mut self,
        areas: Areas<'_>,
        entries: &mut CopyPair<'_>,
        leaf: Leaf,
        gather: &mut Gather<'_>,
    ) -> Step {
        let special = leaf.flags.contains(EntryFlags::SPECIAL);
        if let (false, Some(record)) = (special, self.parent.arena().record(leaf.pfn)) {
            let kind = if record.is_anon() {
                if record.has(FolioFlags::ANON_EXCLUSIVE) {
                    if areas.ahead
                        && leaf.flags.contains(EntryFlags::WRITABLE)
                        && let Some(frame) = self.frame_ahead()
                    {
                        return self.copy_page(areas, entries, leaf, frame);
                    }
                    if self.may_be_pinned && record.maybe_dma_pinned() {
                        return match self.frame.take() {
                            Some(frame) => self.copy_page(areas, entries, leaf, frame),
                            None => Step::NeedsFrame,
                        };
                    }
                    record.clear(FolioFlags::ANON_EXCLUSIVE);
                }
                RssKind::Anon
            } else if record.has(FolioFlags::SWAPBACKED) {
                RssKind::Shmem
            } else {
                RssKind::File
            };
            self.parent.arena().share_entry(leaf.pfn);
            self.counted.add(kind, 1);
        } else if object::device::is_device(leaf.pfn) {
            self.counted.add(RssKind::File, 1);
        }
        let mut flags = leaf.flags - EntryFlags::ACCESSED - EntryFlags::UFFD_WP;
        if areas.private {
            if flags.contains(EntryFlags::WRITABLE) {
                entries
                    .parent
                    .restrict(self.parent_held, gather, EntryFlags::WRITABLE);
                flags -= EntryFlags::WRITABLE;
            }
        } else {
            flags -= EntryFlags::DIRTY;
        }
        self.install(entries, Entry::leaf(leaf.pfn, flags));
        Step::Copied
    }

    fn frame_ahead(&mut self) -> Option<FreshFolio> {
        self.ahead.as_mut()?.frame(self.child)
    }

    /// The parent's page keeps its place, because a pin holds it there or because the parent writes to
    /// it: the child gets a copy, at once.
    fn copy_page(
        &mut self,
        areas: Areas<'_>,
        entries: &mut CopyPair<'_>,
        leaf: Leaf,
        mut frame: FreshFolio,
    ) -> Step {
        let child = &areas.pair.child;
        let Some(chain) = child.anon_chain() else {
            return Step::Refused;
        };
        frame.copy_from(leaf.pfn);
        let index = linear_index(areas.pair, entries.parent.addr());
        let folio = frame.into_mapped_anon(chain.owner_of_exclusive(), index);
        let rights = initial_rights(child) | EntryFlags::DIRTY;
        let new = Entry::leaf(folio.into_entry(), maybe_mkwrite(rights, child.flags()));
        self.counted.add(RssKind::Anon, 1);
        self.nr_copied += 1;
        self.install(entries, new);
        Step::Copied
    }

    /// `copy_nonpresent_pte`.
    fn note(&mut self, areas: Areas<'_>, entries: &mut CopyPair<'_>, entry: Entry) -> Step {
        let Some(note) = entry.non_present_kind() else {
            return Step::Copied;
        };
        let copy = match note {
            NonPresent::Migration { pfn, kind } if areas.private && kind != MigrationKind::Read => {
                NonPresent::Migration {
                    pfn,
                    kind: MigrationKind::Read,
                }
            }
            NonPresent::DevicePrivate {
                pfn,
                writable: true,
            } if areas.private => NonPresent::DevicePrivate {
                pfn,
                writable: false,
            },
            NonPresent::Swap { device, offset, .. } => NonPresent::Swap {
                device,
                offset,
                exclusive: false,
            },
            NonPresent::Marker(markers) => {
                let kept = markers - Markers::UFFD_WP;
                if kept.is_empty() {
                    return Step::Copied;
                }
                self.install(entries, Entry::non_present(NonPresent::Marker(kept)));
                return Step::Copied;
            }
            // Put back to a mapping first; whoever has it is asked by a fault, not by fork.
            NonPresent::DeviceExclusive { .. } | NonPresent::Busy => return Step::Refused,
            other => other,
        };
        self.copy_note(entries, entry, copy);
        Step::Copied
    }

    /// Both entries become `copy`, which is never more than the parent had.
    fn copy_note(&mut self, entries: &mut CopyPair<'_>, entry: Entry, copy: NonPresent) {
        let new = Entry::non_present(copy);
        if new != entry {
            let done = entries.parent.install_over(self.parent_held, entry, new);
            debug_assert!(done.is_ok(), "inv 26: a locked entry changed");
        }
        if let Some(kind) = self.parent.rss_kind_of(new) {
            self.counted.add(kind, 1);
        }
        let held = matches!(copy, NonPresent::DevicePrivate { .. });
        if let (true, Some(pfn)) = (held, copy.pfn())
            && self.parent.arena().contains(pfn)
        {
            self.parent.arena().share_entry(pfn);
        }
        self.install(entries, new);
    }

    fn install(&self, entries: &mut CopyPair<'_>, new: Entry) {
        let done = entries.child.install(self.child_held, new);
        debug_assert!(
            done.is_ok(),
            "inv 27: a child's entry was filled before its time"
        );
    }
}

/// The page's place in anonymous memory.
fn linear_index(pair: &Forked, page: VirtAddr) -> u64 {
    pair.child
        .pgoff_of(page)
        .unwrap_or(pair.child.pgoff)
        .as_u64()
}
