//! Adding tables is part of installing.

use addr::VirtAddr;
use pgtable::{PageTable, TableReserve};

struct RmapRead;
impl sync::Stable for RmapRead {}

fn fill(table: &PageTable, guard: &RmapRead) {
    let pin = sync::pin();
    let _ = table.slot_or_alloc(VirtAddr::new(0), &pin, guard, &mut TableReserve::new());
}

fn main() {}
