//! The numbers of device pages.
//!
//! Numbers are given to a pagemap in chunks, when a page of the chunk is first asked for. A number
//! costs nothing; a chunk costs one record here and one in its pagemap. So a sparse file of 1 TiB
//! costs what is touched of it.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use addr::{Errno, Pfn, PgOff};
use sync::RwLock;
use sync::rank::Rank;

use super::host_file::HostFile;
use super::pagemap::DevPagemap;
use crate::file::InodeId;

/// The first number of a device page. Numbers below it are frames of the arena.
pub const FIRST_DEVICE_PFN: u64 = frame::DEVICE_PFN_BASE;

/// How many pages are numbered at once: 16 MiB of a file.
pub const CHUNK_PAGES: u64 = 1 << 12;

/// How many chunks fit below the largest number an entry can hold.
const MAX_CHUNKS: u64 = (Pfn::MAX.as_u64() + 1 - FIRST_DEVICE_PFN) / CHUNK_PAGES;

/// Whether a number is a device page's (Linux: `folio_is_zone_device`).
pub fn is_device(pfn: Pfn) -> bool {
    pfn.as_u64() >= FIRST_DEVICE_PFN
}

/// All numbers are given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no device page numbers are left")]
pub struct NoNumbersLeft;

/// The device pages of one arena's machine (Linux: the `pgmap_array` and the pfn space beside RAM).
#[derive(Debug)]
pub struct DeviceSpace {
    chunks: RwLock<Chunks>,
    pagemaps: RwLock<BTreeMap<InodeId, Weak<DevPagemap>>>,
}

#[derive(Debug, Default)]
struct Chunks {
    owners: Vec<Option<ChunkOwner>>,
    free: Vec<u64>,
}

#[derive(Debug)]
struct ChunkOwner {
    pagemap: Weak<DevPagemap>,
    first: PgOff,
}

/// What a number stands for. While it is held the pagemap lives (Linux: `get_dev_pagemap`).
#[derive(Clone, Debug)]
pub struct DevicePage {
    /// The file.
    pub pagemap: Arc<DevPagemap>,
    /// The page of it.
    pub pgoff: PgOff,
}

impl DeviceSpace {
    /// Without any device.
    pub fn new() -> Arc<Self> {
        Arc::new(DeviceSpace {
            chunks: RwLock::ranked(Rank::Registry, Chunks::default()),
            pagemaps: RwLock::ranked(Rank::Registry, BTreeMap::new()),
        })
    }

    /// What a number stands for (Linux: `get_dev_pagemap`). `None` for a number that is nobody's,
    /// or whose file nobody maps or has open any more.
    pub fn page(&self, pfn: Pfn) -> Option<DevicePage> {
        let index = pfn.as_u64().checked_sub(FIRST_DEVICE_PFN)?;
        let chunks = self.chunks.read();
        let owner = chunks
            .owners
            .get(usize::try_from(index / CHUNK_PAGES).ok()?)?
            .as_ref()?;
        let pgoff = owner.first.checked_add(index % CHUNK_PAGES)?;
        Some(DevicePage {
            pagemap: owner.pagemap.upgrade()?,
            pgoff,
        })
    }

    /// The pagemap of the file that `file` has open, one per inode; made if there is none. Asks the
    /// file for its size: the caller holds no lock.
    ///
    /// # Errors
    /// What asking for the size gave.
    pub fn attach(self: &Arc<Self>, file: &Arc<dyn HostFile>) -> Result<Arc<DevPagemap>, Errno> {
        let inode = file.inode();
        let pagemap = self.pagemap_of(inode);
        pagemap.add_file(file);
        pagemap.refresh_size_by(&**file)?;
        Ok(pagemap)
    }

    /// The pagemap of a file, if anybody maps it or has it open.
    pub fn find(&self, inode: InodeId) -> Option<Arc<DevPagemap>> {
        self.pagemaps.read().get(&inode)?.upgrade()
    }

    /// How many chunks of numbers are in use.
    pub fn nr_chunks(&self) -> usize {
        let chunks = self.chunks.read();
        chunks.owners.len() - chunks.free.len()
    }

    fn pagemap_of(self: &Arc<Self>, inode: InodeId) -> Arc<DevPagemap> {
        if let Some(pagemap) = self.find(inode) {
            return pagemap;
        }
        let made = DevPagemap::new(Arc::clone(self), inode);
        let mut pagemaps = self.pagemaps.write();
        if let Some(pagemap) = pagemaps.get(&inode).and_then(Weak::upgrade) {
            // Dropping `made` takes the lock.
            drop(pagemaps);
            return pagemap;
        }
        pagemaps.insert(inode, Arc::downgrade(&made));
        made
    }

    /// The number of the first page of a new chunk.
    pub(super) fn take_chunk(
        &self,
        pagemap: Weak<DevPagemap>,
        first: PgOff,
    ) -> Result<Pfn, NoNumbersLeft> {
        let mut chunks = self.chunks.write();
        let owner = Some(ChunkOwner { pagemap, first });
        let index = match chunks.free.pop() {
            Some(index) => {
                chunks.owners[index as usize] = owner;
                index
            }
            None => {
                let index = chunks.owners.len() as u64;
                if index >= MAX_CHUNKS {
                    return Err(NoNumbersLeft);
                }
                chunks.owners.push(owner);
                index
            }
        };
        Ok(Pfn::new(FIRST_DEVICE_PFN + index * CHUNK_PAGES))
    }

    pub(super) fn give_chunk(&self, base: Pfn) {
        let Some(index) = base.as_u64().checked_sub(FIRST_DEVICE_PFN) else {
            return;
        };
        let index = index / CHUNK_PAGES;
        let mut chunks = self.chunks.write();
        if let Some(owner) = chunks.owners.get_mut(index as usize) {
            let given = owner.take();
            chunks.free.push(index);
            drop(chunks);
            drop(given);
        }
    }

    /// Forgets a pagemap that is being dropped, unless a new one has taken its place.
    pub(super) fn forget(&self, inode: InodeId) {
        let mut pagemaps = self.pagemaps.write();
        if pagemaps
            .get(&inode)
            .is_some_and(|pagemap| pagemap.strong_count() == 0)
        {
            pagemaps.remove(&inode);
        }
    }
}
