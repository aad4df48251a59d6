//! Pages that the child gets copies of at once.
//!
//! Where a fault costs much more than a copy, what both sides will write to is better copied when
//! they part: then neither faults, and the parent's entries stay as they are. What that will be is
//! told by the past. What a parent may write to when it forks it has written since it forked last; if
//! that is its stack and its variables, it will write to them again, and so will its child. So an
//! area is copied as far as it was written, if that is little, or else shared as ever.

use alloc::vec::Vec;

use addr::{Order, VirtAddr, VmFlags};
use frame::{AllocRequest, Block, FolioFlags, FreshFolio, Purpose};
use pgtable::{Entry, Visit};
use vma::{Forked, MmapWrite};

use crate::mm::{Guarded, Mm};

/// Areas whose pages are copied, and frames for the copies. They lie as the pages do, so that a
/// machine that is filled by software sees runs.
#[derive(Debug)]
pub(super) struct Ahead {
    areas: Vec<VirtAddr>,
    frames: Block,
    nr_taken: u64,
}

impl Ahead {
    /// Chooses among the areas of `parent`, the highest first, as long as there are at most `budget`
    /// pages to copy. `None` where there is nothing to copy, or where frames are so few that they are
    /// better shared.
    pub(super) fn choose(
        parent: &Mm,
        held: &MmapWrite<'_, Guarded>,
        pairs: &[Forked],
        budget: u64,
    ) -> Option<Self> {
        let arena = parent.arena();
        if budget == 0 || arena.nr_free_about() < arena.nr_frames() / 2 {
            return None;
        }
        let mut areas = Vec::new();
        let mut left = budget;
        for pair in pairs.iter().rev().filter(|pair| may_copy(pair)) {
            let nr_pages = nr_written(parent, held, pair, left);
            if (1..=left).contains(&nr_pages) {
                areas.push(pair.parent.range.start());
                left -= nr_pages;
            }
        }
        if areas.is_empty() {
            return None;
        }
        let order = Order::covering(budget - left)?;
        Some(Self {
            areas,
            frames: arena.reserve(order)?,
            nr_taken: 0,
        })
    }

    /// Whether what the parent writes to in an area is copied.
    pub(super) fn has(&self, pair: &Forked) -> bool {
        self.areas.contains(&pair.parent.range.start())
    }

    /// A frame for the next copy, for `child` to pay.
    pub(super) fn frame(&mut self, child: &Mm) -> Option<FreshFolio> {
        let request = AllocRequest::uninit(Purpose::Anon).with_charge(child.charge());
        let frame = self.frames.take(self.nr_taken, request).ok()?;
        self.nr_taken += 1;
        Some(frame)
    }
}

/// Whether the area may have private pages that the parent writes to and the child gets.
fn may_copy(pair: &Forked) -> bool {
    let flags = pair.parent.flags();
    flags.contains(VmFlags::WRITE)
        && flags.is_cow_mapping()
        && pair.parent.anon_chain().is_some()
        && !pair.child.flags().contains(VmFlags::WIPEONFORK)
}

/// How many pages of the area can be written, counted no further than one past `most`.
fn nr_written(parent: &Mm, held: &MmapWrite<'_, Guarded>, pair: &Forked, most: u64) -> u64 {
    let mut cursor = parent
        .table()
        .cursor(pair.parent.range, held, Visit::Filled);
    let mut nr_pages = 0;
    while nr_pages <= most
        && let Some(entry) = cursor.advance()
    {
        nr_pages += u64::from(is_written(parent, entry.read()));
    }
    nr_pages
}

/// Whether an entry lets the parent write to a page that it alone has.
fn is_written(parent: &Mm, entry: Entry) -> bool {
    let leaf = entry.mapping().filter(|_| entry.is_writable());
    let record = leaf.and_then(|leaf| parent.arena().record(leaf.pfn));
    !entry.is_special()
        && record.is_some_and(|page| page.is_anon() && page.has(FolioFlags::ANON_EXCLUSIVE))
}
