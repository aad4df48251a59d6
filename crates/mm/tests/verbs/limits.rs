//! Limits and promises: what is too much is refused, and nothing is charged for it.

use addr::{Errno, Prot};
use mm::{
    Commit, CommitConfig, CommitLimit, LockAllFlags, MapFlags, MapRequest, Overcommit, RemapFlags,
    Resource, Rlimit,
};
use std::sync::Arc;

use crate::kit::{World, at};

const RW: Prot = Prot::READ.union(Prot::WRITE);

// row: S20 M17
// inv: 17 18
#[test]
fn address_space_is_limited() {
    let mut world = World::new(64);
    let space = world.first();
    space
        .mm
        .limits()
        .set(Resource::AddressSpace, Rlimit::both(8 * 4096));
    space.map_private(0, 6);
    assert_eq!(space.map(10, 3, RW, MapFlags::PRIVATE), Err(Errno::ENOMEM));
    // What is replaced does not count.
    assert_eq!(space.map(0, 8, RW, MapFlags::PRIVATE), Ok(at(0)));
    assert_eq!(
        space.remap(0, (8, 9), RemapFlags::MAYMOVE, 0),
        Err(Errno::ENOMEM)
    );
    let keep = RemapFlags::MAYMOVE | RemapFlags::DONTUNMAP;
    assert_eq!(space.remap(0, (1, 1), keep, 30), Err(Errno::ENOMEM));
    world.check();
    world.end();
}

// row: S20 S03
#[test]
fn data_is_limited() {
    let mut world = World::new(64);
    let space = world.first();
    space
        .mm
        .limits()
        .set(Resource::Data, Rlimit::both(4 * 4096));
    space.map(0, 8, Prot::READ, MapFlags::PRIVATE).unwrap();
    assert_eq!(space.protect(0, 5, RW), Err(Errno::ENOMEM));
    assert_eq!(space.protect(0, 4, RW), Ok(()));
    assert_eq!(space.map(20, 1, RW, MapFlags::PRIVATE), Err(Errno::ENOMEM));
    assert_eq!(space.map(20, 1, RW, MapFlags::SHARED), Ok(at(20)));
    world.check();
    world.end();
}

fn never(pages: u64) -> World {
    World::with(256, |config| {
        config.commit = Arc::new(Commit::new(CommitConfig {
            mode: Overcommit::Never(CommitLimit::RatioPercent(100)),
            ram_pages: pages,
            swap_pages: 0,
            admin_reserve_pages: 0,
            user_reserve_pages: 0,
        }));
    })
}

// row: S20
// inv: 18
#[test]
fn promises_are_limited() {
    let mut world = never(12);
    let space = world.first();
    space.map_private(0, 8);
    assert_eq!(space.map(10, 4, RW, MapFlags::PRIVATE), Err(Errno::ENOMEM));
    // The flag does not help in this mode; no write access does.
    let more = MapFlags::PRIVATE | MapFlags::NORESERVE;
    assert_eq!(space.map(10, 4, RW, more), Err(Errno::ENOMEM));
    assert_eq!(space.map(10, 4, Prot::READ, MapFlags::PRIVATE), Ok(at(10)));
    assert_eq!(space.protect(10, 4, RW), Err(Errno::ENOMEM));
    assert_eq!(space.protect(10, 3, RW), Ok(()));
    // Untouched memory that loses write access loses its promise; touched memory keeps it.
    space.write(at(0), 1).unwrap();
    space.protect(10, 3, Prot::READ).unwrap();
    space.protect(0, 8, Prot::READ).unwrap();
    assert_eq!(world.commit.committed(), 8);
    let space = world.first();
    assert_eq!(space.fork().err(), Some(Errno::ENOMEM));
    assert_eq!(space.map(20, 4, RW, MapFlags::SHARED), Err(Errno::ENOMEM));
    assert_eq!(space.map(20, 3, RW, MapFlags::SHARED), Ok(at(20)));
    world.check();
    world.end();
}

// row: S01
// inv: 18 19
#[test]
fn a_promise_goes_over_to_what_replaces_it() {
    let mut world = never(12);
    let space = world.first();
    space.map_private(0, 10);
    assert_eq!(space.map(0, 11, RW, MapFlags::PRIVATE), Ok(at(0)));
    assert_eq!(space.map(0, 4, Prot::READ, MapFlags::PRIVATE), Ok(at(0)));
    assert_eq!(world.commit.committed(), 7);
    world.check();
    world.end();
}

// row: S01 S20
// inv: 18 19
#[test]
fn what_needs_no_promise_is_not_refused_one() {
    let mut world = World::with(256, |config| {
        config.commit = Arc::new(Commit::new(CommitConfig {
            mode: Overcommit::Never(CommitLimit::RatioPercent(100)),
            ram_pages: 12,
            swap_pages: 0,
            admin_reserve_pages: 0,
            user_reserve_pages: 100,
        }));
    });
    let space = world.first();
    space.map_private(0, 11);
    // What a space has takes from what it may be promised: now it has too much already.
    space.map(100, 64, Prot::READ, MapFlags::PRIVATE).unwrap();
    assert_eq!(space.map(20, 1, RW, MapFlags::PRIVATE), Err(Errno::ENOMEM));
    assert_eq!(space.map(0, 8, RW, MapFlags::PRIVATE), Ok(at(0)));
    let shared = MapFlags::SHARED;
    assert_eq!(space.map(20, 1, RW, shared), Err(Errno::ENOMEM));
    assert_eq!(world.commit.committed(), 11);
    world.check();
    world.end();
}

// row: M11
// inv: 19 20
#[test]
fn areas_are_counted_and_limited() {
    let mut world = World::with(256, |config| config.sysctl.max_map_count = 6);
    let space = world.first();
    space.map_private(0, 12);
    for page in [1, 3] {
        space.protect(page, 1, Prot::READ).unwrap();
    }
    assert_eq!(space.areas().len(), 5);
    assert_eq!(space.protect(6, 1, Prot::READ), Err(Errno::ENOMEM));
    // The first of two splits was made, and stays as on Linux.
    assert_eq!(space.areas().len(), 6);
    assert_eq!(space.unmap(8, 1), Err(Errno::ENOMEM));
    let fixed = RemapFlags::MAYMOVE | RemapFlags::FIXED;
    assert_eq!(space.remap(0, (1, 1), fixed, 30), Err(Errno::ENOMEM));
    // One split is always allowed to munmap, and a mapping when the limit is just reached.
    assert_eq!(space.unmap(11, 1), Ok(()));
    assert_eq!(space.map(20, 1, Prot::READ, MapFlags::SHARED), Ok(at(20)));
    assert_eq!(
        space.map(22, 1, Prot::READ, MapFlags::SHARED),
        Err(Errno::ENOMEM)
    );
    assert_eq!(space.areas().len(), 7);
    world.check();
    world.end();
}

// row: S07 M18
#[test]
fn future_mappings_are_locked() {
    let mut world = World::new(256);
    let space = world.first();
    space.map_private(0, 2);
    space
        .mm
        .mlockall(LockAllFlags::CURRENT | LockAllFlags::FUTURE)
        .unwrap();
    space.map_private(4, 2);
    let counts = space.mm.accounts().counts();
    assert_eq!(counts.locked, 4);
    assert_eq!(space.mm.rss().counts().anon, 4);
    space
        .mm
        .mlockall(LockAllFlags::FUTURE | LockAllFlags::ONFAULT)
        .unwrap();
    space.map_private(8, 2);
    assert_eq!(space.mm.rss().counts().anon, 4);
    space.mm.munlockall();
    assert_eq!(space.mm.accounts().counts().locked, 0);
    space.mm.mmap(&MapRequest::anonymous(4096, RW)).unwrap();
    assert_eq!(space.mm.accounts().counts().locked, 0);
    world.check();
    world.end();
}
