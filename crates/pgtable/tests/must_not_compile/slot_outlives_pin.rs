//! A walk's result is worth something only while the pin is held.

use addr::VirtAddr;
use pgtable::{Entry, PageTable};

fn late(table: &PageTable) -> Option<Entry> {
    let pin = sync::pin();
    let slot = table.slot(VirtAddr::new(0), &pin)?;
    drop(pin);
    Some(slot.snapshot())
}

fn main() {}
