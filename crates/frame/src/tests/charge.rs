use std::vec::Vec;

use super::*;

#[test]
fn charges_are_exact_and_limited() {
    let arena = arena(3000);
    let charge = arena.new_charge_group(Some(100)).expect("a group");
    let other = arena.new_charge_group(None).expect("a group");
    let request = anon().with_charge(Some(charge));
    let mut folios: Vec<_> = core::iter::from_fn(|| arena.alloc(request).ok()).collect();
    assert_eq!(folios.len(), 100);
    assert_eq!(
        arena.alloc(request).expect_err("full"),
        OutOfFrames::Limit { charge }
    );
    let theirs = arena
        .alloc(anon().with_charge(Some(other)))
        .expect("another's limit");
    assert_eq!(theirs.charge(), Some(other));
    folios.truncate(60);
    let charged = arena.charged(charge).expect("the group");
    assert_eq!((charged.nr_frames, charged.limit), (60, Some(100)));
    assert!(charged.nr_refused >= 2);
    assert!(arena.alloc(request.with_order(order(6))).is_err());
    let run = arena
        .alloc(request.with_order(order(5)))
        .expect("room for 32");
    assert_eq!(
        arena.charged(charge).map(|charged| charged.nr_frames),
        Some(92)
    );
    arena.set_charge_limit(charge, None);
    let more = arena.alloc(request.with_order(order(6))).expect("no limit");
    drop((folios, run, more, theirs));
    assert_eq!(
        arena.charged(charge).map(|charged| charged.nr_frames),
        Some(0)
    );
    assert_eq!(
        arena.charged(other).map(|charged| charged.nr_frames),
        Some(0)
    );
    assert_as_new(&arena);
}

#[test]
fn a_failed_allocation_charges_nothing() {
    let arena = arena(50);
    let charge = arena.new_charge_group(None).expect("a group");
    let request = anon().with_charge(Some(charge));
    let all: Vec<_> = core::iter::from_fn(|| arena.alloc(request).ok()).collect();
    assert_eq!(all.len(), 49);
    assert!(arena.alloc(request).is_err());
    assert!(arena.alloc(request.with_order(order(3))).is_err());
    assert_eq!(
        arena.charged(charge).map(|charged| charged.nr_frames),
        Some(49)
    );
    drop(all);
    assert_eq!(
        arena.charged(charge).map(|charged| charged.nr_frames),
        Some(0)
    );
}

#[test]
fn stocks_of_other_cpus_do_not_eat_the_limit() {
    let arena = arena(500);
    let charge = arena.new_charge_group(Some(64)).expect("a group");
    let request = anon().with_charge(Some(charge));
    std::thread::scope(|scope| {
        scope.spawn(|| drop(arena.alloc(request)));
    });
    let all: Vec<_> = core::iter::from_fn(|| arena.alloc(request).ok()).collect();
    assert_eq!(all.len(), 64);
}

#[test]
fn what_was_paid_ahead_ends_with_the_groups() {
    // Arenas of one size use one store after another, and number their groups from one.
    for _ in 0..3 {
        let arena = arena(4321);
        let charge = arena.new_charge_group(Some(64)).expect("a group");
        let alloc = || arena.alloc(anon().with_charge(Some(charge)));
        let kept = alloc().expect("a frame");
        drop(alloc());
        assert_eq!(
            arena.charged(charge).map(|charged| charged.nr_frames),
            Some(1)
        );
        // Back into the stock of this CPU, which nobody empties any more.
        drop((alloc(), kept));
    }
}

#[test]
fn one_who_is_not_a_group_pays_nothing() {
    let (one, other) = (arena(51), arena(52));
    let charge = one.new_charge_group(None).expect("a group");
    let refused = other.alloc(anon().with_charge(Some(charge)));
    assert_eq!(
        refused.expect_err("no such group"),
        OutOfFrames::Limit { charge }
    );
    assert_eq!(other.charged(charge), None);
}
