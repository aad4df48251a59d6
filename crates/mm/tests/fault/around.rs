//! Fault-around.

use std::sync::Arc;

use addr::{PAGE_SIZE, PgOff, VirtAddr};
use mm::{FaultPolicy, MapFlags, MapRequest, ObjectTarget};
use object::VmOps;
use object::shmem::Shmem;

use crate::space::{Host, RW, Space};

/// 4 MiB aligned, so that windows are easy to see.
const AT: VirtAddr = VirtAddr::new(0x10_0040_0000);

fn resident(host: &Host, pages: u64) -> Arc<Shmem> {
    let shmem = Shmem::anonymous(&host.arena, pages * PAGE_SIZE);
    let filler = host.space();
    map(&filler, &shmem, AT, (0, pages));
    let mut program = filler.run();
    for n in 0..pages {
        program.store(at(AT, n), n as u8).unwrap();
    }
    shmem
}

fn map(space: &Space<'_>, shmem: &Arc<Shmem>, addr: VirtAddr, (from, pages): (u64, u64)) {
    let ops: Arc<dyn VmOps> = Arc::clone(shmem) as _;
    let target = ObjectTarget::new(ops).with_file(shmem.open_file(), mm::FileRights::READ_WRITE);
    let request = MapRequest::object(target, pages * PAGE_SIZE, RW, MapFlags::SHARED)
        .from_page(PgOff::new(from))
        .fixed_at(addr);
    space.mm.mmap(&request).unwrap();
}

fn at(base: VirtAddr, n: u64) -> VirtAddr {
    base.checked_add(n * PAGE_SIZE).unwrap()
}

fn mapped(space: &Space<'_>, base: VirtAddr, pages: u64) -> Vec<u64> {
    (0..pages)
        .filter(|n| !space.entry(at(base, *n)).is_none())
        .collect()
}

// row: F13 row: V08
#[test]
fn sixteen_neighbours_that_are_at_hand_are_mapped() {
    let host = Host::new(1024);
    let shmem = resident(&host, 64);
    let space = host.space();
    map(&space, &shmem, AT, (0, 64));
    let mut program = space.run();
    assert_eq!(program.load(at(AT, 21)).unwrap(), 21);
    assert_eq!(mapped(&space, AT, 64), (16..32).collect::<Vec<_>>());
    let stats = space.mm.stats();
    assert_eq!((stats.faults.file, stats.faults.around_hits), (1, 15));
    assert_eq!(stats.rss.shmem, 16);
    assert_eq!(program.load(at(AT, 30)).unwrap(), 30);
    assert_eq!(space.mm.stats().faults.pgfault, 1);
}

// row: F13 row: V08
#[test]
fn the_window_stays_inside_the_area() {
    let host = Host::new(1024);
    let shmem = resident(&host, 64);
    let space = host.space();
    // Pages 20 to 25 of the object, mapped where 20 is not a multiple of the window.
    map(&space, &shmem, at(AT, 5), (20, 6));
    let mut program = space.run();
    // inv: 61
    assert_eq!(program.load(at(AT, 7)).unwrap(), 22);
    assert_eq!(mapped(&space, AT, 32), (5..11).collect::<Vec<_>>());
}

// row: F13 row: V08
#[test]
fn the_window_stays_inside_one_table() {
    let host = Host::new(1024);
    let shmem = resident(&host, 64);
    let space = host.space();
    let end = AT.checked_add(2 << 20).unwrap();
    let start = end.checked_sub(8 * PAGE_SIZE).unwrap();
    map(&space, &shmem, start, (0, 32));
    assert_eq!(space.run().load(at(start, 3)).unwrap(), 3);
    assert_eq!(mapped(&space, start, 32), (0..8).collect::<Vec<_>>());
}

// row: F13 row: V08
#[test]
fn what_is_there_already_is_left_alone() {
    let host = Host::new(1024);
    let shmem = resident(&host, 32);
    let space = host.space();
    map(&space, &shmem, AT, (0, 32));
    let mut program = space.run();
    program.store(at(AT, 4), 200).unwrap();
    let before = space.entry(at(AT, 4));
    assert_eq!(program.load(at(AT, 5)).unwrap(), 5);
    assert_eq!(space.entry(at(AT, 4)), before);
    assert_eq!(space.mm.stats().faults.around_hits, 14);
}

// row: F13 row: V08
#[test]
fn a_window_of_one_is_no_window() {
    let host = Host::new(1024);
    let shmem = resident(&host, 32);
    let space = host.space_with(FaultPolicy::new(1, 1));
    map(&space, &shmem, AT, (0, 32));
    assert_eq!(space.run().load(at(AT, 5)).unwrap(), 5);
    assert_eq!(mapped(&space, AT, 32), [5]);
}
