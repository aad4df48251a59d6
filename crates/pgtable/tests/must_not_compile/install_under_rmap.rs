//! An rmap guard proves that the range is stable, not that entries may be installed in it.

use pgtable::{Entry, EntryLock};

struct RmapRead;
impl sync::Stable for RmapRead {}

fn fill(mut lock: EntryLock<'_>, guard: &RmapRead) {
    let _ = lock.install(guard, Entry::NONE);
}

fn main() {}
