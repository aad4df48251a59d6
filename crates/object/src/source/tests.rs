use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::vec::Vec;

use addr::{Access, PAGE_SIZE, VirtAddr, VmFlags};

use super::*;
use crate::area::Area;
use crate::config::ObjectConfig;
use crate::context::{
    AreaChange, AreaPeek, AroundPage, AroundSink, FaultContext, FaultPage, MapAround, Noticed,
    Offered, OutsideAccess,
};
use crate::failure::FaultFailure;
use crate::ops::{Accessed, Notified, Supplied, VmOps};
use crate::request::{Brought, Waiting};
use crate::rmap::{Flushes, Sharing, walk_owner};
use crate::testing::{FakeEntry, FakeSpace, arena, bytes_of, locked, notify, range, serve};

const BASE: u64 = 0x40_0000;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("page {0} is lost")]
struct Lost(u64);

fn private(pages: u64) -> Area {
    let flags = VmFlags::READ | VmFlags::WRITE | VmFlags::MAYWRITE;
    Area::new(range(BASE, pages), flags, PgOff::ZERO)
}

fn shared(pages: u64) -> Area {
    Area {
        flags: private(pages).flags | VmFlags::SHARED,
        ..private(pages)
    }
}

fn region(source: impl Source + 'static) -> Arc<SourceRegion> {
    SourceRegion::new(
        &arena(64),
        source,
        ObjectConfig::new(8 * PAGE_SIZE, "[lazy]"),
    )
}

fn ask<'a>(
    region: &SourceRegion,
    area: &'a Area,
    arena: &'a Arc<frame::Arena>,
    page: u64,
) -> Supplied {
    let address = VirtAddr::new(BASE + page * PAGE_SIZE);
    let mut context = FaultContext::new(area, address, addr::FaultFlags::DEFAULT, arena);
    region.fault(&mut context)
}

fn source_error(supplied: Supplied) -> u64 {
    let Supplied::Error(failure) = supplied else {
        panic!("{supplied:?}")
    };
    assert_eq!(failure.result(), addr::FaultResult::SIGBUS);
    failure
        .source_error::<Lost>()
        .expect("the source's own error")
        .0
}

// row: N01
// row: N03
// row: V19
#[test]
fn a_closure_makes_zeroes_data_or_a_typed_error() {
    let region = region(from_fn(|page| match page.as_u64() {
        0 => Fetched::Zeroes,
        1 => Fetched::Data(b"data".to_vec()),
        2 => Fetched::Data(std::vec![7; 3 * PAGE_SIZE as usize]),
        page => Fetched::fail(Lost(page)),
    }));
    let area = private(9);
    assert_eq!(
        bytes_of(&locked(serve(&*region, &area, 0, Access::Read))),
        [0; 4]
    );
    let page = locked(serve(&*region, &area, 1, Access::Read));
    let mut tail = [1; 4];
    page.read(PAGE_SIZE - 4, &mut tail);
    assert_eq!((bytes_of(&page), tail), (*b"data", [0; 4]));
    drop(page);
    assert_eq!(
        bytes_of(&locked(serve(&*region, &area, 2, Access::Write))),
        [7; 4]
    );
    assert_eq!(source_error(serve(&*region, &area, 3, Access::Read).0), 3);
    let (beyond, _) = serve(&*region, &area, 8, Access::Read);
    assert!(matches!(beyond, Supplied::Error(FaultFailure::Bus)));
    drop(locked(serve(&*region, &area, 1, Access::Read)));
    let stats = region.stats();
    assert_eq!(
        (stats.nr_pages, stats.nr_fetches),
        (3, 4),
        "once per page, and the failure"
    );
}

// row: N01
// row: N02
// row: V19
#[test]
fn a_promised_page_is_waited_for_with_nothing_held() {
    let kept: Arc<Mutex<Vec<Completer<Delivery>>>> = Arc::default();
    let completers = Arc::clone(&kept);
    let region = region(from_fn(move |_| {
        let (completer, ticket) = promise();
        completers.lock().unwrap().push(completer);
        Fetched::Later(ticket)
    }));
    let (area, arena) = (private(8), arena(16));
    let Supplied::Later(first) = ask(&region, &area, &arena, 0) else {
        panic!()
    };
    // The request lives longer than the area; whoever comes second waits for the same answer.
    let Supplied::Later(second) = ask(&region, &area, &arena, 0) else {
        panic!()
    };
    drop(area);
    assert!(first.waiting().is_major());
    let woken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&woken);
    second.when_ready(move |request| {
        assert!(matches!(request.perform().brought, Brought::Folio(_)));
        count.fetch_add(1, SeqCst);
    });
    let waiter = std::thread::spawn(move || first.perform());
    assert_eq!(kept.lock().unwrap().len(), 1, "asked once");
    assert_eq!(woken.load(SeqCst), 0);
    let completer = kept.lock().unwrap().pop().unwrap();
    std::thread::spawn(move || completer.complete(Delivery::Data(b"late".to_vec())));
    let obtained = waiter.join().unwrap();
    assert!(obtained.speaks_of(region.cache().id(), PgOff::ZERO));
    while woken.load(SeqCst) == 0 {
        std::thread::yield_now();
    }
    let page = locked(serve(&*region, &private(8), 0, Access::Read));
    assert_eq!(bytes_of(&page), *b"late");
}

// row: N01
#[test]
fn a_promise_may_be_kept_at_once_refused_or_forgotten() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let region = region(from_fn(move |page| {
        let (completer, ticket) = promise();
        match (page.as_u64(), count.fetch_add(1, SeqCst)) {
            (0, _) => completer.complete(Delivery::Zeroes),
            (1, _) => completer.complete(Delivery::fail(Lost(1))),
            // Forgotten: nobody could wait for it.
            (2, _) => drop(completer),
            (_, 3) => completer.complete(Delivery::Retry),
            _ => completer.complete(Delivery::Data(b"here".to_vec())),
        }
        Fetched::Later(ticket)
    }));
    let area = private(8);
    assert_eq!(
        bytes_of(&locked(serve(&*region, &area, 0, Access::Read))),
        [0; 4]
    );
    assert_eq!(source_error(serve(&*region, &area, 1, Access::Read).0), 1);
    let Supplied::Error(failure) = serve(&*region, &area, 2, Access::Read).0 else {
        panic!("an abandoned promise fails the fault")
    };
    assert_eq!(failure.source_error(), Some(&Abandoned));
    // Asked again, as it wanted to be.
    assert_eq!(
        bytes_of(&locked(serve(&*region, &area, 3, Access::Read))),
        *b"here"
    );
    assert_eq!(asked.load(SeqCst), 5);
}

// row: N01
#[test]
fn blocking_work_is_done_by_whoever_faults() {
    let threads: Arc<Mutex<Vec<std::thread::ThreadId>>> = Arc::default();
    let seen = Arc::clone(&threads);
    let region = region(blocking(move |page| {
        seen.lock().unwrap().push(std::thread::current().id());
        match page.as_u64() {
            0 => Delivery::Data(b"disk".to_vec()),
            page => Delivery::fail(Lost(page)),
        }
    }));
    let (area, arena) = (private(8), arena(16));
    let Supplied::Later(request) = ask(&region, &area, &arena, 0) else {
        panic!()
    };
    assert_eq!(request.waiting(), Waiting::Read);
    // Dropped undone, it lets the next one do it.
    drop(request);
    assert_eq!(
        bytes_of(&locked(serve(&*region, &area, 0, Access::Read))),
        *b"disk"
    );
    assert_eq!(source_error(serve(&*region, &area, 4, Access::Read).0), 4);
    assert_eq!(*threads.lock().unwrap(), [std::thread::current().id(); 2]);
}

// row: N01
#[test]
fn a_source_may_ask_to_be_asked_again() {
    let asked = AtomicUsize::new(0);
    let region = region(from_fn(move |_| match asked.fetch_add(1, SeqCst) {
        0 | 1 => Fetched::Retry,
        _ => Fetched::Zeroes,
    }));
    let (supplied, nr_waits) = serve(&*region, &private(8), 0, Access::Read);
    assert!(matches!(supplied, Supplied::Locked(_)));
    assert_eq!(nr_waits, 2);
}

// row: N01
#[test]
fn a_region_over_another_clones_what_is_written() {
    let base = region(from_fn(|page| {
        Fetched::Data(std::vec![page.as_u64() as u8 + 1; 4])
    }));
    let over = |page: PgOff| match page.as_u64() {
        5 => Fetched::Data(b"mine".to_vec()),
        _ => Fetched::Base,
    };
    let config = ObjectConfig::new(8 * PAGE_SIZE, "[over]");
    let one = SourceRegion::over(&base, from_fn(over), config.clone());
    let two = SourceRegion::over(&base, from_fn(over), config);
    let area = shared(8);
    let seen = |region: &SourceRegion, page| {
        let page = locked(serve(region, &area, page, Access::Read));
        (page.pfn(), bytes_of(&page))
    };
    assert_eq!(seen(&one, 3), seen(&base, 3));
    assert_eq!(seen(&two, 3), seen(&base, 3));
    assert_eq!(seen(&one, 5).1, *b"mine");

    // Two spaces show the shared page; the region's own is the one that is to be written.
    let mm = FakeSpace::new();
    let file = one.open_file();
    let _link = file
        .mappings()
        .link(mm.mapping(BASE, 8, 0), Sharing::Writable)
        .unwrap();
    let entry = FakeEntry {
        pfn: seen(&base, 3).0,
        writable: false,
        private: false,
    };
    mm.map_entry(BASE + 3 * PAGE_SIZE, entry);
    let written = locked(serve(&*one, &area, 3, Access::Write));
    written.write(0, b"new!");
    drop(written);
    assert!(
        mm.mapped(BASE + 3 * PAGE_SIZE).is_none(),
        "nobody is left with the old page"
    );
    assert_eq!(seen(&one, 3).1, *b"new!");
    assert_eq!(seen(&two, 3).1, [4; 4]);
    assert_eq!(seen(&base, 3).1, [4; 4]);
    assert_eq!((one.stats().nr_clones, two.stats().nr_clones), (1, 0));
    assert_eq!((one.stats().nr_pages, two.stats().nr_pages), (2, 0));
}

// inv: 49
#[test]
fn a_base_page_is_found_in_the_areas_of_the_region_above() {
    let base = region(from_fn(|_| Fetched::Zeroes));
    let config = ObjectConfig::new(8 * PAGE_SIZE, "[over]");
    let over = SourceRegion::over(&base, from_fn(|_| Fetched::Base), config);
    let mm = FakeSpace::new();
    let _link = over
        .open_file()
        .mappings()
        .link(mm.mapping(BASE, 8, 0), Sharing::ReadOnly)
        .unwrap();
    let page = locked(serve(&*over, &private(8), 2, Access::Read));
    mm.map(BASE + 2 * PAGE_SIZE, page.pfn());
    let mut nr_found = 0;
    let mut flushes = Flushes::new();
    let _ = walk_owner(
        page.owner(),
        PgOff::new(2),
        &mut flushes,
        &mut |place, _| {
            nr_found += usize::from(
                place
                    .space
                    .visit(place.address, page.pfn(), place.held)
                    .is_some(),
            );
            ControlFlow::Continue(())
        },
    );
    assert_eq!(nr_found, 1);
}

// row: V08
// inv: 61
#[test]
fn fault_around_sees_through_to_the_base() {
    let base = region(from_fn(|_| Fetched::Zeroes));
    let config = ObjectConfig::new(8 * PAGE_SIZE, "[over]");
    let over = SourceRegion::over(&base, from_fn(|_| Fetched::Base), config);
    let area = shared(8);
    for page in 0..4 {
        drop(locked(serve(&*over, &area, page, Access::Read)));
    }
    let own = locked(serve(&*over, &area, 2, Access::Write)).pfn();
    let mut sink = Sink::default();
    let window = (PgOff::ZERO, PgOff::new(7));
    let mut around = MapAround::new(&area, VirtAddr::new(BASE), window, &mut sink);
    assert_eq!(over.map_pages(&mut around), FaultPage::Mapped);
    assert_eq!(around.nr_mapped(), 4);
    let base_page = locked(serve(&*base, &area, 2, Access::Read)).pfn();
    assert_ne!(own, base_page);
    assert!(sink.0.contains(&(2, own)) && !sink.0.contains(&(2, base_page)));
}

// row: V08
// inv: 55
#[test]
fn fault_around_ends_where_the_region_above_does() {
    let base = region(from_fn(|_| Fetched::Data(b"base".to_vec())));
    let config = ObjectConfig::new(2 * PAGE_SIZE, "short");
    let over = SourceRegion::over(&base, from_fn(|_| Fetched::Base), config);
    let area = private(8);
    for page in 0..4 {
        drop(locked(serve(&*base, &area, page, Access::Read)));
    }
    let mut sink = Sink::default();
    let window = (PgOff::ZERO, PgOff::new(7));
    let mut around = MapAround::new(&area, VirtAddr::new(BASE), window, &mut sink);
    assert_eq!(over.map_pages(&mut around), FaultPage::Mapped);
    assert_eq!(around.nr_mapped(), 2);
}

#[derive(Default)]
struct Sink(Vec<(u64, addr::Pfn)>);

impl AroundSink for Sink {
    fn is_empty(&self, address: VirtAddr) -> bool {
        let page = (address.as_u64() - BASE) / PAGE_SIZE;
        !self.0.iter().any(|(taken, _)| *taken == page)
    }

    fn install(&mut self, address: VirtAddr, page: AroundPage<'_>) -> Offered {
        let AroundPage::Folio(folio) = page else {
            panic!("no device here")
        };
        self.0
            .push(((address.as_u64() - BASE) / PAGE_SIZE, folio.pfn()));
        Offered::Mapped
    }
}

#[test]
fn without_a_base_nothing_can_be_left_to_it() {
    let region = region(from_fn(|_| Fetched::Base));
    let (supplied, _) = serve(&*region, &private(8), 0, Access::Read);
    let Supplied::Error(failure) = supplied else {
        panic!()
    };
    assert_eq!(failure.source_error::<NoBase>(), Some(&NoBase));
}

/// A source that has a say in writes and accesses.
#[derive(Default)]
struct Strict {
    writes: Mutex<Vec<u64>>,
}

impl Source for Arc<Strict> {
    fn fetch(&self, _page: PgOff) -> Fetched {
        Fetched::Data(b"text".to_vec())
    }

    fn before_write(&self, page: PgOff) -> Permit {
        self.writes.lock().unwrap().push(page.as_u64());
        let (completer, ticket) = promise::<Result<(), SourceError>>();
        match page.as_u64() {
            0 => return Permit::Granted,
            1 => return Permit::refuse(Lost(1)),
            2 => completer.complete(Ok(())),
            3 => completer.complete(Err(Arc::new(Lost(3)))),
            _ => drop(completer),
        }
        Permit::Later(ticket)
    }

    fn access(&self, offset: u64, bytes: OutsideBytes<'_>) -> Option<Result<usize, Errno>> {
        match bytes {
            OutsideBytes::Read(buf) if offset == 0 => {
                buf.fill(b'!');
                Some(Ok(buf.len()))
            }
            _ => None,
        }
    }

    fn name(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed("[strict]"))
    }
}

// row: N03
// row: V10
// row: V18
// row: V19
// inv: 57
#[test]
fn a_write_goes_ahead_only_when_the_source_agrees() {
    let source = Arc::new(Strict::default());
    let region = region(Arc::clone(&source));
    let area = shared(8);
    let write = |page| {
        let folio = locked(serve(&*region, &area, page, Access::Write)).unlock();
        notify(&*region, &area, page, Noticed::Folio(&folio))
    };
    assert!(matches!(write(0), Notified::Locked(_)));
    assert_eq!(region.cache().nr_dirty(), 1);
    let lost = |notified| match notified {
        Notified::Error(failure) => failure.source_error::<Lost>().unwrap().0,
        other => panic!("{other:?}"),
    };
    assert_eq!(lost(write(1)), 1);
    assert!(matches!(write(2), Notified::Locked(_)));
    assert_eq!(lost(write(3)), 3);
    let Notified::Error(failure) = write(4) else {
        panic!("an abandoned promise fails the write")
    };
    assert_eq!(failure.source_error(), Some(&Abandoned));
    assert_eq!(
        *source.writes.lock().unwrap(),
        [0, 1, 2, 3, 4],
        "told once each"
    );
    assert_eq!(region.cache().nr_dirty(), 2);
    assert_eq!(region.stats().nr_notices, 5);
}

// inv: 59
#[test]
fn a_private_write_is_not_noticed() {
    let source = Arc::new(Strict::default());
    let region = region(Arc::clone(&source));
    drop(locked(serve(&*region, &private(8), 1, Access::Write)));
    assert!(source.writes.lock().unwrap().is_empty());
    assert_eq!(region.cache().nr_dirty(), 0);
}

// row: V10
#[test]
fn a_page_that_left_meanwhile_is_faulted_again() {
    let region = region(Arc::new(Strict::default()));
    let area = shared(8);
    let folio = locked(serve(&*region, &area, 0, Access::Write)).unlock();
    let _ = region.cache().punch(PgOff::ZERO, PgOff::ZERO);
    assert!(matches!(
        notify(&*region, &area, 0, Noticed::Folio(&folio)),
        Notified::NoPage
    ));
}

fn outside(
    region: &SourceRegion,
    area: &Area,
    offset: u64,
    bytes: &mut OutsideBytes<'_>,
) -> Result<usize, Errno> {
    let mut obtained = None;
    for _ in 0..10 {
        let mut access =
            OutsideAccess::new(area, VirtAddr::new(BASE + offset)).with_obtained(obtained.take());
        match region.access(&mut access, bytes.reborrow()) {
            Accessed::Bytes(nr) => return Ok(nr),
            Accessed::Error(errno) => return Err(errno),
            Accessed::Later(request) => obtained = Some(request.perform()),
        }
    }
    panic!("no progress");
}

// row: V12
// row: V13
// row: N03
#[test]
fn access_and_name_ask_the_source_first() {
    let region = region(Arc::new(Strict::default()));
    let area = shared(8);
    assert!(
        region
            .callbacks()
            .contains(crate::Callbacks::ACCESS | crate::Callbacks::NAME)
    );
    assert_eq!(
        region.name(&AreaPeek::new(&area)).as_deref(),
        Some("[strict]")
    );
    let mut buf = [0; 4];
    assert_eq!(
        outside(&region, &area, 0, &mut OutsideBytes::Read(&mut buf)),
        Ok(4)
    );
    assert_eq!(&buf, b"!!!!");
    assert_eq!(
        outside(&region, &area, 1, &mut OutsideBytes::Read(&mut buf)),
        Ok(4)
    );
    assert_eq!(&buf, b"ext\0");
    let two = 2 * PAGE_SIZE;
    assert_eq!(
        outside(&region, &area, two, &mut OutsideBytes::Write(b"note")),
        Ok(4)
    );
    assert_eq!(
        outside(&region, &area, two + 2, &mut OutsideBytes::Read(&mut buf)),
        Ok(4)
    );
    assert_eq!(&buf, b"te\0\0");
    let refused = outside(&region, &area, PAGE_SIZE, &mut OutsideBytes::Write(b"no"));
    assert_eq!(refused, Err(Errno::EFAULT));
    let end = outside(
        &region,
        &area,
        PAGE_SIZE - 2,
        &mut OutsideBytes::Read(&mut buf),
    );
    assert_eq!(end, Ok(2), "up to the end of the page");
}

// row: V01
// row: V02
// inv: 23
// row: V12
#[test]
fn what_the_program_could_not_write_is_not_written_from_outside() {
    let source = Arc::new(Strict::default());
    let region = region(Arc::clone(&source));
    let read_only = Area {
        flags: shared(8).flags - VmFlags::WRITE,
        ..shared(8)
    };
    for area in [private(8), read_only] {
        // Neither where the source answers nor where the page does.
        for offset in [0, 2 * PAGE_SIZE] {
            let refused = outside(&region, &area, offset, &mut OutsideBytes::Write(b"no"));
            assert_eq!(refused, Err(Errno::EINVAL));
        }
        let mut buf = [0; 4];
        let read = outside(&region, &area, 0, &mut OutsideBytes::Read(&mut buf));
        assert_eq!(read, Ok(4));
    }
    assert!(source.writes.lock().unwrap().is_empty());
    assert_eq!(region.cache().nr_dirty(), 0);
}

#[test]
fn areas_are_counted_as_they_open_and_close() {
    let region = region(from_fn(|_| Fetched::Zeroes));
    let area = private(1);
    let change = AreaChange::new(&area);
    region.open(&change);
    region.open(&change);
    assert_eq!(region.stats().nr_areas, 2);
    region.close(&change);
    assert_eq!(region.stats().nr_areas, 1);
}

#[test]
fn a_region_keeps_to_its_limit() {
    let config = ObjectConfig {
        limit_pages: Some(1),
        ..ObjectConfig::new(8 * PAGE_SIZE, "[small]")
    };
    let region = SourceRegion::new(&arena(16), from_fn(|_| Fetched::Zeroes), config);
    drop(locked(serve(&*region, &private(8), 0, Access::Read)));
    let (full, _) = serve(&*region, &private(8), 1, Access::Read);
    assert!(matches!(full, Supplied::Error(FaultFailure::OutOfMemory)));
    assert_eq!(
        region.open_file().object().rss_kind(),
        crate::file::RssKind::File
    );
}

/// Readers and writers of a region over another, all at once: whoever wrote is seen by all who read
/// the region later, and the base is never touched.
#[test]
fn clones_are_made_once_whoever_comes() {
    let base = region(from_fn(|_| Fetched::Zeroes));
    let config = ObjectConfig::new(8 * PAGE_SIZE, "[over]");
    let over = SourceRegion::over(&base, from_fn(|_| Fetched::Base), config);
    let area = shared(8);
    std::thread::scope(|scope| {
        for worker in 0..4u64 {
            let (over, area) = (&over, &area);
            scope.spawn(move || {
                for page in 0..8 {
                    let access = if worker % 2 == 0 {
                        Access::Write
                    } else {
                        Access::Read
                    };
                    let folio = locked(serve(&**over, area, page, access));
                    if access == Access::Write {
                        folio.write(worker, b"w");
                    }
                }
            });
        }
    });
    assert_eq!(over.stats().nr_clones, 8);
    for page in 0..8 {
        let bytes = bytes_of(&locked(serve(&*over, &area, page, Access::Read)));
        assert_eq!(bytes, [b'w', 0, b'w', 0]);
        assert_eq!(
            bytes_of(&locked(serve(&*base, &area, page, Access::Read))),
            [0; 4]
        );
    }
}
