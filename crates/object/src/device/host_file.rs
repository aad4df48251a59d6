//! What the host can be asked about an open file.

use alloc::vec::Vec;
use core::fmt;

use addr::{Errno, PgOff};

use crate::file::{InodeId, Residency};

/// What a host file was opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostRights {
    /// Reading.
    Read,
    /// Reading and writing.
    ReadWrite,
}

/// An open file of the host. Every method may ask the host and so take as long as a disk takes: it
/// is called with no lock held, from a `PageRequest` or a `FileWork`, except where it says so.
pub trait HostFile: Send + Sync + fmt::Debug {
    /// Which file it is. Constant; asks nobody.
    fn inode(&self) -> InodeId;

    /// What it was opened for. Constant; asks nobody.
    fn rights(&self) -> HostRights;

    /// What it is called now, if the host tells. Must be quick: the mmap lock may be held.
    fn path(&self) -> Option<Vec<u8>> {
        None
    }

    /// Its size in bytes now.
    fn size_bytes(&self) -> Result<u64, Errno>;

    /// Reads at a byte offset; returns how much, 0 at the end.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Errno>;

    /// As [`read_at`](HostFile::read_at), of what is in the host's memory already; `None` if it would
    /// have to wait, or cannot tell. Must be quick: the area's lock is held.
    fn read_at_hand(&self, offset: u64, buf: &mut [u8]) -> Option<usize> {
        let _ = (offset, buf);
        None
    }

    /// Fills `page` as a shared mapping shows page `pgoff`, in which the file ends: with what mappings
    /// stored behind the end. Leaves it as it is if the host cannot tell.
    fn read_last_page(&self, pgoff: PgOff, page: &mut [u8]) {
        let _ = (pgoff, page);
    }

    /// Writes at a byte offset; returns how much.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<usize, Errno>;

    /// The host's descriptor, where a machine needs one. Constant; asks nobody.
    fn descriptor(&self) -> Option<i32> {
        None
    }

    /// Whether its opener owns the file or may write it, for mincore. Must be quick: the mmap lock
    /// may be held.
    fn residency(&self) -> Residency {
        match self.rights() {
            HostRights::ReadWrite => Residency::Visible,
            HostRights::Read => Residency::Hidden,
        }
    }

    /// Whether page `pgoff` is in the host's memory. Must be quick: the mmap lock may be held.
    fn is_resident(&self, pgoff: PgOff) -> bool {
        let _ = pgoff;
        true
    }

    /// Makes a hole of `len` bytes at `offset`.
    fn punch_hole(&self, offset: u64, len: u64) -> Result<(), Errno> {
        let _ = (offset, len);
        Err(Errno::EOPNOTSUPP)
    }

    /// Makes `len` bytes at `offset` durable.
    fn sync_range(&self, offset: u64, len: u64) -> Result<(), Errno> {
        let _ = (offset, len);
        Ok(())
    }
}
