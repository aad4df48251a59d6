//! The reverse map: from a folio, or a piece of a file, to every address where it is mapped.
//!
//! Linux keeps areas in interval trees and looks into their page tables itself. Here the trees hold
//! a [`Mapping`]: a space (weakly), a range, and the page of the object at its start; and whoever
//! walks asks the space, through [`MappingSpace`], to do one of few things there. So objects need to
//! know neither areas nor page tables.
//!
//! | lock | guards | may be taken while holding |
//! |---|---|---|
//! | one per file, [`FileMappings`] (`i_mmap_rwsem`) | its tree | mmap and area locks, folio locks |
//! | one per family, [`AnonVma`] (root `rwsem`) | the trees of a fork family | those, and a file's |
//!
//! Entry locks are taken under both. A machine is asked to forget only after both are let go:
//! what [`MappingSpace`] did comes back as a [`FlushDue`].
//!
//! **A walk misses nothing** (invariant 49) because (1) when an area changes shape its new mapping
//! is linked before the old one is unlinked, so for a moment an address may be seen twice but never
//! not at all; (2) walks visit older mappings first, so a fork cannot carry an entry from a parent
//! not yet visited to a child already visited; (3) whoever moves entries between addresses
//! (mremap) holds [`RmapWrite`].

mod mappings;
mod walk;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;

use addr::{Pfn, PgOff, VirtAddr, VirtRange};
use sync::{RwLockReadGuard, RwLockWriteGuard, Stable};

use crate::anon::{AnonVma, FamilyTrees};
use crate::area;

pub(crate) use mappings::FileTree;
pub use mappings::{AdmitWriter, DenyWrite, FileLink, FileMappings, Sharing};
pub use walk::{LockMode, Place, WalkEnd, walk, walk_owner};

/// Where pages of an object are mapped: one area, as rmap knows it.
#[derive(Clone)]
pub struct Mapping {
    /// The address space; it may be gone.
    pub space: Weak<dyn MappingSpace>,
    /// The addresses.
    pub range: VirtRange,
    /// The page of the object at the first address.
    pub pgoff: PgOff,
}

impl Mapping {
    /// The mapping of `range` in `space`, which begins at page `pgoff` of its object.
    pub fn new(space: Weak<dyn MappingSpace>, range: VirtRange, pgoff: PgOff) -> Self {
        Mapping {
            space,
            range,
            pgoff,
        }
    }

    /// First and last page of the object.
    pub fn span(&self) -> (u64, u64) {
        let first = self.pgoff.as_u64();
        (first, first.saturating_add(self.range.pages() - 1))
    }

    /// Where page `pgoff` is (Linux: `vma_address`).
    pub fn address_of(&self, pgoff: PgOff) -> Option<VirtAddr> {
        area::linear_address(self.range, self.pgoff, pgoff)
    }

    /// Where the pages `[first, last]` are.
    pub fn range_of(&self, first: PgOff, last: PgOff) -> Option<VirtRange> {
        area::linear_range(self.range, self.pgoff, first, last)
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping")
            .field("range", &self.range)
            .field("pgoff", &self.pgoff)
            .finish_non_exhaustive()
    }
}

/// Whether private copies go as well when pages of a file are unmapped (Linux: `even_cows`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EvenCows {
    /// The file has become shorter: nothing may be left beyond its end.
    Yes,
    /// The pages are only replaced or punched out: private copies stay.
    No,
}

/// What a folio or file may ask of the address spaces that map it.
///
/// Called with an rmap lock held for read, which is the proof that the mapping still exists; entry
/// locks may be taken, nothing may be waited for, and no entry may be installed. A machine is not
/// told to forget here but in the [`FlushDue`] that comes back.
pub trait MappingSpace: Send + Sync + fmt::Debug {
    /// Clears the entries in `range` (Linux: `zap_page_range_single` under `unmap_mapping_range`).
    fn zap_mapping(&self, range: VirtRange, even_cows: EvenCows, held: &RmapRead<'_>) -> FlushDue;

    /// Makes the entries of shared pages in `range` read-only and clean, carrying dirty bits to
    /// their folios first (Linux: `page_vma_mkclean_one`).
    fn write_protect(&self, range: VirtRange, held: &RmapRead<'_>) -> Protected;

    /// What maps `pfn` at `address`, if anything does (Linux: `page_vma_mapped_walk`).
    fn visit(&self, address: VirtAddr, pfn: Pfn, held: &RmapRead<'_>) -> Option<MappedEntry>;
}

/// An entry found by [`MappingSpace::visit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedEntry {
    /// Whether it allows writes.
    pub writable: bool,
    /// Whether it was written through.
    pub dirty: bool,
    /// Whether it was used since last asked.
    pub young: bool,
}

/// What [`MappingSpace::write_protect`] did.
#[derive(Debug)]
#[must_use = "the machine must forget what was writable"]
pub struct Protected {
    /// How many entries were writable or dirty.
    pub nr_cleaned: u64,
    /// The rest of the work.
    pub flush: FlushDue,
}

/// A flush, and the release of what it frees, still to be done when all locks are let go. Dropping
/// it does it.
#[must_use = "stale translations stay in use until the flush is done"]
pub struct FlushDue {
    work: Option<Box<dyn FnOnce() + Send>>,
}

impl FlushDue {
    /// Nothing was stale.
    pub fn none() -> Self {
        FlushDue { work: None }
    }

    /// `work` flushes and frees.
    pub fn new(work: impl FnOnce() + Send + 'static) -> Self {
        FlushDue {
            work: Some(Box::new(work)),
        }
    }

    /// Does it. No rmap, folio or entry lock may be held.
    pub fn finish(self) {
        drop(self);
    }
}

impl Drop for FlushDue {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            work();
        }
    }
}

impl fmt::Debug for FlushDue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlushDue")
            .field("due", &self.work.is_some())
            .finish()
    }
}

/// The mappings of one file or one family cannot change while this is held. It proves that a range
/// is stable; it does not entitle to install entries.
#[derive(Debug)]
pub struct RmapRead<'a> {
    held: HeldRead<'a>,
}

#[derive(Debug)]
pub(crate) enum HeldRead<'a> {
    Anon(RwLockReadGuard<'a, FamilyTrees>),
    File(RwLockReadGuard<'a, FileTree>),
}

impl Stable for RmapRead<'_> {}

impl<'a> RmapRead<'a> {
    pub(crate) fn over(held: HeldRead<'a>) -> Self {
        RmapRead { held }
    }

    pub(crate) fn family_trees(&self) -> Option<&FamilyTrees> {
        match &self.held {
            HeldRead::Anon(trees) => Some(trees),
            HeldRead::File(_) => None,
        }
    }
}

/// No walk runs over these mappings while this is held: entries may move from one address to
/// another (Linux: `take_rmap_locks`).
#[derive(Debug)]
pub struct RmapWrite<'a> {
    file: Option<RwLockWriteGuard<'a, FileTree>>,
    anon: Option<RwLockWriteGuard<'a, FamilyTrees>>,
}

impl Stable for RmapWrite<'_> {}

impl<'a> RmapWrite<'a> {
    /// Stops walks over `file` and over the family of `anon`, whichever the area has.
    pub fn of(file: Option<&'a FileMappings>, anon: Option<&'a AnonVma>) -> Self {
        let file = file.map(FileMappings::write_tree);
        let anon = anon.map(AnonVma::write_trees);
        RmapWrite { file, anon }
    }

    /// Whether it stops anything at all.
    pub fn is_empty(&self) -> bool {
        self.file.is_none() && self.anon.is_none()
    }
}

/// What a walk leaves to be done when its locks are gone: flushes, and the release of spaces, whose
/// last reference must not be dropped under an rmap lock. Dropping it does it; make it before the
/// guard, so that it is dropped after.
#[derive(Debug, Default)]
#[must_use = "stale translations stay in use until the flushes are done"]
pub struct Flushes {
    due: Vec<FlushDue>,
    alive: Vec<Arc<dyn MappingSpace>>,
}

impl Flushes {
    /// Nothing yet.
    pub fn new() -> Self {
        Flushes::default()
    }

    /// Does it. No rmap, folio or entry lock may be held.
    pub fn finish(self) {
        drop(self);
    }

    /// Adds a flush.
    pub fn push(&mut self, flush: FlushDue) {
        if flush.work.is_some() {
            self.due.push(flush);
        }
    }

    /// The space of a mapping, if it is still there, kept until the end.
    fn space(&mut self, mapping: &Mapping) -> Option<&Arc<dyn MappingSpace>> {
        let space = mapping.space.upgrade()?;
        if !self
            .alive
            .last()
            .is_some_and(|last| Arc::ptr_eq(last, &space))
        {
            self.alive.push(space);
        }
        self.alive.last()
    }
}
