//! File pages that a call is about to copy and that may not be in the host's memory yet: a worker
//! reads them first, so that the call finds them at hand.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use addr::{PAGE_SIZE, VirtRange, VmFlags};
use mm::Mm;

use crate::files::Files;
use crate::sys::descriptor;

/// More than so many bytes are not looked at one by one: they count as not being there.
const LOOKED_AT_BYTES_MAX: u64 = 1 << 20;

/// Part of a file that is read for nothing but to have it in the host's memory.
#[derive(Debug)]
pub(crate) struct Unread {
    file: File,
    offset: u64,
    end: u64,
}

impl Unread {
    /// `bytes` of `file` from `offset` on, as far as it goes, unless all of it is there.
    pub(crate) fn of(file: File, offset: u64, bytes: u64) -> Option<Self> {
        let size = file.metadata().ok()?.len();
        let end = offset.saturating_add(bytes).min(size);
        let unread = Self { file, offset, end };
        (offset < end && !unread.is_at_hand()).then_some(unread)
    }

    fn is_at_hand(&self) -> bool {
        let mut byte = [0u8];
        let mut pages = (self.offset..self.end).step_by(PAGE_SIZE as usize);
        self.end - self.offset <= LOOKED_AT_BYTES_MAX
            && pages.all(|at| descriptor::read_at_hand(self.file.as_fd(), at, &mut byte).is_ok())
    }

    /// Reads it. What cannot be read is found out again by who needs it.
    pub(crate) fn read(&self) {
        let mut piece = vec![0u8; 64 << 10];
        let mut at = self.offset;
        while at < self.end {
            match self.file.read_at(&mut piece, at) {
                Ok(0) | Err(_) => return,
                Ok(got) => at = at.saturating_add(got as u64),
            }
        }
    }
}

/// What lies in `range` of files that are mapped privately to be written: populating copies it.
pub(crate) fn in_range(files: &Files, mm: &Mm, range: VirtRange) -> Vec<Unread> {
    let tree = mm.mmap_lock().snapshot();
    let areas = tree.range(range);
    let copied = areas.filter(|area| {
        let flags = area.flags();
        flags.contains(VmFlags::WRITE) && !flags.contains(VmFlags::SHARED)
    });
    copied
        .filter_map(|area| {
            let file = files.opened(area.file.as_ref()?.inode())?;
            let part = area.range.intersect(&range)?;
            let offset = area.pgoff_of(part.start())?.bytes()?;
            Unread::of(file, offset, part.bytes())
        })
        .collect()
}

#[cfg(test)]
mod tests;
