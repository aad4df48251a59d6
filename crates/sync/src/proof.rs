//! What holding a lock proves, as traits of its guard.
//!
//! | verb of a page table | needs | who can show it |
//! |---|---|---|
//! | walk | [`Stable`], or a [`Pin`](crate::Pin) for snapshots only | mmap, VMA and rmap guards |
//! | install | [`MayInstall`] | mmap and VMA guards, not rmap |
//! | zap | [`Stable`] and a gather | as walk |
//! | free tables | [`Detached`], by value | what has unlinked the range, and nothing else |
//!
//! The traits are here so that neither the areas nor the reverse map need to know the page table.

use addr::{VirtAddr, VirtRange};

/// Its holder knows that no table of the range it stands for goes away.
///
/// Implemented by the guards of the mmap lock, of one area's lock, and of the reverse map.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not prove that the range keeps its page tables",
    label = "an mmap, VMA or rmap guard does"
)]
pub trait Stable {}

/// Its holder may fill empty entries: the area cannot be unmapped meanwhile.
///
/// A reverse-map guard is [`Stable`] but not this: the range it reached may already be on its way
/// out, and an entry installed there would be lost.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not allow to install entries",
    label = "an mmap or VMA guard does; an rmap guard is not enough"
)]
pub trait MayInstall: Stable {}

/// A range that nobody can reach any more: it is out of the tree and of every reverse map, and its
/// entries have been zapped. Its page tables may be freed, once: it is given by value.
///
/// Only the step that does the unlinking may make one, so its constructor is private to it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not prove that the range is unlinked",
    label = "only what has left the tree and every reverse map may lose its page tables"
)]
pub trait Detached {
    /// The range.
    fn range(&self) -> VirtRange;

    /// The end of the area before it; the start of the space if there is none.
    fn floor(&self) -> VirtAddr;

    /// The start of the area behind it; `None` if there is none.
    fn ceiling(&self) -> Option<VirtAddr>;
}
