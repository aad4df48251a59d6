//! Forks of forks.

use addr::{Access, Prot, VirtRange};
use mm::{Advice, MapFlags};

use crate::kit::{World, at, bytes};

const RW: Prot = Prot::READ.union(Prot::WRITE);

// row: S12
// inv: 45 18 50
#[test]
fn a_tree_of_forks_is_mutually_invisible() {
    let mut world = World::new(4096);
    world.first().map_private(0, 8);
    for page in 0..8 {
        world.first().write(at(page), 1).unwrap();
    }
    for generation in 0..3 {
        for parent in 0..world.spaces.len() {
            let child = world.spaces[parent].fork().unwrap();
            world.spaces.push(child);
        }
        world.check();
        for nr in 0..world.spaces.len() {
            let page = (nr as u64 + generation) % 8;
            world.spaces[nr].write(at(page), 10 + nr as u8).unwrap();
        }
        for nr in 0..world.spaces.len() {
            let page = (nr as u64 + generation) % 8;
            assert_eq!(world.spaces[nr].read(at(page)).unwrap(), 10 + nr as u8);
        }
        world.check();
    }
    while world.spaces.len() > 1 {
        let middle = world.spaces.len() / 2;
        world.spaces.remove(middle);
        world.check();
    }
    world.end();
}

// row: S12 S06
// inv: 45 37
#[test]
fn what_a_child_gets_is_what_was_advised() {
    let mut world = World::new(1024);
    let space = world.first();
    space.map_private(0, 6);
    (0..6).for_each(|page| space.write(at(page), 9).unwrap());
    let advise = |page, advice| space.mm.madvise(at(page), bytes(1), advice).unwrap();
    advise(1, Advice::DontFork);
    advise(2, Advice::WipeOnFork);
    advise(3, Advice::GuardInstall);
    space.mm.mlock(at(4), bytes(1)).unwrap();
    let child = space.fork().unwrap();
    assert_eq!(child.read(at(0)).unwrap(), 9);
    assert!(child.read(at(1)).is_err());
    assert_eq!(child.read(at(2)).unwrap(), 0);
    assert!(child.read(at(3)).is_err());
    assert_eq!(child.read(at(4)).unwrap(), 9);
    assert_eq!(child.mm.accounts().counts().locked, 0);
    assert_eq!(space.mm.accounts().counts().locked, 1);
    // The wipe is inherited.
    child.write(at(2), 4).unwrap();
    assert_eq!(child.fork().unwrap().read(at(2)).unwrap(), 0);
    world.spaces.push(child);
    world.check();
    world.end();
}

// row: S12 S19
// inv: 43 44
#[test]
fn pinned_pages_are_copied_for_the_child() {
    let mut world = World::new(1024);
    let space = world.first();
    space.map_private(0, 4);
    (0..4).for_each(|page| space.write(at(page), 7).unwrap());
    let range = VirtRange::from_len(at(1), bytes(1)).unwrap();
    let pins = space.mm.pin_range(range, Access::Write);
    let child = space.fork().unwrap();
    let kept = space.mm.rss().fault_counts().cow_copied;
    space.write(at(1), 8).unwrap();
    assert_eq!(child.read(at(1)).unwrap(), 7);
    assert_eq!(
        space.mm.rss().fault_counts().cow_copied,
        kept,
        "the pinned page stays in place"
    );
    space.write(at(0), 8).unwrap();
    assert_eq!(child.read(at(0)).unwrap(), 7);
    drop(pins);
    world.spaces.push(child);
    world.check();
    world.end();
}

// row: S12 A07
#[test]
fn the_last_of_a_family_writes_in_place() {
    let mut world = World::new(1024);
    let space = world.first();
    space.map_private(0, 2);
    space.write(at(0), 1).unwrap();
    drop(space.fork().unwrap());
    let before = space.mm.rss().fault_counts();
    space.write(at(0), 2).unwrap();
    let after = space.mm.rss().fault_counts();
    assert_eq!(after.cow_copied, before.cow_copied);
    assert_eq!(after.cow_reused, before.cow_reused + 1);
    world.check();
    world.end();
}

// row: S06 A06
#[test]
fn a_punched_hole_is_empty_for_everyone() {
    let mut world = World::new(1024);
    let space = world.first();
    space.map_shared(0, 4);
    (0..4).for_each(|page| space.write(at(page), 5).unwrap());
    let child = space.fork().unwrap();
    (0..4).for_each(|page| assert_eq!(child.read(at(page)).unwrap(), 5));
    space.mm.madvise(at(1), bytes(2), Advice::Remove).unwrap();
    for who in [space, &child] {
        assert_eq!(who.read(at(0)).unwrap(), 5);
        assert_eq!(who.read(at(1)).unwrap(), 0);
    }
    world.spaces.push(child);
    world.check();
    world.end();
}

// row: S01 S06
// inv: 73
#[test]
fn droppable_memory_is_never_promised_nor_inherited() {
    let mut world = World::new(1024);
    let space = world.first();
    space.map(0, 2, RW, MapFlags::DROPPABLE).unwrap();
    space.write(at(0), 3).unwrap();
    assert_eq!(world.commit.committed(), 0);
    let space = world.first();
    space.mm.mlock(at(0), bytes(1)).unwrap();
    assert_eq!(space.mm.accounts().counts().locked, 0);
    assert_eq!(space.fork().unwrap().read(at(0)).unwrap(), 0);
    world.check();
    world.end();
}
