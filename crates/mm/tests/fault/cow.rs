//! Copy or reuse.

use addr::{Access, FaultFlags, Order, PAGE_SIZE, Prot};
use frame::{AllocRequest, FolioFlags, Purpose};
use machine::{FaultInfo, Mode};
use mm::{Attempt, Fault, FaultKind, FirstWrite, attempt};

use crate::space::{Host, RW, page, pfn_of, write_at};

// row: F17 row: F18
#[test]
fn fork_shares_until_somebody_writes() {
    let host = Host::new(512);
    let parent = host.space();
    let range = parent.anon(2, RW);
    let mut program = parent.run();
    program.store(range.start(), 1).unwrap();
    let child = parent.fork();
    let mut other = child.run();
    assert_eq!(other.load(range.start()).unwrap(), 1);
    assert_eq!(
        pfn_of(&parent.mm, range.start()),
        pfn_of(&child.mm, range.start())
    );
    // inv: 40
    assert!(!parent.entry(range.start()).is_writable());
    assert!(!child.entry(range.start()).is_writable());
    // inv: 45
    other.store(range.start(), 2).unwrap();
    program.store(range.start(), 3).unwrap();
    assert_eq!(
        (
            program.load(range.start()).unwrap(),
            other.load(range.start()).unwrap()
        ),
        (3, 2)
    );
    assert_eq!(child.mm.stats().faults.cow_copied, 1);
    assert_eq!(parent.mm.stats().faults.cow_reused, 1);
    // inv: 50
    assert_eq!(
        (parent.mm.stats().rss.anon, child.mm.stats().rss.anon),
        (1, 1)
    );
}

// row: F17
#[test]
fn the_last_one_left_reuses_the_page() {
    let host = Host::new(512);
    let parent = host.space();
    let range = parent.anon(1, RW);
    let mut program = parent.run();
    program.store(range.start(), 1).unwrap();
    let before = pfn_of(&parent.mm, range.start());
    drop(parent.fork());
    let record = host.arena.record(before).unwrap();
    assert!(!record.has(FolioFlags::ANON_EXCLUSIVE));
    program.store(range.start(), 2).unwrap();
    // inv: 42
    assert_eq!(pfn_of(&parent.mm, range.start()), before);
    assert!(record.has(FolioFlags::ANON_EXCLUSIVE));
    assert_eq!((record.ref_count(), record.map_count()), (1, 1));
    assert_eq!(parent.mm.stats().faults.cow_reused, 1);
}

// row: F17
#[test]
fn a_reference_from_elsewhere_forbids_reuse() {
    let host = Host::new(512);
    let parent = host.space();
    let range = parent.anon(1, RW);
    let mut program = parent.run();
    program.store(range.start(), 1).unwrap();
    let before = pfn_of(&parent.mm, range.start());
    drop(parent.fork());
    let held = host.arena.try_get(before).unwrap();
    program.store(range.start(), 2).unwrap();
    // inv: 46
    assert_ne!(pfn_of(&parent.mm, range.start()), before);
    let mut byte = [0];
    held.read(0, &mut byte);
    assert_eq!(byte, [1]);
    assert_eq!((held.ref_count(), held.map_count()), (1, 0));
}

// row: F17
#[test]
fn an_exclusive_page_is_never_copied() {
    let host = Host::new(512);
    let space = host.space();
    let range = space.anon(1, RW);
    let mut program = space.run();
    program.store(range.start(), 1).unwrap();
    let before = pfn_of(&space.mm, range.start());
    let held = host.arena.try_get(before).unwrap();
    // Write-protected and given back, as mprotect does.
    space
        .mm
        .mprotect(range.start(), PAGE_SIZE, Prot::READ)
        .unwrap();
    space.mm.mprotect(range.start(), PAGE_SIZE, RW).unwrap();
    program.store(range.start(), 2).unwrap();
    // inv: 42
    assert_eq!(pfn_of(&space.mm, range.start()), before);
    drop(held);
}

// row: F18
#[test]
fn the_old_page_is_read_until_it_is_replaced_and_never_after() {
    let host = Host::new(512);
    let parent = host.space();
    let range = parent.anon(1, RW);
    let mut one = parent.run();
    let mut two = parent.run();
    one.store(range.start(), 1).unwrap();
    let child = parent.fork();
    // Both CPUs remember the old page, for reading.
    assert_eq!(
        (
            one.load(range.start()).unwrap(),
            two.load(range.start()).unwrap()
        ),
        (1, 1)
    );
    one.store(range.start(), 5).unwrap();
    // inv: 31
    assert_eq!(two.load(range.start()).unwrap(), 5);
    assert_eq!(child.run().load(range.start()).unwrap(), 1);
}

// row: F18
#[test]
fn unsharing_gives_a_page_of_its_own_without_the_right_to_write() {
    let host = Host::new(512);
    let parent = host.space();
    let range = parent.anon(1, RW);
    parent.run().store(range.start(), 1).unwrap();
    let child = parent.fork();
    let before = pfn_of(&child.mm, range.start());
    let flags = FaultFlags::DEFAULT | FaultFlags::UNSHARE;
    let fault = Fault::for_access(child.mm.shared(), range.start(), flags);
    let Attempt::Handled(handled) = attempt(fault) else {
        panic!("nothing to wait for")
    };
    assert_eq!(handled.kind, FaultKind::CowCopied);
    let entry = child.entry(range.start());
    assert_ne!(entry.mapping().unwrap().pfn, before);
    assert!(!entry.is_writable() && !entry.is_dirty());
    let record = host.arena.record(entry.mapping().unwrap().pfn).unwrap();
    assert!(record.has(FolioFlags::ANON_EXCLUSIVE));
    // A second time there is nothing to do, and a write is a reuse.
    let again = Fault::for_access(child.mm.shared(), range.start(), flags);
    assert!(
        matches!(attempt(again), Attempt::Handled(handled) if handled.kind == FaultKind::Spurious)
    );
    child.run().store(range.start(), 2).unwrap();
    assert_eq!(child.mm.stats().faults.cow_reused, 1);
}

// row: F27
#[test]
fn a_forced_write_gets_a_page_but_not_the_right() {
    let host = Host::new(512);
    let space = host.space();
    let range = space.anon(1, Prot::READ);
    assert_eq!(
        space
            .mm
            .write_memory(range.start(), &[7], mm::Force::Forced),
        1
    );
    let entry = space.entry(range.start());
    // inv: 35
    assert!(entry.is_dirty() || !entry.is_writable());
    assert!(!entry.is_writable());
    let mut program = space.run();
    assert_eq!(program.load(range.start()).unwrap(), 7);
    assert!(program.store(range.start(), 1).is_err());
    assert_eq!(
        space.mm.write_memory(range.start(), &[8], mm::Force::Plain),
        0
    );
}

// row: F17
#[test]
fn frames_come_back_when_both_sides_are_gone() {
    let host = Host::new(512);
    let before = host.usage();
    {
        let parent = host.space();
        let range = parent.anon(8, RW);
        let mut program = parent.run();
        for n in 0..8 {
            program.store(page(range, n), 1).unwrap();
        }
        let child = parent.fork();
        let mut other = child.run();
        for n in 0..4 {
            other.store(page(range, n), 2).unwrap();
        }
        // inv: 33 inv: 50
        let maps: u64 = [&parent, &child]
            .iter()
            .map(|space| space.mm.stats().rss.anon)
            .sum();
        assert_eq!(maps, 16);
        drop(other);
        drop(program);
        // A fault on a child that is alone again.
        assert!(parent.mm.handle_fault(&write_at(page(range, 7))).is_ok());
    }
    assert_eq!(host.usage().nr_in_use(), before.nr_in_use());
}

// row: F17
#[test]
fn what_a_first_write_would_do_is_said_before_it() {
    let host = Host::new(512);
    let parent = host.space();
    let range = parent.anon(3, RW);
    let mut program = parent.run();
    for page in range.page_addrs().take(2) {
        program.store(page, 1).unwrap();
    }
    let said = |space: &crate::space::Space<'_>| {
        let mut pages = Vec::new();
        space
            .mm
            .first_writes(range, |at, what| pages.push((at, what)));
        pages
    };
    // One page may be written already, the third is not there.
    assert_eq!(said(&parent), []);
    let child = parent.fork();
    let shared: Vec<_> = range
        .page_addrs()
        .take(2)
        .map(|at| (at, FirstWrite::Copy))
        .collect();
    assert_eq!(said(&parent), shared);
    child.run().store(range.start(), 2).unwrap();
    assert_eq!(said(&child), shared[1..]);
    drop(child);
    let alone: Vec<_> = range
        .page_addrs()
        .take(2)
        .map(|at| (at, FirstWrite::Reuse))
        .collect();
    assert_eq!(said(&parent), alone);
}

#[test]
fn a_copy_goes_into_the_frame_that_was_chosen_for_it() {
    let host = Host::new(512);
    let parent = host.space();
    let range = parent.anon(1, RW);
    parent.run().store(range.start(), 7).unwrap();
    let child = parent.fork();
    let block = host.arena.reserve(Order::covering(4).unwrap()).unwrap();
    let first = block.take(0, AllocRequest::zeroed(Purpose::Anon)).unwrap();
    let write = FaultInfo::forbidden(range.start(), Access::Write, Mode::User);
    let fault = Fault::new(child.mm.shared(), &write).with_frame(&block, 2);
    assert!(matches!(attempt(fault), Attempt::Handled(_)));
    assert_eq!(
        Some(pfn_of(&child.mm, range.start())),
        first.pfn().checked_add(2)
    );
    assert_eq!(child.run().load(range.start()).unwrap(), 7);
}
