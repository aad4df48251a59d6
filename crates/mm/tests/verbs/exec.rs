//! What may be executed, as the space as a whole has it.

use addr::{Errno, Prot, VmFlags};
use mm::{FileRights, MapFlags, MapRequest, MmFlags, ObjectTarget};
use object::shmem::Shmem;

use crate::kit::{Space, World, at, bytes};

const RW: Prot = Prot::READ.union(Prot::WRITE);
const RX: Prot = Prot::READ.union(Prot::EXEC);
const PRIVATE: MapFlags = MapFlags::PRIVATE;

fn flags(space: &Space, page: u64) -> VmFlags {
    space.tree().find(at(page)).unwrap().flags()
}

// row: S01 S03 M25
// inv: 19
#[test]
fn nothing_becomes_executable_where_that_is_denied() {
    let mut world = World::new(64);
    let space = world.first();
    space.map(0, 4, RX, PRIVATE).unwrap();
    space.map_private(4, 2);
    space.write(at(4), 1).unwrap();
    space.mm.set_flags(MmFlags::HAS_MDWE);
    let rwx = RW | Prot::EXEC;
    assert_eq!(space.map(4, 1, rwx, PRIVATE), Err(Errno::EACCES));
    assert_eq!(space.read(at(4)).unwrap(), 1);
    assert_eq!(space.map(8, 1, RX, PRIVATE), Ok(at(8)));
    // What is executable may stay so and lose rights; nothing else may become so.
    assert_eq!(space.protect(4, 1, RX), Err(Errno::EACCES));
    assert_eq!(space.protect(0, 1, rwx), Err(Errno::EACCES));
    assert_eq!(space.protect(0, 1, Prot::EXEC), Ok(()));
    assert_eq!(space.protect(1, 1, RW), Ok(()));
    assert_eq!(space.protect(1, 1, RX), Err(Errno::EACCES));
    // A child is bound as well, unless it was said that it is not.
    let child = space.fork().unwrap();
    assert_eq!(child.protect(4, 1, RX), Err(Errno::EACCES));
    space.mm.set_flags(MmFlags::HAS_MDWE_NO_INHERIT);
    let free = space.fork().unwrap();
    assert_eq!(free.protect(4, 1, RX), Ok(()));
    drop((child, free));
    world.check();
    world.end();
}

// row: S01 S02 S03 M25
#[test]
fn reading_implies_executing_where_old_programs_expect_it() {
    let world = World::new(64);
    let space = world.first();
    space.mm.set_flags(MmFlags::READ_IMPLIES_EXEC);
    space.map(0, 2, RW, PRIVATE).unwrap();
    assert!(flags(space, 0).contains(VmFlags::EXEC));
    space.map(2, 2, Prot::WRITE, PRIVATE).unwrap();
    assert!(!flags(space, 2).contains(VmFlags::EXEC));
    assert_eq!(space.protect(2, 2, Prot::READ), Ok(()));
    assert!(flags(space, 2).contains(VmFlags::EXEC));
    assert_eq!(space.protect(2, 2, Prot::NONE), Ok(()));
    assert!(!flags(space, 2).contains(VmFlags::EXEC));
    let child = space.fork().unwrap();
    assert!(child.mm.flags().contains(MmFlags::READ_IMPLIES_EXEC));
    drop(child);
    // Of a file that must not be executed nothing is implied.
    let memory = Shmem::anonymous(space.mm.arena(), bytes(2));
    let file = memory.open_file();
    let rights = FileRights::READ_WRITE | FileRights::NO_EXEC;
    let target = ObjectTarget::new(memory).with_file(file, rights);
    let request = MapRequest::object(target, bytes(2), RW, MapFlags::SHARED);
    space.mm.mmap(&request.fixed_at(at(8))).unwrap();
    assert!(!flags(space, 8).contains(VmFlags::EXEC));
    assert_eq!(space.protect(8, 2, Prot::READ), Ok(()));
    assert!(!flags(space, 8).contains(VmFlags::EXEC));
    // The heap is data like any other.
    *space.mm.image() = mm::Image {
        start_brk: at(20),
        brk: at(20),
        ..mm::Image::default()
    };
    assert_eq!(space.mm.brk(at(21)), at(21));
    assert!(flags(space, 20).contains(VmFlags::EXEC));
    world.end();
}
