//! Zapping needs a guard.

use pgtable::{EntryLock, Gather};

fn zap(mut lock: EntryLock<'_>, gather: &mut Gather<'_>) {
    let _ = lock.clear(&(), gather);
}

fn main() {}
