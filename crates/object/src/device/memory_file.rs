//! A host file made of memory.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use addr::{Errno, PAGE_SIZE, PgOff};
use sync::RwLock;

use super::host_file::{HostFile, HostRights};
use crate::file::InodeId;

type Page = Box<[u8; PAGE_SIZE as usize]>;

/// A sparse file in memory, open once. [`MemoryFile::reopen`] opens it again with other rights.
#[derive(Clone, Debug)]
pub struct MemoryFile {
    inode: InodeId,
    rights: HostRights,
    content: Arc<RwLock<Content>>,
}

#[derive(Debug, Default)]
struct Content {
    size_bytes: u64,
    pages: BTreeMap<u64, Page>,
}

impl MemoryFile {
    /// A file of `size_bytes` zeroes, open for reading and writing.
    pub fn new(inode: InodeId, size_bytes: u64) -> Self {
        let content = Content {
            size_bytes,
            pages: BTreeMap::new(),
        };
        let content = Arc::new(RwLock::new(content));
        MemoryFile {
            inode,
            rights: HostRights::ReadWrite,
            content,
        }
    }

    /// A file that holds `bytes`.
    pub fn holding(inode: InodeId, bytes: &[u8]) -> Self {
        let file = MemoryFile::new(inode, bytes.len() as u64);
        file.content.write().put(0, bytes);
        file
    }

    /// The same file, open anew.
    pub fn reopen(&self, rights: HostRights) -> Self {
        MemoryFile {
            rights,
            ..self.clone()
        }
    }

    /// Changes its size, as ftruncate does.
    pub fn set_size(&self, size_bytes: u64) {
        let mut content = self.content.write();
        if size_bytes < content.size_bytes {
            let cut = size_bytes.div_ceil(PAGE_SIZE);
            drop(content.pages.split_off(&cut));
            let tail = (size_bytes % PAGE_SIZE) as usize;
            if tail != 0
                && let Some(page) = content.pages.get_mut(&(size_bytes / PAGE_SIZE))
            {
                page[tail..].fill(0);
            }
        }
        content.size_bytes = size_bytes;
    }
}

impl Content {
    fn put(&mut self, mut offset: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let at = (offset % PAGE_SIZE) as usize;
            let nr = bytes.len().min(PAGE_SIZE as usize - at);
            let page = self.pages.entry(offset / PAGE_SIZE);
            let page = page.or_insert_with(|| Box::new([0; PAGE_SIZE as usize]));
            page[at..at + nr].copy_from_slice(&bytes[..nr]);
            bytes = &bytes[nr..];
            offset += nr as u64;
        }
    }

    fn get(&self, mut offset: u64, mut buf: &mut [u8]) {
        while !buf.is_empty() {
            let at = (offset % PAGE_SIZE) as usize;
            let nr = buf.len().min(PAGE_SIZE as usize - at);
            let (now, later) = buf.split_at_mut(nr);
            match self.pages.get(&(offset / PAGE_SIZE)) {
                Some(page) => now.copy_from_slice(&page[at..at + nr]),
                None => now.fill(0),
            }
            buf = later;
            offset += nr as u64;
        }
    }
}

impl HostFile for MemoryFile {
    fn inode(&self) -> InodeId {
        self.inode
    }

    fn rights(&self) -> HostRights {
        self.rights
    }

    fn size_bytes(&self) -> Result<u64, Errno> {
        Ok(self.content.read().size_bytes)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        let content = self.content.read();
        let left = content.size_bytes.saturating_sub(offset);
        let nr = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        content.get(offset, &mut buf[..nr]);
        Ok(nr)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
        if self.rights != HostRights::ReadWrite {
            return Err(Errno::EBADF);
        }
        let end = offset.checked_add(bytes.len() as u64).ok_or(Errno::EFBIG)?;
        let mut content = self.content.write();
        content.size_bytes = content.size_bytes.max(end);
        content.put(offset, bytes);
        Ok(bytes.len())
    }

    fn is_resident(&self, pgoff: PgOff) -> bool {
        self.content.read().pages.contains_key(&pgoff.as_u64())
    }

    fn punch_hole(&self, offset: u64, len: u64) -> Result<(), Errno> {
        let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
        let mut content = self.content.write();
        let (first, last) = (offset.div_ceil(PAGE_SIZE), end / PAGE_SIZE);
        content
            .pages
            .retain(|page, _| *page < first || *page >= last);
        Ok(())
    }
}
