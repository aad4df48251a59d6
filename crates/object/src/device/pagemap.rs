//! One host file's device pages (Linux: `struct dev_pagemap`, kind FS_DAX).

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use addr::{Errno, PAGE_SIZE, Pfn, PgOff};
use frame::OwnerId;
use sync::atomic::{AtomicBool, AtomicU64, Ordering};
use sync::rank::Rank;
use sync::{Mutex, RwLock};

use super::host_file::{HostFile, HostRights};
use super::space::{CHUNK_PAGES, DeviceSpace, NoNumbersLeft};
use crate::file::InodeId;
use crate::owner::OwnerEntry;
use crate::rmap::{EvenCows, FileMappings};

/// The kinds of device memory (Linux: `enum memory_type`). Of these FS_DAX is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MemoryType {
    /// Memory the CPU cannot reach (`MEMORY_DEVICE_PRIVATE`).
    Private = 1,
    /// Coherent memory of an accelerator (`MEMORY_DEVICE_COHERENT`).
    Coherent = 2,
    /// Pages of a file, mapped where they are (`MEMORY_DEVICE_FS_DAX`).
    FsDax = 3,
    /// Any other memory (`MEMORY_DEVICE_GENERIC`).
    Generic = 4,
    /// A window into another device (`MEMORY_DEVICE_PCI_P2PDMA`).
    PciP2pdma = 5,
}

/// The device pages of one host file, however often it is open. It lives while anybody has the file
/// mapped or open.
///
/// The host is the truth about these pages and may take them away: truncate them, replace them,
/// grow the file. The size known here is a cache of the host's, asked again whenever a fault would
/// fail by it and when the host refuses a page that we hold present.
#[derive(Debug)]
pub struct DevPagemap {
    space: Arc<DeviceSpace>,
    inode: InodeId,
    entry: OwnerEntry,
    mappings: Arc<FileMappings>,
    /// Chunk number in the file, and the number of its first page.
    chunks: RwLock<BTreeMap<u64, Pfn>>,
    files: RwLock<Vec<Weak<dyn HostFile>>>,
    size: Mutex<KnownSize>,
    nr_asked: AtomicU64,
    dirtied: AtomicBool,
}

#[derive(Debug)]
struct KnownSize {
    bytes: u64,
    /// Which question was answered last; an older one does not overwrite it.
    question: u64,
}

impl DevPagemap {
    pub(super) fn new(space: Arc<DeviceSpace>, inode: InodeId) -> Arc<Self> {
        let mappings = FileMappings::new();
        Arc::new(DevPagemap {
            space,
            inode,
            entry: OwnerEntry::file(&mappings),
            mappings,
            chunks: RwLock::ranked(Rank::Registry, BTreeMap::new()),
            files: RwLock::ranked(Rank::Registry, Vec::new()),
            size: Mutex::new(KnownSize {
                bytes: 0,
                question: 0,
            }),
            nr_asked: AtomicU64::new(1),
            dirtied: AtomicBool::new(false),
        })
    }

    /// Its kind.
    pub fn memory_type(&self) -> MemoryType {
        MemoryType::FsDax
    }

    /// Which file.
    pub fn inode(&self) -> InodeId {
        self.inode
    }

    /// The number by which what is obtained of it is validated.
    pub fn id(&self) -> OwnerId {
        self.entry.id()
    }

    /// The areas that map it.
    pub fn mappings(&self) -> &Arc<FileMappings> {
        &self.mappings
    }

    /// The size in bytes as last known.
    pub fn size_bytes(&self) -> u64 {
        self.size.lock().bytes
    }

    /// Whether page `pgoff` lies before the end as last known.
    pub fn covers(&self, pgoff: PgOff) -> bool {
        pgoff.as_u64() < self.size_bytes().div_ceil(PAGE_SIZE)
    }

    /// The number of page `pgoff`, given now if it has none.
    pub fn pfn(self: &Arc<Self>, pgoff: PgOff) -> Result<Pfn, NoNumbersLeft> {
        if let Some(pfn) = self.known_pfn(pgoff) {
            return Ok(pfn);
        }
        let chunk = pgoff.as_u64() / CHUNK_PAGES;
        let first = PgOff::new(chunk * CHUNK_PAGES);
        let taken = self.space.take_chunk(Arc::downgrade(self), first)?;
        let mut chunks = self.chunks.write();
        let base = *chunks.entry(chunk).or_insert(taken);
        drop(chunks);
        if base != taken {
            self.space.give_chunk(taken);
        }
        base.checked_add(pgoff.as_u64() % CHUNK_PAGES)
            .ok_or(NoNumbersLeft)
    }

    /// The number of page `pgoff`, if it has one already. Takes no chunk, and may be asked under an
    /// entry lock.
    pub fn known_pfn(&self, pgoff: PgOff) -> Option<Pfn> {
        let chunks = self.chunks.read();
        let base = chunks.get(&(pgoff.as_u64() / CHUNK_PAGES))?;
        base.checked_add(pgoff.as_u64() % CHUNK_PAGES)
    }

    /// An open file of it with at least these rights, preferring one with no more.
    pub fn file(&self, rights: HostRights) -> Option<Arc<dyn HostFile>> {
        let files = self.files.read();
        let open = || files.iter().filter_map(Weak::upgrade);
        open()
            .find(|file| file.rights() == rights)
            .or_else(|| open().find(|file| file.rights() >= rights))
    }

    pub(super) fn add_file(&self, file: &Arc<dyn HostFile>) {
        let mut files = self.files.write();
        files.retain(|known| known.strong_count() > 0);
        if !files
            .iter()
            .any(|known| core::ptr::addr_eq(known.as_ptr(), Arc::as_ptr(file)))
        {
            files.push(Arc::downgrade(file));
        }
    }

    /// Asks the host for the size, by any open file. If the file has become shorter, pages beyond
    /// its end are unmapped, private copies too. No lock may be held.
    ///
    /// # Errors
    /// What the host answered; `EBADF` if nobody has the file open.
    pub fn refresh_size(&self) -> Result<u64, Errno> {
        let file = self.file(HostRights::Read).ok_or(Errno::EBADF)?;
        self.refresh_size_by(&*file)
    }

    pub(super) fn refresh_size_by(&self, file: &dyn HostFile) -> Result<u64, Errno> {
        let question = self.nr_asked.fetch_add(1, Ordering::AcqRel);
        let bytes = file.size_bytes()?;
        self.learn_size(bytes, question);
        Ok(self.size_bytes())
    }

    /// A traced program, or somebody who knows, has just given the file this size.
    pub fn resized(&self, size_bytes: u64) {
        let question = self.nr_asked.fetch_add(1, Ordering::AcqRel);
        self.learn_size(size_bytes, question);
    }

    pub(super) fn learn_size(&self, bytes: u64, question: u64) {
        let mut known = self.size.lock();
        if question < known.question {
            return;
        }
        let before = core::mem::replace(&mut known.bytes, bytes);
        known.question = question;
        drop(known);
        if bytes < before {
            let first = PgOff::new(bytes.div_ceil(PAGE_SIZE));
            self.mappings.unmap(first, None, EvenCows::Yes);
        }
    }

    /// A shared page is about to be written.
    pub(super) fn note_write(&self) {
        self.dirtied.store(true, Ordering::Release);
    }

    /// Whether a shared page was written since this was last asked; asking resets it.
    pub fn take_dirtied(&self) -> bool {
        self.dirtied.swap(false, Ordering::AcqRel)
    }

    /// Copies from page `pgoff`, from byte `offset` on; what lies beyond the end of the file reads
    /// as zero if its page begins before it. For machines that map nothing.
    ///
    /// Unmaps nothing, so it may be called under a machine's own lock. Whoever gets `EFAULT` lets
    /// go of everything and [asks for the size](DevPagemap::refresh_size).
    ///
    /// # Errors
    /// What the host answered; `EFAULT` for a page beyond the end, `EBADF` if nobody has it open.
    pub fn copy_in(&self, pgoff: PgOff, offset: u64, buf: &mut [u8]) -> Result<(), Errno> {
        let file = self.file(HostRights::Read).ok_or(Errno::EBADF)?;
        let start = pgoff
            .bytes()
            .and_then(|page| page.checked_add(offset))
            .ok_or(Errno::EFAULT)?;
        let mut nr_read = 0;
        while nr_read < buf.len() {
            match file.read_at(start + nr_read as u64, &mut buf[nr_read..])? {
                0 => break,
                nr => nr_read += nr,
            }
        }
        if nr_read < buf.len() {
            let size = file.size_bytes()?;
            if pgoff.as_u64() >= size.div_ceil(PAGE_SIZE) {
                return Err(Errno::EFAULT);
            }
            buf[nr_read..].fill(0);
        }
        Ok(())
    }

    /// Copies to page `pgoff`, from byte `offset` on; what would lie beyond the end of the file is
    /// lost, as with a mapping.
    ///
    /// # Errors
    /// As [`DevPagemap::copy_in`].
    pub fn copy_out(&self, pgoff: PgOff, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let file = self.file(HostRights::ReadWrite).ok_or(Errno::EBADF)?;
        let start = pgoff
            .bytes()
            .and_then(|page| page.checked_add(offset))
            .ok_or(Errno::EFAULT)?;
        let size = file.size_bytes()?;
        if pgoff.as_u64() >= size.div_ceil(PAGE_SIZE) {
            return Err(Errno::EFAULT);
        }
        let inside = usize::try_from(size.saturating_sub(start)).unwrap_or(usize::MAX);
        let mut left = &bytes[..bytes.len().min(inside)];
        let mut at = start;
        while !left.is_empty() {
            let nr = file.write_at(at, left)?;
            if nr == 0 {
                return Err(Errno::EIO);
            }
            at += nr as u64;
            left = &left[nr..];
        }
        self.note_write();
        Ok(())
    }
}

impl Drop for DevPagemap {
    fn drop(&mut self) {
        let chunks = core::mem::take(&mut *self.chunks.write());
        for base in chunks.into_values() {
            self.space.give_chunk(base);
        }
        self.space.forget(self.inode);
    }
}
