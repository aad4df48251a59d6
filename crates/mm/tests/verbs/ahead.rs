//! Forks that copy at once what the parent writes to.

use addr::Prot;
use mm::Advice;

use crate::kit::{Space, World, at, bytes};

const BUDGET: u64 = 8;

fn world(frames: u64) -> World {
    let mut world = World::new(frames);
    world.spaces[0].nr_copied_max = BUDGET;
    world
}

fn write(space: &Space, pages: impl Iterator<Item = u64>, byte: u8) {
    for page in pages {
        space.write(at(page), byte).unwrap();
    }
}

/// Pages that its forks copied, and faults that copied or reused a page.
fn counts(space: &Space) -> (u64, u64) {
    let faults = space.mm.stats().faults;
    (faults.fork_copied, faults.cow_copied + faults.cow_reused)
}

// row: S12
// inv: 45 18 50
#[test]
fn what_is_copied_needs_no_fault_on_either_side() {
    let mut world = world(1024);
    world.first().map_private(0, 6);
    write(world.first(), 0..3, 1);
    let child = world.first().fork().unwrap();
    world.spaces.push(child);
    let grandchild = world.spaces[1].fork().unwrap();
    world.spaces.push(grandchild);
    world.check();
    for (nr, space) in world.spaces.iter().enumerate() {
        write(space, 0..2, 10 + nr as u8);
    }
    for (nr, space) in world.spaces.iter().enumerate() {
        assert_eq!(space.read(at(1)).unwrap(), 10 + nr as u8);
        assert_eq!(space.read(at(2)).unwrap(), 1);
        let copies = if nr < 2 { 3 } else { 0 };
        assert_eq!(counts(space), (copies, 0));
    }
    world.check();
    world.end();
}

// row: S12
// inv: 45 18 50
#[test]
fn an_area_of_which_much_is_written_is_shared_until_little_is() {
    let mut world = world(1024);
    let space = world.first();
    space.map_private(0, 4);
    space.map_private(100, 40);
    write(space, 0..4, 1);
    write(space, 100..140, 1);
    let children = [space.fork().unwrap(), space.fork().unwrap()];
    assert_eq!(counts(space), (8, 0));
    write(space, 110..112, 2);
    assert_eq!(counts(space), (8, 2));
    let last = space.fork().unwrap();
    assert_eq!(counts(space), (8 + 6, 2));
    write(space, 110..112, 3);
    assert_eq!(counts(space), (8 + 6, 2));
    assert_eq!(last.read(at(110)).unwrap(), 2);
    assert_eq!(children[1].read(at(110)).unwrap(), 1);
    world.spaces.extend(children);
    world.spaces.push(last);
    world.check();
    world.end();
}

// row: S12 S06
// inv: 45
#[test]
fn what_a_child_does_not_get_or_nobody_writes_is_not_copied() {
    let mut world = world(1024);
    let space = world.first();
    for page in [0, 10, 20, 30] {
        space.map_private(page, 1);
    }
    space.map_shared(40, 1);
    write(space, [0, 10, 20, 30, 40].into_iter(), 5);
    let advise = |page, advice| space.mm.madvise(at(page), bytes(1), advice).unwrap();
    advise(10, Advice::DontFork);
    advise(20, Advice::WipeOnFork);
    space.protect(30, 1, Prot::READ).unwrap();
    let child = space.fork().unwrap();
    assert_eq!(counts(space), (1, 0));
    assert_eq!(child.read(at(0)).unwrap(), 5);
    assert!(child.read(at(10)).is_err());
    assert_eq!(child.read(at(20)).unwrap(), 0);
    assert_eq!(child.read(at(30)).unwrap(), 5);
    child.write(at(40), 6).unwrap();
    assert_eq!(space.read(at(40)).unwrap(), 6);
    world.spaces.push(child);
    world.check();
    world.end();
}

// row: S12
// inv: 45 50
#[test]
fn where_frames_are_few_all_is_shared() {
    let mut world = world(64);
    let space = world.first();
    space.map_private(0, 40);
    write(space, 0..40, 1);
    space.map_private(100, 2);
    write(space, 100..102, 1);
    let child = space.fork().unwrap();
    assert_eq!(counts(space), (0, 0));
    child.write(at(100), 2).unwrap();
    assert_eq!(space.read(at(100)).unwrap(), 1);
    world.spaces.push(child);
    world.check();
    world.end();
}
