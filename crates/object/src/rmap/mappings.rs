//! All areas that map a file (Linux: `address_space.i_mmap`).

use alloc::sync::Arc;

use addr::{Errno, PgOff};
use sync::atomic::{AtomicBool, Ordering};
use sync::rank::Rank;
use sync::{RwLock, RwLockWriteGuard};

use super::{EvenCows, Flushes, HeldRead, Mapping, RmapRead};
use crate::interval::{IntervalKey, IntervalTree};

/// Whether an area could write to the file (Linux: `VM_SHARED | VM_MAYWRITE`, which counts in
/// `i_mmap_writable`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// Shared and may become writable.
    Writable,
    /// Private, or shared for reading only.
    ReadOnly,
}

/// The tree that the lock of [`FileMappings`] guards.
#[derive(Debug, Default)]
pub(crate) struct FileTree {
    tree: IntervalTree<(Mapping, Sharing)>,
    /// Areas that may write; below zero while writing is denied.
    writable: i64,
}

/// The areas that map one file, found by page (Linux: `i_mmap`, `i_mmap_writable`).
#[derive(Debug)]
pub struct FileMappings {
    tree: RwLock<FileTree>,
}

impl FileMappings {
    /// Of a file that nothing maps yet.
    pub fn new() -> Arc<Self> {
        Arc::new(FileMappings {
            tree: RwLock::ranked(Rank::FileMappings, FileTree::default()),
        })
    }

    /// Adds an area. When an area changes shape, link the new before the old is unlinked.
    ///
    /// # Errors
    /// `EPERM` for an area that may write while writing is denied (a write-sealed memfd).
    pub fn link(self: &Arc<Self>, mapping: Mapping, sharing: Sharing) -> Result<FileLink, Errno> {
        let (first, last) = mapping.span();
        let mut tree = self.tree.write();
        if sharing == Sharing::Writable {
            if tree.writable < 0 {
                return Err(Errno::EPERM);
            }
            tree.writable += 1;
        }
        let key = tree.tree.insert(first, last, (mapping, sharing));
        Ok(FileLink {
            mappings: Arc::clone(self),
            key,
            linked: AtomicBool::new(true),
        })
    }

    /// Keeps areas from writing to the file, if none may now (Linux: `mapping_deny_writable`).
    pub fn deny_write(self: &Arc<Self>) -> Result<DenyWrite, Errno> {
        let mut tree = self.tree.write();
        if tree.writable > 0 {
            return Err(Errno::EBUSY);
        }
        tree.writable -= 1;
        Ok(DenyWrite {
            mappings: Arc::clone(self),
        })
    }

    /// Counts one writer more before its area is there, and keeps writing from being denied meanwhile
    /// (Linux: `mapping_map_writable`).
    ///
    /// # Errors
    /// `EPERM` while writing is denied.
    pub fn admit_writer(self: &Arc<Self>) -> Result<AdmitWriter, Errno> {
        let mut tree = self.tree.write();
        if tree.writable < 0 {
            return Err(Errno::EPERM);
        }
        tree.writable += 1;
        Ok(AdmitWriter {
            mappings: Arc::clone(self),
        })
    }

    /// How many areas map it.
    pub fn nr_mappings(&self) -> usize {
        self.tree.read().tree.len()
    }

    /// How many areas may write to it (Linux: `i_mmap_writable`).
    pub fn nr_writable(&self) -> u64 {
        u64::try_from(self.tree.read().writable).unwrap_or(0)
    }

    /// Whether areas that may write are refused now.
    pub fn is_write_denied(&self) -> bool {
        self.tree.read().writable < 0
    }

    /// Whether nothing maps it.
    pub fn is_unmapped(&self) -> bool {
        self.tree.read().tree.is_empty()
    }

    /// Keeps the mappings as they are.
    pub fn read(&self) -> RmapRead<'_> {
        RmapRead {
            held: HeldRead::File(self.tree.read()),
        }
    }

    /// The same, if nobody is changing them.
    pub fn try_read(&self) -> Option<RmapRead<'_>> {
        self.tree.try_read().map(|tree| RmapRead {
            held: HeldRead::File(tree),
        })
    }

    pub(super) fn write_tree(&self) -> RwLockWriteGuard<'_, FileTree> {
        self.tree.write()
    }

    /// Clears every entry for the pages from `first` to `last`, or to the end, in every space, and
    /// returns when no machine uses them (Linux: `unmap_mapping_range`).
    ///
    /// No folio lock and no entry lock may be held.
    pub fn unmap(&self, first: PgOff, last: Option<PgOff>, even_cows: EvenCows) {
        let mut flushes = Flushes::new();
        self.unmap_later(first, last, even_cows, &mut flushes);
        flushes.finish();
    }

    /// The same, but machines are asked to forget only when `flushes` is finished, so a folio lock
    /// may be held (Linux: `unmap_mapping_folio`).
    pub fn unmap_later(
        &self,
        first: PgOff,
        last: Option<PgOff>,
        even_cows: EvenCows,
        flushes: &mut Flushes,
    ) {
        let last = last.unwrap_or(PgOff::new(u64::MAX));
        let held = self.read();
        for (mapping, _) in held.file_mappings(first, last) {
            let Some(range) = mapping.range_of(first, last) else {
                continue;
            };
            let Some(space) = flushes.space(mapping) else {
                continue;
            };
            let due = space.zap_mapping(range, even_cows, &held);
            flushes.push(due);
        }
    }

    /// Makes the pages `[first, last]` read-only and clean wherever they are shared, and counts the
    /// entries that were not (Linux: `folio_mkclean`). Nobody writes without notice once `flushes`
    /// is finished. A folio lock may be held.
    pub fn write_protect(&self, first: PgOff, last: PgOff, flushes: &mut Flushes) -> u64 {
        let mut nr_cleaned = 0;
        let held = self.read();
        for (mapping, sharing) in held.file_mappings(first, last) {
            if *sharing == Sharing::ReadOnly {
                continue;
            }
            let Some(range) = mapping.range_of(first, last) else {
                continue;
            };
            let Some(space) = flushes.space(mapping) else {
                continue;
            };
            let protected = space.write_protect(range, &held);
            nr_cleaned += protected.nr_cleaned;
            flushes.push(protected.flush);
        }
        nr_cleaned
    }
}

impl RmapRead<'_> {
    /// The areas that map any of the pages `[first, last]` of a file, older ones first; none if it
    /// is a family's lock that is held.
    pub(super) fn file_mappings(
        &self,
        first: PgOff,
        last: PgOff,
    ) -> impl Iterator<Item = &(Mapping, Sharing)> {
        let tree = match &self.held {
            HeldRead::File(tree) => Some(tree),
            HeldRead::Anon(_) => None,
        };
        tree.into_iter()
            .flat_map(move |tree| tree.tree.overlapping(first.as_u64(), last.as_u64()))
    }
}

/// One area's place among the mappings of a file. Gone with [`FileLink::unlink`], or when dropped.
#[derive(Debug)]
pub struct FileLink {
    mappings: Arc<FileMappings>,
    key: IntervalKey,
    linked: AtomicBool,
}

impl FileLink {
    /// Takes the area out; walks that start later do not see it. Doing it twice does nothing.
    pub fn unlink(&self) {
        if !self.linked.swap(false, Ordering::AcqRel) {
            return;
        }
        let mut tree = self.mappings.tree.write();
        let removed = tree.tree.remove(self.key);
        if matches!(removed, Some((_, Sharing::Writable))) {
            tree.writable -= 1;
        }
        drop(tree);
        drop(removed);
    }

    /// The file's mappings.
    pub fn mappings(&self) -> &Arc<FileMappings> {
        &self.mappings
    }
}

impl Drop for FileLink {
    fn drop(&mut self) {
        self.unlink();
    }
}

/// While it lives no area may write to the file.
#[derive(Debug)]
pub struct DenyWrite {
    mappings: Arc<FileMappings>,
}

impl Drop for DenyWrite {
    fn drop(&mut self) {
        self.mappings.tree.write().writable += 1;
    }
}

/// While it lives writing to the file cannot be denied.
#[derive(Debug)]
pub struct AdmitWriter {
    mappings: Arc<FileMappings>,
}

impl Drop for AdmitWriter {
    fn drop(&mut self) {
        self.mappings.tree.write().writable -= 1;
    }
}
