//! Shared anonymous memory (Linux: `mm/shmem.c`): what MAP_SHARED|MAP_ANONYMOUS maps, and memfd.
//!
//! An object of a fixed or changeable size whose pages are made zeroed when first touched and live
//! until they are punched out, cut off, or the last area and handle is gone. It has `map_pages`, so
//! its faults run under the area's own lock; it has no write notice, as there is nothing to write
//! back to.

#[cfg(test)]
mod tests;

use alloc::sync::Arc;

use addr::{Errno, PAGE_SIZE, PgOff};
use frame::{AllocRequest, Arena, ChargeId, FolioFlags, FolioLock, Purpose};

use crate::config::ObjectConfig;
use crate::context::{FaultContext, FaultPage, MapAround};
use crate::failure::FaultFailure;
use crate::file::{
    FileObject, FileStep, FileWork, InodeId, MAX_LFS_FILESIZE, MappedFile, Residency, RssKind,
};
use crate::ops::{Callbacks, Supplied, VmOps};
use crate::pagecache::{Found, Inserted, PageCache, Shrink};
use crate::rmap::{EvenCows, FileMappings};
use crate::unique;

/// A shared memory object.
#[derive(Debug)]
pub struct Shmem {
    cache: Arc<PageCache>,
    config: ObjectConfig,
}

impl Shmem {
    /// A new object without pages.
    pub fn new(arena: &Arc<Arena>, config: ObjectConfig) -> Arc<Self> {
        let limit = config.limit_pages.unwrap_or(u64::MAX);
        let mappings = FileMappings::new();
        let cache = PageCache::limited(Arc::clone(arena), mappings, config.size_bytes, limit);
        Arc::new(Shmem { cache, config })
    }

    /// What MAP_SHARED|MAP_ANONYMOUS maps: an object of `size_bytes` that nobody else can name.
    pub fn anonymous(arena: &Arc<Arena>, size_bytes: u64) -> Arc<Self> {
        let ino = unique::number();
        // The kernel's own mount of tmpfs is device 0:1.
        let inode = InodeId {
            major: 0,
            minor: 1,
            ino,
        };
        Shmem::new(arena, ObjectConfig::shared_anonymous(size_bytes, inode))
    }

    /// A new open file of it, for areas.
    pub fn open_file(self: &Arc<Self>) -> Arc<MappedFile> {
        let object: Arc<dyn FileObject> = Arc::clone(self) as Arc<dyn FileObject>;
        let mappings = Arc::clone(self.cache.mappings());
        MappedFile::new(
            self.config.inode,
            Arc::clone(&self.config.path),
            mappings,
            object,
        )
    }

    /// Its pages.
    pub fn cache(&self) -> &Arc<PageCache> {
        &self.cache
    }

    /// How many pages it is charged for: those it holds.
    pub fn nr_charged(&self) -> u64 {
        self.cache.nr_pages()
    }

    /// Changes the size; pages beyond the new end go, private copies too. Waits for pages that are
    /// locked: the caller holds no lock.
    pub fn resize(&self, size_bytes: u64) {
        let first = PgOff::new(size_bytes.div_ceil(PAGE_SIZE));
        let mut step = self.cache.truncate(size_bytes);
        while let Shrink::Later(request) = step {
            drop(request.perform());
            step = self.cache.remove_from(first, None, EvenCows::Yes);
        }
    }

    /// Removes the pages `[first, last]`; they read as zero from then on. Private copies of them
    /// stay, as in Linux. Waits for pages that are locked: the caller holds no lock.
    pub fn punch(&self, first: PgOff, last: PgOff) {
        while let Shrink::Later(request) = self.cache.punch(first, last) {
            drop(request.perform());
        }
    }

    /// Makes the missing page, zeroed; the frame is allocated and charged before any folio lock.
    /// `None` if another fault made it first.
    fn add_page(
        &self,
        pgoff: PgOff,
        charge: Option<ChargeId>,
    ) -> Result<Option<FolioLock>, FaultFailure> {
        let request = AllocRequest::zeroed(Purpose::Shmem);
        let request = request.with_charge(self.config.charge.or(charge));
        let frame = self.cache.arena().alloc(request);
        let mut frame = frame.map_err(|_| FaultFailure::OutOfMemory)?;
        frame.set_flags(FolioFlags::SWAPBACKED);
        match self.cache.insert(pgoff, frame) {
            Inserted::Raced => Ok(None),
            // Linux: ENOSPC of the file system, and so SIGBUS.
            Inserted::Full => Err(FaultFailure::Bus),
            Inserted::BeyondEnd => Err(FaultFailure::Bus),
            Inserted::Locked(locked) => {
                self.cache.mark_dirty(&locked);
                Ok(Some(locked))
            }
        }
    }
}

impl VmOps for Shmem {
    fn callbacks(&self) -> Callbacks {
        Callbacks::FAULT | Callbacks::MAP_PAGES
    }

    fn fault(&self, context: &mut FaultContext<'_>) -> Supplied {
        let pgoff = context.pgoff();
        loop {
            return match self.cache.find_locked(pgoff) {
                Found::Locked(locked) => Supplied::Locked(locked),
                Found::Later(request) => Supplied::Later(request),
                Found::BeyondEnd => Supplied::Error(FaultFailure::Bus),
                Found::Absent => match self.add_page(pgoff, context.charge()) {
                    Ok(Some(locked)) => Supplied::Locked(locked),
                    // Another fault was first; its page serves this one too.
                    Ok(None) => continue,
                    Err(failure) => Supplied::Error(failure),
                },
            };
        }
    }

    fn map_pages(&self, around: &mut MapAround<'_>) -> FaultPage {
        self.cache.map_pages(around);
        around.fault_page()
    }
}

/// The same object as a file. `MappedFile` holds it, and so holds the object.
impl FileObject for Shmem {
    fn rss_kind(&self) -> RssKind {
        RssKind::Shmem
    }

    fn size_bytes(&self) -> Option<u64> {
        Some(self.cache.size_bytes())
    }

    fn max_bytes(&self) -> u64 {
        MAX_LFS_FILESIZE
    }

    fn is_resident(&self, pgoff: PgOff) -> bool {
        self.cache.is_resident(pgoff)
    }

    fn residency(&self) -> Residency {
        Residency::Visible
    }

    fn punch_hole(self: Arc<Self>, first: PgOff, last: PgOff) -> Result<FileStep, Errno> {
        Ok(FileStep::Work(FileWork::new(move || {
            self.punch(first, last);
            Ok(())
        })))
    }
}
