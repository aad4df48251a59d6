//! A walk lends snapshots; writing is for whoever holds the lock.

use pgtable::{Entry, Slot};

struct MmapRead;
impl sync::Stable for MmapRead {}
impl sync::MayInstall for MmapRead {}

fn write(slot: Slot<'_, '_>, guard: &MmapRead) {
    let _ = slot.install(guard, Entry::NONE);
}

fn main() {}
