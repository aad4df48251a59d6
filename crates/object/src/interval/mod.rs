//! Which intervals meet this one? (Linux: `interval_tree`, `vma_interval_tree`,
//! `anon_vma_interval_tree`; before: the priority tree.)
//!
//! A treap ordered by the first point, then by age, where each node knows the greatest last point
//! below it. Insert, remove and the step to the next hit take `O(log n)`. Age matters: of two equal
//! intervals the older is visited first, so that a walk meets a fork's parent before the child it
//! is being copied to, and the source of a mremap before the target.

#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

/// Finds an interval again. Never used twice by one tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IntervalKey {
    first: u64,
    age: u64,
}

type Link<T> = Option<Box<Node<T>>>;

struct Node<T> {
    key: IntervalKey,
    last: u64,
    /// The greatest `last` of this node and all below it.
    greatest: u64,
    priority: u64,
    value: T,
    left: Link<T>,
    right: Link<T>,
}

/// A set of closed intervals `[first, last]`, each with a value.
pub struct IntervalTree<T> {
    root: Link<T>,
    len: usize,
    next_age: u64,
}

impl<T> IntervalTree<T> {
    /// An empty set.
    pub const fn new() -> Self {
        IntervalTree {
            root: None,
            len: 0,
            next_age: 0,
        }
    }

    /// How many intervals it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// Adds `[first, last]`. An interval whose ends are reversed meets nothing.
    pub fn insert(&mut self, first: u64, last: u64, value: T) -> IntervalKey {
        let key = IntervalKey {
            first,
            age: self.next_age,
        };
        self.next_age += 1;
        self.len += 1;
        let priority = scatter(key.age);
        let (left, right) = (None, None);
        let node = Box::new(Node {
            key,
            last,
            greatest: last,
            priority,
            value,
            left,
            right,
        });
        insert(&mut self.root, node);
        key
    }

    /// Takes an interval out. `None` if it is out already.
    pub fn remove(&mut self, key: IntervalKey) -> Option<T> {
        let node = remove(&mut self.root, key)?;
        self.len -= 1;
        Some(node.value)
    }

    /// The value of an interval that is still in.
    pub fn get(&self, key: IntervalKey) -> Option<&T> {
        let mut link = self.root.as_deref();
        while let Some(node) = link {
            link = match key.cmp(&node.key) {
                core::cmp::Ordering::Less => node.left.as_deref(),
                core::cmp::Ordering::Greater => node.right.as_deref(),
                core::cmp::Ordering::Equal => return Some(&node.value),
            };
        }
        None
    }

    /// All values whose interval meets `[first, last]`, by first point, then by age.
    pub fn overlapping(&self, first: u64, last: u64) -> Overlapping<'_, T> {
        let mut hits = Overlapping {
            path: Vec::new(),
            first,
            last,
        };
        hits.descend(self.root.as_deref());
        hits
    }
}

impl<T> Default for IntervalTree<T> {
    fn default() -> Self {
        IntervalTree::new()
    }
}

impl<T> fmt::Debug for IntervalTree<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntervalTree")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// The hits of [`IntervalTree::overlapping`].
pub struct Overlapping<'a, T> {
    /// Nodes whose left side is done and which are not yet looked at themselves.
    path: Vec<&'a Node<T>>,
    first: u64,
    last: u64,
}

impl<'a, T> Overlapping<'a, T> {
    fn descend(&mut self, mut link: Option<&'a Node<T>>) {
        while let Some(node) = link {
            if node.greatest < self.first {
                return;
            }
            self.path.push(node);
            link = node.left.as_deref();
        }
    }
}

impl<'a, T> Iterator for Overlapping<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        while let Some(node) = self.path.pop() {
            if node.key.first > self.last {
                self.path.clear();
                return None;
            }
            self.descend(node.right.as_deref());
            if node.last >= self.first && node.last >= node.key.first {
                return Some(&node.value);
            }
        }
        None
    }
}

impl<T> fmt::Debug for Overlapping<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overlapping").finish_non_exhaustive()
    }
}

impl<T> Node<T> {
    fn measure(&mut self) {
        let below = |link: &Link<T>| link.as_ref().map_or(0, |node| node.greatest);
        self.greatest = self.last.max(below(&self.left)).max(below(&self.right));
    }
}

fn insert<T>(link: &mut Link<T>, mut node: Box<Node<T>>) {
    match link {
        Some(here) if here.priority >= node.priority => {
            let side = if node.key < here.key {
                &mut here.left
            } else {
                &mut here.right
            };
            insert(side, node);
            here.measure();
        }
        _ => {
            let (left, right) = split(link.take(), node.key);
            node.left = left;
            node.right = right;
            node.measure();
            *link = Some(node);
        }
    }
}

/// Everything below `key`, and the rest.
fn split<T>(link: Link<T>, key: IntervalKey) -> (Link<T>, Link<T>) {
    let Some(mut node) = link else {
        return (None, None);
    };
    if node.key < key {
        let (below, rest) = split(node.right.take(), key);
        node.right = below;
        node.measure();
        (Some(node), rest)
    } else {
        let (below, rest) = split(node.left.take(), key);
        node.left = rest;
        node.measure();
        (below, Some(node))
    }
}

fn remove<T>(link: &mut Link<T>, key: IntervalKey) -> Option<Box<Node<T>>> {
    let here = link.as_mut()?;
    let removed = match key.cmp(&here.key) {
        core::cmp::Ordering::Less => remove(&mut here.left, key),
        core::cmp::Ordering::Greater => remove(&mut here.right, key),
        core::cmp::Ordering::Equal => {
            let mut node = link.take()?;
            *link = join(node.left.take(), node.right.take());
            return Some(node);
        }
    };
    here.measure();
    removed
}

/// One tree of two, all of `left` being below all of `right`.
fn join<T>(left: Link<T>, right: Link<T>) -> Link<T> {
    match (left, right) {
        (None, other) | (other, None) => other,
        (Some(mut left), Some(mut right)) => {
            if left.priority >= right.priority {
                left.right = join(left.right.take(), Some(right));
                left.measure();
                Some(left)
            } else {
                right.left = join(Some(left), right.left.take());
                right.measure();
                Some(right)
            }
        }
    }
}

/// A well spread number for each age (the finaliser of SplitMix64).
fn scatter(age: u64) -> u64 {
    let mut z = age.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
