//! Where mappings go when the caller does not say, and what becomes of hints.

use addr::{Errno, PAGE_SIZE, Prot, VirtAddr};
use mm::{LowRight, MapFlags, MapRequest, Placement};

use crate::kit::{World, at, bytes};

const RW: Prot = Prot::READ.union(Prot::WRITE);

fn map(world: &World, pages: u64, hint: VirtAddr, flags: MapFlags) -> VirtAddr {
    let request = MapRequest::anonymous(bytes(pages), RW)
        .near(hint)
        .with(flags);
    world.first().mm.mmap(&request).unwrap()
}

// row: M04 M05
#[test]
fn memory_grows_down_from_its_base() {
    let world = World::new(64);
    let base = world.first().mm.layout().mmap_base();
    let none = MapFlags::empty();
    let first = map(&world, 4, VirtAddr::ZERO, none);
    assert_eq!(first, base.checked_sub(bytes(4)).unwrap());
    let second = map(&world, 2, VirtAddr::ZERO, none);
    assert_eq!(second, first.checked_sub(bytes(2)).unwrap());
    // One area, for nothing tells them apart.
    assert_eq!(world.first().areas().len(), 1);
    world.first().mm.munmap(first, bytes(1)).unwrap();
    assert_eq!(map(&world, 1, VirtAddr::ZERO, none), first);
    world.end();
}

// row: M04 S01
// inv: 14
#[test]
fn the_search_ends_where_programs_may_not_map() {
    let base = 1 << 20;
    let world = World::with(64, |config| {
        config.layout.mmap_base = Some(VirtAddr::new(base));
    });
    let mm = &world.first().mm;
    let lowest = mm.sysctl().mmap_min_addr;
    // All there is from the lowest address to the base; below it there still is room, for nobody.
    let all = MapRequest::anonymous(base - lowest, RW).fixed_at(VirtAddr::new(lowest));
    mm.mmap(&all).unwrap();
    let next = map(&world, 1, VirtAddr::ZERO, MapFlags::empty());
    assert_eq!(next, mm.layout().mmap_legacy_base());
    world.end();
}

// row: M04
#[test]
fn low_addresses_are_for_the_privileged_and_hints_are_raised() {
    let world = World::with(64, |config| {
        config.sysctl.dac_mmap_min_addr = 4096;
        config.sysctl.mmap_min_addr = 65_536;
    });
    let mm = &world.first().mm;
    let at = |at| MapRequest::anonymous(bytes(1), RW).fixed_at(VirtAddr::new(at));
    assert_eq!(mm.mmap(&at(0)), Err(Errno::EPERM));
    assert_eq!(mm.mmap(&at(4096)), Ok(VirtAddr::new(4096)));
    mm.limits().set_low_right(LowRight::Any);
    assert_eq!(mm.mmap(&at(0)), Ok(VirtAddr::ZERO));
    let hint = VirtAddr::new(8192);
    assert_eq!(
        map(&world, 1, hint, MapFlags::empty()),
        VirtAddr::new(65_536)
    );
    world.end();
}

// row: M04 M05
#[test]
fn the_legacy_layout_grows_up() {
    let world = World::with(64, |config| config.layout.placement = Placement::Legacy);
    let base = world.first().mm.layout().mmap_legacy_base();
    assert_eq!(map(&world, 4, VirtAddr::ZERO, MapFlags::empty()), base);
    let next = base.checked_add(bytes(4)).unwrap();
    assert_eq!(map(&world, 1, VirtAddr::ZERO, MapFlags::empty()), next);
    world.end();
}

// row: M04 S01
#[test]
fn a_hint_is_taken_if_there_is_room() {
    let world = World::new(64);
    let none = MapFlags::empty();
    let odd = at(3).checked_add(5).unwrap();
    assert_eq!(map(&world, 2, odd, none), at(3));
    assert_ne!(map(&world, 2, at(4), none), at(4));
    assert_eq!(map(&world, 2, at(1), none), at(1));
    // Below the lowest address a hint is raised to it.
    assert_eq!(
        map(&world, 1, VirtAddr::new(4096), none),
        VirtAddr::new(65536)
    );
    // A stack keeps its distance.
    world
        .first()
        .map(1000, 1, RW, MapFlags::PRIVATE | MapFlags::GROWSDOWN)
        .unwrap();
    assert_ne!(map(&world, 1, at(999), none), at(999));
    assert_ne!(map(&world, 2, at(743), none), at(743));
    assert_eq!(map(&world, 1, at(743), none), at(743));
    world.end();
}

// row: M04 S01
#[test]
fn low_memory_is_found_low() {
    let world = World::new(64);
    let low = map(&world, 1, VirtAddr::ZERO, MapFlags::LOW_32BIT);
    assert_eq!(low, VirtAddr::new(1 << 30));
    assert_eq!(
        map(&world, 1, VirtAddr::ZERO, MapFlags::LOW_32BIT),
        VirtAddr::new((1 << 30) + PAGE_SIZE)
    );
    world.end();
}
