//! The tree against a `BTreeMap`, and its own shape.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::vec::Vec;

const PAGE: u64 = addr::PAGE_SIZE;
/// Small enough for collisions and merges of nodes, large enough for three levels.
const PAGES: u64 = 6000;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    range: VirtRange,
    tag: u32,
}

impl Spanned for Piece {
    fn span(&self) -> VirtRange {
        self.range
    }
}

fn piece(first: u64, pages: u64, tag: u32) -> Piece {
    let range = VirtRange::from_len(VirtAddr::new(first * PAGE), pages * PAGE);
    Piece {
        range: range.expect("a range"),
        tag,
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert { first: u64, pages: u64 },
    Remove { first: u64 },
    Trim { first: u64 },
    Clear { first: u64, pages: u64 },
    Snapshot,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..PAGES, 1..4u64).prop_map(|(first, pages)| Step::Insert { first, pages }),
        3 => (0..PAGES).prop_map(|first| Step::Remove { first }),
        1 => (0..PAGES).prop_map(|first| Step::Trim { first }),
        1 => (0..PAGES, 1..600u64).prop_map(|(first, pages)| Step::Clear { first, pages }),
        1 => Just(Step::Snapshot),
    ]
}

/// The tree and the model it must agree with.
#[derive(Clone, Default)]
struct Pair {
    tree: RangeTree<Piece>,
    model: BTreeMap<u64, Piece>,
}

impl Pair {
    fn apply(&mut self, step: &Step, tag: u32) {
        match *step {
            Step::Insert { first, pages } => {
                let new = piece(first, pages, tag);
                if !self
                    .model
                    .values()
                    .any(|old| old.range.overlaps(&new.range))
                {
                    self.tree.insert(new.clone());
                    self.model.insert(first, new);
                }
            }
            Step::Remove { first } => {
                let taken = self.tree.remove(VirtAddr::new(first * PAGE));
                assert_eq!(taken, self.model.remove(&first));
            }
            Step::Trim { first } => self.trim(first, tag),
            Step::Clear { first, pages } => {
                let starts: Vec<_> = self
                    .model
                    .range(first..first + pages)
                    .map(|(at, _)| *at)
                    .collect();
                for at in starts {
                    self.apply(&Step::Remove { first: at }, tag);
                }
            }
            Step::Snapshot => {}
        }
    }

    /// Replaces an area by one a page shorter, or a page higher.
    fn trim(&mut self, first: u64, tag: u32) {
        let Some((at, old)) = self
            .model
            .range(first..)
            .next()
            .map(|(at, old)| (*at, old.clone()))
        else {
            return;
        };
        if old.range.pages() < 2 {
            return;
        }
        let new_first = if tag.is_multiple_of(2) { at } else { at + 1 };
        let new = piece(new_first, old.range.pages() - 1, tag);
        self.model.remove(&at);
        self.model.insert(new_first, new.clone());
        assert_eq!(self.tree.replace(VirtAddr::new(at * PAGE), new), Some(old));
    }

    fn compare(&self) {
        check(&self.tree);
        assert_eq!(self.tree.len(), self.model.len());
        assert!(self.tree.iter().eq(self.model.values()));
    }

    fn compare_lookups(&self, first: u64, pages: u64) {
        let addr = VirtAddr::new(first * PAGE + 7);
        let containing = self.model.values().find(|piece| piece.range.contains(addr));
        assert_eq!(self.tree.find(addr), containing);
        let next = self.model.values().find(|piece| piece.range.end() > addr);
        assert_eq!(self.tree.find_next(addr), next);
        let prev = self
            .model
            .values()
            .rfind(|piece| piece.range.start() < addr);
        assert_eq!(self.tree.find_prev(addr), prev);
        let window = piece(first, pages, 0).range;
        let inside = self
            .model
            .values()
            .filter(|piece| piece.range.overlaps(&window));
        assert!(self.tree.range(window).eq(inside.clone()));
        assert_eq!(self.tree.find_intersection(window), inside.clone().next());
    }
}

/// Order, disjointness, spans, holes, heights and fill of every node (invariant 14).
fn check<V: Spanned>(tree: &RangeTree<V>) {
    let Some(root) = tree.root() else {
        assert_eq!(tree.len(), 0);
        return;
    };
    let (_, count) = check_node(root);
    assert_eq!(count, tree.len());
}

fn check_node<V: Spanned>(node: &Node<V>) -> (usize, usize) {
    match node {
        Node::Leaf(row) => {
            check_row(row);
            for (value, (start, end)) in row.items().zip(row.starts().iter().zip(row.ends())) {
                assert_eq!(value.bounds(), (*start, *end));
            }
            (0, row.len())
        }
        Node::Branch(row) => {
            check_row(row);
            let mut heights = Vec::new();
            let mut count = 0;
            for (at, child) in row.items().enumerate() {
                assert_eq!(child.node.span(), Some((row.starts()[at], row.ends()[at])));
                assert_eq!(child.node.widest_hole(), child.widest_hole);
                let (height, below) = check_node(&child.node);
                heights.push(height);
                count += below;
            }
            assert!(heights.windows(2).all(|pair| pair[0] == pair[1]));
            (heights[0] + 1, count)
        }
    }
}

fn check_row<T>(row: &Row<T>) {
    assert!(row.len() > 0);
    assert_eq!(row.items().count(), row.len());
    assert!(
        row.starts()
            .iter()
            .zip(row.ends())
            .all(|(start, end)| start < end)
    );
    assert!(
        row.ends()
            .iter()
            .zip(&row.starts()[1..])
            .all(|(end, start)| end <= start)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    // row: M03
    // row: A02
    // inv: 14
    #[test]
    fn agrees_with_a_map(steps in proptest::collection::vec(step(), 1..3000)) {
        let mut pair = Pair::default();
        let mut snapshots = Vec::new();
        for (tag, step) in (0u32..).zip(&steps) {
            pair.apply(step, tag);
            if matches!(step, Step::Snapshot) {
                snapshots.push(pair.clone());
            }
        }
        pair.compare();
        for at in (0..PAGES).step_by(97) {
            pair.compare_lookups(at, 1 + at % 50);
        }
        // Nobody who kept an arrangement saw it change.
        snapshots.iter().for_each(Pair::compare);
    }

    // row: M03
    #[test]
    fn built_at_once_is_the_same(count in 0..3000u64) {
        let pieces: Vec<_> = (0..count).map(|at| piece(2 * at, 1 + at % 2, 0)).collect();
        let tree = RangeTree::from_sorted(pieces.iter().cloned());
        check(&tree);
        prop_assert!(tree.iter().eq(&pieces));
    }
}

// row: M03
#[test]
fn stays_shallow_whatever_the_order() {
    for order in [Order::Up, Order::Down, Order::Scattered] {
        let mut tree = RangeTree::new();
        for at in 0..50_000 {
            tree.insert(piece(2 * order.place(at), 1, 0));
        }
        check(&tree);
        assert!(height(&tree) <= 5, "{order:?}: {}", height(&tree));
        for at in 0..49_990 {
            tree.remove(VirtAddr::new(2 * order.place(at) * PAGE))
                .expect("it was put in");
        }
        check(&tree);
        assert!(height(&tree) <= 2, "{order:?}: {}", height(&tree));
    }
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Up,
    Down,
    Scattered,
}

impl Order {
    fn place(self, at: u64) -> u64 {
        match self {
            Self::Up => at,
            Self::Down => 49_999 - at,
            // 50,000 and the step have no common factor, so every place comes once.
            Self::Scattered => at * 20_011 % 50_000,
        }
    }
}

fn height<V>(tree: &RangeTree<V>) -> usize {
    let mut height = 0;
    let mut node = tree.root.as_ref();
    while let Some(here) = node {
        height += 1;
        node = match here {
            Node::Leaf(_) => None,
            Node::Branch(row) => row.get(0).map(|child| &child.node),
        };
    }
    height
}
