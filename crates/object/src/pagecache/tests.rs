use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::vec::Vec;

use addr::{PAGE_SIZE, Pfn, VirtAddr, VmFlags};
use frame::{AllocRequest, Purpose};

use super::*;
use crate::area::Area;
use crate::context::{AroundPage, AroundSink, FaultPage};
use crate::failure::FaultFailure;
use crate::request::{Brought, Waiting};
use crate::rmap::{EvenCows, LockMode, Sharing, WalkEnd, walk};
use crate::testing::{Event, FakeEntry, FakeSpace, arena, range};

const BASE: u64 = 0x40_0000;

fn cache(pages: u64) -> Arc<PageCache> {
    PageCache::new(arena(64), FileMappings::new(), pages * PAGE_SIZE)
}

fn fresh(cache: &PageCache) -> FreshFolio {
    cache
        .arena()
        .alloc(AllocRequest::zeroed(Purpose::PageCache))
        .unwrap()
}

fn add(cache: &Arc<PageCache>, page: u64, data: &[u8]) {
    match cache.begin_fill(PgOff::new(page), fresh(cache)) {
        Begun::Filling(filling) => filling.fill(data),
        other => panic!("{other:?}"),
    }
}

fn begin(cache: &Arc<PageCache>, page: u64) -> Filling {
    match cache.begin_fill(PgOff::new(page), fresh(cache)) {
        Begun::Filling(filling) => filling,
        other => panic!("{other:?}"),
    }
}

fn locked(cache: &PageCache, page: u64) -> FolioLock {
    match cache.find_locked(PgOff::new(page)) {
        Found::Locked(locked) => locked,
        other => panic!("{other:?}"),
    }
}

fn first_bytes(cache: &PageCache, page: u64) -> [u8; 4] {
    let mut bytes = [0; 4];
    cache.arena().read(locked(cache, page).pfn(), 0, &mut bytes);
    bytes
}

// row: V06
// inv: 55
#[test]
fn a_page_is_absent_then_filled_then_found() {
    let cache = cache(2);
    assert!(matches!(cache.find_locked(PgOff::new(0)), Found::Absent));
    assert!(matches!(cache.find_locked(PgOff::new(2)), Found::BeyondEnd));
    let filling = begin(&cache, 0);
    assert!(!cache.is_resident(PgOff::new(0)), "not before it is filled");
    assert!(cache.lookup(PgOff::new(0)).is_none());
    assert!(matches!(cache.find_locked(PgOff::new(0)), Found::Later(_)));
    filling.fill(b"abcd");
    assert!(cache.is_resident(PgOff::new(0)));
    assert_eq!(&first_bytes(&cache, 0), b"abcd");
    assert!(matches!(
        cache.begin_fill(PgOff::new(0), fresh(&cache)),
        Begun::Present
    ));
}

#[test]
fn who_comes_second_waits_for_the_first() {
    let cache = cache(1);
    let filling = begin(&cache, 0);
    let Begun::Joined(wait) = cache.begin_fill(PgOff::new(0), fresh(&cache)) else {
        panic!()
    };
    assert!(wait.end().is_none());
    let request = FillWait::request(&wait);
    assert_eq!(request.waiting(), Waiting::Read);
    let woken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&woken);
    request.when_ready(move |request| {
        count.fetch_add(1, SeqCst);
        let obtained = request.perform();
        assert!(matches!(obtained.brought, Brought::Folio(_)));
        assert!(obtained.revalidate.is_some());
    });
    assert_eq!(woken.load(SeqCst), 0);
    filling.fill(b"x");
    assert_eq!(woken.load(SeqCst), 1);
}

#[test]
fn a_failed_fill_tells_everybody_and_leaves_nothing() {
    let cache = cache(1);
    let filling = begin(&cache, 0);
    let request = FillWait::request(filling.wait());
    filling.fail(FaultFailure::HwPoison);
    let obtained = request.perform();
    assert!(obtained.speaks_of(cache.id(), PgOff::new(0)));
    assert!(matches!(
        obtained.brought,
        Brought::Failed(FaultFailure::HwPoison)
    ));
    assert!(matches!(cache.find_locked(PgOff::new(0)), Found::Absent));
    assert_eq!(cache.nr_pages(), 0);
}

#[test]
fn a_fill_given_up_lets_others_try() {
    let cache = cache(1);
    let filling = begin(&cache, 0);
    let request = FillWait::request(filling.wait());
    drop(filling);
    assert!(matches!(request.perform().brought, Brought::Nothing));
    add(&cache, 0, b"data");
    assert_eq!(&first_bytes(&cache, 0), b"data");
}

#[test]
fn a_page_locked_by_another_is_waited_for() {
    let cache = cache(1);
    add(&cache, 0, b"data");
    let held = locked(&cache, 0);
    let Found::Later(request) = cache.find_locked(PgOff::new(0)) else {
        panic!()
    };
    assert_eq!(request.waiting(), Waiting::FolioLock);
    drop(held);
    drop(request.perform());
    drop(locked(&cache, 0));
}

#[test]
fn no_more_pages_than_allowed() {
    let cache = PageCache::limited(arena(64), FileMappings::new(), 10 * PAGE_SIZE, 1);
    add(&cache, 0, b"x");
    assert!(matches!(
        cache.begin_fill(PgOff::new(1), fresh(&cache)),
        Begun::Full
    ));
    assert!(matches!(
        cache.insert(PgOff::new(1), fresh(&cache)),
        Inserted::Full
    ));
    assert!(matches!(
        cache.insert(PgOff::new(0), fresh(&cache)),
        Inserted::Raced
    ));
}

// inv: 55
#[test]
fn no_page_begins_beyond_the_end() {
    let cache = cache(1);
    let begun = cache.begin_fill(PgOff::new(1), fresh(&cache));
    assert!(matches!(begun, Begun::BeyondEnd));
    let inserted = cache.insert(PgOff::new(1), fresh(&cache));
    assert!(matches!(inserted, Inserted::BeyondEnd));
}

// inv: 55
// inv: 56
#[test]
fn truncation_unmaps_removes_and_zeroes_the_tail() {
    let cache = cache(4);
    for page in 0..4 {
        add(&cache, page, &[7; PAGE_SIZE as usize]);
    }
    let space = FakeSpace::new();
    let _link = cache
        .mappings()
        .link(space.mapping(BASE, 4, 0), Sharing::Writable)
        .unwrap();
    let copy = FakeEntry {
        pfn: Pfn::new(60),
        writable: true,
        private: true,
    };
    space.map_entry(BASE + 3 * PAGE_SIZE, copy);
    let gone = cache.lookup(PgOff::new(2)).unwrap();

    assert!(matches!(cache.truncate(PAGE_SIZE + 10), Shrink::Done(2)));
    assert_eq!(
        space.mapped(BASE + 3 * PAGE_SIZE),
        None,
        "private copies go too"
    );
    assert_eq!(cache.nr_pages(), 2);
    assert!(matches!(cache.find_locked(PgOff::new(2)), Found::BeyondEnd));
    let gone = gone.lock();
    assert!(
        !cache.owns(&gone, PgOff::new(2)),
        "whoever had found it sees that it has left"
    );
    let mut flushes = Flushes::new();
    let end = walk(&gone, LockMode::Wait, &mut flushes, &mut |_, _| {
        ControlFlow::Continue(())
    });
    assert_eq!(end, WalkEnd::Unowned);

    let mut bytes = [0; 20];
    cache.arena().read(locked(&cache, 1).pfn(), 0, &mut bytes);
    assert_eq!(bytes[..10], [7; 10]);
    assert_eq!(bytes[10..], [0; 10]);
}

// inv: 56
#[test]
fn a_page_being_filled_is_cut_when_its_data_comes() {
    let cache = cache(2);
    let filling = begin(&cache, 1);
    assert!(matches!(cache.truncate(PAGE_SIZE + 2), Shrink::Done(0)));
    // Growing again does not bring back what was cut off.
    assert!(matches!(cache.truncate(2 * PAGE_SIZE), Shrink::Done(0)));
    filling.fill(b"abcd");
    assert_eq!(&first_bytes(&cache, 1), b"ab\0\0");
}

// inv: 56
#[test]
fn a_page_that_is_locked_is_cut_when_it_is_not() {
    let cache = cache(2);
    add(&cache, 1, b"abcd");
    let folio = locked(&cache, 1);
    let Shrink::Later(request) = cache.truncate(PAGE_SIZE + 2) else {
        panic!("somebody uses the page");
    };
    let mut bytes = [0; 4];
    folio.read(0, &mut bytes);
    assert_eq!(&bytes, b"abcd", "left alone while it is locked");
    drop(folio);
    drop(request.perform());
    let first = cache.end();
    assert!(matches!(
        cache.remove_from(first, None, EvenCows::Yes),
        Shrink::Done(0)
    ));
    assert_eq!(&first_bytes(&cache, 1), b"ab\0\0");
}

// inv: 56
#[test]
fn a_private_copy_made_under_the_pages_lock_goes_with_the_page() {
    let cache = cache(1);
    add(&cache, 0, b"x");
    let space = FakeSpace::new();
    let _link = cache
        .mappings()
        .link(space.mapping(BASE, 1, 0), Sharing::ReadOnly)
        .unwrap();
    // A fault has found the page before the object is cut off.
    let folio = locked(&cache, 0);
    let Shrink::Later(request) = cache.truncate(0) else {
        panic!("somebody uses the page");
    };
    let copy = FakeEntry {
        pfn: Pfn::new(60),
        writable: true,
        private: true,
    };
    space.map_entry(BASE, copy);
    drop(folio);
    drop(request.perform());
    assert!(matches!(
        cache.remove_from(PgOff::ZERO, None, EvenCows::Yes),
        Shrink::Done(1)
    ));
    assert_eq!(space.mapped(BASE), None);
}

// inv: 56
#[test]
fn truncation_waits_for_pages_in_use() {
    let cache = cache(2);
    add(&cache, 0, b"x");
    let filling = begin(&cache, 1);
    let Shrink::Later(request) = cache.truncate(0) else {
        panic!()
    };
    filling.fill(b"late");
    drop(request.perform());
    assert!(matches!(cache.find_locked(PgOff::new(1)), Found::BeyondEnd));
    assert!(matches!(
        cache.remove_from(PgOff::new(0), None, EvenCows::Yes),
        Shrink::Done(1)
    ));
    assert_eq!(cache.nr_pages(), 0);
}

#[test]
fn a_hole_leaves_private_copies() {
    let cache = cache(2);
    add(&cache, 0, b"x");
    let space = FakeSpace::new();
    let _link = cache
        .mappings()
        .link(space.mapping(BASE, 2, 0), Sharing::ReadOnly)
        .unwrap();
    let copy = FakeEntry {
        pfn: Pfn::new(60),
        writable: true,
        private: true,
    };
    space.map_entry(BASE, copy);
    assert!(matches!(
        cache.punch(PgOff::new(0), PgOff::new(0)),
        Shrink::Done(1)
    ));
    assert!(space.mapped(BASE).is_some());
    assert!(matches!(cache.find_locked(PgOff::new(0)), Found::Absent));
}

// inv: 57
#[test]
fn a_cleaned_page_is_protected_before_it_counts_as_clean() {
    let cache = cache(1);
    add(&cache, 0, b"x");
    let space = FakeSpace::new();
    let _link = cache
        .mappings()
        .link(space.mapping(BASE, 1, 0), Sharing::Writable)
        .unwrap();
    let folio = locked(&cache, 0);
    let mut flushes = Flushes::new();
    assert_eq!(cache.clean(&folio, &mut flushes), Dirty::No);
    cache.mark_dirty(&folio);
    cache.mark_dirty(&folio);
    assert_eq!(cache.nr_dirty(), 1);
    assert_eq!(cache.dirty_pages(PgOff::new(0), PgOff::new(9)).len(), 1);
    let entry = FakeEntry {
        pfn: folio.pfn(),
        writable: true,
        private: false,
    };
    space.map_entry(BASE, entry);
    assert_eq!(cache.clean(&folio, &mut flushes), Dirty::Yes);
    drop(folio);
    assert_eq!(space.log(), []);
    flushes.finish();
    assert_eq!(space.log(), [Event::Flushed(range(BASE, 1))]);
    assert_eq!(cache.nr_dirty(), 0);
    // Written through an entry alone: the entry's word makes it dirty.
    let folio = locked(&cache, 0);
    space.map_entry(BASE, entry);
    assert_eq!(cache.clean(&folio, &mut Flushes::new()), Dirty::Yes);
}

// inv: 57
#[test]
fn a_page_that_a_mapping_dirtied_is_counted_once_and_leaves_no_debt() {
    let cache = cache(2);
    for page in 0..2 {
        add(&cache, page, b"x");
        // As a fault or a zap does, which do not know the object.
        locked(&cache, page).set(FolioFlags::DIRTY);
    }
    assert_eq!(cache.nr_dirty(), 2);
    let folio = locked(&cache, 0);
    assert_eq!(cache.clean(&folio, &mut Flushes::new()), Dirty::Yes);
    drop(folio);
    assert_eq!(cache.nr_dirty(), 1);
    assert!(matches!(cache.truncate(0), Shrink::Done(2)));
    assert_eq!(cache.nr_dirty(), 0);
}

#[derive(Default)]
struct Sink {
    installed: BTreeMap<u64, Pfn>,
}

impl AroundSink for Sink {
    fn is_empty(&self, address: VirtAddr) -> bool {
        !self.installed.contains_key(&address.as_u64())
    }

    fn install(&mut self, address: VirtAddr, page: AroundPage<'_>) -> Offered {
        let pfn = match page {
            AroundPage::Folio(folio) => folio.pfn(),
            AroundPage::Device(pfn) => pfn,
        };
        match self.installed.insert(address.as_u64(), pfn) {
            None => Offered::Mapped,
            Some(_) => Offered::Occupied,
        }
    }
}

// row: V08
// inv: 61
#[test]
fn fault_around_offers_only_what_is_at_hand() {
    let cache = cache(6);
    for page in [0, 1, 2, 4, 5] {
        add(&cache, page, b"x");
    }
    let _filling = begin(&cache, 3);
    let _busy = locked(&cache, 1);
    let area = Area::new(range(BASE, 8), VmFlags::READ, PgOff::new(0));
    let mut sink = Sink::default();
    sink.installed.insert(BASE, Pfn::new(40));
    let window = (PgOff::new(0), PgOff::new(4));
    let mut around = MapAround::new(
        &area,
        VirtAddr::new(BASE + 2 * PAGE_SIZE),
        window,
        &mut sink,
    );
    cache.map_pages(&mut around);
    assert_eq!(
        around.nr_mapped(),
        2,
        "pages 2 and 4: 0 is mapped, 1 locked, 3 on its way"
    );
    assert_eq!(around.fault_page(), FaultPage::Mapped);
    assert_eq!(sink.installed.len(), 3);
    assert_eq!(sink.installed[&BASE], Pfn::new(40));

    cache.size_bytes.store(PAGE_SIZE, Ordering::Release);
    let mut sink = Sink::default();
    let mut around = MapAround::new(&area, VirtAddr::new(BASE), window, &mut sink);
    cache.map_pages(&mut around);
    assert_eq!(around.nr_mapped(), 1, "nothing beyond the end");
}

// row: A06
#[test]
fn a_page_is_found_wherever_its_file_is_mapped() {
    let cache = cache(4);
    add(&cache, 2, b"x");
    let spaces = [FakeSpace::new(), FakeSpace::new()];
    let _links: Vec<_> = (0..2)
        .map(|n| {
            let mapping = spaces[n].mapping(BASE + n as u64 * PAGE_SIZE, 3, n as u64);
            cache.mappings().link(mapping, Sharing::ReadOnly).unwrap()
        })
        .collect();
    let folio = locked(&cache, 2);
    let mut places = Vec::new();
    let mut flushes = Flushes::new();
    let end = walk(&folio, LockMode::Try, &mut flushes, &mut |place, _| {
        places.push((place.address.as_u64(), place.page, place.nr_pages));
        ControlFlow::Continue(())
    });
    assert_eq!(end, WalkEnd::Complete);
    assert_eq!(
        places,
        [(BASE + 2 * PAGE_SIZE, 0, 1), (BASE + 2 * PAGE_SIZE, 0, 1)]
    );
}

#[test]
fn frames_come_back_when_the_object_goes() {
    let cache = cache(4);
    let arena = Arc::clone(cache.arena());
    let before = arena.usage().nr_free;
    for page in 0..4 {
        add(&cache, page, b"x");
    }
    let kept = cache.lookup(PgOff::new(1)).unwrap();
    drop(cache);
    assert_eq!(arena.usage().nr_free, before - 1);
    drop(kept);
    assert_eq!(arena.usage().nr_free, before);
}

/// Many threads want the same pages; each page is filled once, and nobody sees it before.
#[test]
fn a_page_wanted_by_many_is_filled_once() {
    let cache = cache(8);
    let fills = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for page in 0..8 {
                    want(&cache, page, &fills);
                }
            });
        }
    });
    assert_eq!(fills.load(SeqCst), 8);
    assert_eq!(cache.nr_pages(), 8);
}

/// What the fault loop does about one page.
fn want(cache: &Arc<PageCache>, page: u64, fills: &AtomicUsize) {
    loop {
        match cache.find_locked(PgOff::new(page)) {
            Found::Locked(folio) => {
                let mut bytes = [0; 4];
                cache.arena().read(folio.pfn(), 0, &mut bytes);
                assert_eq!(&bytes, b"done");
                return;
            }
            Found::Later(request) => drop(request.perform()),
            Found::BeyondEnd => panic!("inside"),
            Found::Absent => {
                if let Begun::Filling(filling) = cache.begin_fill(PgOff::new(page), fresh(cache)) {
                    fills.fetch_add(1, SeqCst);
                    std::thread::yield_now();
                    filling.fill(b"done");
                }
            }
        }
    }
}
