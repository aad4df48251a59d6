//! Stacks that grow.

use addr::{PAGE_SIZE, Prot, SigCode, VirtAddr};
use mm::{MapFlags, MapRequest, Resource, Rlimit};

use crate::space::{Host, RW, Space};

const TOP: VirtAddr = VirtAddr::new(0x20_0000_0000);

fn stack(space: &Space<'_>, pages: u64) -> VirtAddr {
    let bytes = pages * PAGE_SIZE;
    let start = TOP.checked_sub(bytes).unwrap();
    let request = MapRequest::anonymous(bytes, RW)
        .with(MapFlags::GROWSDOWN)
        .fixed_at(start);
    space.mm.mmap(&request).unwrap()
}

fn below(addr: VirtAddr, pages: u64) -> VirtAddr {
    addr.checked_sub(pages * PAGE_SIZE).unwrap()
}

// row: F05
#[test]
fn a_touch_below_grows_the_stack_to_it() {
    let host = Host::new(512);
    let space = host.space();
    let start = stack(&space, 2);
    let mut program = space.run();
    let deep = below(start, 5).checked_add(8).unwrap();
    program.store(deep, 1).unwrap();
    assert_eq!(program.load(deep).unwrap(), 1);
    assert_eq!(program.load(below(start, 3)).unwrap(), 0);
    let stats = space.mm.stats();
    // inv: 17
    assert_eq!(
        (stats.pages.total, stats.pages.stack, stats.areas),
        (7, 7, 1)
    );
    assert_eq!(stats.faults.stack_growth, 1);
    // inv: 18
    assert_eq!(space.mm.commit().committed(), 7);
    assert_eq!(
        program.load(below(start, 6)).map_err(|e| e.si_code()),
        Ok(0)
    );
}

// row: F05
#[test]
fn growth_keeps_the_guard_gap() {
    let host = Host::new(512);
    let space = host.space();
    let start = stack(&space, 1);
    let gap = space.mm.sysctl().stack_guard_gap_pages;
    // 300 pages below the stack something accessible ends.
    let neighbour = MapRequest::anonymous(PAGE_SIZE, RW).fixed_at(below(start, 301));
    space.mm.mmap(&neighbour).unwrap();
    let mut program = space.run();
    // inv: 21
    program.store(below(start, 300 - gap), 1).unwrap();
    let error = program.store(below(start, 300 - gap + 1), 1).unwrap_err();
    assert_eq!(error.si_code(), Some(SigCode::MapErr));
    // A neighbour without access is exempt.
    space
        .mm
        .mprotect(below(start, 301), PAGE_SIZE, Prot::NONE)
        .unwrap();
    program.store(below(start, 300 - gap + 1), 1).unwrap();
}

// row: F05
#[test]
fn growth_keeps_the_limits() {
    let host = Host::new(512);
    let space = host.space();
    let start = stack(&space, 2);
    let limit = |resource, pages: u64| {
        space
            .mm
            .limits()
            .set(resource, Rlimit::both(pages * PAGE_SIZE));
    };
    let mut program = space.run();
    limit(Resource::Stack, 4);
    program.store(below(start, 2), 1).unwrap();
    assert_eq!(
        program.store(below(start, 3), 1).unwrap_err().si_code(),
        Some(SigCode::MapErr)
    );
    limit(Resource::Stack, 100);
    limit(Resource::AddressSpace, 4);
    assert_eq!(
        program.store(below(start, 3), 1).unwrap_err().si_code(),
        Some(SigCode::MapErr)
    );
    limit(Resource::AddressSpace, 100);
    program.store(below(start, 3), 1).unwrap();
    // Nothing was promised or counted for what was refused.
    assert_eq!(
        (space.mm.commit().committed(), space.mm.stats().pages.total),
        (5, 5)
    );
}

// row: F05
#[test]
fn other_areas_do_not_grow() {
    let host = Host::new(256);
    let space = host.space();
    let request = MapRequest::anonymous(PAGE_SIZE, RW).fixed_at(TOP);
    space.mm.mmap(&request).unwrap();
    let error = space.run().store(below(TOP, 1), 1).unwrap_err();
    assert_eq!(error.si_code(), Some(SigCode::MapErr));
}

// row: F05
#[test]
fn no_stack_grows_below_mmap_min_addr() {
    let host = Host::new(256);
    let space = host.space();
    let low = VirtAddr::new(space.mm.sysctl().mmap_min_addr);
    let request = MapRequest::anonymous(PAGE_SIZE, RW)
        .with(MapFlags::GROWSDOWN)
        .fixed_at(low);
    space.mm.mmap(&request).unwrap();
    let error = space.run().load(below(low, 1)).unwrap_err();
    assert_eq!(error.si_code(), Some(SigCode::MapErr));
}

// row: F05
#[test]
fn two_threads_grow_one_stack() {
    let host = Host::new(512);
    let space = host.space();
    let start = stack(&space, 1);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let mut program = space.run();
            scope.spawn(move || {
                for n in 0..16 {
                    program.store(below(start, 1 + n * 4 + thread), 1).unwrap();
                }
            });
        }
    });
    let stats = space.mm.stats();
    assert_eq!(
        (stats.pages.stack, stats.areas, stats.rss.anon),
        (65, 1, 64)
    );
    assert_eq!(space.mm.commit().committed(), 65);
}

// row: M20
#[test]
fn a_programs_stack_is_where_a_kernel_puts_it() {
    let host = Host::new(512);
    let space = host.space();
    let range = space.mm.setup_stack(5000).unwrap();
    assert_eq!(range.end(), space.mm.layout().stack_top());
    assert_eq!(range.bytes(), 2 * PAGE_SIZE + (128 << 10));
    let mut program = space.run();
    program.store(space.mm.image().start_stack, 1).unwrap();
    program.store(below(range.start(), 9), 1).unwrap();
    assert!(space.mm.maps_text().contains("[stack]"));
    assert_eq!(space.mm.setup_stack(1), Err(addr::Errno::EEXIST));
}
