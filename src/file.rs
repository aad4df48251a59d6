//! Files of the host.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};

use addr::Errno;
use object::InodeId;
use object::device::{HostFile, HostRights};
use object::file::Residency;

/// An open file of the host, which areas can map by
/// [`DaxFile`](object::device::DaxFile).
#[derive(Debug)]
pub struct OpenFile {
    file: File,
    inode: InodeId,
    rights: HostRights,
    residency: Residency,
}

impl OpenFile {
    /// A file that was opened with these rights.
    ///
    /// # Errors
    /// The host does not say which file it is.
    pub fn new(file: File, rights: HostRights) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let (major, minor) = device_numbers(metadata.dev());
        let inode = InodeId {
            major,
            minor,
            ino: metadata.ino(),
        };
        let owned = metadata.uid() == fs::metadata("/proc/self")?.uid();
        let residency = match rights {
            HostRights::Read if !owned => Residency::Hidden,
            _ => Residency::Visible,
        };
        Ok(Self {
            file,
            inode,
            rights,
            residency,
        })
    }

    /// The file itself.
    #[must_use]
    pub const fn file(&self) -> &File {
        &self.file
    }
}

/// The two halves of a device number, as the C library packs them.
fn device_numbers(device: u64) -> (u32, u32) {
    let major = (device >> 8 & 0xfff) | (device >> 32 & !0xfff);
    let minor = (device & 0xff) | (device >> 12 & !0xff);
    (major as u32, minor as u32)
}

fn errno(error: &io::Error) -> Errno {
    error
        .raw_os_error()
        .and_then(Errno::from_raw)
        .unwrap_or(Errno::EIO)
}

impl HostFile for OpenFile {
    fn inode(&self) -> InodeId {
        self.inode
    }

    fn rights(&self) -> HostRights {
        self.rights
    }

    fn residency(&self) -> Residency {
        self.residency
    }

    fn size_bytes(&self) -> Result<u64, Errno> {
        self.file
            .metadata()
            .map(|metadata| metadata.len())
            .map_err(|error| errno(&error))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        self.file
            .read_at(buf, offset)
            .map_err(|error| errno(&error))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
        self.file
            .write_at(bytes, offset)
            .map_err(|error| errno(&error))
    }

    fn descriptor(&self) -> Option<i32> {
        Some(self.file.as_raw_fd())
    }

    fn sync_range(&self, _offset: u64, _len: u64) -> Result<(), Errno> {
        self.file.sync_data().map_err(|error| errno(&error))
    }
}
