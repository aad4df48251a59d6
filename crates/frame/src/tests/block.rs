use std::vec::Vec;

use super::*;

fn take_anon(block: &Block, nr: u64) -> Result<FreshFolio, TakeError> {
    block.take(nr, anon())
}

// row: P13
#[test]
fn a_block_is_aligned_and_gives_each_frame_once() {
    let arena = arena(2049);
    let block = arena.reserve(order(9)).expect("a block");
    assert!(block.pfn().is_aligned(order(9)));
    assert_eq!(arena.usage().of(Purpose::Block), 512);
    let taken: Vec<_> = (0..512)
        .step_by(3)
        .map(|nr| take_anon(&block, nr).expect("it is there").mark_uptodate())
        .collect();
    for (nr, folio) in (0..512).step_by(3).zip(&taken) {
        assert_eq!(Some(folio.pfn()), block.pfn().checked_add(nr));
    }
    assert_eq!(
        take_anon(&block, 3).expect_err("taken"),
        TakeError::Taken(3)
    );
    assert_eq!(
        take_anon(&block, 512).expect_err("beyond"),
        TakeError::Taken(512)
    );
    assert_eq!(
        take_anon(&block, u64::MAX).expect_err("beyond"),
        TakeError::Taken(u64::MAX)
    );
    let usage = arena.usage();
    assert_eq!(
        (usage.of(Purpose::Block), usage.of(Purpose::Anon)),
        (512 - 171, 171)
    );
    assert_eq!(block.nr_left(), 512 - 171);
    drop(block);
    let usage = arena.usage();
    assert_eq!(
        (usage.of(Purpose::Block), usage.of(Purpose::Anon)),
        (0, 171)
    );
    assert!(usage.is_balanced());
    drop(taken);
    assert_as_new(&arena);
}

#[test]
fn a_frame_given_back_does_not_return_to_its_block() {
    let arena = arena(129);
    let block = arena.reserve(order(4)).expect("a block");
    drop(take_anon(&block, 5).expect("it is there"));
    assert_eq!(take_anon(&block, 5).expect_err("gone"), TakeError::Taken(5));
    assert_eq!(block.nr_left(), 15);
    drop(block);
    assert_as_new(&arena);
}

#[test]
fn there_is_no_block_where_there_is_no_run() {
    let arena = arena(129);
    let all = exhaust(&arena);
    assert!(arena.reserve(order(1)).is_none());
    drop(all);
    assert!(arena.reserve(order(6)).is_some());
    assert!(arena.reserve(order(8)).is_none());
}

#[test]
fn a_charge_refused_leaves_the_frame_there() {
    let arena = arena(129);
    let charge = arena.new_charge_group(Some(1)).expect("a group");
    let request = anon().with_charge(Some(charge));
    let block = arena.reserve(order(4)).expect("a block");
    let first = block.take(0, request).expect("it is there");
    let refused = block.take(1, request).expect_err("the limit");
    assert_eq!(
        refused,
        TakeError::OutOfFrames(OutOfFrames::Limit { charge })
    );
    drop(first);
    assert!(block.take(1, request).is_ok());
    assert!(take_anon(&block, 1).is_err());
    drop(block);
    assert_eq!(
        arena.charged(charge).map(|charged| charged.nr_frames),
        Some(0)
    );
    assert_as_new(&arena);
}

#[test]
fn two_threads_never_take_the_same_frame() {
    let arena = arena(1025);
    let block = arena.reserve(order(8)).expect("a block");
    let taken: Vec<Vec<_>> = std::thread::scope(|scope| {
        let takers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    (0..256)
                        .filter_map(|nr| take_anon(&block, nr).ok())
                        .collect()
                })
            })
            .collect();
        takers
            .into_iter()
            .map(|taker| taker.join().expect("no panic"))
            .collect()
    });
    let mut pfns: Vec<_> = taken.iter().flatten().map(FreshFolio::pfn).collect();
    pfns.sort();
    pfns.dedup();
    assert_eq!(pfns.len(), 256);
    assert_eq!(taken.iter().map(Vec::len).sum::<usize>(), 256);
}
