//! A detached range loses its tables once.

use addr::{VirtAddr, VirtRange};
use pgtable::{Gather, PageTable};

struct Unlinked(VirtRange);
impl sync::Detached for Unlinked {
    fn range(&self) -> VirtRange {
        self.0
    }
    fn floor(&self) -> VirtAddr {
        self.0.start()
    }
    fn ceiling(&self) -> Option<VirtAddr> {
        Some(self.0.end())
    }
}

fn twice(table: &PageTable, unlinked: Unlinked, gather: &mut Gather<'_>) {
    table.free_tables(unlinked, gather);
    table.free_tables(unlinked, gather);
}

fn main() {}
