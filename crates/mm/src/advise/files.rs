//! Advice about what is behind an area: what waits is done with no lock held, and only an address is
//! kept over it.

use alloc::sync::Arc;

use addr::{Access, Errno, PAGE_SHIFT, PgOff, VirtRange, VmFlags};
use object::MappedFile;
use object::file::FileStep;
use vma::{MmapHeld, Vma};

use super::{Walk, may_discard};
use crate::map::Advice;
use crate::mm::Mm;

/// The pages of its object that a part of an area shows: first and last.
fn pages_of(vma: &Vma, part: VirtRange) -> (PgOff, PgOff) {
    let first = vma.pgoff_of(part.start()).unwrap_or(vma.pgoff);
    let last = first
        .checked_add((part.bytes() >> PAGE_SHIFT) - 1)
        .unwrap_or(first);
    (first, last)
}

impl Mm {
    /// REMOVE: punches the pages out of the object.
    pub(super) fn advise_remove(&self, range: VirtRange) -> Result<(), Errno> {
        let mut walk = Walk::over(range);
        loop {
            let next = walk.next(self.read().tree());
            let Some((vma, part)) = next else {
                return walk.end();
            };
            let file = removable(&vma)?;
            let (first, last) = pages_of(&vma, part);
            drop(vma);
            if let FileStep::Work(work) = Arc::clone(file.object()).punch_hole(first, last)? {
                work.perform()?;
            }
        }
    }

    /// WILLNEED: what can be fetched is fetched. Memory without a file has nothing to fetch.
    pub(super) fn advise_will_need(&self, range: VirtRange) -> Result<(), Errno> {
        let mut walk = Walk::over(range);
        loop {
            let next = walk.next(self.read().tree());
            let Some((vma, part)) = next else {
                return walk.end();
            };
            let (first, last) = pages_of(&vma, part);
            let object = vma.file.as_ref().map(|file| Arc::clone(file.object()));
            let fetch = object.and_then(|object| object.will_need(first, last));
            drop(vma);
            if let Some(fetch) = fetch {
                drop(fetch.perform());
            }
        }
    }

    /// POPULATE_READ and POPULATE_WRITE.
    pub(super) fn advise_populate(&self, range: VirtRange, access: Access) -> Result<(), Errno> {
        self.populate_for_advice(range, access)
    }
}

/// The file whose pages may be punched out through this area.
fn removable(vma: &Vma) -> Result<Arc<MappedFile>, Errno> {
    may_discard(vma, Advice::Remove)?;
    if vma.flags().contains(VmFlags::LOCKED) {
        return Err(Errno::EINVAL);
    }
    let file = vma.file.clone().ok_or(Errno::EINVAL)?;
    match vma.flags().contains(VmFlags::SHARED | VmFlags::MAYWRITE) {
        true => Ok(file),
        false => Err(Errno::EACCES),
    }
}
