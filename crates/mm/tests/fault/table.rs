//! An area's operations as the core calls them: which member, when, under which lock, and what the
//! core keeps to itself.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use addr::{Errno, FaultFlags, Order, PAGE_SIZE, PgOff, Prot, SigCode, VirtAddr, VmFlags};
use frame::{Arena, FolioFlags, LruList};
use mm::{
    Attempt, Fault, FaultKind, Force, MapDescription, MapFlags, MapPrepare, MapRequest,
    ObjectTarget, attempt,
};
use object::context::{FaultContext, OutsideBytes};
use object::nopage::{Nopage, NopageOps, Page};
use object::shmem::Shmem;
use object::source::{Fetched, Permit, Source, SourceRegion};
use object::{
    Area, AreaPeek, Callbacks, Notified, ObjectConfig, Obtained, PageRequest, Supplied, VmOps,
    Waiting,
};

use crate::file::Scripted;
use crate::space::{BASE, Host, RW, Space, pfn_of, read_at, write_at};

const HUGE: u64 = 2 << 20;

/// An object of huge pages: what it says of its size, and how often it is asked for one.
#[derive(Debug)]
struct Huge {
    size: u64,
    asked: AtomicU64,
}

impl VmOps for Huge {
    fn callbacks(&self) -> Callbacks {
        Callbacks::FAULT | Callbacks::HUGE_FAULT | Callbacks::MAP_PAGES | Callbacks::PAGESIZE
    }

    fn fault(&self, _context: &mut FaultContext<'_>) -> Supplied {
        Supplied::Zeroes
    }

    fn huge_fault(&self, _context: &mut FaultContext<'_>, _order: Order) -> Supplied {
        self.asked.fetch_add(1, Relaxed);
        Supplied::Fallback
    }

    fn pagesize(&self, _peek: &AreaPeek<'_>) -> u64 {
        self.size
    }
}

fn huge(size: u64) -> Arc<Huge> {
    Arc::new(Huge {
        size,
        asked: AtomicU64::new(0),
    })
}

fn map(space: &Space<'_>, ops: Arc<dyn VmOps>, bytes: u64, flags: MapFlags) {
    let request = MapRequest::object(ObjectTarget::new(ops), bytes, RW, flags);
    space.mm.mmap(&request.fixed_at(BASE)).unwrap();
}

fn at(n: u64) -> VirtAddr {
    BASE.checked_add(n * PAGE_SIZE).unwrap()
}

// row: V07 row: F07 row: F21
#[test]
fn no_huge_page_is_asked_for_where_none_can_be_mapped() {
    let host = Host::new(4096);
    let space = host.space();
    let ops = huge(HUGE);
    map(&space, Arc::clone(&ops) as _, 2 * HUGE, MapFlags::PRIVATE);
    for info in [read_at(BASE), write_at(at(512))] {
        let (result, trace) = space.mm.handle_fault_traced(&info);
        // The way to a huge page is there, and ends before the object is asked, as in a kernel
        // without huge pages.
        assert!(trace.has("create_huge_pmd") && result.is_ok());
    }
    assert_eq!(ops.asked.load(Relaxed), 0);
    assert!(space.entry(at(1)).is_none() && !space.entry(at(512)).is_none());
}

// row: V09
#[test]
fn the_size_of_an_areas_pages_is_its_objects_to_say() {
    let host = Host::new(4096);
    for (says, size) in [(HUGE, HUGE), (0, PAGE_SIZE), (5000, PAGE_SIZE)] {
        let space = host.space();
        map(&space, huge(says), 2 * HUGE, MapFlags::PRIVATE);
        assert_eq!(space.mm.kernel_page_size(at(3)), Some(size));
    }
    let space = host.space();
    space.anon(1, RW);
    assert_eq!(space.mm.kernel_page_size(BASE), Some(PAGE_SIZE));
    assert_eq!(space.mm.kernel_page_size(at(1)), None);
}

/// A driver of 2.6.24: a page, a page that took long, one it must wait for, nothing.
#[derive(Debug)]
struct OldDriver {
    arena: Arc<Arena>,
    areas: Arc<AtomicU64>,
    waited: AtomicU64,
}

impl Nopage for OldDriver {
    fn nopage(&self, area: &Area, address: VirtAddr) -> Page {
        let page = || {
            let request = frame::AllocRequest::zeroed(frame::Purpose::Other);
            self.arena.alloc(request).unwrap().mark_uptodate()
        };
        match address.offset_from(area.range.start()) / PAGE_SIZE {
            0 => Page::Minor(page()),
            1 => Page::Major(page()),
            2 if self.waited.fetch_add(1, Relaxed) == 0 => {
                Page::Later(PageRequest::new(Waiting::Read, Obtained::nothing))
            }
            2 => Page::Minor(page()),
            _ => Page::Sigbus,
        }
    }

    fn open(&self, _area: &Area) {
        self.areas.fetch_add(1, Relaxed);
    }

    fn close(&self, _area: &Area) {
        self.areas.fetch_sub(1, Relaxed);
    }
}

// row: V17 row: V01 row: V02
#[test]
fn an_old_drivers_pages_are_faulted_in() {
    let host = Host::new(256);
    let before = host.usage().nr_in_use();
    let areas = Arc::new(AtomicU64::new(1));
    let driver = NopageOps(OldDriver {
        arena: Arc::clone(&host.arena),
        areas: Arc::clone(&areas),
        waited: AtomicU64::new(0),
    });
    {
        let space = host.space();
        map(&space, Arc::new(driver), 4 * PAGE_SIZE, MapFlags::SHARED);
        let faults = || space.mm.stats().faults;
        let mut program = space.run();
        assert_eq!(program.load(at(0)).unwrap(), 0);
        assert_eq!((faults().minor, faults().major), (1, 0));
        assert_eq!(program.load(at(1)).unwrap(), 0);
        assert_eq!((faults().minor, faults().major), (1, 1));
        assert_eq!(program.load(at(2)).unwrap(), 0);
        assert_eq!((faults().minor, faults().major), (1, 2));
        let error = program.load(at(3)).unwrap_err();
        assert_eq!(error.si_code(), Some(SigCode::BusAdrErr));
        // It was never called under the area's own lock.
        assert_eq!(faults().vma_lock_retry, 4);
        // Pages of a shared mapping stay shared with a child, and the child's area is counted.
        program.store(at(0), 9).unwrap();
        let child = space.fork();
        assert_eq!(areas.load(Relaxed), 2);
        drop(child);
        assert_eq!(areas.load(Relaxed), 1);
    }
    assert_eq!(areas.load(Relaxed), 0);
    assert_eq!(host.usage().nr_in_use(), before);
}

/// A source that notes what it is asked.
#[derive(Debug, Default)]
struct Noting {
    asked: Mutex<Vec<(&'static str, u64)>>,
}

impl Noting {
    fn note(&self, what: &'static str, page: PgOff) {
        self.asked.lock().unwrap().push((what, page.as_u64()));
    }

    fn take(&self) -> Vec<(&'static str, u64)> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

struct Shared(Arc<Noting>);

impl Source for Shared {
    fn fetch(&self, page: PgOff) -> Fetched {
        self.0.note("fetch", page);
        Fetched::Data(vec![page.as_u64() as u8 + 1; PAGE_SIZE as usize])
    }

    fn before_write(&self, page: PgOff) -> Permit {
        self.0.note("write", page);
        Permit::Granted
    }

    fn access(&self, offset: u64, bytes: OutsideBytes<'_>) -> Option<Result<usize, Errno>> {
        self.0.note("access", PgOff::containing(offset));
        match bytes {
            OutsideBytes::Read(bytes) => {
                bytes.fill(0xee);
                Some(Ok(bytes.len()))
            }
            OutsideBytes::Write(_) => None,
        }
    }

    fn name(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed("[noted]"))
    }
}

// row: V19 row: N03 row: N01 row: V10
#[test]
fn a_region_serves_pages_and_the_core_keeps_the_rest() {
    let host = Host::new(256);
    let payer = host.arena.new_charge_group(Some(64)).unwrap();
    let (mut config, soft) = host.config();
    config.charge = Some(payer);
    let space = host.space_of(config, soft);
    let noting = Arc::new(Noting::default());
    let config = ObjectConfig::new(4 * PAGE_SIZE, "unseen");
    let region = SourceRegion::new(&host.arena, Shared(Arc::clone(&noting)), config);
    map(&space, region, 4 * PAGE_SIZE, MapFlags::SHARED);
    assert!(space.mm.maps_text().contains("[noted]"));
    let mut program = space.run();
    // Fetched on the fault, once; noticed before the first write, once.
    assert_eq!(program.load(at(2)).unwrap(), 3);
    assert_eq!(program.load(at(2)).unwrap(), 3);
    assert_eq!(noting.take(), [("fetch", 2)]);
    program.store(at(2), 7).unwrap();
    program.store(at(2), 8).unwrap();
    assert_eq!(noting.take(), [("write", 2)]);
    program.store(at(3), 7).unwrap();
    assert_eq!(noting.take(), [("fetch", 3), ("write", 3)]);
    // Who pays, and what is counted, is the core's.
    assert_eq!(host.arena.charged(payer).unwrap().nr_frames, 2);
    assert_eq!(space.mm.stats().rss.file, 2);
    // So are rights: the source is not asked about a write that the area does not allow.
    let len = 4 * PAGE_SIZE;
    space.mm.mprotect(BASE, len, Prot::READ).unwrap();
    let error = program.store(at(2), 9).unwrap_err();
    assert_eq!(error.si_code(), Some(SigCode::AccErr));
    // Somebody outside goes through the pages, while there are any.
    let mut byte = [0];
    assert_eq!(space.mm.read_memory(at(2), &mut byte, Force::Plain), 1);
    assert_eq!((byte, noting.take()), ([8], vec![]));
}

// row: V19 row: N03
#[test]
fn a_region_that_faults_cannot_reach_is_accessed_through_its_source() {
    let host = Host::new(256);
    let space = host.space();
    let noting = Arc::new(Noting::default());
    let config = ObjectConfig::new(4 * PAGE_SIZE, "unseen");
    let region = SourceRegion::new(&host.arena, Shared(Arc::clone(&noting)), config);
    let target = ObjectTarget {
        flags: VmFlags::IO,
        ..ObjectTarget::new(region)
    };
    let request = MapRequest::object(target, 4 * PAGE_SIZE, RW, MapFlags::SHARED);
    space.mm.mmap(&request.fixed_at(BASE)).unwrap();
    let mut bytes = [0; 2];
    assert_eq!(space.mm.read_memory(at(1), &mut bytes, Force::Plain), 0);
    assert_eq!(space.mm.read_memory(at(1), &mut bytes, Force::Forced), 2);
    assert_eq!((bytes, noting.take()), ([0xee; 2], vec![("access", 1)]));
    let write = || space.mm.write_memory(at(1), &bytes, Force::Forced);
    assert_eq!((write(), noting.take().len()), (2, 3));
    // A write that the program could not make itself does not reach the source.
    space.mm.mprotect(BASE, 4 * PAGE_SIZE, Prot::READ).unwrap();
    assert_eq!((write(), noting.take()), (0, vec![]));
}

// row: V12 row: S18 row: V19
#[test]
fn a_shared_region_that_may_only_be_read_is_not_written_from_outside() {
    let host = Host::new(256);
    let space = host.space();
    let noting = Arc::new(Noting::default());
    let config = ObjectConfig::new(4 * PAGE_SIZE, "unseen");
    let region = SourceRegion::new(&host.arena, Shared(Arc::clone(&noting)), config);
    map(&space, region, 4 * PAGE_SIZE, MapFlags::SHARED);
    space.mm.mprotect(BASE, 4 * PAGE_SIZE, Prot::READ).unwrap();
    assert_eq!(space.mm.write_memory(at(1), &[9], Force::Forced), 0);
    let mut byte = [0];
    assert_eq!(space.mm.read_memory(at(1), &mut byte, Force::Forced), 1);
    assert_eq!((byte, noting.take()), ([2], vec![("fetch", 1)]));
}

// row: F16 row: A07
#[test]
fn a_private_page_is_paid_for_listed_and_found_again() {
    let host = Host::new(256);
    let payer = host.arena.new_charge_group(Some(1)).unwrap();
    let (mut config, soft) = host.config();
    config.charge = Some(payer);
    let space = host.space_of(config, soft);
    space.anon(4, RW);
    let mut program = space.run();
    program.store(at(1), 1).unwrap();
    // inv: 54
    assert_eq!(host.arena.charged(payer).unwrap().nr_frames, 1);
    let record = host.arena.record(pfn_of(&space.mm, at(1))).unwrap();
    assert_eq!(record.charge(), Some(payer));
    assert_eq!((record.ref_count(), record.map_count()), (1, 1));
    assert!(record.has(FolioFlags::UPTODATE | FolioFlags::SWAPBACKED));
    let lists = host.arena.lru_sizes();
    let anon = lists.of(LruList::InactiveAnon) + lists.of(LruList::ActiveAnon);
    assert_eq!((anon, lists.total()), (1, 1));
    // inv: 47
    let mut flushes = object::rmap::Flushes::default();
    let mut found = Vec::new();
    let index = PgOff::new(record.index());
    let _end = object::rmap::walk_owner(record.owner(), index, &mut flushes, &mut |place, _| {
        found.push(place.address);
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!(found, [at(1)]);
    // The group may have no second page; that is its own trouble.
    let error = program.store(at(2), 1).unwrap_err();
    assert_eq!(error.errno(), Errno::ENOMEM);
    assert_eq!(program.load(at(1)).unwrap(), 1);
    drop(program);
    space.mm.munmap(BASE, 4 * PAGE_SIZE).unwrap();
    assert_eq!(host.arena.charged(payer).unwrap().nr_frames, 0);
    assert_eq!(host.arena.lru_sizes().total(), 0);
}

// row: F01 row: F14 row: V06
#[test]
fn an_object_may_fill_the_private_page_itself() {
    let host = Host::new(256);
    let payer = host.arena.new_charge_group(None);
    let (mut config, soft) = host.config();
    config.charge = payer;
    let space = host.space_of(config, soft);
    let ops = Scripted::new(Callbacks::FAULT | Callbacks::MAP_PAGES, move |context| {
        assert_eq!(context.charge(), payer);
        match context.cow_page() {
            Some(page) => page.write(0, b"mine"),
            // Only who writes to private memory has one.
            None => return Supplied::Zeroes,
        }
        Supplied::DoneCow
    });
    map(&space, ops, 2 * PAGE_SIZE, MapFlags::PRIVATE);
    let mut program = space.run();
    assert_eq!(program.load(at(0)).unwrap(), 0);
    program.store(at(1).checked_add(4).unwrap(), b'!').unwrap();
    let mut bytes = [0; 5];
    assert_eq!(space.mm.read_memory(at(1), &mut bytes, Force::Plain), 5);
    assert_eq!(&bytes, b"mine!");
    assert_eq!(
        (
            space.mm.stats().rss.anon,
            space.mm.stats().faults.cow_copied
        ),
        (1, 1)
    );
}

/// How an object agrees to a write.
#[derive(Clone, Copy)]
enum Agrees {
    Plainly,
    WithItsFolioLocked,
}

/// An object of shared memory that is slow to agree to a write.
fn slow(shmem: Arc<Shmem>, how: Agrees) -> Arc<Scripted> {
    let pages = Arc::clone(&shmem);
    let asked = AtomicU64::new(0);
    Arc::new(Scripted {
        callbacks: Callbacks::FAULT | Callbacks::MAP_PAGES | Callbacks::PAGE_MKWRITE,
        answer: Box::new(move |context| pages.fault(context)),
        allow: Box::new(move |notice| match (asked.fetch_add(1, Relaxed), how) {
            (0, _) => Notified::Later(PageRequest::new(
                Waiting::Other("notice"),
                Obtained::nothing,
            )),
            (1, _) => Notified::NoPage,
            (_, Agrees::Plainly) => Notified::Allow,
            (_, Agrees::WithItsFolioLocked) => {
                Notified::Locked(shmem.cache().lookup(notice.pgoff()).unwrap().lock())
            }
        }),
        asked: Mutex::default(),
    })
}

// row: V10 row: F15
#[test]
fn a_write_waits_until_the_object_has_agreed() {
    for how in [Agrees::Plainly, Agrees::WithItsFolioLocked] {
        for read_before in [false, true] {
            let host = Host::new(256);
            let space = host.space();
            let shmem = Shmem::anonymous(&host.arena, PAGE_SIZE);
            map(
                &space,
                slow(Arc::clone(&shmem), how),
                PAGE_SIZE,
                MapFlags::SHARED,
            );
            if read_before {
                space.mm.handle_fault(&read_at(BASE)).unwrap();
            }
            let fault = Fault::new(space.mm.shared(), &write_at(BASE));
            let Attempt::Needs(mut fault, work) = attempt(fault) else {
                panic!("it has not agreed yet")
            };
            // inv: 57
            assert!(!space.entry(BASE).is_writable());
            fault.take_in(work.perform());
            // Asked again it wants the access to be tried again, and then agrees.
            assert!(matches!(attempt(fault), Attempt::Handled(_)));
            assert!(!space.entry(BASE).is_writable());
            space.run().store(BASE, 1).unwrap();
            assert!(space.entry(BASE).is_writable());
            let folio = shmem.cache().lookup(PgOff::ZERO).unwrap();
            assert!(folio.try_lock().is_some(), "nobody has kept it locked");
        }
    }
}

// row: F03 row: F25 row: V18
#[test]
fn a_retry_says_so_only_to_whom_it_was_allowed() {
    for allowed in [FaultFlags::ALLOW_RETRY, FaultFlags::empty()] {
        let host = Host::new(256);
        let space = host.space();
        let arena = Arc::clone(&host.arena);
        let answers = AtomicU64::new(0);
        let ops = Scripted::new(
            Callbacks::FAULT | Callbacks::MAP_PAGES,
            move |_| match answers.fetch_add(1, Relaxed) {
                0 | 1 => Supplied::Later(PageRequest::new(Waiting::Read, Obtained::nothing)),
                _ => Supplied::Data(
                    arena
                        .alloc(frame::AllocRequest::zeroed(frame::Purpose::Anon))
                        .unwrap(),
                ),
            },
        );
        map(&space, Arc::clone(&ops) as _, PAGE_SIZE, MapFlags::PRIVATE);
        let mut fault = Fault::for_access(space.mm.shared(), BASE, allowed);
        let handled = loop {
            match attempt(fault) {
                Attempt::Handled(handled) => break handled,
                Attempt::Failed(error) => panic!("{error:?}"),
                Attempt::Needs(rest, work) => {
                    // inv: 1
                    sync::rank::assert_none_held();
                    fault = rest;
                    fault.take_in(work.perform());
                }
            }
        };
        assert_eq!((handled.kind, handled.attempts), (FaultKind::File, 3));
        // Nothing is ever waited for in place, so whoever does not allow a retry gets one all the
        // same; but it is not told from a first try, and so it is never the forbidden kind.
        // inv: 3 inv: 5
        let asked = ops.asked.lock().unwrap();
        let tried = asked.iter().map(|(_, _, flags)| {
            flags.check().unwrap();
            flags.contains(FaultFlags::TRIED)
        });
        let expected = [false, true, true].map(|tried| tried && !allowed.is_empty());
        assert!(tried.eq(expected));
    }
}

/// An object that wants its pages to be two things.
#[derive(Debug)]
struct Undecided(VmFlags);

impl MapPrepare for Undecided {
    fn prepare(&self, description: &mut MapDescription) -> Result<(), Errno> {
        description.flags |= self.0;
        Ok(())
    }
}

// row: S01 row: A04
#[test]
fn pages_are_bare_numbers_or_mixed_but_not_both() {
    let host = Host::new(256);
    let map = |flags| {
        let space = host.space();
        let target = ObjectTarget {
            prepare: Some(Arc::new(Undecided(flags))),
            ..ObjectTarget::new(Arc::new(object::ops::NoOps))
        };
        let request = MapRequest::object(target, PAGE_SIZE, RW, MapFlags::SHARED);
        space.mm.mmap(&request.fixed_at(BASE)).map(drop)
    };
    // inv: 25
    let both = VmFlags::PFNMAP | VmFlags::MIXEDMAP;
    assert_eq!(map(both), Err(Errno::EINVAL));
    assert_eq!(map(VmFlags::PFNMAP), Ok(()));
    assert_eq!(map(VmFlags::MIXEDMAP), Ok(()));
}
