//! msync (Linux: `sys_msync`).

use alloc::sync::Arc;

use addr::{Errno, PAGE_SHIFT, PAGE_SIZE, PgOff, VirtAddr, VirtRange, VmFlags};
use object::MappedFile;
use object::file::FileStep;
use vma::{MmapHeld, Vma};

use crate::map::SyncFlags;
use crate::mm::Mm;

/// Pages of a file to be made durable.
struct Dirty {
    file: Arc<MappedFile>,
    first: PgOff,
    last: PgOff,
}

impl Mm {
    /// `msync`. With `SYNC` the pages of shared file mappings are made durable, file by file, with no
    /// lock held; otherwise only the range is checked, since what was written is in the file already.
    ///
    /// # Errors
    /// EINVAL for unknown or contradicting flags and an unaligned start; ENOMEM when the range wraps,
    /// and for holes, at the end unless `ASYNC` is all that was asked; EBUSY when locked memory is to
    /// be invalidated; what the file says.
    pub fn msync(&self, addr: VirtAddr, len: u64, flags: SyncFlags) -> Result<(), Errno> {
        let both = SyncFlags::ASYNC | SyncFlags::SYNC;
        let unknown = !(flags - SyncFlags::all()).is_empty();
        if unknown || !addr.is_page_aligned() || flags.contains(both) {
            return Err(Errno::EINVAL);
        }
        // In the kernel's wrapping arithmetic.
        let bytes = len.wrapping_add(PAGE_SIZE - 1) & !(PAGE_SIZE - 1);
        let end = addr.checked_add(bytes).ok_or(Errno::ENOMEM)?;
        match VirtRange::new(addr, end) {
            Some(range) => self.sync_range(range, flags),
            None => Ok(()),
        }
    }

    fn sync_range(&self, range: VirtRange, flags: SyncFlags) -> Result<(), Errno> {
        let mut answer = Ok(());
        let mut next = range.start();
        while let Some(left) = VirtRange::new(next, range.end()) {
            let held = self.read();
            let Some(vma) = held.tree().find_next(next).cloned() else {
                return Err(Errno::ENOMEM);
            };
            if vma.range.start() > next {
                answer = Err(Errno::ENOMEM);
                if flags == SyncFlags::ASYNC || vma.range.start() >= range.end() {
                    return answer;
                }
            }
            if flags.contains(SyncFlags::INVALIDATE) && vma.flags().contains(VmFlags::LOCKED) {
                return Err(Errno::EBUSY);
            }
            next = vma.range.end();
            let dirty = if flags.contains(SyncFlags::SYNC) {
                dirty_part(&vma, left)
            } else {
                None
            };
            drop((held, vma));
            if let Some(dirty) = dirty {
                dirty.sync()?;
            }
        }
        answer
    }
}

/// What of the range is to be made durable through this area.
fn dirty_part(vma: &Vma, range: VirtRange) -> Option<Dirty> {
    if !vma.flags().contains(VmFlags::SHARED) {
        return None;
    }
    let file = vma.file.clone()?;
    let part = vma.range.intersect(&range)?;
    let first = vma.pgoff_of(part.start())?;
    let last = first.checked_add((part.bytes() >> PAGE_SHIFT) - 1)?;
    Some(Dirty { file, first, last })
}

impl Dirty {
    fn sync(self) -> Result<(), Errno> {
        match Arc::clone(self.file.object()).sync(self.first, self.last)? {
            FileStep::Done => Ok(()),
            FileStep::Work(work) => work.perform(),
        }
    }
}
