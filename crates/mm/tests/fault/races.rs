//! What others do while a fault looks away: every recheck, and backing out without a trace.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Barrier, Mutex};

use addr::{Markers, NonPresent, PAGE_SIZE, PgOff, SigCode, VirtAddr};
use frame::{AllocRequest, Folio, Purpose};
use machine::{Flush, Mmu, MmuCaps, NoMmu, Translation};
use mm::{
    Advice, Attempt, Fault, FaultKind, FileRights, MapFlags, MapRequest, MmUser, ObjectTarget,
    attempt,
};
use object::shmem::Shmem;
use object::{Callbacks, Supplied, VmOps, Waiting};
use pgtable::{Entry, TableReserve};
use soft::SoftMmu;

use crate::file::Scripted;
use crate::space::{BASE, Host, RW, Space, bare, entry_of, page, pfn_of, read_at, write_at};

/// Puts `entry` where nothing is.
fn plant(mm: &MmUser, addr: VirtAddr, entry: Entry) {
    let held = mm.mmap_lock().lock_vma_under_rcu(addr).unwrap();
    let pin = sync::pin();
    let slot = mm
        .table()
        .slot_or_alloc(addr, &pin, &held, &mut TableReserve::new())
        .unwrap();
    slot.lock().unwrap().install(&held, entry).unwrap();
}

/// An object during whose `fault` something else happens to the space.
fn meanwhile(
    host: &Host,
    space: &Space<'_>,
    event: impl Fn(&MmUser) + Send + Sync + 'static,
) -> Arc<Scripted> {
    let (arena, mm) = (Arc::clone(&host.arena), Mutex::new(Some(space.mm.clone())));
    Scripted::new(Callbacks::FAULT | Callbacks::MAP_PAGES, move |_| {
        // The first time only; then the reference goes, so that the space can end.
        if let Some(mm) = mm.lock().unwrap().take() {
            event(&mm);
        }
        Supplied::Data(arena.alloc(AllocRequest::zeroed(Purpose::Anon)).unwrap())
    })
}

fn map(space: &Space<'_>, ops: Arc<dyn VmOps>) {
    let request =
        MapRequest::object(ObjectTarget::new(ops), PAGE_SIZE, RW, MapFlags::PRIVATE).fixed_at(BASE);
    space.mm.mmap(&request).unwrap();
}

// row: F23 row: F30
#[test]
fn a_prepared_page_is_dropped_when_the_entry_has_been_filled() {
    for info in [read_at(BASE), write_at(BASE)] {
        let host = Host::new(256);
        let space = host.space();
        let before = host.usage();
        let ops = meanwhile(&host, &space, |mm| {
            let zero = Entry::leaf(
                mm.arena().zero_page(),
                pgtable::EntryFlags::PRESENT
                    | pgtable::EntryFlags::USER
                    | pgtable::EntryFlags::ACCESSED
                    | pgtable::EntryFlags::SPECIAL,
            );
            plant(mm, BASE, zero);
        });
        map(&space, ops);
        let handled = space.mm.handle_fault(&info).unwrap();
        // inv: 27
        assert_eq!(handled.kind, FaultKind::Spurious);
        assert!(space.entry(BASE).is_special());
        assert_eq!(space.mm.stats().rss.resident(), 0);
        // Tables were made, and nothing else was kept.
        let tables = space.mm.stats().pgtables_bytes / PAGE_SIZE;
        assert_eq!(host.usage().nr_in_use(), before.nr_in_use() + tables);
    }
}

// row: F30
#[test]
fn a_write_still_gets_its_page_after_a_lost_race() {
    let host = Host::new(256);
    let space = host.space();
    let ops = meanwhile(&host, &space, |mm| {
        mm.madvise(BASE, PAGE_SIZE, Advice::DontNeed).unwrap();
    });
    map(&space, ops);
    let mut program = space.run();
    program.store(BASE, 3).unwrap();
    assert_eq!(program.load(BASE).unwrap(), 3);
}

// row: F08 row: F19
#[test]
fn a_busy_entry_is_waited_for_and_then_found_gone() {
    let (_arena, mm) = bare(256);
    mm.mmap(&MapRequest::anonymous(PAGE_SIZE, RW).fixed_at(BASE))
        .unwrap();
    mm.handle_fault(&write_at(BASE)).unwrap();
    let held = mm.read();
    let old = entry_of(&mm, BASE);
    let stale = {
        let pin = sync::pin();
        let mut lock = mm.table().slot(BASE, &pin).unwrap().lock().unwrap();
        lock.make_busy(&held, old).unwrap()
    };
    let busy = stale.placeholder();
    let Attempt::Needs(mut fault, work) = attempt(Fault::new(mm.shared(), &write_at(BASE))) else {
        panic!("the page is being replaced")
    };
    assert_eq!(work.waiting(), Waiting::BusyEntry);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(move || work.perform());
        let flushed = stale.flush(mm.mmu());
        let pin = sync::pin();
        let mut lock = mm.table().slot(BASE, &pin).unwrap().lock().unwrap();
        lock.install_over(&held, busy, flushed.old()).unwrap();
        drop((lock, pin));
        // The reference that the receipt held is the entry's again.
        std::mem::forget(flushed.into_folio());
        fault.take_in(waiter.join().unwrap());
    });
    drop(held);
    let Attempt::Handled(handled) = attempt(fault) else {
        panic!("it is there again")
    };
    assert_eq!(handled.kind, FaultKind::Spurious);
    assert_eq!(pfn_of(&mm, BASE), old.mapping().unwrap().pfn);
}

// row: F18
#[test]
fn a_copy_whose_page_leaves_meanwhile_is_thrown_away() {
    /// A machine during whose replacement the page is dropped by somebody else.
    #[derive(Debug, Default)]
    struct Interfering {
        space: Mutex<Option<MmUser>>,
        flushes: sync::atomic::AtomicU32,
    }
    impl Mmu for Interfering {
        fn caps(&self) -> MmuCaps {
            NoMmu.caps()
        }
        fn update_mmu_cache(&self, _range: addr::VirtRange) {}
        fn flush_tlb(&self, _flush: &Flush<'_>) {
            self.flushes.fetch_add(1, sync::atomic::Ordering::Relaxed);
        }
        fn replace(&self, addr: VirtAddr, _new: Translation) {
            let space = self.space.lock().unwrap().take();
            if let Some(mm) = space {
                mm.madvise(addr, PAGE_SIZE, Advice::DontNeed).unwrap();
            }
        }
    }

    let host = Host::new(256);
    let mmu = Arc::new(Interfering::default());
    let (mut config, _) = host.config();
    config.mmu = Arc::clone(&mmu) as _;
    let mm = mm::Mm::create(config).unwrap();
    mm.mmap(&MapRequest::anonymous(PAGE_SIZE, RW).fixed_at(BASE))
        .unwrap();
    mm.handle_fault(&read_at(BASE)).unwrap();
    let before = host.usage();
    *mmu.space.lock().unwrap() = Some(mm.clone());
    // The zero page is being replaced by a copy when it goes.
    let handled = mm.handle_fault(&write_at(BASE)).unwrap();
    assert_eq!(handled.kind, FaultKind::Spurious);
    // inv: 27
    assert!(entry_of(&mm, BASE).is_none());
    assert_eq!(mm.stats().rss.resident(), 0);
    assert_eq!(host.usage().nr_in_use(), before.nr_in_use());
    // inv: 32
    assert!(mmu.flushes.load(sync::atomic::Ordering::Relaxed) >= 1);
    assert_eq!(
        mm.handle_fault(&write_at(BASE)).unwrap().kind,
        FaultKind::Anon
    );
}

// row: F19
#[test]
fn markers_answer_in_the_kernels_order() {
    let guard = Markers::GUARD;
    let cases = [
        (guard, Some(SigCode::MapErr)),
        (Markers::POISONED, Some(SigCode::MceErrAr)),
        (guard | Markers::POISONED, Some(SigCode::MceErrAr)),
    ];
    for (markers, code) in cases {
        let (_arena, mm) = bare(256);
        mm.mmap(&MapRequest::anonymous(PAGE_SIZE, RW).fixed_at(BASE))
            .unwrap();
        plant(&mm, BASE, Entry::non_present(NonPresent::Marker(markers)));
        // inv: 37
        for info in [read_at(BASE), write_at(BASE)] {
            assert_eq!(
                mm.handle_fault(&info).unwrap_err().si_code(),
                code,
                "{markers:?}"
            );
        }
        assert!(!entry_of(&mm, BASE).is_none());
    }
    // Nobody is registered for userfaults: the mark goes, and the access is served.
    let (_arena, mm) = bare(256);
    mm.mmap(&MapRequest::anonymous(PAGE_SIZE, RW).fixed_at(BASE))
        .unwrap();
    plant(
        &mm,
        BASE,
        Entry::non_present(NonPresent::Marker(Markers::UFFD_WP)),
    );
    assert_eq!(
        mm.handle_fault(&write_at(BASE)).unwrap().kind,
        FaultKind::Spurious
    );
    assert_eq!(
        mm.handle_fault(&write_at(BASE)).unwrap().kind,
        FaultKind::Anon
    );
}

// row: F19
#[test]
fn notes_of_what_this_build_does_not_have_are_answered() {
    let poison = NonPresent::HwPoison {
        pfn: addr::Pfn::new(5),
    };
    let (_arena, mm) = bare(256);
    mm.mmap(&MapRequest::anonymous(2 * PAGE_SIZE, RW).fixed_at(BASE))
        .unwrap();
    plant(&mm, BASE, Entry::non_present(poison));
    let error = mm.handle_fault(&read_at(BASE)).unwrap_err();
    assert_eq!(
        (error.si_code(), error.addr_lsb()),
        (Some(SigCode::MceErrAr), Some(12))
    );
}

// row: F20
#[test]
fn a_hint_fault_gives_the_rights_back() {
    let (_arena, mm) = bare(256);
    mm.mmap(&MapRequest::anonymous(PAGE_SIZE, RW).fixed_at(BASE))
        .unwrap();
    mm.handle_fault(&write_at(BASE)).unwrap();
    let held = mm.read();
    let before = pfn_of(&mm, BASE);
    {
        let pin = sync::pin();
        let mut gather = pgtable::Gather::of_space(mm.table(), mm.mmu());
        let mut lock = mm.table().slot(BASE, &pin).unwrap().lock().unwrap();
        let _was = lock.protect(&held, &mut gather, pgtable::EntryFlags::PROT_NONE);
        drop((lock, pin));
        gather.finish();
    }
    drop(held);
    assert!(entry_of(&mm, BASE).is_prot_none());
    assert_eq!(
        mm.handle_fault(&write_at(BASE)).unwrap().kind,
        FaultKind::Spurious
    );
    let entry = entry_of(&mm, BASE);
    assert!(entry.is_hardware_present() && entry.is_writable());
    assert_eq!(entry.mapping().unwrap().pfn, before);
}

// row: F22 row: F21
#[test]
fn huge_pages_are_routed_and_answered_without() {
    let (_arena, mm) = bare(2048);
    let two_mib = 2 << 20;
    // A block that a huge page would fit.
    mm.mmap(&MapRequest::anonymous(two_mib, RW).fixed_at(BASE))
        .unwrap();
    mm.madvise(BASE, two_mib, Advice::HugePage).unwrap();
    let (result, trace) = mm.handle_fault_traced(&write_at(BASE));
    assert_eq!(result.unwrap().kind, FaultKind::Anon);
    assert!(trace.has("create_huge_pmd"));
    assert_eq!(mm.stats().rss.anon, 1);
    let _ = page;
}

/// A soft machine's side that stops before it replaces a translation, until it may go on.
#[derive(Debug)]
struct Pausing {
    soft: Arc<SoftMmu>,
    pauses: AtomicBool,
    stop: Barrier,
}

impl Pausing {
    fn space(host: &Host) -> (Space<'_>, Arc<Self>) {
        let (mut config, soft) = host.config();
        let pausing = Arc::new(Pausing {
            soft: Arc::clone(&soft),
            pauses: AtomicBool::new(false),
            stop: Barrier::new(2),
        });
        config.mmu = Arc::clone(&pausing) as _;
        (host.space_of(config, soft), pausing)
    }

    /// Writes to [`BASE`], and does `meanwhile` when the old page has been taken out of the entry but
    /// no machine told.
    fn write_while<T>(&self, mm: &MmUser, meanwhile: impl FnOnce() -> T) -> (FaultKind, T) {
        self.pauses.store(true, Relaxed);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| mm.handle_fault(&write_at(BASE)).unwrap().kind);
            self.stop.wait();
            let result = meanwhile();
            self.stop.wait();
            (writer.join().unwrap(), result)
        })
    }
}

impl Mmu for Pausing {
    fn caps(&self) -> MmuCaps {
        self.soft.caps()
    }
    fn update_mmu_cache(&self, _range: addr::VirtRange) {}
    fn flush_tlb(&self, flush: &Flush<'_>) {
        self.soft.flush_tlb(flush);
    }
    fn replace(&self, addr: VirtAddr, new: Translation) {
        if self.pauses.swap(false, Relaxed) {
            self.stop.wait();
            self.stop.wait();
        }
        self.soft.replace(addr, new);
    }
}

// row: F18 row: F30
#[test]
fn nobody_reads_a_page_that_was_dropped_while_it_was_being_copied() {
    let host = Host::new(256);
    let (space, mmu) = Pausing::space(&host);
    space.anon(1, RW);
    space.run().store(BASE, 1).unwrap();
    let _child = space.fork();
    let mut reader = space.run();
    assert_eq!(reader.load(BASE).unwrap(), 1);
    // inv: 32
    let (kind, seen) = mmu.write_while(&space.mm, || {
        space.mm.madvise(BASE, PAGE_SIZE, Advice::DontNeed).unwrap();
        reader.load(BASE).unwrap()
    });
    assert_eq!((kind, seen), (FaultKind::Spurious, 0));
}

// row: F18
#[test]
fn a_private_page_being_copied_outlives_a_hole_in_its_file() {
    let host = Host::new(256);
    let (space, mmu) = Pausing::space(&host);
    let shmem = Shmem::anonymous(&host.arena, PAGE_SIZE);
    map_file(&space, Arc::clone(&shmem) as _, &shmem);
    space.run().store(BASE, 1).unwrap();
    let child = space.fork();
    let (kind, ()) = mmu.write_while(&space.mm, || shmem.punch(PgOff::ZERO, PgOff::ZERO));
    assert_eq!(kind, FaultKind::CowCopied);
    assert_eq!(space.run().load(BASE).unwrap(), 1);
    assert_eq!(child.run().load(BASE).unwrap(), 1);
}

fn map_file(space: &Space<'_>, ops: Arc<dyn VmOps>, shmem: &Arc<Shmem>) {
    let target = ObjectTarget::new(ops).with_file(shmem.open_file(), FileRights::READ_WRITE);
    let request = MapRequest::object(target, PAGE_SIZE, RW, MapFlags::PRIVATE);
    space.mm.mmap(&request.fixed_at(BASE)).unwrap();
}

// row: F14 row: F30
#[test]
fn a_private_page_is_not_made_beyond_an_end_that_came_meanwhile() {
    for info in [read_at(BASE), write_at(BASE)] {
        let host = Host::new(256);
        let space = host.space();
        let shmem = Shmem::anonymous(&host.arena, PAGE_SIZE);
        let (arena, cut) = (Arc::clone(&host.arena), Arc::clone(&shmem));
        let ops = Scripted::new(Callbacks::FAULT | Callbacks::MAP_PAGES, move |_| {
            let page = arena.alloc(AllocRequest::zeroed(Purpose::Anon)).unwrap();
            // It is cut off when the object has looked at its size, and before the page is mapped.
            cut.resize(0);
            Supplied::Data(page)
        });
        map_file(&space, ops, &shmem);
        let error = space.mm.handle_fault(&info).unwrap_err();
        // inv: 56
        assert_eq!(error.si_code(), Some(SigCode::BusAdrErr));
        assert!(space.entry(BASE).is_none());
    }
}

/// A machine that looks whether a folio is locked when a page is mapped.
#[derive(Debug, Default)]
struct Watching {
    folio: Mutex<Option<Folio>>,
    locked: AtomicBool,
}

impl Mmu for Watching {
    fn caps(&self) -> MmuCaps {
        NoMmu.caps()
    }
    fn update_mmu_cache(&self, _range: addr::VirtRange) {
        if let Some(folio) = self.folio.lock().unwrap().take() {
            self.locked.store(folio.try_lock().is_none(), Relaxed);
        }
    }
    fn flush_tlb(&self, _flush: &Flush<'_>) {}
}

// row: F14
#[test]
fn the_objects_page_is_locked_until_its_copy_is_mapped() {
    let host = Host::new(256);
    let (mut config, soft) = host.config();
    let mmu = Arc::new(Watching::default());
    config.mmu = Arc::clone(&mmu) as _;
    let space = host.space_of(config, soft);
    let shmem = Shmem::anonymous(&host.arena, PAGE_SIZE);
    let frame = host.arena.alloc(AllocRequest::zeroed(Purpose::Shmem));
    drop(shmem.cache().insert(PgOff::ZERO, frame.unwrap()));
    *mmu.folio.lock().unwrap() = shmem.cache().lookup(PgOff::ZERO);
    map_file(&space, Arc::clone(&shmem) as _, &shmem);
    let handled = space.mm.handle_fault(&write_at(BASE)).unwrap();
    assert_eq!(handled.kind, FaultKind::CowCopied);
    // inv: 56
    assert!(mmu.locked.load(Relaxed));
}
