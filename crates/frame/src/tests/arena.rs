use std::vec::Vec;

use super::*;

#[test]
fn refuses_impossible_sizes() {
    for frames in [0, 1, DEVICE_PFN_BASE + 1, u64::MAX] {
        let refused = Arena::new(ArenaConfig::heap(frames));
        assert!(matches!(refused, Err(ArenaError::Frames(_))), "{frames}");
    }
}

// row: P13
#[test]
fn out_of_frames_is_an_outcome_and_ends() {
    let arena = arena(501);
    let all = exhaust(&arena);
    assert_eq!(all.len(), 500);
    let none = arena.alloc(anon()).expect_err("nothing is left");
    assert_eq!(none, OutOfFrames::Arena { order: order(0) });
    let usage = arena.usage();
    assert!(usage.is_balanced());
    assert_eq!((usage.nr_free, usage.of(Purpose::Other)), (0, 500));
    drop(all);
    assert_as_new(&arena);
    assert_eq!(exhaust(&arena).len(), 500);
}

#[test]
fn finds_frames_that_other_cpus_keep() {
    let arena = arena(65);
    std::thread::scope(|scope| {
        scope.spawn(|| drop(exhaust(&arena)));
    });
    assert_eq!(exhaust(&arena).len(), 64);
}

#[test]
fn a_reserve_is_for_those_who_may() {
    let arena = Arena::new(ArenaConfig {
        reserve: 40,
        ..ArenaConfig::heap(301)
    })
    .expect("an arena");
    let normal = exhaust(&arena);
    assert!(normal.len() <= 260);
    assert!(normal.len() > 200);
    let deep = anon().with_depth(Depth::Reserve);
    let rest: Vec<_> = core::iter::from_fn(|| arena.alloc(deep).ok()).collect();
    assert_eq!(normal.len() + rest.len(), 300);
}

#[test]
fn zeroed_means_zeroed_however_often() {
    let arena = arena(40);
    for round in 0..4 {
        let all: Vec<_> = core::iter::from_fn(|| arena.alloc(anon()).ok()).collect();
        assert_eq!(all.len(), 39, "round {round}");
        for mut fresh in all {
            let mut page = [1; 4096];
            fresh.read(0, &mut page);
            assert!(page.iter().all(|byte| *byte == 0));
            fresh.write(0, &[0xa5; 4096]);
        }
    }
}

#[test]
fn the_zero_page_is_nobodys() {
    let arena = arena(16);
    let zero = arena.zero_page();
    assert!(arena.try_get(zero).is_none());
    assert!(exhaust(&arena).iter().all(|fresh| fresh.pfn() != zero));
    let mut page = [1; 4096];
    arena.read(zero, 0, &mut page);
    assert_eq!(page, [0; 4096]);
    assert!(
        arena
            .record(zero)
            .expect("it has a record")
            .has(FolioFlags::RESERVED)
    );
    assert!(arena.record(addr::Pfn::new(16)).is_none());
    assert!(!arena.contains(addr::Pfn::new(DEVICE_PFN_BASE)));
}

#[test]
fn an_arena_dropped_with_frames_in_use_leaves_them_valid() {
    let arena = arena(777);
    let folio = folio(&arena);
    folio.write(0, b"still here");
    drop(arena);
    let mut bytes = [0; 10];
    folio.read(0, &mut bytes);
    assert_eq!(&bytes, b"still here");
    assert_eq!(folio.clone().ref_count(), 2);
    drop(folio);
    // The next of that size may be the same store, and finds nothing of before.
    let next = super::arena(777);
    assert_as_new(&next);
    assert_eq!(exhaust(&next).len(), 776);
}

#[test]
fn an_arena_of_the_same_size_starts_from_nothing() {
    for _ in 0..3 {
        let arena = arena(1234);
        let charge = arena.new_charge_group(Some(5)).expect("a group");
        assert_eq!(charge.number(), 1);
        let fresh = arena
            .alloc(anon().with_charge(Some(charge)))
            .expect("a frame");
        let mut page = [1; 4096];
        fresh.read(0, &mut page);
        assert_eq!(page, [0; 4096]);
        fresh.mark_uptodate().write(7, b"dirt");
        assert_eq!(arena.usage().nr_given_back, 0);
    }
}

// row: P13
#[test]
fn large_folios_have_a_head_and_tails() {
    let arena = arena(2049);
    for size in [1u8, 4, 9, 10] {
        let fresh = arena.alloc(anon().with_order(order(size))).expect("a run");
        let head = fresh.pfn();
        assert!(head.is_aligned(order(size)));
        let folio = fresh.mark_uptodate();
        let last = head.checked_add((1 << size) - 1).expect("a frame");
        assert!(arena.record(last).expect("ours").has(FolioFlags::TAIL));
        let by_tail = arena.try_get(last).expect("it has a reference");
        assert_eq!((by_tail.pfn(), by_tail.ref_count()), (head, 2));
        by_tail.write(order(size).bytes() - 8, b"the end.");
        let mut end = [0; 8];
        arena.read(last, 4088, &mut end);
        assert_eq!(&end, b"the end.");
        assert_eq!(arena.usage().of(Purpose::Anon), 1 << size);
        drop((folio, by_tail));
        assert!(arena.try_get(last).is_none());
        assert!(!arena.record(last).expect("ours").has(FolioFlags::TAIL));
    }
    let too_large = arena
        .alloc(anon().with_order(order(11)))
        .expect_err("there is no such run");
    assert_eq!(too_large, OutOfFrames::Arena { order: order(11) });
    assert_as_new(&arena);
}

#[cfg(all(target_os = "linux", not(miri)))]
mod on_linux {
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    fn memfd(frames: u64) -> (Arc<Arena>, File) {
        let arena = Arena::new(ArenaConfig::memfd(frames)).expect("a memory file");
        let fd = arena
            .fd()
            .expect("it has one")
            .try_clone_to_owned()
            .expect("a descriptor");
        (arena, File::from(fd))
    }

    #[test]
    fn the_file_is_the_frames() {
        let (arena, file) = memfd(100);
        assert_eq!(file.metadata().expect("metadata").size(), 100 * 4096);
        let folio = folio(&arena);
        folio.write(5, b"seen from outside");
        let mut bytes = [0; 17];
        file.read_exact_at(&mut bytes, folio.pfn().phys_addr() + 5)
            .expect("readable");
        assert_eq!(&bytes, b"seen from outside");
        file.write_all_at(b"written", folio.pfn().phys_addr())
            .expect("writable");
        let mut bytes = [0; 7];
        folio.read(0, &mut bytes);
        assert_eq!(&bytes, b"written");
        let flags = std::fs::read_to_string(std::format!("/proc/self/fdinfo/{}", file.as_raw_fd()));
        assert!(flags.is_ok());
    }

    #[test]
    fn idle_frames_go_back_to_the_host_and_are_counted() {
        let (arena, file) = memfd(4097);
        let blocks = || file.metadata().expect("metadata").blocks() / 8;
        let mut all = exhaust(&arena);
        all.iter_mut().for_each(|fresh| fresh.write(0, &[1]));
        assert_eq!(blocks(), 4096);
        let kept = all.split_off(4000);
        drop(all);
        // What is freed now is idle only at the call after the next.
        let blocks_of_cpus = arena.free_blocks();
        assert!(blocks_of_cpus.iter().sum::<u32>() > 0);
        assert_eq!(arena.give_back(u64::MAX), 0);
        let given = arena.give_back(u64::MAX);
        assert_eq!(given, 4000);
        assert_eq!(blocks(), 96);
        assert_eq!(arena.usage().nr_given_back, 4000);
        assert_eq!(arena.give_back(u64::MAX), 0, "nothing is given twice");
        drop(kept);
        let all: Vec<_> = core::iter::from_fn(|| arena.alloc(anon()).ok()).collect();
        for fresh in all {
            let mut byte = [1];
            fresh.read(0, &mut byte);
            assert_eq!(byte, [0]);
        }
        assert_as_new(&arena);
    }

    #[test]
    fn gives_back_no_more_than_asked() {
        let (arena, _file) = memfd(2050);
        drop(exhaust(&arena));
        assert!(arena.free_blocks()[0] > 0);
        arena.give_back(0);
        let given = arena.give_back(100);
        assert!(given > 0 && given <= 100, "{given}");
    }

    #[test]
    fn a_dropped_arena_gives_up_its_memory() {
        let (arena, file) = memfd(3001);
        exhaust(&arena)
            .iter_mut()
            .for_each(|fresh| fresh.write(0, &[1]));
        drop(arena);
        // The next arena of the size has another file: who still has the old one sees nothing.
        let (next, next_file) = memfd(3001);
        let folio = folio(&next);
        folio.write(0, b"secret");
        let mut bytes = [0; 6];
        file.read_exact_at(&mut bytes, folio.pfn().phys_addr())
            .expect("readable");
        assert_ne!(&bytes, b"secret");
        assert_ne!(
            file.metadata().expect("metadata").ino(),
            next_file.metadata().expect("metadata").ino()
        );
    }
}
