//! The range tree (Linux: the maple tree `mm_mt`): a persistent B+-tree of areas with the widest
//! hole per node.
//!
//! A tree is a value. Cloning it copies one pointer; changing the clone copies the path to the
//! change and leaves every other holder's view as it was. The writer prepares a whole new
//! arrangement aside and publishes it by swapping one root, so a reader walks without a lock, and
//! storing cannot fail half way.

mod row;
mod node;
mod build;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

pub(crate) use node::{Child, Node};
pub(crate) use row::Row;

use addr::{VirtAddr, VirtRange};
use alloc::sync::Arc;

/// What a [`RangeTree`] holds knows its own range.
pub trait Spanned {
    /// The range it occupies.
    fn span(&self) -> VirtRange;

    /// First byte, and the byte after the last one.
    #[doc(hidden)]
    fn bounds(&self) -> (u64, u64) {
        let span = self.span();
        (span.start().as_u64(), span.end().as_u64())
    }
}

/// An ordered set of disjoint ranges.
#[derive(Clone, Debug)]
pub struct RangeTree<V> {
    root: Option<Node<V>>,
    len: usize,
}

impl<V> Default for RangeTree<V> {
    fn default() -> Self {
        Self { root: None, len: 0 }
    }
}

impl<V: Spanned> RangeTree<V> {
    /// A tree of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many areas there are (Linux: `map_count`).
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The area that contains `addr` (Linux: `vma_lookup`).
    pub fn find(&self, addr: VirtAddr) -> Option<&V> {
        let addr = addr.as_u64();
        let (row, at) = self.root.as_ref()?.descend(addr)?;
        if row.starts()[at] <= addr {
            row.get(at)
        } else {
            None
        }
    }

    /// The area that contains `addr`, or else the first one above it (Linux: `find_vma`).
    pub fn find_next(&self, addr: VirtAddr) -> Option<&V> {
        let (row, at) = self.root.as_ref()?.descend(addr.as_u64())?;
        row.get(at)
    }

    /// The last area that starts below `addr` (Linux: `find_vma_prev`, when `addr` is where an area
    /// starts or would start).
    pub fn find_prev(&self, addr: VirtAddr) -> Option<&V> {
        let mut node = self.root.as_ref()?;
        loop {
            match node {
                Node::Leaf(row) => return row.get(last_starting_below(row, addr.as_u64())?),
                Node::Branch(row) => {
                    node = &row.get(last_starting_below(row, addr.as_u64())?)?.node;
                }
            }
        }
    }

    /// The first area that overlaps `range` (Linux: `find_vma_intersection`).
    pub fn find_intersection(&self, range: VirtRange) -> Option<&V> {
        self.find_next(range.start())
            .filter(|found| found.span().overlaps(&range))
    }

    /// All areas, in order.
    pub fn iter(&self) -> Iter<'_, V> {
        self.iter_until(0, u64::MAX)
    }

    /// The areas that overlap `range`, in order.
    pub fn range(&self, range: VirtRange) -> Iter<'_, V> {
        self.iter_until(range.start().as_u64(), range.end().as_u64())
    }

    fn iter_until(&self, from: u64, until: u64) -> Iter<'_, V> {
        let place = self.root.as_ref().and_then(|root| root.descend(from));
        Iter {
            tree: self,
            place,
            until,
        }
    }

    pub(crate) fn root(&self) -> Option<&Node<V>> {
        self.root.as_ref()
    }

    /// Whether both are the same arrangement, and not just equal ones.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.root, &other.root) {
            (Some(Node::Leaf(a)), Some(Node::Leaf(b))) => Arc::ptr_eq(a, b),
            (Some(Node::Branch(a)), Some(Node::Branch(b))) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        }
    }
}

impl<V: Spanned + Clone> RangeTree<V> {
    /// Adds an area. Nothing may overlap it.
    pub fn insert(&mut self, value: V) {
        debug_assert!(self.find_intersection(value.span()).is_none());
        self.len += 1;
        let Some(root) = &mut self.root else {
            let mut row = Row::new();
            row.put(0, value.bounds(), value);
            self.root = Some(Node::leaf(row));
            return;
        };
        if let Some(right) = node::insert(root, value) {
            let left = root.clone();
            self.root = Some(build::branch_over([left, right]));
        }
    }

    /// Takes out the area that starts at `start`.
    pub fn remove(&mut self, start: VirtAddr) -> Option<V> {
        self.starting_at(start)?;
        let root = self.root.as_mut()?;
        let value = node::remove(root, start.as_u64());
        self.len -= 1;
        self.shorten();
        value
    }

    /// Puts `value` where an area starts at `start`, and gives back that area. The new bounds may
    /// differ from the old as long as they reach no neighbour.
    pub fn replace(&mut self, start: VirtAddr, value: V) -> Option<V> {
        self.starting_at(start)?;
        node::replace(self.root.as_mut()?, start.as_u64(), value)
    }

    fn starting_at(&self, start: VirtAddr) -> Option<&V> {
        self.find(start)
            .filter(|found| found.span().start() == start)
    }

    /// Drops levels that no longer choose between anything.
    fn shorten(&mut self) {
        while let Some(root) = &self.root {
            let only = match root {
                Node::Leaf(row) if row.len() == 0 => None,
                Node::Branch(row) if row.len() <= 1 => row.get(0).map(|child| child.node.clone()),
                _ => return,
            };
            self.root = only;
        }
    }
}

fn last_starting_below<T>(row: &Row<T>, addr: u64) -> Option<usize> {
    row.starts()
        .partition_point(|start| *start < addr)
        .checked_sub(1)
}

/// Areas of a tree in order; made by [`RangeTree::iter`] and [`RangeTree::range`].
#[derive(Debug)]
pub struct Iter<'t, V> {
    tree: &'t RangeTree<V>,
    place: Option<(&'t Row<V>, usize)>,
    until: u64,
}

impl<'t, V: Spanned> Iterator for Iter<'t, V> {
    type Item = &'t V;

    fn next(&mut self) -> Option<&'t V> {
        let (row, at) = self.place?;
        if row.starts()[at] >= self.until {
            self.place = None;
            return None;
        }
        self.place = if at + 1 < row.len() {
            Some((row, at + 1))
        } else {
            self.tree.root()?.descend(row.ends()[at])
        };
        row.get(at)
    }
}
