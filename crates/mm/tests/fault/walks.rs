//! Walks from a page to whoever maps it, while that moves, changes shape and forks.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use addr::{PAGE_SIZE, PgOff, Prot, VirtAddr};
use frame::Folio;
use mm::{MapFlags, MapRequest, RemapFlags, RemapRequest};
use object::rmap::{Flushes, walk_owner};

use crate::space::{BASE, Host, RW, Space, pfn_of};

/// So often the mover goes there and back.
const ROUNDS: u64 = 5_000;

fn at(n: u64) -> VirtAddr {
    BASE.checked_add(n * PAGE_SIZE).unwrap()
}

/// How many entries a walk finds that map the folio. It is locked meanwhile, as by whoever would take it
/// away.
fn mappings(folio: &Folio) -> usize {
    let locked = folio.lock();
    let (mut flushes, mut found) = (Flushes::default(), 0);
    let index = PgOff::new(locked.index());
    let _end = walk_owner(locked.owner(), index, &mut flushes, &mut |place, _| {
        let entry = place.space.visit(place.address, locked.pfn(), place.held);
        found += usize::from(entry.is_some());
        ControlFlow::Continue(())
    });
    found
}

fn shift(space: &Space<'_>, from: u64, to: u64) {
    let request = RemapRequest {
        addr: at(from),
        old_len: PAGE_SIZE,
        new_len: PAGE_SIZE,
        flags: RemapFlags::MAYMOVE | RemapFlags::FIXED,
        new_addr: at(to),
    };
    space.mm.mremap(&request).unwrap();
}

/// Walks from the page at `of` while `change` is done again and again, and finds it each time.
fn never_missed(space: &Space<'_>, host: &Host, of: u64, change: impl Fn(u64) + Sync) {
    let folio = host.arena.try_get(pfn_of(&space.mm, at(of))).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let walker = scope.spawn(|| {
            let mut walks = 0_u64;
            while !done.load(Relaxed) || walks == 0 {
                // inv: 49
                assert!(mappings(&folio) >= 1, "walk {walks} missed the page");
                walks += 1;
            }
        });
        for round in 0..ROUNDS {
            change(round);
            if walker.is_finished() {
                break;
            }
        }
        done.store(true, Relaxed);
        walker.join().unwrap();
    });
    assert_eq!(mappings(&folio), 1);
}

fn private(host: &Host) -> Space<'_> {
    let space = host.space();
    space.anon(3, RW);
    let mut program = space.run();
    (0..3).for_each(|n| program.store(at(n), 1).unwrap());
    drop(program);
    space
}

// row: A07 row: S04
#[test]
fn a_private_page_that_moves_away_and_back_is_never_missed() {
    let host = Host::new(256);
    let space = private(&host);
    // Above and below its own place, where it comes back between the neighbours it left.
    never_missed(&space, &host, 1, |round| {
        let away = if round % 2 == 0 { 40 } else { 512 };
        shift(&space, 1, away);
        shift(&space, away, 1);
    });
}

// row: A07 row: S03 row: A10
#[test]
fn a_private_page_whose_area_changes_shape_is_never_missed() {
    let host = Host::new(256);
    let space = private(&host);
    never_missed(&space, &host, 1, |round| {
        let prot = if round % 2 == 0 { Prot::READ } else { RW };
        space.mm.mprotect(at(round % 3), PAGE_SIZE, prot).unwrap();
        space.mm.mprotect(at(0), 3 * PAGE_SIZE, RW).unwrap();
    });
}

// row: A07 row: S12
#[test]
fn a_private_page_is_found_in_its_space_whatever_children_come_and_go() {
    let host = Host::new(1024);
    let space = private(&host);
    never_missed(&space, &host, 1, |round| {
        if round % 16 == 0 {
            drop(space.fork());
        } else {
            shift(&space, 1, 600);
            shift(&space, 600, 1);
        }
    });
}

// row: A06 row: S04
#[test]
fn a_shared_page_that_moves_is_never_missed() {
    let host = Host::new(256);
    let space = host.space();
    let request = MapRequest {
        flags: MapFlags::SHARED | MapFlags::ANONYMOUS | MapFlags::FIXED,
        ..MapRequest::anonymous(3 * PAGE_SIZE, RW).fixed_at(BASE)
    };
    space.mm.mmap(&request).unwrap();
    let mut program = space.run();
    (0..3).for_each(|n| program.store(at(n), 1).unwrap());
    drop(program);
    never_missed(&space, &host, 1, |round| {
        let away = if round % 2 == 0 { 40 } else { 512 };
        shift(&space, 1, away);
        shift(&space, away, 1);
    });
}
