//! x86-64 page tables in arena frames: walk, install, replace, zap, free.
//!
//! Our tables are the truth; machines cache them. A [`PageTable`] is one space's tree of four or
//! five levels. What may be done to it needs a proof, passed by reference:
//!
//! | verb | here | proof |
//! |---|---|---|
//! | walk | [`PageTable::slot`] | an epoch pin: the result is a snapshot only |
//! | install | [`PageTable::slot_or_alloc`], [`EntryLock::install`] | [`MayInstall`](sync::MayInstall): an mmap or area guard |
//! | replace | [`EntryLock::replace`] | [`Stable`](sync::Stable) and the folio's lock |
//! | zap | [`EntryLock::clear`] | [`Stable`](sync::Stable) and a [`Gather`] that owns what is freed |
//! | free tables | [`PageTable::free_tables`] | [`Detached`](sync::Detached), by value |
//! |  | [`PageTable::free_if_empty`] | parent's lock and its own, taken inside |
//!
//! # Locks
//! The entries of a lowest table and of a PMD table are written under the lock byte in the record
//! of that table's frame (Linux: split ptlocks). The levels above share one `page_table_lock`.
//! Order: `page_table_lock`, PMD table, lowest table. With two spaces: the child's, then the
//! parent's (fork); within one: the old place, then the new (mremap, under the mmap lock held for
//! write, so that no two moves cross).
//!
//! # A table that goes away
//! A table is unlinked under its parent's lock and its own, and its frame is freed through the
//! epoch. So whoever walked to it under a pin reads frozen, empty words at worst, and whoever
//! locks it afterwards sees that its parent no longer points to it: [`Slot::lock`] is `None`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod entry;
mod table;
mod walk;
mod reserve;
mod lock;
mod stale;
mod gather;
mod cursor;
mod copy;
mod shift;
mod free;
mod busy;

pub use copy::{CopyCursor, CopyPair};
pub use cursor::{Cursor, Visit};
pub use entry::{Entry, EntryFlags, Leaf, State};
pub use gather::{Gather, SuspendedGather};
pub use lock::{Changed, EntryLock, Grant, Occupied, OutsideTable};
pub use reserve::TableReserve;
pub use shift::{MoveCursor, MovePair};
pub use stale::{Flushed, Stale};
pub use table::PageTable;
pub use walk::Slot;

#[cfg(all(test, shuttle))]
mod shuttle_tests;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
