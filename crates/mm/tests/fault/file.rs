//! Pages of objects: read, copied, written for all to see; and what can go wrong with them.

use std::sync::Arc;
use std::sync::Mutex;

use addr::{FaultFlags, PAGE_SIZE, PgOff, Prot, SigCode, VirtAddr};
use frame::{AllocRequest, Purpose};
use mm::{Attempt, Fault, FaultKind, MapFlags, MapRequest, ObjectTarget, attempt};
use object::ObjectConfig;
use object::context::{FaultContext, FaultPage, MapAround, Offered, WriteNotice};
use object::shmem::Shmem;
use object::source::{Fetched, SourceRegion, from_fn, promise};
use object::{Callbacks, FaultFailure, Notified, PageRequest, Supplied, VmOps, Waiting};

use crate::space::{BASE, Host, RW, Space, page, pfn_of, read_at, write_at};

/// An object that answers as a test tells it to, and notes what it was asked.
pub(crate) struct Scripted {
    pub(crate) callbacks: Callbacks,
    pub(crate) answer: Box<dyn Fn(&mut FaultContext<'_>) -> Supplied + Send + Sync>,
    pub(crate) allow: Box<dyn Fn(&mut WriteNotice<'_>) -> Notified + Send + Sync>,
    pub(crate) asked: Mutex<Vec<(VirtAddr, PgOff, FaultFlags)>>,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scripted")
    }
}

impl Scripted {
    pub(crate) fn new(
        callbacks: Callbacks,
        answer: impl Fn(&mut FaultContext<'_>) -> Supplied + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Scripted {
            callbacks,
            answer: Box::new(answer),
            allow: Box::new(|_| Notified::Allow),
            asked: Mutex::default(),
        })
    }
}

impl VmOps for Scripted {
    fn callbacks(&self) -> Callbacks {
        self.callbacks
    }

    fn fault(&self, context: &mut FaultContext<'_>) -> Supplied {
        let asked = (context.real_address(), context.pgoff(), context.flags());
        self.asked.lock().unwrap().push(asked);
        (self.answer)(context)
    }

    fn page_mkwrite(&self, notice: &mut WriteNotice<'_>) -> Notified {
        (self.allow)(notice)
    }
}

/// A region whose page `n` holds the byte `n + 1` everywhere.
pub(crate) fn numbered(host: &Host, pages: u64) -> Arc<SourceRegion> {
    let fetch = |page: PgOff| Fetched::Data(vec![page.as_u64() as u8 + 1; PAGE_SIZE as usize]);
    SourceRegion::new(
        &host.arena,
        from_fn(fetch),
        ObjectConfig::new(pages * PAGE_SIZE, "numbers"),
    )
}

pub(crate) fn map(space: &Space<'_>, ops: Arc<dyn VmOps>, pages: u64, flags: MapFlags) {
    let request = MapRequest::object(ObjectTarget::new(ops), pages * PAGE_SIZE, RW, flags);
    space.mm.mmap(&request.fixed_at(BASE)).unwrap();
}

pub(crate) fn map_region(
    space: &Space<'_>,
    region: &Arc<SourceRegion>,
    pages: u64,
    flags: MapFlags,
) {
    let ops: Arc<dyn VmOps> = Arc::clone(region) as _;
    let target = ObjectTarget::new(ops).with_file(region.open_file(), mm::FileRights::READ_WRITE);
    let request = MapRequest::object(target, pages * PAGE_SIZE, RW, flags);
    space.mm.mmap(&request.fixed_at(BASE)).unwrap();
}

fn at(n: u64) -> VirtAddr {
    BASE.checked_add(n * PAGE_SIZE).unwrap()
}

// row: F13 row: N01
#[test]
fn a_read_maps_the_objects_page() {
    let host = Host::new(512);
    let space = host.space();
    let region = numbered(&host, 4);
    map_region(&space, &region, 4, MapFlags::PRIVATE);
    let mut program = space.run();
    assert_eq!(program.load(at(2)).unwrap(), 3);
    let entry = space.entry(at(2));
    // inv: 35
    assert!(!entry.is_writable() && entry.is_young());
    assert!(space.mm.stats().faults.file >= 1);
    assert_eq!(space.mm.stats().rss.anon, 0);
    assert!(space.mm.stats().rss.resident() >= 1);
}

// row: F17 row: M16
#[test]
fn a_page_that_becomes_a_private_one_stays_in_its_kinds_mark() {
    let host = Host::new(512);
    let space = host.space();
    let region = numbered(&host, 4);
    map_region(&space, &region, 4, MapFlags::PRIVATE);
    let mut program = space.run();
    program.load(at(2)).unwrap();
    let before = space.mm.stats();
    program.store(at(2), 9).unwrap();
    let stats = space.mm.stats();
    let of_objects = |counts: &mm::RssCounts| counts.file + counts.shmem;
    assert_eq!(of_objects(&stats.rss) + 1, of_objects(&before.rss));
    assert_eq!(of_objects(&stats.hiwater_by_kind), of_objects(&before.rss));
    assert_eq!(stats.hiwater_by_kind.anon, 1);
}

// row: F14
#[test]
fn a_private_write_copies_and_leaves_the_object_clean() {
    let host = Host::new(512);
    let space = host.space();
    let region = numbered(&host, 4);
    map_region(&space, &region, 4, MapFlags::PRIVATE);
    let mut program = space.run();
    program.store(at(1), 99).unwrap();
    assert_eq!(program.load(at(1)).unwrap(), 99);
    assert_eq!(program.load(at(1).checked_add(1).unwrap()).unwrap(), 2);
    let stats = space.mm.stats();
    assert_eq!((stats.rss.anon, stats.faults.cow_copied), (1, 1));
    // inv: 59
    let cached = region.cache().lookup(PgOff::new(1)).unwrap();
    let mut byte = [0];
    cached.read(0, &mut byte);
    assert_eq!(byte, [2]);
    assert_eq!(region.cache().nr_dirty(), 0);
}

// row: F15 row: V10
#[test]
fn a_shared_write_is_noticed_once_and_seen_by_all() {
    let host = Host::new(512);
    let region = numbered(&host, 4);
    let (one, two) = (host.space(), host.space());
    map_region(&one, &region, 4, MapFlags::SHARED);
    map_region(&two, &region, 4, MapFlags::SHARED);
    let (mut first, mut second) = (one.run(), two.run());
    assert_eq!(second.load(at(3)).unwrap(), 4);
    first.store(at(3), 77).unwrap();
    assert_eq!(second.load(at(3)).unwrap(), 77);
    second.store(at(3), 78).unwrap();
    assert_eq!(first.load(at(3)).unwrap(), 78);
    assert_eq!(pfn_of(&one.mm, at(3)), pfn_of(&two.mm, at(3)));
    assert!(one.mm.stats().faults.shared_write >= 1);
    assert!(region.cache().nr_dirty() >= 1);
}

// row: F09 row: F11 row: V06
#[test]
fn an_object_without_fault_is_sigbus() {
    let host = Host::new(256);
    let space = host.space();
    map(&space, Arc::new(object::ops::NoOps), 1, MapFlags::PRIVATE);
    for info in [read_at(at(0)), write_at(at(0))] {
        let error = space.mm.handle_fault(&info).unwrap_err();
        assert_eq!(error.si_code(), Some(SigCode::BusAdrErr));
    }
}

// row: F01 row: F11 row: F12
#[test]
fn the_object_is_told_what_vm_fault_holds() {
    let host = Host::new(256);
    let space = host.space();
    let arena = Arc::clone(&host.arena);
    let ops = Scripted::new(Callbacks::FAULT | Callbacks::MAP_PAGES, move |context| {
        assert_eq!(context.address(), context.real_address().align_down());
        assert!(context.area().range.contains(context.address()));
        assert!(Arc::ptr_eq(context.arena(), &arena));
        // F12: no folio is locked and nothing is pinned when the object is called.
        assert!(!sync::is_pinned());
        Supplied::Data(arena.alloc(AllocRequest::zeroed(Purpose::Anon)).unwrap())
    });
    let target = ObjectTarget::new(Arc::clone(&ops) as _);
    let request = MapRequest::object(target, 8 * PAGE_SIZE, RW, MapFlags::PRIVATE)
        .from_page(PgOff::new(5))
        .fixed_at(BASE);
    space.mm.mmap(&request).unwrap();
    let byte = at(2).checked_add(123).unwrap();
    space.run().store(byte, 1).unwrap();
    let asked = ops.asked.lock().unwrap();
    let (addr, pgoff, flags) = asked[0];
    assert_eq!((addr, pgoff), (byte, PgOff::new(7)));
    assert!(flags.contains(FaultFlags::WRITE | FaultFlags::USER | FaultFlags::VMA_LOCK));
}

// row: F26
#[test]
fn an_object_without_map_pages_is_asked_under_the_mmap_lock() {
    let host = Host::new(256);
    let space = host.space();
    let arena = Arc::clone(&host.arena);
    // inv: 6
    let ops = Scripted::new(Callbacks::FAULT, move |context| {
        assert!(!context.flags().contains(FaultFlags::VMA_LOCK));
        Supplied::Data(arena.alloc(AllocRequest::zeroed(Purpose::Anon)).unwrap())
    });
    map(&space, ops, 1, MapFlags::PRIVATE);
    let handled = space.mm.handle_fault(&read_at(at(0))).unwrap();
    assert_eq!(handled.attempts, 2);
    assert_eq!(space.mm.stats().faults.vma_lock_retry, 1);
    // row: F28
    // A fallback that waits for nothing is no major fault.
    assert_eq!(handled.waited, mm::Waited::ForNothing);
}

// row: F13 row: F14 row: N01
#[test]
fn zeroes_and_data_become_private_pages() {
    let host = Host::new(256);
    let space = host.space();
    let arena = Arc::clone(&host.arena);
    let ops = Scripted::new(Callbacks::FAULT | Callbacks::MAP_PAGES, move |context| {
        if context.pgoff() == PgOff::ZERO {
            return Supplied::Zeroes;
        }
        let mut page = arena.alloc(AllocRequest::zeroed(Purpose::Anon)).unwrap();
        page.write(0, &[42]);
        Supplied::Data(page)
    });
    map(&space, ops, 4, MapFlags::PRIVATE);
    let mut program = space.run();
    assert_eq!(program.load(at(0)).unwrap(), 0);
    assert!(space.entry(at(0)).is_special());
    program.store(at(0), 5).unwrap();
    assert_eq!(program.load(at(0)).unwrap(), 5);
    assert_eq!(program.load(at(1)).unwrap(), 42);
    program.store(at(2), 6).unwrap();
    assert_eq!(program.load(at(2)).unwrap(), 6);
    assert_eq!(space.mm.stats().rss.anon, 3);
}

// row: F25 row: N01
#[test]
fn a_promised_page_is_returned_as_a_request() {
    let host = Host::new(256);
    let space = host.space();
    let (completer, ticket) = promise();
    let ticket = Mutex::new(Some(ticket));
    let source = from_fn(move |_| match ticket.lock().unwrap().take() {
        Some(ticket) => Fetched::Later(ticket),
        None => Fetched::Retry,
    });
    let region = SourceRegion::new(&host.arena, source, ObjectConfig::new(PAGE_SIZE, "promise"));
    map_region(&space, &region, 1, MapFlags::SHARED);
    let Attempt::Needs(mut fault, work) = attempt(Fault::new(space.mm.shared(), &read_at(at(0))))
    else {
        panic!("the page is not there yet")
    };
    // inv: 1
    sync::rank::assert_none_held();
    assert!(space.mm.mmap_lock().try_write().is_some());
    assert_eq!(space.mm.stats().faults.pgfault, 0);
    // The area's own lock was had, and given up to wait.
    assert_eq!(space.mm.stats().faults.vma_lock_retry, 1);
    completer.complete(object::source::Delivery::Data(vec![8; 16]));
    fault.take_in(work.perform());
    let Attempt::Handled(handled) = attempt(fault) else {
        panic!("it is there now")
    };
    assert_eq!(handled.kind, FaultKind::File);
    // row: F28
    assert_eq!(handled.waited, mm::Waited::ForData);
    let faults = space.mm.stats().faults;
    // inv: 52
    assert_eq!(
        (
            faults.pgfault,
            faults.major,
            faults.minor,
            faults.pgmajfault
        ),
        (1, 1, 0, 1)
    );
    assert_eq!(space.run().load(at(0)).unwrap(), 8);
}

// row: F05 row: N01
#[test]
fn an_embedders_error_comes_out_as_it_went_in() {
    #[derive(Debug, PartialEq)]
    struct Gone(u64);
    impl std::fmt::Display for Gone {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "page {} is gone", self.0)
        }
    }
    impl std::error::Error for Gone {}

    let host = Host::new(256);
    let space = host.space();
    let source = from_fn(|page| Fetched::fail(Gone(page.as_u64())));
    let region = SourceRegion::new(
        &host.arena,
        source,
        ObjectConfig::new(4 * PAGE_SIZE, "gone"),
    );
    map_region(&space, &region, 4, MapFlags::SHARED);
    let error = space.run().load(at(3)).unwrap_err();
    assert_eq!(error.si_code(), Some(SigCode::BusAdrErr));
    assert_eq!(error.source_error::<Gone>(), Some(&Gone(3)));
}

// row: F13
#[test]
fn past_the_end_of_the_object_is_sigbus() {
    let host = Host::new(256);
    let space = host.space();
    let region = numbered(&host, 2);
    map_region(&space, &region, 4, MapFlags::PRIVATE);
    let mut program = space.run();
    assert_eq!(program.load(at(1)).unwrap(), 2);
    // inv: 55
    for result in [program.load(at(2)).map(drop), program.store(at(3), 1)] {
        assert_eq!(result.unwrap_err().si_code(), Some(SigCode::BusAdrErr));
    }
    // inv: 61
    assert!(space.entry(at(2)).is_none());
}

// row: F04 row: F11
#[test]
fn an_objects_failures_have_their_signals() {
    type Case = (fn() -> FaultFailure, Option<SigCode>);
    let cases: [Case; 4] = [
        (|| FaultFailure::Bus, Some(SigCode::BusAdrErr)),
        (|| FaultFailure::Segv, Some(SigCode::MapErr)),
        (|| FaultFailure::HwPoison, Some(SigCode::MceErrAr)),
        (|| FaultFailure::OutOfMemory, None),
    ];
    for (failure, code) in cases {
        let host = Host::new(256);
        let space = host.space();
        let ops = Scripted::new(Callbacks::FAULT | Callbacks::MAP_PAGES, move |_| {
            Supplied::Error(failure())
        });
        map(&space, ops, 1, MapFlags::PRIVATE);
        let error = space.mm.handle_fault(&read_at(at(0))).unwrap_err();
        assert_eq!(error.si_code(), code);
        assert_eq!(error.result(), failure().result());
        let lsb = (code == Some(SigCode::MceErrAr)).then_some(12);
        assert_eq!(error.addr_lsb(), lsb);
    }
}

// row: F15 row: V10
#[test]
fn a_write_that_the_object_refuses_does_not_happen() {
    let host = Host::new(256);
    let space = host.space();
    let shmem = Shmem::anonymous(&host.arena, PAGE_SIZE);
    let pages = Arc::clone(&shmem);
    let mut ops = Scripted::new(
        Callbacks::FAULT | Callbacks::MAP_PAGES | Callbacks::PAGE_MKWRITE,
        move |context| pages.fault(context),
    );
    let refusing = Arc::get_mut(&mut ops).unwrap();
    refusing.allow = Box::new(|_| Notified::Error(FaultFailure::Bus));
    map(&space, ops, 1, MapFlags::SHARED);
    let mut program = space.run();
    assert_eq!(program.load(at(0)).unwrap(), 0);
    // inv: 57
    assert!(!space.entry(at(0)).is_writable());
    let error = program.store(at(0), 1).unwrap_err();
    assert_eq!(error.si_code(), Some(SigCode::BusAdrErr));
    assert_eq!(program.load(at(0)).unwrap(), 0);
}

// row: F25
#[test]
fn a_locked_folio_is_waited_for_with_nothing_held() {
    let host = Host::new(256);
    let space = host.space();
    let shmem = Shmem::anonymous(&host.arena, PAGE_SIZE);
    let pages = Arc::clone(&shmem);
    let ops = Scripted::new(Callbacks::FAULT | Callbacks::MAP_PAGES, move |context| {
        pages.fault(context)
    });
    map(&space, ops, 1, MapFlags::SHARED);
    // It is in the cache, and somebody has it locked.
    space.run().load(at(0)).unwrap();
    space
        .mm
        .madvise(at(0), PAGE_SIZE, mm::Advice::DontNeed)
        .unwrap();
    let folio = shmem.cache().lookup(PgOff::ZERO).unwrap();
    let mut lock = folio.lock();
    lock.travel();
    let Attempt::Needs(mut fault, work) = attempt(Fault::new(space.mm.shared(), &read_at(at(0))))
    else {
        panic!("somebody has the folio locked")
    };
    assert_eq!(work.waiting(), Waiting::FolioLock);
    drop(lock);
    fault.take_in(work.perform());
    assert!(matches!(attempt(fault), Attempt::Handled(_)));
}

// row: F24 row: N02
#[test]
fn an_object_that_asks_to_wait_is_asked_again_from_the_area() {
    let host = Host::new(256);
    let space = host.space();
    let arena = Arc::clone(&host.arena);
    let ops = Scripted::new(
        Callbacks::FAULT | Callbacks::MAP_PAGES,
        move |context| match context.take_obtained() {
            Some(_) => Supplied::Data(arena.alloc(AllocRequest::zeroed(Purpose::Anon)).unwrap()),
            None => Supplied::Later(PageRequest::new(Waiting::Other("test"), || {
                object::Obtained::of(object::Brought::Other(Box::new(())))
            })),
        },
    );
    map(&space, Arc::clone(&ops) as _, 2, MapFlags::PRIVATE);
    let Attempt::Needs(mut fault, work) = attempt(Fault::new(space.mm.shared(), &read_at(at(0))))
    else {
        panic!("it waits first")
    };
    // The area goes while the fault waits: the next attempt finds nothing.
    space.mm.munmap(at(0), PAGE_SIZE).unwrap();
    fault.take_in(work.perform());
    let Attempt::Failed(error) = attempt(fault) else {
        panic!("the area is gone")
    };
    assert_eq!(error.si_code(), Some(SigCode::MapErr));
    assert_eq!(ops.asked.lock().unwrap().len(), 1);
    // Undisturbed, it is served, and the second attempt is a retry.
    let handled = space.mm.handle_fault(&read_at(at(1))).unwrap();
    assert_eq!(handled.attempts, 2);
}

// row: F13
#[test]
fn memory_past_the_areas_rights_is_not_given() {
    let host = Host::new(256);
    let space = host.space();
    let region = numbered(&host, 2);
    let ops: Arc<dyn VmOps> = Arc::clone(&region) as _;
    let target = ObjectTarget::new(ops).with_file(region.open_file(), mm::FileRights::READ_WRITE);
    let request =
        MapRequest::object(target, 2 * PAGE_SIZE, Prot::READ, MapFlags::SHARED).fixed_at(BASE);
    space.mm.mmap(&request).unwrap();
    let mut program = space.run();
    assert_eq!(program.load(at(0)).unwrap(), 1);
    assert_eq!(
        program.store(at(0), 1).unwrap_err().si_code(),
        Some(SigCode::AccErr)
    );
    assert_eq!(
        program.fetch(at(0)).unwrap_err().si_code(),
        Some(SigCode::AccErr)
    );
    let _ = page;
}

// row: F16
#[test]
fn a_mapped_page_has_the_reference_that_was_brought() {
    let host = Host::new(256);
    let space = host.space();
    let region = numbered(&host, 2);
    map_region(&space, &region, 2, MapFlags::SHARED);
    let mut program = space.run();
    program.load(at(0)).unwrap();
    let record = host.arena.record(pfn_of(&space.mm, at(0))).unwrap();
    // The cache's reference and the entry's; one mapping.
    assert_eq!((record.ref_count(), record.map_count()), (2, 1));
    assert_eq!(record.owner(), region.cache().id());
    drop(program);
    space.mm.munmap(at(0), PAGE_SIZE).unwrap();
    assert_eq!((record.ref_count(), record.map_count()), (1, 0));
    // inv: 50
    assert_eq!(space.mm.stats().rss.resident(), 0);
}

// row: V06 row: F11
#[test]
fn an_answer_that_breaks_the_contract_maps_nothing() {
    type Answer = fn(&Arc<frame::Arena>) -> Supplied;
    let zeroes: Answer = |_| Supplied::Zeroes;
    let data: Answer =
        |arena| Supplied::Data(arena.alloc(AllocRequest::zeroed(Purpose::Anon)).unwrap());
    let frame: Answer = |_| Supplied::Device(addr::Pfn::new(5));
    let fallback: Answer = |_| Supplied::Fallback;
    let cases = [
        (zeroes, MapFlags::SHARED),
        (data, MapFlags::SHARED),
        (frame, MapFlags::SHARED),
        (frame, MapFlags::PRIVATE),
        (fallback, MapFlags::PRIVATE),
    ];
    for (answer, flags) in cases {
        let host = Host::new(256);
        let space = host.space();
        let arena = Arc::clone(&host.arena);
        let ops = Scripted::new(Callbacks::FAULT | Callbacks::MAP_PAGES, move |_| {
            answer(&arena)
        });
        map(&space, ops, 1, flags);
        for info in [read_at(at(0)), write_at(at(0))] {
            let error = space.mm.handle_fault(&info).unwrap_err();
            assert_eq!(error.si_code(), Some(SigCode::BusAdrErr));
            // inv: 36
            assert!(space.entry(at(0)).is_none());
        }
        assert_eq!(space.mm.stats().rss.resident(), 0);
    }
}

// row: V10
#[test]
fn a_notice_answered_with_another_page_is_no_leave_to_write() {
    let host = Host::new(256);
    let space = host.space();
    let shmem = Shmem::anonymous(&host.arena, 2 * PAGE_SIZE);
    let (pages, other) = (Arc::clone(&shmem), Arc::clone(&shmem));
    let mut ops = Scripted::new(
        Callbacks::FAULT | Callbacks::MAP_PAGES | Callbacks::PAGE_MKWRITE,
        move |context| pages.fault(context),
    );
    let mistaken = Arc::get_mut(&mut ops).unwrap();
    mistaken.allow = Box::new(move |_| {
        let folio = other.cache().lookup(PgOff::new(1)).unwrap();
        Notified::Locked(folio.lock())
    });
    map(&space, ops, 2, MapFlags::SHARED);
    let mut program = space.run();
    program.load(at(1)).unwrap();
    // Missing, then mapped for reading.
    for _ in 0..2 {
        let error = program.store(at(0), 1).unwrap_err();
        assert_eq!(error.si_code(), Some(SigCode::BusAdrErr));
        assert!(!space.entry(at(0)).is_writable());
        assert_eq!(program.load(at(0)).unwrap(), 0);
    }
}

/// Offers its neighbours' pages for one another.
#[derive(Debug)]
struct Misplacing(Arc<Shmem>);

impl VmOps for Misplacing {
    fn callbacks(&self) -> Callbacks {
        Callbacks::FAULT | Callbacks::MAP_PAGES
    }

    fn fault(&self, context: &mut FaultContext<'_>) -> Supplied {
        self.0.fault(context)
    }

    fn map_pages(&self, around: &mut MapAround<'_>) -> FaultPage {
        let folio = self.0.cache().lookup(PgOff::ZERO).unwrap();
        let folio = folio.try_lock().unwrap();
        for wrong in [PgOff::new(1), PgOff::new(2)] {
            assert_eq!(around.offer_folio(wrong, &folio), Offered::Outside);
        }
        let frame = around.offer_device(PgOff::new(1), addr::Pfn::new(5));
        assert_eq!(frame, Offered::Outside);
        around.fault_page()
    }
}

// row: V08 row: F13
// inv: 61
#[test]
fn a_neighbour_in_the_wrong_place_is_not_mapped() {
    let host = Host::new(256);
    let space = host.space();
    let shmem = Shmem::anonymous(&host.arena, 4 * PAGE_SIZE);
    let frame = host.arena.alloc(AllocRequest::zeroed(Purpose::Shmem));
    drop(shmem.cache().insert(PgOff::ZERO, frame.unwrap()));
    map(&space, Arc::new(Misplacing(shmem)), 4, MapFlags::SHARED);
    assert_eq!(space.run().load(at(2)).unwrap(), 0);
    assert!(space.entry(at(1)).is_none());
}
