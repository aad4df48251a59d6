//! What an object may see of the area that maps it (Linux: the read-only half of
//! `struct vm_area_struct`).

use alloc::sync::Arc;
use core::any::Any;
use core::num::NonZeroU64;

use addr::{PAGE_SHIFT, PgOff, VirtAddr, VirtRange, VmFlags};

use crate::file::MappedFile;
use crate::policy::MemPolicy;

/// Which userfault context an area is registered with (Linux: `vm_userfaultfd_ctx`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UserfaultId(pub NonZeroU64);

/// An area as its object sees it. It never changes: an area that is split, merged or reprotected is
/// replaced by another, so a callback that holds an `&Area` holds a consistent one.
#[derive(Clone, Debug)]
pub struct Area {
    /// The addresses (`vm_start`, `vm_end`).
    pub range: VirtRange,
    /// Rights and kind (`vm_flags`).
    pub flags: VmFlags,
    /// The page of the object at the first address (`vm_pgoff`).
    pub pgoff: PgOff,
    /// What file is mapped, if one is (`vm_file`).
    pub file: Option<Arc<MappedFile>>,
    /// The name a program gave to anonymous memory (`anon_name`).
    pub name: Option<Arc<str>>,
    /// Where memory comes from; `None` means the task decides (`vm_policy`).
    pub policy: Option<Arc<MemPolicy>>,
    /// Who serves userfaults here (`vm_userfaultfd_ctx`).
    pub userfault: Option<UserfaultId>,
    /// Whatever the object keeps per area (`vm_private_data`).
    pub private_data: Option<Arc<dyn Any + Send + Sync>>,
}

impl Area {
    /// An area without file, name, policy or private data.
    pub fn new(range: VirtRange, flags: VmFlags, pgoff: PgOff) -> Self {
        Area {
            range,
            flags,
            pgoff,
            file: None,
            name: None,
            policy: None,
            userfault: None,
            private_data: None,
        }
    }

    /// How many pages it spans.
    pub fn nr_pages(&self) -> u64 {
        self.range.pages()
    }

    /// The last page of the object that it maps.
    pub fn last_pgoff(&self) -> PgOff {
        PgOff::new(self.pgoff.as_u64().saturating_add(self.nr_pages() - 1))
    }

    /// The page of the object at `address` (Linux: `linear_page_index`). `None` outside the area.
    pub fn pgoff_of(&self, address: VirtAddr) -> Option<PgOff> {
        if !self.range.contains(address) {
            return None;
        }
        let pages = address.offset_from(self.range.start()) >> PAGE_SHIFT;
        Some(PgOff::new(self.pgoff.as_u64().saturating_add(pages)))
    }

    /// Where page `pgoff` of the object lies in this area (Linux: `vma_address`).
    pub fn address_of(&self, pgoff: PgOff) -> Option<VirtAddr> {
        linear_address(self.range, self.pgoff, pgoff)
    }

    /// The part of an object's pages `[first, last]` that this area maps, as addresses.
    pub fn range_of(&self, first: PgOff, last: PgOff) -> Option<VirtRange> {
        linear_range(self.range, self.pgoff, first, last)
    }
}

/// Where page `pgoff` lies in a range whose first page is `base`, if it lies inside.
pub(crate) fn linear_address(range: VirtRange, base: PgOff, pgoff: PgOff) -> Option<VirtAddr> {
    let pages = pgoff.as_u64().checked_sub(base.as_u64())?;
    if pages >= range.pages() {
        return None;
    }
    range.start().checked_add(pages << PAGE_SHIFT)
}

/// The addresses in `range`, whose first page is `base`, of the pages `[first, last]`.
pub(crate) fn linear_range(
    range: VirtRange,
    base: PgOff,
    first: PgOff,
    last: PgOff,
) -> Option<VirtRange> {
    let from = first.as_u64().saturating_sub(base.as_u64());
    let to = last
        .as_u64()
        .checked_sub(base.as_u64())?
        .min(range.pages() - 1);
    if from > to {
        return None;
    }
    let start = range.start().checked_add(from << PAGE_SHIFT)?;
    VirtRange::from_len(start, (to - from + 1) << PAGE_SHIFT)
}
