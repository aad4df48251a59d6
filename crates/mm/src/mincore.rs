//! mincore (Linux: `do_mincore`, `mincore_pte_range`).

use alloc::vec::Vec;

use addr::{Errno, NonPresent, PAGE_SHIFT, PAGE_SIZE, VirtAddr, VirtRange};
use object::file::Residency;
use pgtable::{Entry, Visit};
use vma::{MmapHeld, MmapRead, Vma};

use crate::mm::{Guarded, Mm};

/// So many pages are looked at under one hold of the lock.
const CHUNK_PAGES: u64 = 4096;

impl Mm {
    /// `mincore`: which pages of the range are in memory, a byte each, handed to `report` piece by
    /// piece with no lock held.
    ///
    /// # Errors
    /// EINVAL for an unaligned start; ENOMEM for a range that is no user range, and at the first page
    /// that nothing maps, after what lies before it was reported; what `report` says.
    pub fn mincore(
        &self,
        addr: VirtAddr,
        len: u64,
        mut report: impl FnMut(&[u8]) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        if !addr.is_page_aligned() {
            return Err(Errno::EINVAL);
        }
        let end = addr
            .checked_add(len)
            .filter(|end| *end <= self.layout().task_size());
        let end = end.and_then(VirtAddr::align_up).ok_or(Errno::ENOMEM)?;
        let mut next = addr;
        let mut bytes = Vec::new();
        while let Some(left) = VirtRange::new(next, end) {
            bytes.clear();
            next = self.look_at_area(left, &mut bytes)?;
            report(&bytes)?;
        }
        Ok(())
    }

    /// Looks at pages of the area at the start of `left`; the address after the last one.
    fn look_at_area(&self, left: VirtRange, bytes: &mut Vec<u8>) -> Result<VirtAddr, Errno> {
        let held = self.read();
        let vma = held
            .tree()
            .find(left.start())
            .cloned()
            .ok_or(Errno::ENOMEM)?;
        let pages = left.pages().min(CHUNK_PAGES);
        let chunk = VirtRange::from_len(left.start(), pages << PAGE_SHIFT).ok_or(Errno::ENOMEM)?;
        let part = vma.range.intersect(&chunk).ok_or(Errno::ENOMEM)?;
        self.look(&held, &vma, part, bytes);
        Ok(part.end())
    }

    fn look(&self, held: &MmapRead<'_, Guarded>, vma: &Vma, part: VirtRange, bytes: &mut Vec<u8>) {
        if vma
            .file
            .as_ref()
            .is_some_and(|file| file.object().residency() == Residency::Hidden)
        {
            bytes.resize(part.pages() as usize, 1);
            return;
        }
        // First by the entries, then, with no table locked, by the object where they say nothing.
        bytes.resize(part.pages() as usize, UNKNOWN);
        let mut cursor = self.table().cursor(part, held, Visit::Filled);
        while let Some(lock) = cursor.advance() {
            let page = (lock.addr().offset_from(part.start()) / PAGE_SIZE) as usize;
            bytes[page] = by_entry(lock.read());
        }
        drop(cursor);
        for (page, byte) in part.page_addrs().zip(bytes.iter_mut()) {
            if *byte == UNKNOWN {
                *byte = u8::from(is_in_object(vma, page));
            }
        }
    }
}

/// The entry says nothing: empty, or a marker.
const UNKNOWN: u8 = 2;

fn by_entry(entry: Entry) -> u8 {
    match entry.non_present_kind() {
        // Nothing is swapped out yet, so nothing can be in the swap cache.
        Some(NonPresent::Swap { .. }) => 0,
        Some(NonPresent::Marker(_)) => UNKNOWN,
        // Present, or on its way: migration, devices, poison, a replacement.
        _ => 1,
    }
}

/// Whether the object has the page in memory. Anonymous memory without an entry has not.
fn is_in_object(vma: &Vma, page: VirtAddr) -> bool {
    match (&vma.file, vma.pgoff_of(page)) {
        (Some(file), Some(pgoff)) if !vma.is_anonymous() => file.object().is_resident(pgoff),
        _ => false,
    }
}
