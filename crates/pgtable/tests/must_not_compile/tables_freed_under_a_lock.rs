//! A lock, even the strongest, does not prove that a range is unlinked.

use pgtable::{Gather, PageTable};

struct MmapWrite;
impl sync::Stable for MmapWrite {}
impl sync::MayInstall for MmapWrite {}

fn free(table: &PageTable, guard: MmapWrite, gather: &mut Gather<'_>) {
    table.free_tables(guard, gather);
}

fn main() {}
