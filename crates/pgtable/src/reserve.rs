//! Frames for tables, obtained before they are needed.

use alloc::vec::Vec;

use addr::{Level, Pfn};
use frame::{AllocRequest, Arena, Depth, FreshFolio, OutOfFrames, Purpose};

/// The most tables one walk down may have to add: all but the root of five levels.
const CAPACITY: usize = Level::Pgd as usize - 1;

/// Zeroed frames waiting to become tables (Linux: `vmf->prealloc_pte`, for all levels).
///
/// A fault fills it while it holds no lock that reclaim may want; walking down then takes from it
/// first. What a lost race leaves over stays here for the next walk, or goes back on drop.
#[derive(Debug, Default)]
pub struct TableReserve {
    frames: [Option<NewTable>; CAPACITY],
}

/// A zeroed frame that no table points to yet.
#[derive(Debug)]
pub(crate) struct NewTable(FreshFolio);

impl NewTable {
    /// Gives the reference up to the entry that is about to point here.
    pub(crate) fn publishable(self) -> Pfn {
        self.0.mark_uptodate().into_entry()
    }
}

impl TableReserve {
    /// An empty reserve: walks allocate as they go.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            frames: [const { None }; CAPACITY],
        }
    }

    /// How many frames are here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.iter().flatten().count()
    }

    /// Whether none is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.iter().all(Option::is_none)
    }

    /// Obtains frames until `wanted` are here, or as many as fit.
    ///
    /// # Errors
    /// The arena is out of frames; those already obtained stay.
    pub fn fill(&mut self, arena: &Arena, wanted: usize) -> Result<(), OutOfFrames> {
        self.fill_to_depth(arena, wanted, Depth::Normal)
    }

    /// As [`fill`](Self::fill), reaching as deep into the arena as `depth` says.
    ///
    /// # Errors
    /// The arena is out of frames; those already obtained stay.
    pub fn fill_to_depth(
        &mut self,
        arena: &Arena,
        wanted: usize,
        depth: Depth,
    ) -> Result<(), OutOfFrames> {
        let missing = wanted.min(CAPACITY).saturating_sub(self.len());
        for place in self
            .frames
            .iter_mut()
            .filter(|place| place.is_none())
            .take(missing)
        {
            *place = Some(allocate(arena, depth)?);
        }
        Ok(())
    }

    /// Takes zeroed frames from `stock` until this is full or that is empty.
    pub fn refill(&mut self, stock: &mut Vec<FreshFolio>) {
        for place in self.frames.iter_mut().filter(|place| place.is_none()) {
            *place = stock.pop().map(NewTable);
        }
    }

    /// One frame, from here or else from the arena.
    pub(crate) fn take(&mut self, arena: &Arena) -> Result<NewTable, OutOfFrames> {
        match self.frames.iter_mut().find_map(Option::take) {
            Some(table) => Ok(table),
            None => allocate(arena, Depth::Normal),
        }
    }

    /// Takes back a frame that lost the race to become a table; it is still zeroed.
    pub(crate) fn put_back(&mut self, table: NewTable) {
        if let Some(place) = self.frames.iter_mut().find(|place| place.is_none()) {
            *place = Some(table);
        }
    }
}

fn allocate(arena: &Arena, depth: Depth) -> Result<NewTable, OutOfFrames> {
    let request = AllocRequest::zeroed(Purpose::Table).with_depth(depth);
    Ok(NewTable(arena.alloc(request)?))
}
