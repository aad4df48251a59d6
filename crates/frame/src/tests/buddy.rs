use proptest::prelude::*;
use std::collections::BTreeMap;
use std::vec::Vec;

use super::{order, whole_blocks};
use crate::buddy::{Buddy, MAX_ORDER};
use crate::words::{Memory, Records};

const END: u32 = 3000;

fn records() -> Records {
    Memory::new_records(u64::from(END)).expect("address space")
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Take(u8),
    /// Gives one of those taken back.
    Give(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..=MAX_ORDER).prop_map(Step::Take),
        2 => (0u8..3).prop_map(Step::Take),
        4 => any::<usize>().prop_map(Step::Give),
    ]
}

proptest! {
    // row: P13
    /// Against a model that only remembers which blocks are taken: none overlaps another, all are
    /// aligned, the count of free frames is right, and when all is given back all has merged.
    #[test]
    fn never_gives_a_frame_twice_and_merges_back(steps in prop::collection::vec(step(), 1..200)) {
        let records = records();
        let mut buddy = Buddy::new(1, END);
        let mut taken: BTreeMap<u32, u8> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Take(wanted) => {
                    let Some(head) = buddy.take(&records, order(wanted), 0) else { continue };
                    prop_assert_eq!(head % (1 << wanted), 0);
                    prop_assert!(head >= 1 && head + (1 << wanted) <= END);
                    let before = taken.range(..=head).next_back();
                    prop_assert!(before.is_none_or(|(at, order)| at + (1 << order) <= head));
                    let after = taken.range(head..).next();
                    prop_assert!(after.is_none_or(|(at, _)| head + (1 << wanted) <= *at));
                    taken.insert(head, wanted);
                }
                Step::Give(nr) => {
                    let Some(head) = taken.keys().nth(nr % taken.len().max(1)).copied() else { continue };
                    let its_order = taken.remove(&head).expect("it is there");
                    buddy.give(&records, head, order(its_order));
                }
            }
            let in_use: u64 = taken.values().map(|order| 1u64 << order).sum();
            prop_assert_eq!(buddy.nr_free(), u64::from(END) - 1 - in_use);
        }
        for (head, its_order) in taken {
            buddy.give(&records, head, order(its_order));
        }
        prop_assert_eq!(buddy.nr_free(), u64::from(END) - 1);
        prop_assert_eq!(buddy.nr_blocks(), whole_blocks(1, u64::from(buddy.frontier())));
    }
}

#[test]
fn uses_frames_from_the_bottom_up_and_used_ones_first() {
    let records = records();
    let mut buddy = Buddy::new(1, END);
    let first: Vec<u32> = (0..100)
        .map(|_| buddy.take(&records, order(0), 0).expect("a frame"))
        .collect();
    assert_eq!(first, (1..=100).collect::<Vec<_>>());
    assert_eq!(buddy.frontier(), 128);
    for frame in &first {
        buddy.give(&records, *frame, order(0));
    }
    let again = buddy.take(&records, order(5), 0).expect("a block");
    assert!(
        again + 32 <= 128,
        "what was used before comes before what never was"
    );
    assert_eq!(buddy.frontier(), 128);
}

// row: P13
#[test]
fn leaves_the_floor_alone() {
    let records = records();
    let mut buddy = Buddy::new(1, END);
    let mut nr_taken = 0;
    while buddy.take(&records, order(0), 100).is_some() {
        nr_taken += 1;
    }
    assert_eq!(nr_taken, u64::from(END) - 1 - 100);
    assert_eq!(buddy.nr_free(), 100);
    assert!(buddy.take(&records, order(0), 0).is_some());
}

#[test]
fn has_no_block_larger_than_four_megabytes() {
    let records = records();
    let mut buddy = Buddy::new(1, END);
    assert_eq!(buddy.take(&records, order(MAX_ORDER + 1), 0), None);
    assert_eq!(buddy.take(&records, order(MAX_ORDER), 0), Some(1024));
    // 2048 to 3000 has room for 512 and less.
    assert_eq!(buddy.take(&records, order(MAX_ORDER), 0), None);
}
