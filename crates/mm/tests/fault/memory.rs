//! Memory at its end: out of memory is an outcome, and progress does not depend on luck.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use addr::{PAGE_SIZE, PagingMode, PgOff, VirtAddr};
use frame::{AllocRequest, Arena, ArenaConfig, Purpose};
use machine::NoMmu;
use mm::{
    Advice, Attempt, Cause, Fault, MapFlags, MapRequest, Mm, MmConfig, ObjectTarget, RemapFlags,
    RemapRequest, attempt,
};
use object::shmem::Shmem;
use object::{Callbacks, FaultFailure, Supplied, Waiting};
use proptest::prelude::*;

use crate::file::Scripted;
use crate::space::{BASE, Host, RW, bare, page, read_at, write_at};

/// Takes frames until `left` are free.
fn starve(arena: &frame::Arena, left: u64) -> Vec<frame::FreshFolio> {
    let mut taken = Vec::new();
    while let Ok(page) = arena.alloc(AllocRequest::zeroed(Purpose::Other)) {
        taken.push(page);
    }
    for _ in 0..left {
        drop(taken.pop());
    }
    taken
}

// row: F05
#[test]
fn without_a_frame_the_fault_fails_as_out_of_memory() {
    let (arena, mm) = bare(64);
    mm.mmap(&MapRequest::anonymous(PAGE_SIZE, RW).fixed_at(BASE))
        .unwrap();
    let taken = starve(&arena, 0);
    let error = mm.handle_fault(&write_at(BASE)).unwrap_err();
    assert!(matches!(error.cause, Cause::OutOfMemory));
    assert_eq!(
        (error.si_code(), error.errno()),
        (None, addr::Errno::ENOMEM)
    );
    // It is no end: with memory the same access succeeds.
    drop(taken);
    assert!(mm.handle_fault(&write_at(BASE)).is_ok());
    assert_eq!(mm.stats().faults.failed, 1);
}

// row: F12 row: F25
#[test]
fn a_shortage_is_first_a_request() {
    let (arena, mm) = bare(64);
    mm.mmap(&MapRequest::anonymous(PAGE_SIZE, RW).fixed_at(BASE))
        .unwrap();
    let taken = starve(&arena, 0);
    let Attempt::Needs(mut fault, work) = attempt(Fault::new(mm.shared(), &write_at(BASE))) else {
        panic!("there is no frame for a table")
    };
    assert_eq!(work.waiting(), Waiting::Table);
    sync::rank::assert_none_held();
    // Somebody frees memory before the request is performed: what it puts aside is the fault's.
    drop(taken);
    fault.take_in(work.perform());
    let again = starve(&arena, 0);
    let Attempt::Handled(handled) = attempt(fault) else {
        panic!("it has what it needs")
    };
    assert_eq!(handled.attempts, 2);
    drop(again);
}

// row: F12 row: F25
#[test]
fn a_reserve_is_enough_for_every_level() {
    let arena = Arena::new(ArenaConfig::heap(64)).unwrap();
    let mut config = MmConfig::new(Arc::clone(&arena), Arc::new(NoMmu));
    config.layout.mode = PagingMode::FiveLevel;
    let mm = Mm::create(config).unwrap();
    mm.mmap(&MapRequest::anonymous(PAGE_SIZE, RW).fixed_at(BASE))
        .unwrap();
    let taken = starve(&arena, 0);
    let Attempt::Needs(mut fault, work) = attempt(Fault::new(mm.shared(), &write_at(BASE))) else {
        panic!("there is no frame for a table")
    };
    drop(taken);
    fault.take_in(work.perform());
    let again = starve(&arena, 0);
    // inv: 75
    assert!(matches!(attempt(fault), Attempt::Handled(_)));
    drop(again);
}

// row: F25
#[test]
fn the_last_frames_are_for_those_who_ran_short() {
    let mut config = ArenaConfig::heap(64);
    config.reserve = 8;
    let arena = Arena::new(config).unwrap();
    let mm = Mm::create(MmConfig::new(Arc::clone(&arena), Arc::new(NoMmu))).unwrap();
    mm.mmap(&MapRequest::anonymous(PAGE_SIZE, RW).fixed_at(BASE))
        .unwrap();
    let taken = starve(&arena, 0);
    // inv: 75
    assert!(mm.handle_fault(&write_at(BASE)).is_ok());
    drop(taken);
}

// row: F12
#[test]
fn tables_are_at_hand_before_the_object_is_asked() {
    let host = Host::new(256);
    let space = host.space();
    let shmem = Shmem::anonymous(&host.arena, PAGE_SIZE);
    let frame = host.arena.alloc(AllocRequest::zeroed(Purpose::Shmem));
    drop(shmem.cache().insert(PgOff::ZERO, frame.unwrap()));
    let (arena, taken) = (Arc::clone(&host.arena), Mutex::new(Vec::new()));
    let ops = Scripted::new(Callbacks::FAULT | Callbacks::MAP_PAGES, move |_| {
        // From here on there is no frame for a table, and the page is locked.
        taken.lock().unwrap().extend(starve(&arena, 0));
        Supplied::Locked(shmem.cache().lookup(PgOff::ZERO).unwrap().lock())
    });
    let request = MapRequest::object(ObjectTarget::new(ops), PAGE_SIZE, RW, MapFlags::SHARED);
    space.mm.mmap(&request.fixed_at(BASE)).unwrap();
    let handled = space.mm.handle_fault(&write_at(BASE)).unwrap();
    // inv: 60
    assert_eq!(handled.attempts, 1);
    assert_eq!(space.mm.stats().pgtables_bytes, 3 * PAGE_SIZE);
}

// row: F25
#[test]
fn an_objects_shortage_is_first_a_request() {
    let host = Host::new(256);
    let space = host.space();
    let (arena, short) = (Arc::clone(&host.arena), AtomicU32::new(1));
    let ops = Scripted::new(Callbacks::FAULT | Callbacks::MAP_PAGES, move |_| {
        if short.swap(0, Relaxed) > 0 {
            return Supplied::Error(FaultFailure::OutOfMemory);
        }
        Supplied::Data(arena.alloc(AllocRequest::zeroed(Purpose::Anon)).unwrap())
    });
    let target = ObjectTarget::new(ops);
    let request = MapRequest::object(target, PAGE_SIZE, RW, MapFlags::PRIVATE).fixed_at(BASE);
    space.mm.mmap(&request).unwrap();
    let Attempt::Needs(mut fault, work) = attempt(Fault::new(space.mm.shared(), &read_at(BASE)))
    else {
        panic!("the object has no frame")
    };
    assert_eq!(work.waiting(), Waiting::Frame);
    fault.take_in(work.perform());
    assert!(matches!(attempt(fault), Attempt::Handled(_)));
}

/// The page that [`only_unlinked`] leaves.
const LEFT: VirtAddr = BASE;

/// A space with one page whose arena has no frame but those of tables that are unlinked, and that
/// somebody might still walk; with what took the others.
fn only_unlinked() -> (mm::MmUser, Vec<frame::FreshFolio>) {
    let (arena, mm) = bare(128);
    for far in 0..5_u64 {
        mm.mmap(&MapRequest::anonymous(PAGE_SIZE, RW).fixed_at(at_gib(far)))
            .unwrap();
        mm.handle_fault(&write_at(at_gib(far))).unwrap();
    }
    for far in 1..5_u64 {
        mm.munmap(at_gib(far), PAGE_SIZE).unwrap();
    }
    let taken = starve(&arena, 0);
    (mm, taken)
}

fn at_gib(far: u64) -> VirtAddr {
    BASE.checked_add(far << 30).unwrap()
}

// row: S12
#[test]
fn a_fork_waits_for_what_is_being_freed() {
    let (mm, taken) = only_unlinked();
    let mmu = Arc::new(NoMmu);
    assert!(mm.fork(&mm::ForkConfig::new(mmu)).is_ok());
    drop(taken);
}

// row: S04
#[test]
fn a_move_waits_for_what_is_being_freed() {
    for (addr, flags) in [
        (at_gib(9), RemapFlags::MAYMOVE | RemapFlags::FIXED),
        (at_gib(9), RemapFlags::MAYMOVE | RemapFlags::DONTUNMAP),
    ] {
        let (mm, taken) = only_unlinked();
        let request = RemapRequest {
            addr: LEFT,
            old_len: PAGE_SIZE,
            new_len: PAGE_SIZE,
            flags,
            new_addr: addr,
        };
        assert_eq!(mm.mremap(&request), Ok(addr));
        assert!(!crate::space::entry_of(&mm, addr).is_none());
        drop(taken);
    }
}

// row: S04
// inv: 19
#[test]
fn a_move_without_frames_leaves_even_a_fixed_destination() {
    let (arena, mm) = bare(64);
    let from = MapRequest::anonymous(4 * PAGE_SIZE, RW).fixed_at(LEFT);
    mm.mmap(&from).unwrap();
    mm.mmap(&MapRequest::anonymous(4 * PAGE_SIZE, RW).fixed_at(at_gib(9)))
        .unwrap();
    mm.handle_fault(&write_at(LEFT)).unwrap();
    let before = mm.maps_text();
    let taken = starve(&arena, 0);
    let request = RemapRequest {
        addr: LEFT,
        old_len: 4 * PAGE_SIZE,
        new_len: 2 * PAGE_SIZE,
        flags: RemapFlags::MAYMOVE | RemapFlags::FIXED,
        new_addr: at_gib(9),
    };
    assert_eq!(mm.mremap(&request), Err(addr::Errno::ENOMEM));
    assert_eq!(mm.maps_text(), before);
    drop(taken);
    assert_eq!(mm.mremap(&request), Ok(at_gib(9)));
}

// row: S06
// inv: 37
#[test]
fn guards_wait_for_what_is_being_freed() {
    let (mm, taken) = only_unlinked();
    mm.mmap(&MapRequest::anonymous(PAGE_SIZE, RW).fixed_at(at_gib(9)))
        .unwrap();
    assert_eq!(
        mm.madvise(at_gib(9), PAGE_SIZE, Advice::GuardInstall),
        Ok(())
    );
    assert!(mm.handle_fault(&write_at(at_gib(9))).is_err());
    drop(taken);
}

// row: F18 row: F30
#[test]
fn a_copy_without_a_frame_leaves_everything_as_it_was() {
    let host = Host::new(96);
    let parent = host.space();
    let range = parent.anon(1, RW);
    parent.run().store(range.start(), 1).unwrap();
    let child = parent.fork();
    let taken = starve(&host.arena, 0);
    let error = child.mm.handle_fault(&write_at(range.start())).unwrap_err();
    assert!(matches!(error.cause, Cause::OutOfMemory));
    assert_eq!(parent.run().load(range.start()).unwrap(), 1);
    drop(taken);
    child.run().store(range.start(), 2).unwrap();
    assert_eq!(parent.run().load(range.start()).unwrap(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    // row: F25
    /// inv: 75. With just so many frames free, a fault is served or fails within three attempts: the
    /// area's lock, the mmap lock, the reserve; and no frame is lost on the way.
    #[test]
    fn attempts_are_bounded_with_memory_at_its_minimum(
        left in 0_u64..8,
        spots in proptest::collection::vec((0_u64..4, 0_u64..3), 1..12),
    ) {
        let (arena, mm) = bare(128);
        for far in 0..3_u64 {
            let at = BASE.checked_add(far << 30).unwrap();
            mm.mmap(&MapRequest::anonymous(4 * PAGE_SIZE, RW).fixed_at(at)).unwrap();
        }
        let taken = starve(&arena, left);
        let mut served = std::collections::BTreeSet::new();
        for (near, far) in spots {
            let at = VirtAddr::new(BASE.as_u64() + (far << 30) + near * PAGE_SIZE);
            let mut fault = Fault::new(mm.shared(), &write_at(at));
            let mut attempts = 0;
            loop {
                attempts += 1;
                prop_assert!(attempts <= 3, "{attempts} attempts with {left} frames");
                match attempt(fault) {
                    Attempt::Handled(_) => {
                        served.insert(at);
                        break;
                    }
                    Attempt::Failed(error) => {
                        prop_assert!(matches!(error.cause, Cause::OutOfMemory));
                        break;
                    }
                    Attempt::Needs(rest, work) => {
                        fault = rest;
                        fault.take_in(work.perform());
                    }
                }
            }
        }
        prop_assert_eq!(mm.stats().rss.anon, served.len() as u64);
        drop(taken);
        sync::barrier();
        let tables = mm.stats().pgtables_bytes / PAGE_SIZE;
        prop_assert_eq!(arena.usage().nr_in_use(), served.len() as u64 + tables + 1);
    }
}

// row: F05
#[test]
fn one_space_out_of_memory_does_not_hurt_another() {
    let host = Host::new(128);
    let (rich, poor) = (host.space(), host.space());
    let range = rich.anon(1, RW);
    rich.run().store(range.start(), 7).unwrap();
    let range = poor.anon(100, RW);
    let mut program = poor.run();
    let failed = (0..100).find(|n| program.store(page(range, *n), 1).is_err());
    // 100 pages fit, or the end was reached; either way the other goes on.
    let _ = failed;
    assert_eq!(rich.run().load(BASE).unwrap(), 7);
    let _ = Arc::clone(&host.arena);
}

fn map_droppable(mm: &Mm, pages: u64) {
    let request = MapRequest {
        flags: MapFlags::DROPPABLE | MapFlags::ANONYMOUS | MapFlags::FIXED,
        ..MapRequest::anonymous(pages * PAGE_SIZE, RW).fixed_at(BASE)
    };
    mm.mmap(&request).unwrap();
}

// row: F05
// inv: 73
#[test]
fn droppable_memory_goes_when_memory_is_short_and_never_fails() {
    let (arena, mm) = bare(64);
    map_droppable(&mm, 256);
    // More than there is: what came first goes.
    for n in 0..256 {
        let at = BASE.checked_add(n * PAGE_SIZE).unwrap();
        mm.handle_fault(&write_at(at)).unwrap();
    }
    let resident = mm.stats().rss.anon;
    assert!((1..64).contains(&resident), "{resident} pages");
    // Other memory of the space gets what it needs as well.
    let other = BASE.checked_add(1 << 30).unwrap();
    mm.mmap(&MapRequest::anonymous(PAGE_SIZE, RW).fixed_at(other))
        .unwrap();
    let taken = starve(&arena, 0);
    mm.handle_fault(&write_at(other)).unwrap();
    assert_eq!(mm.stats().rss.anon, 1);
    let rest = starve(&arena, 0);
    // With nothing left to drop the access goes round, and nobody is killed for it.
    let handled = mm.handle_fault(&write_at(BASE)).unwrap();
    assert_eq!(handled.kind, mm::FaultKind::Spurious);
    assert!(crate::space::entry_of(&mm, BASE).is_none());
    assert!(mm.handle_fault(&write_at(other)).is_ok());
    // Who would go round on the program's behalf is told instead.
    assert_eq!(mm.write_memory(BASE, &[1], mm::Force::Plain), 0);
    drop(rest);
    drop(taken);
    mm.handle_fault(&write_at(BASE)).unwrap();
    assert_eq!(mm.stats().rss.anon, 2);
}
