use std::vec::Vec;

use addr::{Access, VmFlags};

use super::*;
use crate::area::Area;
use crate::file::Residency;
use crate::rmap::Sharing;
use crate::testing::{FakeEntry, FakeSpace, arena, bytes_of, locked, range, serve};

const BASE: u64 = 0x40_0000;

fn shared(pages: u64) -> Area {
    let flags = VmFlags::READ | VmFlags::WRITE | VmFlags::SHARED | VmFlags::MAYWRITE;
    Area::new(range(BASE, pages), flags, PgOff::ZERO)
}

fn object(pages: u64) -> Arc<Shmem> {
    Shmem::anonymous(&arena(64), pages * PAGE_SIZE)
}

// row: V06
// row: A08
// inv: 24
#[test]
fn a_page_is_made_once_zeroed_and_shared() {
    let memory = object(4);
    let area = shared(4);
    let first = locked(serve(&*memory, &area, 1, Access::Write));
    assert_eq!(bytes_of(&first), [0; 4]);
    assert!(first.has(FolioFlags::SWAPBACKED));
    first.write(0, b"here");
    let pfn = first.pfn();
    drop(first);
    let again = locked(serve(&*memory, &area, 1, Access::Read));
    assert_eq!((again.pfn(), bytes_of(&again)), (pfn, *b"here"));
    assert_eq!(memory.nr_charged(), 1);
    let ops: Arc<dyn VmOps> = memory;
    assert!(!crate::ops::is_anonymous(Some(&ops)));
}

// row: V06
// inv: 55
#[test]
fn beyond_the_end_is_sigbus() {
    let memory = object(2);
    let area = shared(4);
    let (supplied, _) = serve(&*memory, &area, 2, Access::Read);
    assert!(matches!(supplied, Supplied::Error(FaultFailure::Bus)));
    memory.resize(3 * PAGE_SIZE);
    drop(locked(serve(&*memory, &area, 2, Access::Read)));
    memory.resize(PAGE_SIZE);
    assert_eq!(memory.nr_charged(), 0);
    let (supplied, _) = serve(&*memory, &area, 2, Access::Write);
    assert!(matches!(supplied, Supplied::Error(FaultFailure::Bus)));
}

#[test]
fn a_punched_page_reads_as_zero_and_its_private_copy_stays() {
    let memory = object(4);
    let area = shared(4);
    locked(serve(&*memory, &area, 1, Access::Write)).write(0, b"gone");
    let space = FakeSpace::new();
    let file = memory.open_file();
    let _link = file
        .mappings()
        .link(space.mapping(BASE, 4, 0), Sharing::Writable)
        .unwrap();
    let copy = FakeEntry {
        pfn: addr::Pfn::new(60),
        writable: true,
        private: true,
    };
    space.map_entry(BASE + PAGE_SIZE, copy);
    assert!(file.object().is_resident(PgOff::new(1)));

    let step = Arc::clone(file.object())
        .punch_hole(PgOff::new(0), PgOff::new(2))
        .unwrap();
    let FileStep::Work(work) = step else {
        panic!("it must be performed")
    };
    let obtained = work.into_request().perform();
    assert_eq!(FileWork::result(obtained), Some(Ok(())));
    assert!(!file.object().is_resident(PgOff::new(1)));
    assert!(space.mapped(BASE + PAGE_SIZE).is_some());
    assert_eq!(
        bytes_of(&locked(serve(&*memory, &area, 1, Access::Read))),
        [0; 4]
    );
}

#[test]
fn it_keeps_to_its_limit_and_gives_all_back() {
    let arena = arena(64);
    let before = arena.usage().nr_free;
    let inode = InodeId {
        major: 0,
        minor: 1,
        ino: 77,
    };
    let config = ObjectConfig {
        limit_pages: Some(2),
        ..ObjectConfig::shared_anonymous(8 * PAGE_SIZE, inode)
    };
    let memory = Shmem::new(&arena, config);
    let area = shared(8);
    for page in 0..2 {
        drop(locked(serve(&*memory, &area, page, Access::Write)));
    }
    let (supplied, _) = serve(&*memory, &area, 2, Access::Write);
    assert!(matches!(supplied, Supplied::Error(FaultFailure::Bus)));
    memory.punch(PgOff::new(0), PgOff::new(0));
    drop(locked(serve(&*memory, &area, 2, Access::Write)));
    assert_eq!(arena.usage().nr_free, before - 2);
    drop(memory);
    assert_eq!(arena.usage().nr_free, before);
    assert!(arena.usage().is_balanced());
}

// inv: 60
#[test]
fn no_memory_is_an_outcome_and_leaves_no_page_locked() {
    let memory = Shmem::anonymous(&arena(3), 8 * PAGE_SIZE);
    let area = shared(8);
    let answers: Vec<_> = (0..8)
        .map(|page| match serve(&*memory, &area, page, Access::Write).0 {
            Supplied::Locked(_) => None,
            Supplied::Error(failure) => Some(failure.result()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(answers[0].is_none());
    assert_eq!(answers[7], Some(addr::FaultResult::OOM));
    let nr_got = answers.iter().filter(|answer| answer.is_none()).count() as u64;
    assert_eq!(memory.nr_charged(), nr_got);
    let absent = memory.cache().find_locked(PgOff::new(7));
    assert!(
        matches!(absent, Found::Absent),
        "the frame is had before the page begins"
    );
}

// row: A05
#[test]
fn two_open_files_of_one_object_are_one_inode() {
    let memory = object(1);
    let (one, two) = (memory.open_file(), memory.open_file());
    assert!(one.same_inode(&two) && !one.same_open_file(&two));
    assert!(crate::file::same_open_file(
        Some(&one),
        Some(&Arc::clone(&one))
    ));
    assert!(!crate::file::same_open_file(Some(&one), None));
    assert_eq!(&*one.path(), b"/dev/zero (deleted)");
    assert_eq!(one.object().rss_kind(), RssKind::Shmem);
    assert_eq!(one.object().residency(), Residency::Visible);
    assert_eq!(one.object().size_bytes(), Some(PAGE_SIZE));
}

#[test]
fn many_faults_and_holes_at_once_lose_no_frame() {
    let arena = arena(128);
    let before = arena.usage().nr_free;
    let memory = Shmem::anonymous(&arena, 8 * PAGE_SIZE);
    let area = shared(8);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (memory, area) = (&memory, &area);
            scope.spawn(move || {
                for round in 0..200u64 {
                    let page = (round + worker) % 8;
                    if worker == 0 {
                        memory.punch(PgOff::new(page), PgOff::new(page + 1));
                    } else {
                        drop(locked(serve(&**memory, area, page, Access::Write)));
                    }
                }
            });
        }
    });
    assert_eq!(arena.usage().nr_free, before - memory.nr_charged());
    drop(memory);
    assert_eq!(arena.usage().nr_free, before);
}
