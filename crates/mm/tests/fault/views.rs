//! What a space looks like from outside.

use std::sync::Arc;

use addr::{PAGE_SIZE, Prot, VirtAddr, VirtRange};
use machine::{AccessedDirty, Flush, Mmu, MmuCaps, NoMmu, TableUse};
use mm::{FaultPolicy, FileRights, MapFlags, MapRequest, MmConfig, ObjectTarget, Target};
use object::ObjectConfig;
use object::source::{Fetched, SourceRegion, from_fn};
use object::{InodeId, VmOps};

use crate::space::{BASE, Host, RW, page, pfn_of, write_at};

// row: A01 row: A05
#[test]
fn maps_is_in_the_kernels_text() {
    let host = Host::new(256);
    let space = host.space();
    let config = ObjectConfig {
        inode: InodeId {
            major: 8,
            minor: 1,
            ino: 1234,
        },
        ..ObjectConfig::new(4 * PAGE_SIZE, "/usr/lib/a\nb")
    };
    let region = SourceRegion::new(&host.arena, from_fn(|_| Fetched::Zeroes), config);
    let ops: Arc<dyn VmOps> = Arc::clone(&region) as _;
    let target = ObjectTarget::new(ops).with_file(region.open_file(), FileRights::READ_WRITE);
    let map = |at: u64, request: MapRequest| {
        space.mm.mmap(&request.fixed_at(VirtAddr::new(at))).unwrap();
    };
    let code = Prot::READ | Prot::EXEC;
    map(
        0x40_0000,
        MapRequest::object(target.clone(), 2 * PAGE_SIZE, code, MapFlags::PRIVATE)
            .from_page(addr::PgOff::new(1)),
    );
    map(
        0x60_0000,
        MapRequest::object(target, PAGE_SIZE, Prot::READ, MapFlags::SHARED),
    );
    map(0x70_0000, MapRequest::anonymous(PAGE_SIZE, RW));
    map(0x80_0000, MapRequest::anonymous(PAGE_SIZE, Prot::NONE));
    map(0x7fff_f000_0000, MapRequest::anonymous(PAGE_SIZE, RW));
    {
        let mut image = space.mm.image();
        image.start_brk = VirtAddr::new(0x70_0000);
        image.brk = VirtAddr::new(0x70_1000);
        image.start_stack = VirtAddr::new(0x7fff_f000_0800);
    }
    let name = |text: &str| format!("{text:<73}");
    let expected = [
        name("00400000-00402000 r-xp 00001000 08:01 1234 ") + "/usr/lib/a\\012b",
        name("00600000-00601000 r--s 00000000 08:01 1234 ") + "/usr/lib/a\\012b",
        name("00700000-00701000 rw-p 00000000 00:00 0 ") + "[heap]",
        "00800000-00801000 ---p 00000000 00:00 0 ".to_owned(),
        name("7ffff0000000-7ffff0001000 rw-p 00000000 00:00 0 ") + "[stack]",
    ];
    assert_eq!(space.mm.maps_text(), expected.join("\n") + "\n");
}

// row: A05 row: M16
#[test]
fn smaps_says_whose_pages_are() {
    let host = Host::new(256);
    let space = host.space();
    let range = space.anon(3, RW);
    let mut program = space.run();
    program.store(page(range, 0), 1).unwrap();
    program.store(page(range, 1), 1).unwrap();
    let child = space.fork();
    program.store(page(range, 1), 2).unwrap();
    let text = String::from_utf8(space.mm.smaps()).unwrap();
    let kib = |name: &str| -> u64 {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let sizes = ["Size:", "Rss:", "Pss:", "Pss_Dirty:"].map(kib);
    assert_eq!(sizes, [12, 8, 6, 6]);
    assert_eq!(["Shared_Dirty:", "Private_Dirty:"].map(kib), [4, 4]);
    assert_eq!(["Anonymous:", "Referenced:", "Locked:"].map(kib), [8, 8, 0]);
    assert!(text.contains("\nVmFlags: rd wr mr mw me ac "));
    let rollup = String::from_utf8(space.mm.smaps_rollup()).unwrap();
    assert!(rollup.lines().next().unwrap().ends_with(" [rollup]"));
    assert!(rollup.contains("\nPss_Anon:              6 kB\n"));
    drop(child);
}

// row: M25
#[test]
fn translations_are_runs() {
    let host = Host::new(512);
    let space = host.space_with(FaultPolicy::new(1, 8));
    let range = space.anon(24, RW);
    let mut program = space.run();
    program.store(page(range, 1), 1).unwrap();
    assert_eq!(program.load(page(range, 9)).unwrap(), 0);
    let mut runs = Vec::new();
    let wide = VirtRange::from_len(BASE, 64 << 20).unwrap();
    space.mm.translations(wide, |run| runs.push(run));
    assert_eq!(runs.len(), 2);
    assert_eq!(
        runs[0].range,
        VirtRange::from_len(BASE, 8 * PAGE_SIZE).unwrap()
    );
    assert_eq!(runs[0].target, Target::Arena(pfn_of(&space.mm, BASE)));
    assert_eq!(runs[0].prot, RW);
    assert_eq!(
        (runs[1].range.start(), runs[1].prot),
        (page(range, 9), Prot::READ)
    );
}

// row: F17
#[test]
fn a_clean_page_is_not_said_to_be_writable_to_a_machine_that_marks_nothing() {
    #[derive(Debug)]
    struct Filled;
    impl Mmu for Filled {
        fn caps(&self) -> MmuCaps {
            MmuCaps {
                tables: TableUse::FilledBySoftware,
                accessed_dirty: AccessedDirty::SetByFaults,
                ..NoMmu.caps()
            }
        }
        fn update_mmu_cache(&self, _range: VirtRange) {}
        fn flush_tlb(&self, _flush: &Flush<'_>) {}
    }
    let host = Host::new(256);
    let mut config = MmConfig::new(Arc::clone(&host.arena), Arc::new(Filled));
    config.devices = Arc::clone(&host.devices);
    let mm = mm::Mm::create(config).unwrap();
    let request = MapRequest {
        flags: MapFlags::SHARED | MapFlags::ANONYMOUS,
        ..MapRequest::anonymous(PAGE_SIZE, RW)
    };
    mm.mmap(&request.fixed_at(BASE)).unwrap();
    let prot_of = || {
        let mut prot = None;
        mm.translations(VirtRange::from_len(BASE, PAGE_SIZE).unwrap(), |run| {
            prot = Some(run.prot)
        });
        prot
    };
    mm.handle_fault(&crate::space::read_at(BASE)).unwrap();
    assert_eq!(prot_of(), Some(Prot::READ));
    // Its first write faults, is served, and now it may be filled writable.
    mm.handle_fault(&write_at(BASE)).unwrap();
    assert_eq!(prot_of(), Some(RW));
}

/// Pages of zeroes are one run, however many there are, and no part of one that begins with a frame.
// row: M16
#[test]
fn zero_pages_are_one_run() {
    let host = Host::new(256);
    let space = host.space();
    space.anon(6, RW);
    for page in [0, 1, 2, 4] {
        space
            .mm
            .handle_fault(&crate::space::read_at(
                BASE.saturating_add(page * PAGE_SIZE),
            ))
            .unwrap();
    }
    space
        .mm
        .handle_fault(&write_at(BASE.saturating_add(3 * PAGE_SIZE)))
        .unwrap();
    let mut runs = Vec::new();
    let wide = VirtRange::from_len(BASE, 6 * PAGE_SIZE).unwrap();
    space
        .mm
        .translations(wide, |run| runs.push((run.range.pages(), run.target)));
    let written = Target::Arena(pfn_of(&space.mm, BASE.saturating_add(3 * PAGE_SIZE)));
    let expected = [(3, Target::Zeroes), (1, written), (1, Target::Zeroes)];
    assert_eq!(runs, expected);
}

// row: M10 row: M11 row: M16 row: M17
#[test]
fn statistics_add_up() {
    let host = Host::new(256);
    let space = host.space();
    let range = space.anon(4, RW);
    let mut program = space.run();
    for n in 0..3 {
        program.store(page(range, n), 1).unwrap();
    }
    let _ = program.load(range.end());
    let stats = space.mm.stats();
    let faults = stats.faults;
    let by_kind = faults.anon_zero
        + faults.anon
        + faults.file
        + faults.cow_copied
        + faults.cow_reused
        + faults.shared_write
        + faults.spurious
        + faults.failed;
    assert_eq!(faults.pgfault + faults.denied, by_kind);
    assert_eq!(faults.minor + faults.major + faults.failed, by_kind);
    assert_eq!(faults.denied, 1);
    assert_eq!((stats.areas, stats.forks), (1, 0));
    drop(space.fork());
    assert_eq!(space.mm.stats().forks, 1);
}
