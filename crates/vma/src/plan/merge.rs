//! May two ranges be one area? (Linux: `is_mergeable_vma`, `is_mergeable_anon_vma`,
//! `can_vma_merge_before`, `can_vma_merge_after`.)
//!
//! ```text
//! a new range:          an existing area, changed from s to e:
//!
//!  prev |new| next       prev |  middle  | next
//!  ----- ***  ----       -----****------- ----    left side  (s == middle.start)
//!                        ---------------**----    right side (e == middle.end)
//! ```

use super::pieces::pgoff_at;
use crate::area::Vma;
use addr::{VirtRange, VmFlags};
use alloc::sync::Arc;
use object::file::same_open_file;
use object::{AnonChain, Area, VmOps};

/// A range that looks for neighbours to merge with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    /// As it will be, flags and offset included.
    pub(super) area: &'a Area,
    /// Its operations.
    pub(super) ops: Option<&'a Arc<dyn VmOps>>,
    /// Where its private pages belong, if it has any: those of the area it is, or is copied from.
    pub(super) anon: Option<&'a AnonChain>,
}

/// Which neighbours a range merges with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sides {
    Neither,
    Prev,
    Next,
    Both,
}

impl Candidate<'_> {
    /// Which of its neighbours the range can be one area with, before close hooks are looked at.
    /// A neighbour that is not adjacent, or must not be considered, is `None`.
    pub(super) fn sides(&self, prev: Option<&Vma>, next: Option<&Vma>) -> Sides {
        if self.area.flags.intersects(VmFlags::SPECIAL) {
            return Sides::Neither;
        }
        let prev = prev.filter(|prev| self.continues(prev));
        let next = next.filter(|next| self.leads_to(next));
        match (prev, next) {
            (None, None) => Sides::Neither,
            (Some(_), None) => Sides::Prev,
            (None, Some(_)) => Sides::Next,
            // Each agrees with the range; they must agree with each other too.
            (Some(prev), Some(next)) => match (prev.anon_chain(), next.anon_chain()) {
                (Some(a), Some(b)) if !a.same_anon_vma(b) => Sides::Prev,
                _ => Sides::Both,
            },
        }
    }

    /// Linux: `can_vma_merge_after`.
    fn continues(&self, prev: &Vma) -> bool {
        prev.range.end() == self.area.range.start()
            && pgoff_at(prev, prev.range.end()) == self.area.pgoff
            && self.is_like(prev)
    }

    /// Linux: `can_vma_merge_before`.
    fn leads_to(&self, next: &Vma) -> bool {
        next.range.start() == self.area.range.end()
            && pgoff_at(next, self.area.range.start()) == self.area.pgoff
            && self.is_like(next)
    }

    fn is_like(&self, neighbour: &Vma) -> bool {
        let flags_differ = (neighbour.flags() ^ self.area.flags) - VmFlags::STICKY;
        flags_differ.is_empty()
            && same_object(self, neighbour)
            && neighbour.policy.as_deref() == self.area.policy.as_deref()
            && neighbour.userfault == self.area.userfault
            && neighbour.name == self.area.name
            && anon_allows(neighbour.anon_chain().map(|chain| &**chain), self.anon)
    }
}

/// The same open file; without a file, the same operations. Linux has no operations without a file
/// that could merge.
fn same_object(candidate: &Candidate<'_>, neighbour: &Vma) -> bool {
    if !same_open_file(candidate.area.file.as_ref(), neighbour.file.as_ref()) {
        return false;
    }
    if candidate.area.file.is_some() {
        return true;
    }
    match (candidate.ops, neighbour.ops()) {
        (None, None) => true,
        (Some(a), Some(b)) => core::ptr::addr_eq(Arc::as_ptr(a), Arc::as_ptr(b)),
        _ => false,
    }
}

/// Whether the neighbour that absorbs (`target`) and the range absorbed (`source`) may have one
/// anon_vma. A chain is given to an area without one only if it is no fork child's: merging must not
/// spread long chains (Linux: `is_mergeable_anon_vma`).
fn anon_allows(target: Option<&AnonChain>, source: Option<&AnonChain>) -> bool {
    match (target, source) {
        (None, None) => true,
        (Some(only), None) | (None, Some(only)) => only.is_singular(),
        (Some(target), Some(source)) => target.same_anon_vma(source),
    }
}

/// Whether a merge may delete the area: one whose object hears of its end may not vanish without a
/// word (Linux: `can_merge_remove_vma`).
pub(super) fn may_vanish(vma: &Vma) -> bool {
    !vma.callbacks().contains(object::Callbacks::CLOSE)
}

/// The sticky flags of all that becomes one area.
pub(super) fn sticky<'a>(parts: impl IntoIterator<Item = &'a Vma>) -> VmFlags {
    parts.into_iter().fold(VmFlags::empty(), |all, vma| {
        all | (vma.flags() & VmFlags::STICKY)
    })
}

/// Whether the areas on both sides of a boundary could be one (invariant 15), as a check for tests.
#[doc(hidden)]
pub fn could_merge(prev: &Vma, next: &Vma) -> bool {
    let candidate = Candidate {
        area: &Area {
            flags: next.flags(),
            ..Area::clone(next)
        },
        ops: next.ops(),
        anon: next.anon_chain().map(|chain| &**chain),
    };
    candidate.sides(Some(prev), None) == Sides::Prev && may_vanish(next)
}

/// From the start of one range to the end of another.
pub(super) fn spanning(first: VirtRange, last: VirtRange) -> VirtRange {
    VirtRange::new(first.start(), last.end()).unwrap_or(first)
}
