//! The memory file behind an arena.

#![expect(
    unsafe_code,
    reason = "asks the host for a memory file and for holes in it"
)]

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use addr::PAGE_SIZE;

const NAME: &CStr = c"recto-arena";

/// An anonymous file of the host, closed on exec, without huge pages.
#[derive(Debug)]
pub(crate) struct MemoryFile {
    file: File,
}

impl MemoryFile {
    pub(crate) fn new(nr_frames: u64) -> io::Result<Self> {
        // SAFETY: the name is a C string that outlives the call.
        let fd = unsafe { libc::memfd_create(NAME.as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call made this descriptor, and nobody else has it.
        let file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        file.set_len(nr_frames * PAGE_SIZE)?;
        Ok(Self { file })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Gives the memory of `nr_frames` from `first` on back to the host; they read as zeroes.
    pub(crate) fn punch(&self, first: u64, nr_frames: u64) -> io::Result<()> {
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        let (offset, len) = (
            (first * PAGE_SIZE).cast_signed(),
            (nr_frames * PAGE_SIZE).cast_signed(),
        );
        // SAFETY: the descriptor is open; the call touches no memory of ours but the file's, whose
        // bytes are atomic words that may change at any time.
        if unsafe { libc::fallocate(self.file.as_raw_fd(), mode, offset, len) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}
