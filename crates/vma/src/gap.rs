//! Finding room: the lowest and the highest free range of a length (Linux: `vm_unmapped_area`,
//! `unmapped_area`, `unmapped_area_topdown`).
//!
//! The tree knows plain holes. What an area wants kept free below it (the guard gap of a stack, the
//! page below a shadow stack) is checked when a hole was found, and the search goes on behind that
//! area if the room left is too small; this is what Linux does, including what it gives away when
//! an alignment is asked for.

use crate::tree::{Child, Node, RangeTree, Row, Spanned};
use addr::{VirtAddr, VirtRange};

/// What an area wants kept free below its start.
pub trait StartGap: Spanned {
    /// The start, less what is to be kept free below it; clamped at 0 (Linux: `vm_start_gap`).
    fn start_with_gap(&self, stack_guard_bytes: u64) -> VirtAddr;

    /// Whether the area keeps anything free below it (Linux: `VM_STARTGAP_FLAGS`).
    fn keeps_start_gap(&self) -> bool;
}

/// What room is wanted (Linux: `vm_unmapped_area_info`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GapRequest {
    /// Length in bytes, a multiple of the page size, not 0.
    pub bytes: u64,
    /// No address below this one.
    pub low: VirtAddr,
    /// No byte at or above this address.
    pub high: VirtAddr,
    /// Address bits that must equal those of `align_offset`: an alignment less one, or 0.
    pub align_mask: u64,
    /// See `align_mask`.
    pub align_offset: u64,
    /// Bytes to keep free below the new range itself (a new shadow stack: one page).
    pub start_gap: u64,
    /// Bytes kept free below a GROWSDOWN area (Linux: `stack_guard_gap`, 256 pages).
    pub stack_guard_bytes: u64,
}

impl GapRequest {
    /// Room for `bytes` within `[low, high)`, of any alignment, with the usual guard gap.
    pub fn new(bytes: u64, low: VirtAddr, high: VirtAddr) -> Self {
        Self {
            bytes,
            low,
            high,
            align_mask: 0,
            align_offset: 0,
            start_gap: 0,
            stack_guard_bytes: crate::STACK_GUARD_BYTES,
        }
    }

    /// The length that satisfies the worst alignment; `None` when it overflows.
    fn padded(&self) -> Option<u64> {
        self.bytes
            .checked_add(self.align_mask)?
            .checked_add(self.start_gap)
    }
}

impl<V: StartGap> RangeTree<V> {
    /// The lowest address with the room asked for (Linux: `unmapped_area`).
    pub fn lowest_gap(&self, wanted: &GapRequest) -> Option<VirtAddr> {
        let length = wanted.padded()?;
        let high = wanted.high.as_u64();
        let mut low = wanted.low.as_u64();
        loop {
            let hole = self.lowest_hole(&Window {
                low,
                high,
                bytes: length,
            })?;
            let above_gap = hole.start.checked_add(wanted.start_gap)?;
            let shift = wanted.align_offset.wrapping_sub(above_gap) & wanted.align_mask;
            let place = above_gap.checked_add(shift)?;
            let guarded = self
                .find_next(VirtAddr::new(hole.start))
                .filter(|next| next.keeps_start_gap());
            match guarded {
                // The last byte of the padded length must stay below the guard gap.
                Some(next)
                    if next.start_with_gap(wanted.stack_guard_bytes).as_u64()
                        < place.saturating_add(length - 1) =>
                {
                    low = next.bounds().1;
                }
                _ => return Some(VirtAddr::new(place)),
            }
        }
    }

    /// The highest address with the room asked for (Linux: `unmapped_area_topdown`).
    pub fn highest_gap(&self, wanted: &GapRequest) -> Option<VirtAddr> {
        let length = wanted.padded()?;
        let low = wanted.low.as_u64();
        let mut high = wanted.high.as_u64();
        loop {
            let hole = self.highest_hole(&Window {
                low,
                high,
                bytes: length,
            })?;
            let top = hole.end - wanted.bytes;
            let place = top - (top.wrapping_sub(wanted.align_offset) & wanted.align_mask);
            let guarded = self
                .find_next(VirtAddr::new(hole.start))
                .filter(|next| next.keeps_start_gap());
            let bound = guarded.map(|next| next.start_with_gap(wanted.stack_guard_bytes).as_u64());
            match bound {
                Some(bound) if bound < hole.end => high = bound,
                _ => return Some(VirtAddr::new(place)),
            }
        }
    }

    /// Whether `range` is free and leaves the next area what it wants kept free below it: what makes
    /// an address hint acceptable.
    pub fn is_room(&self, range: VirtRange, stack_guard_bytes: u64) -> bool {
        self.find_next(range.start())
            .is_none_or(|next| range.end() <= next.start_with_gap(stack_guard_bytes))
    }
}

/// The part of the address space searched, and the least size of a hole.
struct Window {
    low: u64,
    high: u64,
    bytes: u64,
}

/// A free range, cut to the window.
#[derive(Clone, Copy)]
struct Hole {
    start: u64,
    end: u64,
}

impl Window {
    /// The hole `[start, end)` cut to the window, if it is still large enough.
    fn admit(&self, start: u64, end: u64) -> Option<Hole> {
        let hole = Hole {
            start: start.max(self.low),
            end: end.min(self.high),
        };
        (hole.end.checked_sub(hole.start)? >= self.bytes).then_some(hole)
    }
}

impl<V: Spanned> RangeTree<V> {
    fn lowest_hole(&self, window: &Window) -> Option<Hole> {
        let Some(root) = self.root() else {
            return window.admit(0, window.high);
        };
        let (start, end) = root.span()?;
        window
            .admit(0, start)
            .or_else(|| lowest_inside(root, window))
            .or_else(|| window.admit(end, window.high))
    }

    fn highest_hole(&self, window: &Window) -> Option<Hole> {
        let Some(root) = self.root() else {
            return window.admit(0, window.high);
        };
        let (start, end) = root.span()?;
        window
            .admit(end, window.high)
            .or_else(|| highest_inside(root, window))
            .or_else(|| window.admit(0, start))
    }
}

/// The lowest fitting hole between two areas of the subtree.
fn lowest_inside<V: Spanned>(node: &Node<V>, window: &Window) -> Option<Hole> {
    if node.widest_hole() < window.bytes {
        return None;
    }
    match node {
        Node::Leaf(row) => reach(row, window).find_map(|at| hole_before(row, at, window)),
        Node::Branch(row) => reach(row, window).find_map(|at| {
            hole_before(row, at, window).or_else(|| lowest_inside(wide(row, at, window)?, window))
        }),
    }
}

/// The highest fitting hole between two areas of the subtree.
fn highest_inside<V: Spanned>(node: &Node<V>, window: &Window) -> Option<Hole> {
    match node {
        Node::Leaf(row) => reach(row, window)
            .rev()
            .find_map(|at| hole_before(row, at, window)),
        Node::Branch(row) => reach(row, window).rev().find_map(|at| {
            wide(row, at, window)
                .and_then(|child| highest_inside(child, window))
                .or_else(|| hole_before(row, at, window))
        }),
    }
}

/// The places whose span, or the hole before it, can lie in the window.
fn reach<T>(row: &Row<T>, window: &Window) -> core::ops::Range<usize> {
    let first = row.first_ending_above(window.low);
    // One more than those that start inside: the hole before it may reach into the window.
    let last = row.starts().partition_point(|start| *start < window.high) + 1;
    first..last.min(row.len())
}

/// The hole between the spans at `at - 1` and `at`.
fn hole_before<T>(row: &Row<T>, at: usize, window: &Window) -> Option<Hole> {
    window.admit(row.ends()[at.checked_sub(1)?], row.starts()[at])
}

/// The subtree at `at`, if a hole of the size can be inside.
fn wide<'t, V>(row: &'t Row<Child<V>>, at: usize, window: &Window) -> Option<&'t Node<V>> {
    let child = row.get(at)?;
    (child.widest_hole >= window.bytes).then_some(&child.node)
}
