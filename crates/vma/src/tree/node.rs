//! A node of the range tree, and the edits of one path.
//!
//! An edit goes down through `Arc::make_mut`: a node that a published tree or a snapshot still
//! holds is copied, a node that this new arrangement has already copied is changed in place. So a
//! plan of many edits copies each node once, and whoever reads the old root never sees a change.

use super::Spanned;
use super::row::{FANOUT, Row};
use alloc::sync::Arc;

/// Neighbours that together hold no more than this are joined when one of them loses an entry, so that
/// the tree stays shallow whatever is removed.
const JOIN_AT_MOST: usize = FANOUT / 2;

/// A subtree and the widest hole between two areas inside it.
#[derive(Clone, Debug)]
pub(crate) struct Child<V> {
    pub(crate) node: Node<V>,
    pub(crate) widest_hole: u64,
}

/// A node: areas, or subtrees. Cloning it shares the row.
#[derive(Debug)]
pub(crate) enum Node<V> {
    Leaf(Arc<Row<V>>),
    Branch(Arc<Row<Child<V>>>),
}

impl<V> Clone for Node<V> {
    fn clone(&self) -> Self {
        match self {
            Self::Leaf(row) => Self::Leaf(Arc::clone(row)),
            Self::Branch(row) => Self::Branch(Arc::clone(row)),
        }
    }
}

impl<V: Spanned> Node<V> {
    pub(crate) fn leaf(row: Row<V>) -> Self {
        Self::Leaf(Arc::new(row))
    }

    pub(crate) fn branch(row: Row<Child<V>>) -> Self {
        Self::Branch(Arc::new(row))
    }

    fn len(&self) -> usize {
        match self {
            Self::Leaf(row) => row.len(),
            Self::Branch(row) => row.len(),
        }
    }

    pub(crate) fn span(&self) -> Option<(u64, u64)> {
        match self {
            Self::Leaf(row) => row.span(),
            Self::Branch(row) => row.span(),
        }
    }

    /// The widest hole between two areas of this subtree. What lies before its first area and
    /// after its last one is known to the parent.
    pub(crate) fn widest_hole(&self) -> u64 {
        match self {
            Self::Leaf(row) => row.widest_hole(),
            Self::Branch(row) => {
                let below = row
                    .items()
                    .map(|child| child.widest_hole)
                    .max()
                    .unwrap_or(0);
                below.max(row.widest_hole())
            }
        }
    }

    /// The leaf row and the place in it of the first area that ends above `addr`.
    pub(crate) fn descend(&self, addr: u64) -> Option<(&Row<V>, usize)> {
        let mut node = self;
        loop {
            match node {
                Self::Leaf(row) => {
                    let at = row.first_ending_above(addr);
                    return (at < row.len()).then_some((row, at));
                }
                Self::Branch(row) => node = &row.get(row.first_ending_above(addr))?.node,
            }
        }
    }
}

/// Puts `value` into the subtree; gives back the right half if the node had to split.
pub(crate) fn insert<V: Spanned + Clone>(node: &mut Node<V>, value: V) -> Option<Node<V>> {
    let span = value.bounds();
    match node {
        Node::Leaf(row) => {
            let row = Arc::make_mut(row);
            let at = row.first_ending_above(span.0);
            put_or_split(row, at, span, value).map(Node::leaf)
        }
        Node::Branch(row) => {
            let row = Arc::make_mut(row);
            let at = row.first_ending_above(span.0).min(row.len() - 1);
            let sprout = insert(&mut row.get_mut(at)?.node, value);
            refresh(row, at);
            let right = sprout?;
            let (span, child) = (right.span()?, hang(right));
            put_or_split(row, at + 1, span, child).map(Node::branch)
        }
    }
}

/// Takes the area that starts at `start` out of the subtree. It must be there.
pub(crate) fn remove<V: Spanned + Clone>(node: &mut Node<V>, start: u64) -> Option<V> {
    match node {
        Node::Leaf(row) => {
            let row = Arc::make_mut(row);
            row.take(row.first_ending_above(start))
        }
        Node::Branch(row) => {
            let row = Arc::make_mut(row);
            let at = row.first_ending_above(start);
            let child = &mut row.get_mut(at)?.node;
            let value = remove(child, start);
            if child.len() == 0 {
                row.take(at);
            } else {
                refresh(row, at);
                join(row, at);
                join(row, at.saturating_sub(1));
            }
            value
        }
    }
}

/// Puts `value` in place of the area that starts at `start`. Its bounds may differ as long as it
/// does not reach a neighbour.
pub(crate) fn replace<V: Spanned + Clone>(node: &mut Node<V>, start: u64, value: V) -> Option<V> {
    match node {
        Node::Leaf(row) => {
            let row = Arc::make_mut(row);
            let at = row.first_ending_above(start);
            row.set_span(at, value.bounds());
            row.get_mut(at).map(|slot| core::mem::replace(slot, value))
        }
        Node::Branch(row) => {
            let row = Arc::make_mut(row);
            let at = row.first_ending_above(start);
            let old = replace(&mut row.get_mut(at)?.node, start, value);
            refresh(row, at);
            old
        }
    }
}

/// A subtree as an entry of its parent.
pub(crate) fn hang<V: Spanned>(node: Node<V>) -> Child<V> {
    Child {
        widest_hole: node.widest_hole(),
        node,
    }
}

/// Puts an entry into a row; a full row keeps the lower part and gives back the upper one.
fn put_or_split<T>(row: &mut Row<T>, at: usize, span: (u64, u64), item: T) -> Option<Row<T>> {
    if !row.is_full() {
        row.put(at, span, item);
        return None;
    }
    let middle = split_point(at);
    let mut right = row.split_off(middle);
    if at > middle {
        right.put(at - middle, span, item);
    } else {
        row.put(at, span, item);
    }
    Some(right)
}

/// Where to split a full row that an entry at `at` does not fit into. Programs map from above down or
/// from below up, so what lies behind the newest entry gets no more: it is left nearly full.
fn split_point(at: usize) -> usize {
    match at {
        FANOUT => FANOUT - 1,
        at if at <= FANOUT / 4 => FANOUT / 4,
        at if at >= FANOUT * 3 / 4 => FANOUT * 3 / 4,
        _ => FANOUT / 2,
    }
}

/// Brings the parent's copy of a child's span and widest hole up to date.
fn refresh<V: Spanned>(row: &mut Row<Child<V>>, at: usize) {
    let Some(child) = row.get_mut(at) else { return };
    child.widest_hole = child.node.widest_hole();
    if let Some(span) = child.node.span() {
        row.set_span(at, span);
    }
}

/// Joins the children at `at` and `at + 1` if they fit well into one.
fn join<V: Spanned + Clone>(row: &mut Row<Child<V>>, at: usize) {
    let (Some(left), Some(right)) = (row.get(at), row.get(at + 1)) else {
        return;
    };
    if left.node.len() + right.node.len() > JOIN_AT_MOST {
        return;
    }
    let Some(right) = row.take(at + 1) else {
        return;
    };
    let Some(left) = row.get_mut(at) else { return };
    match (&mut left.node, right.node) {
        (Node::Leaf(left), Node::Leaf(right)) => {
            Arc::make_mut(left).append(Arc::unwrap_or_clone(right));
        }
        (Node::Branch(left), Node::Branch(right)) => {
            Arc::make_mut(left).append(Arc::unwrap_or_clone(right));
        }
        _ => unreachable!("children of one branch are of one height"),
    }
    refresh(row, at);
}
