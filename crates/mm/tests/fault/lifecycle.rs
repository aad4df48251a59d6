//! A space from its first user to its last reference.

use std::sync::Arc;

use addr::{PAGE_SIZE, PagingMode, VirtAddr};
use mm::layout::{COMPAT_TASK_SIZE, DEFAULT_MAP_WINDOW, STACK_EXPAND_BYTES};
use mm::{
    Image, Layout, LayoutConfig, Limits, MapRequest, Mm, MmFlags, Placement, Resource, Rlimit,
};

use crate::space::{BASE, Host, RW, Space, bare, page, read_at, write_at};

// row: M02 row: S13
#[test]
fn the_last_user_tears_down_and_a_zero_never_rises() {
    let host = Host::new(256);
    let before = host.usage();
    let space = host.space();
    let range = space.anon(4, RW);
    let mut program = space.run();
    for n in 0..4 {
        program.store(page(range, n), 1).unwrap();
    }
    drop(program);
    // row: M01
    let structure: Arc<Mm> = space.mm.grab();
    let second = structure.get_not_zero().unwrap();
    assert_eq!(structure.users(), 2);
    drop(space);
    assert_eq!(second.stats().rss.anon, 4);
    drop(second);
    // inv: 72
    assert_eq!(structure.users(), 0);
    assert!(structure.get_not_zero().is_none());
    let stats = structure.stats();
    // inv: 50 inv: 28
    assert_eq!(
        (stats.rss.resident(), stats.pgtables_bytes, stats.areas),
        (0, 0, 0)
    );
    assert_eq!(structure.commit().committed(), 0);
    // The structure is still there, and a fault finds nothing in it.
    assert!(structure.handle_fault(&read_at(range.start())).is_err());
    // Its root table is all it has.
    assert_eq!(host.usage().nr_in_use(), before.nr_in_use() + 1);
    drop(structure);
    assert_eq!(host.usage().nr_in_use(), before.nr_in_use());
}

// row: M02
#[test]
fn teardown_may_be_left_to_another() {
    let (_arena, mm) = bare(256);
    mm.mmap(&MapRequest::anonymous(PAGE_SIZE, RW).fixed_at(BASE))
        .unwrap();
    mm.handle_fault(&write_at(BASE)).unwrap();
    let structure = mm.grab();
    // Not the last user: nothing is left to do.
    mm.clone().put_async(|_| panic!("there is another user"));
    let mut later = None;
    mm.put_async(|work| later = Some(work));
    // Nobody can become a user again of what is to be torn down.
    assert_eq!((structure.users(), structure.stats().rss.anon), (0, 1));
    assert!(structure.get_not_zero().is_none());
    later.unwrap()();
    assert_eq!((structure.users(), structure.stats().rss.anon), (0, 0));
}

// row: M02
#[test]
fn of_two_last_users_one_leaves_the_teardown_to_another() {
    for _ in 0..200 {
        let (_arena, mm) = bare(64);
        let structure = mm.grab();
        let together = std::sync::Barrier::new(2);
        let given = std::sync::Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for user in [mm.clone(), mm] {
                scope.spawn(|| {
                    together.wait();
                    user.put_async(|work| given.lock().unwrap().push(work));
                });
            }
        });
        let mut given = given.into_inner().unwrap();
        assert_eq!((structure.users(), given.len()), (0, 1));
        given.remove(0)();
    }
}

// row: M28
#[test]
fn the_exe_file_is_let_go_with_the_memory() {
    let (_arena, mm) = bare(256);
    let name: Arc<str> = Arc::from("/bin/true");
    mm.image().exe_file = Some(Arc::clone(&name));
    let structure = mm.grab();
    assert_eq!(Arc::strong_count(&name), 2);
    drop(mm);
    assert_eq!(Arc::strong_count(&name), 1);
    assert!(structure.image().exe_file.is_none());
}

// row: M20 row: M21 row: M28
#[test]
fn what_a_program_says_of_itself_is_inherited() {
    let host = Host::new(256);
    let space = host.space();
    let addr = |n: u64| VirtAddr::new(n * PAGE_SIZE + 8);
    let image = Image {
        start_code: addr(1),
        end_code: addr(2),
        start_data: addr(3),
        end_data: addr(4),
        start_brk: addr(5),
        brk: addr(6),
        start_stack: addr(7),
        arg_start: addr(8),
        arg_end: addr(9),
        env_start: addr(10),
        env_end: addr(11),
        auxv: vec![(6, 4096), (0, 0)],
        exe_file: Some(Arc::from("/bin/true")),
    };
    *space.mm.image() = image.clone();
    let child = space.fork();
    assert_eq!(*child.mm.image(), image);
    // From now on each has its own, and a new program begins with none.
    child.mm.image().brk = addr(12);
    child.mm.image().auxv.clear();
    assert_eq!(*space.mm.image(), image);
    assert_eq!(*host.space().mm.image(), Image::default());
}

// row: M25
#[test]
fn flags_are_set_cleared_and_inherited_where_linux_does() {
    let host = Host::new(256);
    let space = host.space();
    assert!(
        space
            .mm
            .flags()
            .contains(MmFlags::TOPDOWN | MmFlags::DUMPABLE)
    );
    space.mm.set_flags(MmFlags::HAS_PINNED);
    space.mm.clear_flags(MmFlags::DUMPABLE);
    let child = space.fork();
    assert!(child.mm.flags().contains(MmFlags::TOPDOWN));
    assert!(
        !child
            .mm
            .flags()
            .intersects(MmFlags::HAS_PINNED | MmFlags::DUMPABLE)
    );
}

// row: M25 row: S12 row: S13
#[test]
fn what_a_core_dump_holds_is_inherited_and_kept() {
    let host = Host::new(256);
    let space = host.space();
    // `/proc/PID/coredump_filter` shows them from bit 2 on: 0x33, as Linux begins.
    let filter = |space: &Space<'_>| (space.mm.flags() & MmFlags::DUMP_FILTER).bits() >> 2;
    assert_eq!(MmFlags::DUMP_FILTER.bits() >> 2, 0x1ff);
    assert_eq!(filter(&space), 0x33);
    space.mm.clear_flags(MmFlags::DUMP_FILTER);
    space.mm.set_flags(MmFlags::DUMP_MAPPED_SHARED);
    let child = space.fork();
    assert_eq!(filter(&child), 8);
    // The space of its next program has no more and no less; whether it may be dumped begins anew.
    child.mm.clear_flags(MmFlags::DUMPABLE);
    let next = host.space();
    next.mm.take_over(&child.mm);
    assert_eq!(filter(&next), 8);
    assert!(next.mm.flags().contains(MmFlags::DUMPABLE));
    assert!(!next.mm.flags().contains(MmFlags::HAS_MDWE));
    child.mm.set_flags(MmFlags::HAS_MDWE);
    next.mm.take_over(&child.mm);
    assert!(next.mm.flags().contains(MmFlags::HAS_MDWE));
}

// row: M05 row: M06
#[test]
fn bases_are_those_of_a_kernel_without_randomness() {
    let stack = |soft| {
        Limits::new().with(
            Resource::Stack,
            Rlimit {
                soft,
                hard: u64::MAX,
            },
        )
    };
    let gap = 256 * PAGE_SIZE;
    let layout = |soft| Layout::new(LayoutConfig::default(), &stack(soft), gap);
    // 8 MiB of stack: the gap is its least, 128 MiB.
    let usual = layout(8 << 20);
    assert_eq!(usual.mmap_base().as_u64(), DEFAULT_MAP_WINDOW - (128 << 20));
    assert_eq!(
        usual.mmap_legacy_base().as_u64(),
        0x2aaa_aaaa_a000 + PAGE_SIZE
    );
    assert_eq!(
        usual.mmap_compat_base().as_u64(),
        COMPAT_TASK_SIZE - (128 << 20)
    );
    assert_eq!(usual.mmap_compat_legacy_base().as_u64(), 0x5555_5000);
    assert_eq!(usual.placement(), Placement::TopDown);
    assert_eq!(usual.task_size().as_u64(), (1 << 47) - PAGE_SIZE);
    // A larger stack moves the base down by itself and the guard gap.
    assert_eq!(
        layout(1 << 30).mmap_base().as_u64(),
        DEFAULT_MAP_WINDOW - (1 << 30) - gap
    );
    // One too large is cut to five sixths.
    let cut = layout(1 << 47).mmap_base().as_u64();
    assert_eq!(
        cut,
        (DEFAULT_MAP_WINDOW - DEFAULT_MAP_WINDOW / 6 * 5).next_multiple_of(PAGE_SIZE)
    );
    // So is one without limit: it does not select the legacy layout.
    let unlimited = layout(u64::MAX);
    assert_eq!(unlimited.mmap_base().as_u64(), cut);
    assert_eq!(unlimited.placement(), Placement::TopDown);
    let five = LayoutConfig {
        mode: PagingMode::FiveLevel,
        ..LayoutConfig::default()
    };
    let five = Layout::new(five, &stack(8 << 20), gap);
    assert_eq!(five.task_size().as_u64(), (1 << 56) - PAGE_SIZE);
    assert_eq!(five.mmap_base(), usual.mmap_base());
}

// row: M20
#[test]
fn a_fresh_stack_has_its_arguments_and_128_kib() {
    let limits = Limits::new();
    let layout = Layout::new(LayoutConfig::default(), &limits, 256 * PAGE_SIZE);
    // What a host without randomness shows: 7ffffffde000-7ffffffff000.
    let range = layout.initial_stack(100, &limits).unwrap();
    assert_eq!(range.start().as_u64(), 0x7fff_fffd_e000);
    assert_eq!(range.bytes(), PAGE_SIZE + STACK_EXPAND_BYTES);
    limits.set(Resource::Stack, Rlimit::both(64 << 10));
    assert_eq!(
        layout.initial_stack(100, &limits).unwrap().bytes(),
        64 << 10
    );
}

// row: M03 row: M13
#[test]
fn readers_find_areas_while_a_writer_holds_the_lock() {
    let host = Host::new(256);
    let space = host.space();
    let range = space.anon(2, RW);
    let held = space.mm.write();
    // inv: 11
    assert!(space.mm.mmap_lock().speculate_try_begin().is_none());
    // The area itself is not locked, so a fault needs nothing of the writer's.
    std::thread::scope(|scope| {
        scope.spawn(|| space.mm.handle_fault(&read_at(range.start())).unwrap());
    });
    drop(held);
    let found = space
        .mm
        .mmap_lock()
        .snapshot()
        .find(page(range, 1))
        .cloned()
        .unwrap();
    assert_eq!(found.range, range);
}

// row: M12
#[test]
fn two_tables_have_two_locks() {
    let (_arena, mm) = bare(2048);
    mm.mmap(&MapRequest::anonymous(4 << 20, RW).fixed_at(BASE))
        .unwrap();
    let far = BASE.checked_add(2 << 20).unwrap();
    mm.handle_fault(&write_at(BASE)).unwrap();
    mm.handle_fault(&write_at(far)).unwrap();
    let pin = sync::pin();
    let one = mm.table().slot(BASE, &pin).unwrap().lock().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| mm.handle_fault(&read_at(far)).unwrap());
    });
    drop(one);
}

// row: M07
#[test]
fn the_root_is_there_before_the_first_user() {
    let (arena, mm) = bare(256);
    assert!(arena.record(mm.table().root()).is_some());
    // And without a frame for it there is no space.
    let mut kept = Vec::new();
    while let Ok(page) = arena.alloc(frame::AllocRequest::zeroed(frame::Purpose::Other)) {
        kept.push(page);
    }
    let config = mm::MmConfig::new(Arc::clone(&arena), Arc::new(machine::NoMmu));
    assert_eq!(Mm::create(config).map(drop), Err(addr::Errno::ENOMEM));
}
