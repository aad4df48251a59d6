//! What each call refuses, and in which order it finds out.

use std::sync::Arc;

use addr::{Errno, PgOff, Prot, VirtAddr};
use machine::NoMmu;
use mm::{
    Advice, ForkConfig, LockAllFlags, LockFlags, MapFlags, MapRequest, RemapFlags, Resource,
    Rlimit, SyncFlags,
};

use crate::kit::{World, at, bytes};

const RW: Prot = Prot::READ.union(Prot::WRITE);
const TOP: u64 = (1 << 47) - 4096;

fn anon(len: u64) -> MapRequest {
    MapRequest::anonymous(len, RW)
}

// row: S01 M04 M06
#[test]
fn mmap_refuses() {
    let world = World::new(64);
    let mm = &world.first().mm;
    let map = |request: MapRequest| mm.mmap(&request);
    let flags = |flags: MapFlags| MapRequest {
        flags: MapFlags::ANONYMOUS | flags,
        ..anon(4096)
    };
    assert_eq!(map(anon(0)), Err(Errno::EINVAL));
    assert_eq!(map(anon(u64::MAX)), Err(Errno::ENOMEM));
    assert_eq!(map(anon(TOP + 4096)), Err(Errno::ENOMEM));
    assert_eq!(
        map(anon(4096).from_page(PgOff::new(u64::MAX))),
        Err(Errno::EOVERFLOW)
    );
    assert_eq!(map(anon(4096).with(MapFlags::HUGETLB)), Err(Errno::EINVAL));
    assert_eq!(map(flags(MapFlags::empty())), Err(Errno::EINVAL));
    assert_eq!(
        map(flags(MapFlags::from_bits_retain(5))),
        Err(Errno::EINVAL)
    );
    assert_eq!(map(flags(MapFlags::SHARED_VALIDATE)), Err(Errno::EINVAL));
    assert_eq!(
        map(flags(MapFlags::SHARED | MapFlags::GROWSDOWN)),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        map(flags(MapFlags::DROPPABLE | MapFlags::LOCKED)),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        map(flags(MapFlags::DROPPABLE | MapFlags::GROWSDOWN)),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        map(anon(4096).fixed_at(VirtAddr::new(BASE_ODD))),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        map(anon(4096).fixed_at(VirtAddr::new(4096))),
        Err(Errno::EPERM)
    );
    assert_eq!(
        map(anon(8192).fixed_at(VirtAddr::new(TOP - 4096))),
        Err(Errno::ENOMEM)
    );
    assert!(world.first().areas().is_empty());
    world.end();
}

const BASE_ODD: u64 = 0x40_0000_0001;

// row: S01
#[test]
fn mmap_finds_errors_in_the_kernels_order() {
    let world = World::new(64);
    let mm = &world.first().mm;
    // No length before an offset that wraps; an address that cannot be before a wrong type.
    let request = MapRequest {
        flags: MapFlags::ANONYMOUS,
        ..anon(0)
    };
    assert_eq!(
        mm.mmap(&request.from_page(PgOff::new(u64::MAX))),
        Err(Errno::EINVAL)
    );
    let request = MapRequest {
        flags: MapFlags::ANONYMOUS,
        ..anon(4096)
    };
    assert_eq!(
        mm.mmap(&request.clone().fixed_at(VirtAddr::new(4096))),
        Err(Errno::EPERM)
    );
    // Locking that is not allowed before a wrong type.
    mm.limits().set(Resource::Memlock, Rlimit::both(0));
    assert_eq!(mm.mmap(&request.with(MapFlags::LOCKED)), Err(Errno::EPERM));
    world.end();
}

// row: S02
#[test]
fn munmap_refuses() {
    let world = World::new(64);
    let mm = &world.first().mm;
    let unmap = |addr, len| mm.munmap(VirtAddr::new(addr), len);
    assert_eq!(unmap(BASE_ODD, 4096), Err(Errno::EINVAL));
    assert_eq!(unmap(at(0).as_u64(), 0), Err(Errno::EINVAL));
    assert_eq!(unmap(TOP + 4096, 4096), Err(Errno::EINVAL));
    assert_eq!(unmap(TOP, 4096), Err(Errno::EINVAL));
    assert_eq!(unmap(0, u64::MAX), Err(Errno::EINVAL));
    assert_eq!(unmap(at(0).as_u64(), 1), Ok(()));
    assert_eq!(unmap(0, TOP), Ok(()));
    world.end();
}

// row: S03
#[test]
fn mprotect_refuses() {
    let world = World::new(64);
    let space = world.first();
    space.map_private(0, 4);
    let protect = |page, len, prot| space.mm.mprotect(at(page), len, prot);
    let odd = VirtAddr::new(BASE_ODD);
    let both = Prot::GROWSDOWN | Prot::GROWSUP;
    assert_eq!(space.mm.mprotect(odd, 4096, both), Err(Errno::EINVAL));
    assert_eq!(space.mm.mprotect(odd, 0, Prot::READ), Err(Errno::EINVAL));
    assert_eq!(protect(0, 0, Prot::from_bits_retain(0x80)), Ok(()));
    assert_eq!(
        protect(0, u64::MAX, Prot::from_bits_retain(0x80)),
        Err(Errno::ENOMEM)
    );
    assert_eq!(
        protect(0, 4096, Prot::from_bits_retain(0x80)),
        Err(Errno::EINVAL)
    );
    assert_eq!(protect(10, 4096, Prot::READ), Err(Errno::ENOMEM));
    assert_eq!(
        protect(10, 4096, Prot::READ | Prot::GROWSDOWN),
        Err(Errno::ENOMEM)
    );
    assert_eq!(
        protect(0, 4096, Prot::READ | Prot::GROWSDOWN),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        protect(0, 4096, Prot::READ | Prot::GROWSUP),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        space.mm.pkey_mprotect(at(10), 4096, RW, 3),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        space.mm.pkey_mprotect(at(0), 4096, RW, 0),
        Err(Errno::EINVAL)
    );
    assert_eq!(space.mm.pkey_mprotect(at(0), 0, RW, 3), Ok(()));
    assert_eq!(space.mm.pkey_mprotect(at(0), 4096, RW, -1), Ok(()));
    world.end();
}

// row: S03
#[test]
fn there_are_no_protection_keys() {
    let world = World::new(64);
    let mm = &world.first().mm;
    assert_eq!(mm.pkey_alloc(1, 0), Err(Errno::EINVAL));
    assert_eq!(mm.pkey_alloc(0, 4), Err(Errno::EINVAL));
    // Of what a kernel says on such a CPU the first answer is another than the rest.
    assert_eq!(mm.pkey_alloc(0, 3), Err(Errno::EINVAL));
    assert_eq!(mm.pkey_alloc(0, 3), Err(Errno::ENOSPC));
    let mmu = Arc::new(NoMmu);
    let child = mm.fork(&ForkConfig::new(mmu)).unwrap();
    assert_eq!(child.pkey_alloc(0, 0), Err(Errno::ENOSPC));
    for key in [-1, 0, 1, 16] {
        assert_eq!(mm.pkey_free(key), Err(Errno::EINVAL));
    }
}

// row: S03
#[test]
fn mprotect_of_a_stack_reaches_down() {
    let mut world = World::new(64);
    let space = world.first();
    space
        .map(4, 4, RW, MapFlags::PRIVATE | MapFlags::GROWSDOWN)
        .unwrap();
    space.write(at(4), 1).unwrap();
    assert_eq!(space.protect(6, 1, Prot::READ | Prot::GROWSDOWN), Ok(()));
    assert_eq!(
        space.areas(),
        [(4, 3, "r--p".into()), (7, 1, "rw-p".into())]
    );
    world.check();
    world.end();
}

// row: S04
#[test]
fn mremap_refuses() {
    let world = World::new(64);
    let space = world.first();
    space.map_private(0, 4);
    space.map_private(5, 1);
    let (may, fixed) = (RemapFlags::MAYMOVE, RemapFlags::FIXED);
    let keep = RemapFlags::DONTUNMAP;
    let remap = |page, lens, flags, to| space.remap(page, lens, flags, to);
    let inval = Err(Errno::EINVAL);
    assert_eq!(remap(0, (4, 4), RemapFlags::from_bits_retain(8), 0), inval);
    assert_eq!(remap(0, (4, 0), may, 0), inval);
    assert_eq!(remap(0, (4, 1 << 36), may, 0), inval);
    assert_eq!(remap(0, (4, 4), fixed, 20), inval);
    assert_eq!(remap(0, (4, 4), may | fixed, 2), inval);
    assert_eq!(remap(0, (4, 2), may | keep, 20), inval);
    assert_eq!(remap(0, (0, 2), may, 20), inval);
    assert_eq!(remap(4, (1, 2), may, 0), Err(Errno::EFAULT));
    assert_eq!(remap(0, (6, 8), may, 0), Err(Errno::EFAULT));
    assert_eq!(remap(4, (1, 1), may | fixed, 20), Err(Errno::EFAULT));
    assert_eq!(remap(0, (4, 6), RemapFlags::empty(), 0), Err(Errno::ENOMEM));
    // A shrink may reach beyond the area.
    assert_eq!(remap(0, (6, 2), RemapFlags::empty(), 0), Ok(at(0)));
    assert_eq!(space.areas(), [(0, 2, "rw-p".into())]);
    world.end();
}

// row: S06
#[test]
fn madvise_refuses() {
    let world = World::new(64);
    let space = world.first();
    space.map_private(0, 2);
    space.map_private(3, 1);
    space.map_shared(8, 1);
    let advise = |page, pages, advice| space.mm.madvise(at(page), bytes(pages), advice);
    let odd = VirtAddr::new(BASE_ODD);
    assert_eq!(
        space.mm.madvise(odd, 4096, Advice::Normal),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        space.mm.madvise(at(0), u64::MAX, Advice::Normal),
        Err(Errno::EINVAL)
    );
    assert_eq!(space.mm.madvise(at(0), 0, Advice::Free), Ok(()));
    assert_eq!(advise(0, 4, Advice::DontNeed), Err(Errno::ENOMEM));
    assert_eq!(advise(4, 1, Advice::Sequential), Err(Errno::ENOMEM));
    assert_eq!(advise(8, 1, Advice::Free), Err(Errno::EINVAL));
    assert_eq!(advise(8, 1, Advice::WipeOnFork), Err(Errno::EINVAL));
    assert_eq!(advise(0, 1, Advice::Remove), Err(Errno::EINVAL));
    assert_eq!(advise(0, 1, Advice::HwPoison), Err(Errno::EPERM));
    assert_eq!(advise(0, 1, Advice::HugePage), Ok(()));
    space.mm.mlock(at(0), 4096).unwrap();
    for advice in [
        Advice::DontNeed,
        Advice::Free,
        Advice::Cold,
        Advice::GuardInstall,
    ] {
        assert_eq!(advise(0, 1, advice), Err(Errno::EINVAL), "{advice:?}");
    }
    assert_eq!(advise(0, 1, Advice::DontNeedLocked), Ok(()));
    space.protect(3, 1, Prot::READ).unwrap();
    assert_eq!(advise(3, 1, Advice::PopulateRead), Ok(()));
    assert_eq!(advise(3, 1, Advice::PopulateWrite), Err(Errno::EINVAL));
    assert_eq!(advise(2, 1, Advice::PopulateRead), Err(Errno::ENOMEM));
    world.end();
}

// row: S07
#[test]
fn locking_refuses() {
    let world = World::new(64);
    let space = world.first();
    space.map_private(0, 4);
    let mm = &space.mm;
    assert_eq!(
        mm.mlock2(at(0), 4096, LockFlags::from_bits_retain(2)),
        Err(Errno::EINVAL)
    );
    assert_eq!(mm.mlock(at(0), u64::MAX - 8192), Err(Errno::EINVAL));
    assert_eq!(mm.mlock(at(3), 8192), Err(Errno::ENOMEM));
    assert_eq!(mm.mlockall(LockAllFlags::empty()), Err(Errno::EINVAL));
    assert_eq!(mm.mlockall(LockAllFlags::ONFAULT), Err(Errno::EINVAL));
    mm.munlockall();
    mm.limits().set(Resource::Memlock, Rlimit::both(2 * 4096));
    assert_eq!(mm.mlock(at(0), 3 * 4096), Err(Errno::ENOMEM));
    assert_eq!(mm.mlock(at(0), 2 * 4096), Ok(()));
    // What is locked already does not count twice.
    assert_eq!(mm.mlock(at(0), 2 * 4096), Ok(()));
    assert_eq!(mm.mlock(at(1), 2 * 4096), Err(Errno::ENOMEM));
    assert_eq!(mm.mlockall(LockAllFlags::CURRENT), Err(Errno::ENOMEM));
    let more = anon(4096).with(MapFlags::LOCKED);
    assert_eq!(mm.mmap(&more), Err(Errno::EAGAIN));
    mm.limits().set(Resource::Memlock, Rlimit::both(0));
    assert_eq!(mm.mlock(at(0), 4096), Err(Errno::EPERM));
    assert_eq!(mm.munlock(at(0), 4096), Ok(()));
    world.end();
}

// row: S08
#[test]
fn msync_answers() {
    let world = World::new(64);
    let space = world.first();
    space.map_shared(0, 2);
    space.map_private(4, 1);
    let sync = |page, pages, flags| space.mm.msync(at(page), bytes(pages), flags);
    let odd = VirtAddr::new(BASE_ODD);
    assert_eq!(
        space.mm.msync(odd, 4096, SyncFlags::SYNC),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        sync(0, 1, SyncFlags::SYNC | SyncFlags::ASYNC),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        sync(0, 1, SyncFlags::from_bits_retain(8)),
        Err(Errno::EINVAL)
    );
    assert_eq!(sync(0, 0, SyncFlags::SYNC), Ok(()));
    assert_eq!(sync(0, 2, SyncFlags::SYNC), Ok(()));
    assert_eq!(sync(0, 5, SyncFlags::SYNC), Err(Errno::ENOMEM));
    assert_eq!(sync(4, 2, SyncFlags::ASYNC), Err(Errno::ENOMEM));
    space.mm.mlock(at(0), 4096).unwrap();
    assert_eq!(sync(0, 1, SyncFlags::INVALIDATE), Err(Errno::EBUSY));
    world.end();
}

// row: S09
#[test]
fn mincore_sees_what_is_there() {
    let world = World::new(64);
    let space = world.first();
    space.map_private(0, 4);
    space.map_shared(4, 2);
    space.write(at(1), 1).unwrap();
    space.write(at(5), 1).unwrap();
    let child = space.fork().unwrap();
    let core = |space: &crate::kit::Space, page, pages: u64| {
        let mut seen = Vec::new();
        let done = space.mm.mincore(at(page), bytes(pages), |part| {
            seen.extend_from_slice(part);
            Ok(())
        });
        (done, seen)
    };
    assert_eq!(core(space, 0, 6), (Ok(()), vec![0, 1, 0, 0, 0, 1]));
    // The child has not touched the shared page, but its object has it.
    assert_eq!(core(&child, 0, 6), (Ok(()), vec![0, 1, 0, 0, 0, 1]));
    assert_eq!(core(space, 5, 3), (Err(Errno::ENOMEM), vec![1]));
    let odd = VirtAddr::new(BASE_ODD);
    assert_eq!(space.mm.mincore(odd, 4096, |_| Ok(())), Err(Errno::EINVAL));
    assert_eq!(space.mm.mincore(at(0), TOP, |_| Ok(())), Err(Errno::ENOMEM));
    let refuse = |_: &[u8]| Err(Errno::EFAULT);
    assert_eq!(space.mm.mincore(at(0), 4096, refuse), Err(Errno::EFAULT));
    drop(child);
    world.end();
}

// row: S10
// inv: 22
#[test]
fn sealed_areas_stay() {
    let mut world = World::new(64);
    let space = world.first();
    space.map_private(0, 4);
    let mm = &space.mm;
    assert_eq!(mm.mseal(at(0), 4096, 1), Err(Errno::EINVAL));
    assert_eq!(mm.mseal(at(3), 8192, 0), Err(Errno::ENOMEM));
    assert_eq!(mm.mseal(at(1), 8192, 0), Ok(()));
    assert_eq!(space.unmap(0, 4), Err(Errno::EPERM));
    assert_eq!(space.protect(1, 1, Prot::READ), Err(Errno::EPERM));
    assert_eq!(
        space.remap(1, (2, 1), RemapFlags::empty(), 0),
        Err(Errno::EPERM)
    );
    assert_eq!(space.map(2, 1, RW, MapFlags::PRIVATE), Err(Errno::EPERM));
    // It can be written anyway, so it may be discarded.
    assert_eq!(mm.madvise(at(1), 4096, Advice::DontNeed), Ok(()));
    assert_eq!(space.unmap(0, 1), Ok(()));
    world.check();
    world.end();
}

// row: S11
#[test]
fn file_pages_are_remapped() {
    let mut world = World::new(64);
    world.first().map_shared(0, 4);
    world.check();
    let space = world.first();
    for page in 0..4 {
        space.write(at(page), 1 + page as u8).unwrap();
    }
    let none = MapFlags::empty();
    let remap = |page, pages, to| {
        space
            .mm
            .remap_file_pages(at(page), bytes(pages), Prot::NONE, (PgOff::new(to), none))
    };
    assert_eq!(remap(0, 2, 2), Ok(()));
    assert_eq!(space.read(at(0)).unwrap(), 3);
    assert_eq!(space.read(at(2)).unwrap(), 3);
    assert_eq!(remap(3, 2, 0), Err(Errno::EINVAL));
    assert_eq!(remap(0, 0, 0), Err(Errno::EINVAL));
    world.check();
    world.end();
}
