//! From a folio to every place that may map it (Linux: `rmap_walk`).

use core::ops::ControlFlow;

use addr::{PgOff, VirtAddr};
use frame::{FolioLock, OwnerId};

use super::{Flushes, Mapping, MappingSpace, RmapRead};
use crate::owner::{self, Owner};

/// A place where a folio may be mapped, as a walk visits it.
#[derive(Debug)]
pub struct Place<'a> {
    /// The address space.
    pub space: &'a dyn MappingSpace,
    /// The address of the folio's first page that this area covers.
    pub address: VirtAddr,
    /// The page of the folio that is at that address.
    pub page: u64,
    /// How many pages of the folio the area covers from there.
    pub nr_pages: u64,
    /// The mappings stay as they are while this is held.
    pub held: &'a RmapRead<'a>,
}

/// Whether a walk queues for the rmap lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockMode {
    /// It does.
    Wait,
    /// It gives up if the lock is not free (Linux: `try_lock`).
    Try,
}

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "a walk may have seen nothing, or not everything"]
pub enum WalkEnd {
    /// Every place was visited.
    Complete,
    /// The visitor had seen enough.
    Stopped,
    /// The lock was not free.
    Contended,
    /// Nothing owns the folio: it left its object, or its last area is gone.
    Unowned,
}

/// Visits every place that may map `folio`, older mappings first. Flushes that the visitor causes
/// go into `flushes`, to be finished when the caller has let go of its locks.
///
/// The folio's lock keeps it in its object, and its anonymous owner from being exchanged.
pub fn walk(
    folio: &FolioLock,
    mode: LockMode,
    flushes: &mut Flushes,
    visit: &mut dyn FnMut(&Place<'_>, &mut Flushes) -> ControlFlow<()>,
) -> WalkEnd {
    let id = folio.owner();
    let pages = (PgOff::new(folio.index()), folio.order().nr_pages());
    let mut walk = Walk {
        first: pages.0,
        nr_pages: pages.1,
        flushes,
        visit,
    };
    walk.run(id, mode)
}

/// As [`walk`], for the page `index` of `owner`, whatever folio that is. For a caller that holds
/// something else that keeps the page in place.
pub fn walk_owner(
    owner: OwnerId,
    index: PgOff,
    flushes: &mut Flushes,
    visit: &mut dyn FnMut(&Place<'_>, &mut Flushes) -> ControlFlow<()>,
) -> WalkEnd {
    Walk {
        first: index,
        nr_pages: 1,
        flushes,
        visit,
    }
    .run(owner, LockMode::Wait)
}

struct Walk<'w> {
    first: PgOff,
    nr_pages: u64,
    flushes: &'w mut Flushes,
    visit: &'w mut dyn FnMut(&Place<'_>, &mut Flushes) -> ControlFlow<()>,
}

impl Walk<'_> {
    fn run(&mut self, id: OwnerId, mode: LockMode) -> WalkEnd {
        let last = PgOff::new(self.first.as_u64().saturating_add(self.nr_pages - 1));
        let (first, owner) = (self.first, owner::find(id));
        let steps = match &owner {
            None => return WalkEnd::Unowned,
            Some(Owner::Anon(anon)) => {
                let Some(held) = lock(mode, || anon.read(), || anon.try_read()) else {
                    return WalkEnd::Contended;
                };
                held.anon_mappings(anon, first, last)
                    .try_for_each(|at| self.step(at, &held))
            }
            Some(Owner::File(mappings)) => {
                let Some(held) = lock(mode, || mappings.read(), || mappings.try_read()) else {
                    return WalkEnd::Contended;
                };
                held.file_mappings(first, last)
                    .try_for_each(|(at, _)| self.step(at, &held))
            }
        };
        match steps {
            ControlFlow::Continue(()) => WalkEnd::Complete,
            ControlFlow::Break(()) => WalkEnd::Stopped,
        }
    }

    fn step(&mut self, mapping: &Mapping, held: &RmapRead<'_>) -> ControlFlow<()> {
        let last = PgOff::new(self.first.as_u64().saturating_add(self.nr_pages - 1));
        let Some(range) = mapping.range_of(self.first, last) else {
            return ControlFlow::Continue(());
        };
        let Some(space) = self.flushes.space(mapping).cloned() else {
            return ControlFlow::Continue(());
        };
        let page = mapping.pgoff.as_u64().saturating_sub(self.first.as_u64());
        let (address, nr_pages) = (range.start(), range.pages());
        let place = Place {
            space: &*space,
            address,
            page,
            nr_pages,
            held,
        };
        (self.visit)(&place, self.flushes)
    }
}

fn lock<'a>(
    mode: LockMode,
    wait: impl FnOnce() -> RmapRead<'a>,
    attempt: impl FnOnce() -> Option<RmapRead<'a>>,
) -> Option<RmapRead<'a>> {
    match mode {
        LockMode::Wait => Some(wait()),
        LockMode::Try => attempt(),
    }
}
