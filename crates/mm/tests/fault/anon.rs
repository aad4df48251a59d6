//! Private memory: the zero page, fresh pages, blocks of them.

use addr::{PAGE_SIZE, Prot, SigCode};
use frame::FolioFlags;
use mm::{FaultKind, FaultPolicy, RssKind};
use object::owner;

use crate::space::{BASE, Host, RW, bare, page, pfn_of, read_at, write_at};

// row: F09 row: F10
#[test]
fn a_read_maps_the_zero_page_and_counts_nothing() {
    let host = Host::new(256);
    let space = host.space();
    let range = space.anon(4, RW);
    assert_eq!(space.run().load(range.start()).unwrap(), 0);
    let entry = space.entry(range.start());
    // inv: 51
    assert!(entry.is_special() && !entry.is_writable());
    assert_eq!(entry.mapping().unwrap().pfn, host.arena.zero_page());
    assert_eq!(space.mm.stats().rss.resident(), 0);
    assert_eq!(space.mm.stats().faults.anon_zero, 1);
}

// row: F10 row: F27
#[test]
fn a_write_maps_a_fresh_exclusive_page() {
    let host = Host::new(256);
    let space = host.space();
    let range = space.anon(4, RW);
    space.run().store(page(range, 1), 7).unwrap();
    let entry = space.entry(page(range, 1));
    // inv: 40
    assert!(entry.is_writable() && entry.is_dirty() && entry.is_young());
    let record = host.arena.record(entry.mapping().unwrap().pfn).unwrap();
    assert!(record.has(FolioFlags::ANON_EXCLUSIVE | FolioFlags::UPTODATE | FolioFlags::SWAPBACKED));
    assert_eq!((record.ref_count(), record.map_count()), (1, 1));
    // inv: 47
    assert_eq!(record.index(), page(range, 1).page_number());
    assert!(record.owner().is_anon() && owner::find(record.owner()).is_some());
    assert_eq!(space.mm.rss().get(RssKind::Anon), 1);
    assert_eq!(space.mm.stats().faults.anon, 1);
    // The rest of the page is zeroes, and so are its neighbours.
    let mut program = space.run();
    assert_eq!(
        program
            .load(page(range, 1).checked_add(1).unwrap())
            .unwrap(),
        0
    );
    assert_eq!(program.load(page(range, 2)).unwrap(), 0);
}

// row: F10 row: F17
#[test]
fn a_write_after_a_read_replaces_the_zero_page() {
    let host = Host::new(256);
    let space = host.space();
    let range = space.anon(1, RW);
    let mut program = space.run();
    assert_eq!(program.load(range.start()).unwrap(), 0);
    program.store(range.start(), 9).unwrap();
    assert_eq!(program.load(range.start()).unwrap(), 9);
    let stats = space.mm.stats();
    assert_eq!(
        (
            stats.rss.anon,
            stats.faults.anon_zero,
            stats.faults.cow_copied
        ),
        (1, 1, 1)
    );
}

// row: F10 row: F27
#[test]
fn memory_that_may_not_be_written_is_not_made_writable_by_a_read() {
    let host = Host::new(256);
    let space = host.space();
    let range = space.anon(1, Prot::READ);
    let mut program = space.run();
    assert_eq!(program.load(range.start()).unwrap(), 0);
    let error = program.store(range.start(), 1).unwrap_err();
    assert_eq!(error.si_code(), Some(SigCode::AccErr));
    assert_eq!(error.addr, range.start());
}

// row: F07
#[test]
fn the_first_fault_makes_the_tables_and_counts_them() {
    let (_arena, mm) = bare(256);
    assert_eq!(mm.stats().pgtables_bytes, 0);
    let request = mm::MapRequest::anonymous(PAGE_SIZE, RW).fixed_at(BASE);
    mm.mmap(&request).unwrap();
    assert_eq!(
        mm.handle_fault(&write_at(BASE)).unwrap().kind,
        FaultKind::Anon
    );
    // row: M10
    assert_eq!(mm.stats().pgtables_bytes, 3 * PAGE_SIZE);
}

// row: F07
#[test]
fn five_levels_need_no_other_fault() {
    let host = Host::new(256);
    let (mut config, mmu) = host.config();
    config.layout.mode = addr::PagingMode::FiveLevel;
    let space = host.space_of(config, mmu);
    let high = addr::VirtAddr::new(1 << 52);
    let request = mm::MapRequest::anonymous(PAGE_SIZE, RW).fixed_at(high);
    assert_eq!(space.mm.mmap(&request).unwrap(), high);
    let mut program = space.run();
    program.store(high, 5).unwrap();
    assert_eq!(program.load(high).unwrap(), 5);
}

// row: F10
#[test]
fn a_block_is_filled_around_a_write_from_neighbouring_frames() {
    let host = Host::new(512);
    let space = host.space_with(FaultPolicy::new(16, 16));
    let range = space.anon(40, RW);
    let mut program = space.run();
    // Something is there already, and stays.
    assert_eq!(program.load(page(range, 3)).unwrap(), 0);
    program.store(page(range, 5), 1).unwrap();
    let first = pfn_of(&space.mm, page(range, 0)).as_u64();
    for n in (0..16).filter(|n| *n != 3) {
        assert_eq!(
            pfn_of(&space.mm, page(range, n)).as_u64(),
            first + n,
            "page {n}"
        );
    }
    assert_eq!(pfn_of(&space.mm, page(range, 3)), host.arena.zero_page());
    assert!(space.entry(page(range, 16)).is_none());
    let stats = space.mm.stats();
    assert_eq!(
        (stats.rss.anon, stats.faults.anon, stats.faults.anon_around),
        (15, 1, 14)
    );
    for n in 0..16 {
        assert_eq!(program.load(page(range, n)).unwrap(), u8::from(n == 5));
    }
}

// row: F10
#[test]
fn a_block_stays_inside_its_area() {
    let host = Host::new(512);
    let space = host.space_with(FaultPolicy::new(16, 16));
    let request = mm::MapRequest::anonymous(3 * PAGE_SIZE, RW)
        .fixed_at(BASE.checked_add(2 * PAGE_SIZE).unwrap());
    space.mm.mmap(&request).unwrap();
    space
        .run()
        .store(BASE.checked_add(3 * PAGE_SIZE).unwrap(), 1)
        .unwrap();
    let around = |n: u64| {
        space
            .entry(BASE.checked_add(n * PAGE_SIZE).unwrap())
            .is_none()
    };
    let empty: Vec<u64> = (0..16).filter(|n| around(*n)).collect();
    assert_eq!(empty, [0, 1].into_iter().chain(5..16).collect::<Vec<_>>());
    assert_eq!(space.mm.stats().rss.anon, 3);
}

// row: F10
#[test]
fn a_block_that_cannot_be_had_leaves_the_page_itself() {
    // Too small for a run of 64 frames beside the tables.
    let host = Host::new(48);
    let space = host.space_with(FaultPolicy::new(16, 64));
    let range = space.anon(40, RW);
    space.run().store(page(range, 9), 1).unwrap();
    assert_eq!(space.mm.stats().rss.anon, 1);
}

// row: F08
#[test]
fn a_fault_on_a_sufficient_entry_is_spurious() {
    let (_arena, mm) = bare(256);
    mm.mmap(&mm::MapRequest::anonymous(PAGE_SIZE, RW).fixed_at(BASE))
        .unwrap();
    mm.handle_fault(&write_at(BASE)).unwrap();
    let before = pfn_of(&mm, BASE);
    // inv: 34
    assert_eq!(
        mm.handle_fault(&write_at(BASE)).unwrap().kind,
        FaultKind::Spurious
    );
    assert_eq!(
        mm.handle_fault(&read_at(BASE)).unwrap().kind,
        FaultKind::Spurious
    );
    assert_eq!(pfn_of(&mm, BASE), before);
}

// row: F10
#[test]
fn an_unstable_space_publishes_no_private_page() {
    let (_arena, mm) = bare(256);
    mm.mmap(&mm::MapRequest::anonymous(2 * PAGE_SIZE, RW).fixed_at(BASE))
        .unwrap();
    // inv: 71
    mm.set_flags(mm::MmFlags::UNSTABLE);
    for info in [read_at(BASE), write_at(BASE)] {
        assert_eq!(
            mm.handle_fault(&info).unwrap_err().si_code(),
            Some(SigCode::BusAdrErr)
        );
    }
    assert_eq!(mm.stats().rss.resident(), 0);
}
