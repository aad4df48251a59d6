//! The size of the pages of an area, for reports (Linux: `vma_kernel_pagesize`).

use addr::{PAGE_SIZE, VirtAddr};
use object::{AreaPeek, Callbacks};
use vma::MmapHeld;

use crate::mm::Mm;

impl Mm {
    /// The size in bytes of the pages that the area at `addr` is made of, as its object says; `None`
    /// where there is no area. What is no size of a page is taken for the smallest.
    pub fn kernel_page_size(&self, addr: VirtAddr) -> Option<u64> {
        let held = self.read();
        let vma = held.tree().find(addr)?;
        let asked = vma
            .ops()
            .filter(|ops| ops.callbacks().contains(Callbacks::PAGESIZE))
            .map(|ops| ops.pagesize(&AreaPeek::new(vma)));
        let is_size = |size: &u64| size.is_power_of_two() && *size >= PAGE_SIZE;
        Some(asked.filter(is_size).unwrap_or(PAGE_SIZE))
    }
}
