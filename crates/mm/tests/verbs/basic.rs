//! One call at a time.

use addr::{Errno, Prot};
use mm::{MapFlags, RemapFlags};

use crate::kit::{World, at};

const RW: Prot = Prot::READ.union(Prot::WRITE);

// row: S01 S02
// inv: 14 17 18 28 50
#[test]
fn mapped_memory_is_zero_and_keeps_what_is_written() {
    let mut world = World::new(256);
    let space = world.first();
    space.map_private(0, 8);
    assert_eq!(space.read(at(3)).unwrap(), 0);
    space.write(at(3), 7).unwrap();
    assert_eq!(space.read(at(3)).unwrap(), 7);
    space.unmap(2, 3).unwrap();
    assert_eq!(
        space.areas(),
        [(0, 2, "rw-p".into()), (5, 3, "rw-p".into())]
    );
    assert!(space.read(at(3)).is_err());
    world.check();
    world.end();
}

// row: S03 A03
#[test]
fn rights_are_taken_and_given_back() {
    let mut world = World::new(256);
    let space = world.first();
    space.map_private(0, 4);
    space.write(at(1), 5).unwrap();
    space.protect(1, 1, Prot::READ).unwrap();
    assert!(space.write(at(1), 6).is_err());
    assert_eq!(space.read(at(1)).unwrap(), 5);
    space.protect(1, 1, Prot::NONE).unwrap();
    assert!(space.read(at(1)).is_err());
    space.protect(0, 4, RW).unwrap();
    assert_eq!(space.areas(), [(0, 4, "rw-p".into())]);
    space.write(at(1), 6).unwrap();
    assert_eq!(space.protect(3, 4, Prot::READ), Err(Errno::ENOMEM));
    assert_eq!(
        space.areas(),
        [(0, 3, "rw-p".into()), (3, 1, "r--p".into())]
    );
    world.check();
    world.end();
}

// row: S04
#[test]
fn memory_moves_with_its_contents() {
    let mut world = World::new(256);
    let space = world.first();
    space.map_private(0, 4);
    for page in 0..4 {
        space.write(at(page), 10 + page as u8).unwrap();
    }
    let flags = RemapFlags::MAYMOVE | RemapFlags::FIXED;
    assert_eq!(space.remap(1, (2, 2), flags, 20), Ok(at(20)));
    assert_eq!(space.read(at(21)).unwrap(), 12);
    assert!(space.read(at(1)).is_err());
    assert_eq!(space.read(at(3)).unwrap(), 13);
    assert_eq!(space.remap(20, (2, 6), RemapFlags::empty(), 0), Ok(at(20)));
    assert_eq!(space.read(at(25)).unwrap(), 0);
    assert_eq!(space.remap(20, (6, 1), RemapFlags::empty(), 0), Ok(at(20)));
    world.check();
    world.end();
}

// row: S12
// inv: 45
#[test]
fn fork_parts_private_memory_and_shares_the_rest() {
    let mut world = World::new(256);
    let space = world.first();
    space.map_private(0, 4);
    space.map_shared(8, 4);
    space.write(at(0), 1).unwrap();
    space.write(at(8), 2).unwrap();
    let child = space.fork().unwrap();
    child.write(at(0), 3).unwrap();
    child.write(at(8), 4).unwrap();
    assert_eq!(space.read(at(0)).unwrap(), 1);
    assert_eq!(space.read(at(8)).unwrap(), 4);
    space.write(at(0), 5).unwrap();
    assert_eq!(child.read(at(0)).unwrap(), 3);
    world.spaces.push(child);
    world.check();
    world.spaces.remove(0);
    world.check();
    world.end();
}

// row: S05
#[test]
fn the_heap_grows_and_shrinks() {
    let mut world = World::new(256);
    let space = world.first();
    {
        let mut image = space.mm.image();
        image.start_brk = at(0);
        image.brk = at(0);
    }
    let half = addr::VirtAddr::new(at(3).as_u64() + 100);
    assert_eq!(space.mm.brk(half), half);
    assert_eq!(space.areas(), [(0, 4, "rw-p".into())]);
    space.write(at(3), 1).unwrap();
    assert_eq!(space.mm.brk(at(1)), at(1));
    assert!(space.read(at(3)).is_err());
    assert_eq!(space.mm.brk(addr::VirtAddr::new(1)), at(1));
    world.check();
    world.end();
}

// row: S01
#[test]
fn a_fixed_mapping_replaces_what_it_covers() {
    let mut world = World::new(256);
    let space = world.first();
    space.map_private(0, 8);
    space.write(at(2), 1).unwrap();
    space.map(2, 2, Prot::READ, MapFlags::PRIVATE).unwrap();
    assert_eq!(space.read(at(2)).unwrap(), 0);
    let keep = MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE;
    assert_eq!(space.map(7, 2, RW, keep), Err(Errno::EEXIST));
    assert_eq!(space.map(8, 2, RW, keep), Ok(at(8)));
    assert_eq!(space.areas().len(), 3);
    world.check();
    world.end();
}
