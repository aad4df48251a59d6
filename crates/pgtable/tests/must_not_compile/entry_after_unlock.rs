//! Nothing of an entry is reachable once its lock is released.

use pgtable::{Entry, EntryLock};

fn late(lock: EntryLock<'_>) -> Entry {
    drop(lock);
    lock.read()
}

fn main() {}
