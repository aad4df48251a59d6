//! Building a tree from areas already in order, as fork does.

use super::node::{Node, hang};
use super::row::{FANOUT, Row};
use super::{RangeTree, Spanned};
use alloc::vec::Vec;

/// Nodes of a built tree are left with room for a few more.
const FILL: usize = FANOUT * 3 / 4;

/// A branch over subtrees that are in order. At most [`FANOUT`] of them.
pub(super) fn branch_over<V: Spanned>(nodes: impl IntoIterator<Item = Node<V>>) -> Node<V> {
    let mut row = Row::new();
    for node in nodes {
        if let Some(span) = node.span() {
            row.put(row.len(), span, hang(node));
        }
    }
    Node::branch(row)
}

impl<V: Spanned + Clone> RangeTree<V> {
    /// A tree of areas that come in order and do not overlap.
    pub fn from_sorted(values: impl IntoIterator<Item = V>) -> Self {
        let mut len = 0;
        let mut level = Vec::new();
        let mut row = Row::new();
        for value in values {
            if row.len() == FILL {
                level.push(Node::leaf(core::mem::replace(&mut row, Row::new())));
            }
            row.put(row.len(), value.bounds(), value);
            len += 1;
        }
        if row.len() > 0 {
            level.push(Node::leaf(row));
        }
        while level.len() > 1 {
            level = level
                .chunks(FILL)
                .map(|nodes| branch_over(nodes.iter().cloned()))
                .collect();
        }
        Self {
            root: level.pop(),
            len,
        }
    }
}
