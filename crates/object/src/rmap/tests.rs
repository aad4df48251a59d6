use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, Weak};
use std::vec::Vec;

use addr::{Errno, PAGE_SIZE, Pfn, PgOff, VirtAddr, VirtRange};

use super::*;
use crate::testing::{Event, FakeEntry, FakeSpace, range};

const BASE: u64 = 0x40_0000;

fn at(page: u64) -> u64 {
    BASE + page * PAGE_SIZE
}

// row: A06
#[test]
fn unmap_reaches_every_area_of_the_interval_and_no_other() {
    let (near, far) = (FakeSpace::new(), FakeSpace::new());
    let mappings = FileMappings::new();
    let links = [
        mappings
            .link(near.mapping(BASE, 4, 10), Sharing::ReadOnly)
            .unwrap(),
        mappings
            .link(far.mapping(BASE, 4, 12), Sharing::Writable)
            .unwrap(),
        mappings
            .link(far.mapping(at(100), 4, 50), Sharing::ReadOnly)
            .unwrap(),
    ];
    for page in 0..4 {
        near.map(at(page), Pfn::new(10 + page));
        far.map(at(page), Pfn::new(12 + page));
        far.map(at(100 + page), Pfn::new(50 + page));
    }
    mappings.unmap(PgOff::new(12), Some(PgOff::new(13)), EvenCows::Yes);
    let zapped = [(&near, 2), (&far, 0)];
    for (space, first) in zapped {
        let two = range(at(first), 2);
        assert_eq!(space.log(), [Event::Zapped(two), Event::Flushed(two)]);
    }
    assert_eq!(near.mapped(at(1)), Some(Pfn::new(11)));
    assert_eq!(far.mapped(at(2)), Some(Pfn::new(14)));

    mappings.unmap(PgOff::new(40), None, EvenCows::Yes);
    assert_eq!(far.mapped(at(103)), None);
    for link in &links {
        link.unlink();
        link.unlink();
    }
    assert!(mappings.is_unmapped());
}

// row: A06
#[test]
fn private_copies_stay_unless_the_file_is_cut() {
    let space = FakeSpace::new();
    let mappings = FileMappings::new();
    let _link = mappings
        .link(space.mapping(BASE, 2, 0), Sharing::ReadOnly)
        .unwrap();
    let copy = FakeEntry {
        pfn: Pfn::new(9),
        writable: true,
        private: true,
    };
    space.map_entry(at(0), copy);
    mappings.unmap(PgOff::ZERO, None, EvenCows::No);
    assert_eq!(space.mapped(at(0)), Some(Pfn::new(9)));
    mappings.unmap(PgOff::ZERO, None, EvenCows::Yes);
    assert_eq!(space.mapped(at(0)), None);
}

// row: A06
// inv: 57
#[test]
fn write_protect_flushes_when_told_and_counts_what_was_writable() {
    let space = FakeSpace::new();
    let mappings = FileMappings::new();
    let _shared = mappings
        .link(space.mapping(BASE, 2, 0), Sharing::Writable)
        .unwrap();
    let _private = mappings
        .link(space.mapping(at(50), 2, 0), Sharing::ReadOnly)
        .unwrap();
    let writable = FakeEntry {
        pfn: Pfn::new(9),
        writable: true,
        private: false,
    };
    space.map_entry(at(1), writable);
    space.map_entry(
        at(50),
        FakeEntry {
            private: true,
            ..writable
        },
    );
    let mut flushes = Flushes::new();
    assert_eq!(
        mappings.write_protect(PgOff::ZERO, PgOff::new(1), &mut flushes),
        1
    );
    assert_eq!(space.log(), []);
    flushes.finish();
    assert_eq!(space.log(), [Event::Flushed(range(at(0), 2))]);
    let mut again = Flushes::new();
    assert_eq!(
        mappings.write_protect(PgOff::ZERO, PgOff::new(1), &mut again),
        0
    );
}

#[test]
fn writers_and_their_denial_exclude_each_other() {
    let space = FakeSpace::new();
    let mappings = FileMappings::new();
    let writer = mappings
        .link(space.mapping(BASE, 1, 0), Sharing::Writable)
        .unwrap();
    assert_eq!(mappings.nr_writable(), 1);
    assert_eq!(mappings.deny_write().unwrap_err(), Errno::EBUSY);
    writer.unlink();
    let denial = mappings.deny_write().unwrap();
    let refused = mappings.link(space.mapping(BASE, 1, 0), Sharing::Writable);
    assert_eq!(refused.unwrap_err(), Errno::EPERM);
    assert!(
        mappings
            .link(space.mapping(BASE, 1, 0), Sharing::ReadOnly)
            .is_ok()
    );
    drop(denial);
    assert!(
        mappings
            .link(space.mapping(BASE, 1, 0), Sharing::Writable)
            .is_ok()
    );
}

// inv: 49
#[test]
fn an_area_that_changes_shape_is_never_unseen() {
    let space = FakeSpace::new();
    let mappings = FileMappings::new();
    let old = mappings
        .link(space.mapping(BASE, 4, 0), Sharing::ReadOnly)
        .unwrap();
    let seen = |page: u64| {
        let held = mappings.read();
        let pgoff = PgOff::new(page);
        held.file_mappings(pgoff, pgoff)
            .filter_map(|(at, _)| at.address_of(pgoff))
            .count()
    };
    assert_eq!(seen(1), 1);
    let _low = mappings
        .link(space.mapping(BASE, 2, 0), Sharing::ReadOnly)
        .unwrap();
    let _high = mappings
        .link(space.mapping(at(2), 2, 2), Sharing::ReadOnly)
        .unwrap();
    assert_eq!(seen(1), 2);
    old.unlink();
    assert_eq!((seen(1), seen(3)), (1, 1));
}

/// A space that takes the rmap lock when it goes.
#[derive(Debug)]
struct Leaving {
    link: Mutex<Option<FileLink>>,
    last: Mutex<Option<Arc<Leaving>>>,
}

impl MappingSpace for Leaving {
    fn zap_mapping(&self, _range: VirtRange, _cows: EvenCows, _held: &RmapRead<'_>) -> FlushDue {
        // What others held goes now; the walk's own reference is the last.
        drop(self.last.lock().unwrap().take());
        FlushDue::none()
    }

    fn write_protect(&self, _range: VirtRange, _held: &RmapRead<'_>) -> Protected {
        Protected {
            nr_cleaned: 0,
            flush: FlushDue::none(),
        }
    }

    fn visit(&self, _address: VirtAddr, _pfn: Pfn, _held: &RmapRead<'_>) -> Option<MappedEntry> {
        None
    }
}

#[test]
fn the_last_reference_to_a_space_is_not_dropped_under_the_lock() {
    let space = Arc::new(Leaving {
        link: Mutex::new(None),
        last: Mutex::new(None),
    });
    let mappings = FileMappings::new();
    let weak: Weak<dyn MappingSpace> = Arc::downgrade(&space) as Weak<dyn MappingSpace>;
    let mapping = Mapping::new(weak, range(BASE, 1), PgOff::ZERO);
    let link = mappings.link(mapping, Sharing::ReadOnly).unwrap();
    *space.link.lock().unwrap() = Some(link);
    *space.last.lock().unwrap() = Some(Arc::clone(&space));
    drop(space);
    mappings.unmap(PgOff::ZERO, None, EvenCows::Yes);
    assert!(
        mappings.is_unmapped(),
        "the space has gone and unlinked itself"
    );
}

#[test]
fn walks_wait_while_entries_move() {
    let space = FakeSpace::new();
    let mappings = FileMappings::new();
    let _link = mappings
        .link(space.mapping(BASE, 1, 0), Sharing::ReadOnly)
        .unwrap();
    let chain = crate::AnonChain::prepare(space.mapping(BASE, 1, 0));
    let moving = RmapWrite::of(Some(&mappings), Some(chain.own()));
    assert!(!moving.is_empty());
    assert!(mappings.try_read().is_none());
    assert!(chain.own().try_read().is_none());
    drop(moving);
    assert!(mappings.try_read().is_some());
    assert!(RmapWrite::of(None, None).is_empty());
}

// row: A06
#[test]
fn a_walk_can_be_stopped_and_says_so() {
    let space = FakeSpace::new();
    let mappings = FileMappings::new();
    let owner = crate::owner::OwnerEntry::file(&mappings);
    let _links: Vec<_> = (0..3)
        .map(|area| {
            mappings
                .link(space.mapping(at(area * 10), 2, 0), Sharing::ReadOnly)
                .unwrap()
        })
        .collect();
    let mut seen = Vec::new();
    let mut flushes = Flushes::new();
    let end = walk_owner(owner.id(), PgOff::new(1), &mut flushes, &mut |place, _| {
        seen.push(place.address.as_u64());
        if seen.len() == 2 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    assert_eq!(end, WalkEnd::Stopped);
    assert_eq!(seen, [at(1), at(11)]);
    let id = owner.id();
    drop(owner);
    let end = walk_owner(id, PgOff::new(1), &mut flushes, &mut |_, _| {
        ControlFlow::Continue(())
    });
    assert_eq!(end, WalkEnd::Unowned);
}
