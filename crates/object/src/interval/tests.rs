use std::vec::Vec;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Insert(u64, u64),
    Remove(usize),
    Query(u64, u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u64..200, 0u64..40).prop_map(|(first, more)| Step::Insert(first, first + more)),
        2 => any::<usize>().prop_map(Step::Remove),
        2 => (0u64..240, 0u64..60).prop_map(|(first, more)| Step::Query(first, first + more)),
    ]
}

/// Intervals by first point, then by age.
fn brute_force(model: &[(IntervalKey, u64, u32)], first: u64, last: u64) -> Vec<u32> {
    let mut hits: Vec<_> = model
        .iter()
        .filter(|(key, end, _)| key.first <= last && *end >= first)
        .collect();
    hits.sort_by_key(|(key, _, _)| *key);
    hits.into_iter().map(|(_, _, value)| *value).collect()
}

proptest! {
    // row: A06
    #[test]
    fn finds_what_brute_force_finds(steps in prop::collection::vec(step(), 1..300)) {
        let mut tree = IntervalTree::new();
        let mut model: Vec<(IntervalKey, u64, u32)> = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Insert(first, last) => {
                    let key = tree.insert(first, last, number as u32);
                    model.push((key, last, number as u32));
                }
                Step::Remove(which) if !model.is_empty() => {
                    let (key, _, value) = model.swap_remove(which % model.len());
                    prop_assert_eq!(tree.remove(key), Some(value));
                    prop_assert_eq!(tree.remove(key), None);
                    prop_assert_eq!(tree.get(key), None);
                }
                Step::Remove(_) => {}
                Step::Query(first, last) => {
                    let found: Vec<u32> = tree.overlapping(first, last).copied().collect();
                    prop_assert_eq!(found, brute_force(&model, first, last));
                }
            }
            prop_assert_eq!(tree.len(), model.len());
        }
        let all: Vec<u32> = tree.overlapping(0, u64::MAX).copied().collect();
        prop_assert_eq!(all, brute_force(&model, 0, u64::MAX));
    }
}

// row: A06
#[test]
fn the_older_of_equals_comes_first() {
    let mut tree = IntervalTree::new();
    let parent = tree.insert(5, 9, "parent");
    tree.insert(5, 9, "child");
    tree.insert(5, 9, "grandchild");
    let names: Vec<_> = tree.overlapping(7, 7).copied().collect();
    assert_eq!(names, ["parent", "child", "grandchild"]);
    tree.remove(parent);
    let names: Vec<_> = tree.overlapping(7, 7).copied().collect();
    assert_eq!(names, ["child", "grandchild"]);
}

#[test]
fn one_hit_among_many_thousands_is_near() {
    let mut tree = IntervalTree::new();
    for page in 0..50_000u64 {
        tree.insert(page * 10, page * 10 + 4, page);
    }
    assert!(depth(&tree.root) < 60, "a treap of 50,000 is about 40 deep");
    let found: Vec<_> = tree.overlapping(123_450, 123_451).copied().collect();
    assert_eq!(found, [12_345]);
    assert_eq!(tree.overlapping(123_455, 123_459).count(), 0);
}

fn depth<T>(link: &Link<T>) -> usize {
    link.as_ref()
        .map_or(0, |node| 1 + depth(&node.left).max(depth(&node.right)))
}

#[test]
fn an_interval_up_to_the_last_page_is_found() {
    let mut tree = IntervalTree::new();
    tree.insert(u64::MAX - 1, u64::MAX, ());
    assert_eq!(tree.overlapping(u64::MAX, u64::MAX).count(), 1);
    assert_eq!(tree.overlapping(0, u64::MAX - 2).count(), 0);
}
