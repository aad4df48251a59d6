//! The operations table as an embedder meets it: from outside the crate.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use addr::{
    Access, Errno, FaultFlags, FaultResult, Order, PAGE_SIZE, Pfn, PgOff, VirtAddr, VirtRange,
    VmFlags,
};
use frame::{AllocRequest, Arena, ArenaConfig, Folio, Purpose};
use object::context::{FaultPage, Intent, Major, OutsideBytes};
use object::nopage::{Nopage, NopageOps, Page};
use object::ops::{Accessed, ContractBreach, NoOps, Privacy};
use object::{
    Area, AreaChange, AreaPeek, Brought, Callbacks, FaultContext, FaultFailure, MapAround,
    MemPolicy, Obtained, OutsideAccess, PageRequest, PolicyMode, Revalidate, Supplied, VmOps,
    Waiting,
};

const BASE: u64 = 0x70_0000;

fn arena() -> Arc<Arena> {
    Arena::new(ArenaConfig::heap(16)).unwrap()
}

fn range(pages: u64) -> VirtRange {
    VirtRange::from_len(VirtAddr::new(BASE), pages * PAGE_SIZE).unwrap()
}

fn area(flags: VmFlags) -> Area {
    Area::new(range(4), flags, PgOff::new(10))
}

fn folio(arena: &Arc<Arena>) -> Folio {
    arena
        .alloc(AllocRequest::zeroed(Purpose::Other))
        .unwrap()
        .mark_uptodate()
}

#[test]
fn a_table_without_members_answers_as_linux_does() {
    // row: V01
    // row: V02
    // row: V03
    // row: V04
    // row: V05
    // row: V06
    // row: V07
    // row: V08
    // row: V09
    // row: V10
    // row: V11
    // row: V12
    // row: V13
    // row: V14
    // row: V15
    // row: V16
    // inv: 24
    let arena = arena();
    let policy = Arc::new(MemPolicy {
        mode: PolicyMode::Bind,
        nodes: 1,
    });
    let area = Area {
        policy: Some(Arc::clone(&policy)),
        ..area(VmFlags::READ)
    };
    let (change, peek) = (AreaChange::new(&area), AreaPeek::new(&area));
    let address = VirtAddr::new(BASE);
    assert!(NoOps.callbacks().is_empty());
    NoOps.open(&change);
    NoOps.close(&change);
    assert_eq!(NoOps.may_split(&change, address), Ok(()));
    assert_eq!(NoOps.mremap(&change), Ok(()));
    assert_eq!(NoOps.mprotect(&change, range(1), VmFlags::READ), Ok(()));
    let mut context = FaultContext::new(&area, address, FaultFlags::DEFAULT, &arena);
    assert_eq!(NoOps.fault(&mut context).result(), FaultResult::SIGBUS);
    let huge = NoOps.huge_fault(&mut context, Order::PMD);
    assert_eq!(huge.result(), FaultResult::FALLBACK);
    assert_eq!(NoOps.pagesize(&peek), PAGE_SIZE);
    let mut access = OutsideAccess::new(&area, address);
    let nothing = NoOps.access(&mut access, OutsideBytes::Read(&mut [0; 4]));
    assert!(matches!(nothing, Accessed::Bytes(0)));
    assert_eq!(NoOps.name(&peek), None);
    assert_eq!(NoOps.set_policy(&change, None), Ok(()));
    assert_eq!(NoOps.get_policy(&peek, address), Some(policy));
    assert!(NoOps.find_normal_page(&peek, address).is_none());
    let anonymous: Option<&Arc<dyn VmOps>> = None;
    assert!(object::ops::is_anonymous(anonymous));
    let dummy: Arc<dyn VmOps> = Arc::new(NoOps);
    assert!(
        !object::ops::is_anonymous(Some(&dummy)),
        "forgotten operations are not anonymous"
    );
}

#[test]
fn existence_alone_decides_some_rules() {
    let fault = Callbacks::FAULT;
    assert!(!fault.serve_under_area_lock());
    assert!((fault | Callbacks::MAP_PAGES).serve_under_area_lock());
    assert!(!fault.want_write_notice());
    assert!((fault | Callbacks::PFN_MKWRITE).want_write_notice());
}

// row: V18
#[test]
fn a_context_says_what_is_asked_and_carries_what_was_obtained() {
    let arena = arena();
    let area = area(VmFlags::READ | VmFlags::WRITE);
    let address = VirtAddr::new(BASE + 2 * PAGE_SIZE + 5);
    let flags = FaultFlags::DEFAULT | FaultFlags::WRITE;
    let cow = arena.alloc(AllocRequest::uninit(Purpose::Anon)).unwrap();
    let mut context = FaultContext::new(&area, address, flags, &arena)
        .with_cow_page(Some(cow))
        .with_obtained(Some(Obtained::nothing()));
    assert_eq!(context.pgoff(), PgOff::new(12));
    assert_eq!(context.address(), VirtAddr::new(BASE + 2 * PAGE_SIZE));
    assert_eq!(context.real_address(), address);
    assert_eq!(context.intent(), Intent::Copy);
    assert!(context.take_obtained().is_some());
    context.cow_page().unwrap().write(0, b"mine");
    context.set_major();
    let remains = context.into_remains();
    assert_eq!(remains.major, Major::Yes);
    assert!(remains.obtained.is_none() && remains.cow_page.is_some());
    assert_eq!(
        Intent::of(VmFlags::SHARED, FaultFlags::WRITE),
        Intent::Share
    );
    assert_eq!(
        Intent::of(VmFlags::SHARED, FaultFlags::empty()),
        Intent::Read
    );
    assert_eq!(Intent::of(VmFlags::READ, FaultFlags::UNSHARE), Intent::Copy);
}

// row: V18
// row: N02
#[test]
fn a_request_cannot_hold_on_to_an_attempt() {
    fn outlives<T: Send + 'static>(_: &T) {}
    let request = PageRequest::new(Waiting::Read, Obtained::nothing);
    outlives(&request);
    let obtained = std::thread::spawn(move || request.perform())
        .join()
        .unwrap();
    outlives(&obtained);
    assert!(matches!(obtained.brought, Brought::Nothing));
    let immediately = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&immediately);
    PageRequest::new(Waiting::Frame, Obtained::nothing).when_ready(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    assert_eq!(immediately.load(Ordering::SeqCst), 1, "nobody announces it");
}

#[test]
fn what_was_obtained_is_used_for_its_page_only() {
    let id = frame::OwnerId::object(5);
    let seen = Revalidate {
        mapping: id,
        index: PgOff::new(3),
        size_bytes: None,
    };
    let obtained = Obtained::provided(Brought::Failed(FaultFailure::Bus), seen);
    assert!(obtained.speaks_of(id, PgOff::new(3)));
    assert!(!obtained.speaks_of(id, PgOff::new(4)));
    assert!(Obtained::nothing().speaks_of(id, PgOff::new(4)));
    assert!(!Waiting::BusyEntry.is_major() && Waiting::Ticket.is_major());
}

// row: V06
// inv: 4
#[test]
fn every_answer_has_its_linux_bits_and_its_contract() {
    let arena = arena();
    let page = || arena.alloc(AllocRequest::zeroed(Purpose::Anon)).unwrap();
    let bits = |supplied: Supplied| supplied.result();
    assert_eq!(bits(Supplied::Folio(folio(&arena))), FaultResult::empty());
    let locked = folio(&arena).into_locked();
    assert_eq!(bits(Supplied::Locked(locked)), FaultResult::LOCKED);
    assert_eq!(bits(Supplied::NoPage), FaultResult::NOPAGE);
    assert_eq!(bits(Supplied::DoneCow), FaultResult::DONE_COW);
    let later = PageRequest::new(Waiting::Read, Obtained::nothing);
    let retry = bits(Supplied::Later(later));
    assert!(retry == FaultResult::RETRY && !retry.is_error());
    assert_eq!(
        bits(Supplied::Error(FaultFailure::Segv)),
        FaultResult::SIGSEGV
    );
    assert_eq!(
        FaultFailure::from_errno(Errno::ENOMEM).result(),
        FaultResult::OOM
    );
    assert_eq!(
        FaultFailure::from_errno(Errno::EHWPOISON).result(),
        FaultResult::HWPOISON
    );
    assert_eq!(
        FaultFailure::from_errno(Errno::EIO).result(),
        FaultResult::SIGBUS
    );

    let breach = |supplied: Supplied, intent, privacy| supplied.breach(intent, privacy);
    let wrong = Some(ContractBreach::PrivateAnswerToSharedMapping);
    assert_eq!(
        breach(Supplied::Zeroes, Intent::Share, Privacy::Shared),
        wrong
    );
    assert_eq!(
        breach(Supplied::Data(page()), Intent::Read, Privacy::Shared),
        wrong
    );
    assert_eq!(
        breach(Supplied::Data(page()), Intent::Copy, Privacy::Private),
        None
    );
    let undone = Some(ContractBreach::DoneWithoutCopy);
    assert_eq!(
        breach(Supplied::DoneCow, Intent::Read, Privacy::Private),
        undone
    );
    let arena_frame = breach(
        Supplied::Device(Pfn::new(3)),
        Intent::Read,
        Privacy::Private,
    );
    assert_eq!(arena_frame, Some(ContractBreach::ArenaFrameAsDevice));
    let fallback = breach(Supplied::Fallback, Intent::Read, Privacy::Private);
    assert_eq!(fallback, Some(ContractBreach::FallbackFromFault));
}

// row: A05
// row: A11
#[test]
fn an_area_leads_from_page_to_address_and_back() {
    let named = Area {
        name: Some(Arc::from("heap of ours")),
        private_data: Some(Arc::new(42u32)),
        ..area(VmFlags::READ)
    };
    assert_eq!(named.last_pgoff(), PgOff::new(13));
    let third = VirtAddr::new(BASE + 2 * PAGE_SIZE);
    assert_eq!(named.pgoff_of(third), Some(PgOff::new(12)));
    assert_eq!(named.address_of(PgOff::new(12)), Some(third));
    assert_eq!(named.address_of(PgOff::new(9)), None);
    assert_eq!(named.address_of(PgOff::new(14)), None);
    assert_eq!(named.pgoff_of(VirtAddr::new(BASE - 1)), None);
    let part = named.range_of(PgOff::new(0), PgOff::new(11)).unwrap();
    assert_eq!((part.start(), part.pages()), (VirtAddr::new(BASE), 2));
    assert_eq!(named.range_of(PgOff::new(14), PgOff::new(20)), None);
    assert_eq!(
        named
            .range_of(PgOff::new(11), PgOff::new(u64::MAX))
            .unwrap()
            .pages(),
        3
    );
    let data = named
        .private_data
        .as_ref()
        .and_then(|data| data.downcast_ref::<u32>());
    assert_eq!(data, Some(&42));
}

/// A driver written for 2.6.24.
#[derive(Debug)]
struct OldDriver {
    page: Folio,
    areas: AtomicUsize,
}

impl Nopage for OldDriver {
    fn nopage(&self, area: &Area, address: VirtAddr) -> Page {
        match area.pgoff_of(address).map(PgOff::as_u64) {
            Some(10) => Page::Minor(self.page.clone()),
            Some(11) => Page::Major(self.page.clone()),
            Some(12) => Page::Oom,
            _ => Page::Sigbus,
        }
    }

    fn open(&self, _area: &Area) {
        self.areas.fetch_add(1, Ordering::Relaxed);
    }

    fn close(&self, _area: &Area) {
        self.areas.fetch_sub(1, Ordering::Relaxed);
    }
}

// row: V17
#[test]
fn an_old_driver_is_served_through_the_adapter() {
    let arena = arena();
    let ops = NopageOps(OldDriver {
        page: folio(&arena),
        areas: AtomicUsize::new(1),
    });
    assert!(
        !ops.callbacks().serve_under_area_lock(),
        "only under the mmap lock, as it was written"
    );
    let area = area(VmFlags::READ);
    let fault = |page: u64| {
        let address = VirtAddr::new(BASE + page * PAGE_SIZE);
        let flags = FaultFlags::DEFAULT | FaultFlags::of_access(Access::Read);
        let mut context = FaultContext::new(&area, address, flags, &arena);
        let supplied = ops.fault(&mut context);
        (supplied.result(), context.into_remains().major)
    };
    assert_eq!(fault(0), (FaultResult::LOCKED, Major::No));
    assert_eq!(fault(1), (FaultResult::LOCKED, Major::Yes));
    assert_eq!(fault(2), (FaultResult::OOM, Major::No));
    assert_eq!(fault(3), (FaultResult::SIGBUS, Major::No));
    ops.open(&AreaChange::new(&area));
    ops.close(&AreaChange::new(&area));
    ops.close(&AreaChange::new(&area));
    assert_eq!(ops.0.areas.load(Ordering::Relaxed), 0);
    assert_eq!(
        ops.0.page.ref_count(),
        1,
        "every page that was given has been given back"
    );
}

/// An embedder's own table, with the members that may refuse.
#[derive(Debug)]
struct Rigid;

impl VmOps for Rigid {
    fn callbacks(&self) -> Callbacks {
        Callbacks::MAY_SPLIT | Callbacks::MREMAP | Callbacks::MPROTECT | Callbacks::HUGE_FAULT
    }

    fn may_split(&self, change: &AreaChange<'_>, address: VirtAddr) -> Result<(), Errno> {
        let offset = address.offset_from(change.area().range.start());
        if offset.is_multiple_of(2 * PAGE_SIZE) {
            Ok(())
        } else {
            Err(Errno::EINVAL)
        }
    }

    fn mremap(&self, _change: &AreaChange<'_>) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    fn mprotect(
        &self,
        _change: &AreaChange<'_>,
        _range: VirtRange,
        flags: VmFlags,
    ) -> Result<(), Errno> {
        if flags.contains(VmFlags::EXEC) {
            Err(Errno::EACCES)
        } else {
            Ok(())
        }
    }

    fn map_pages(&self, around: &mut MapAround<'_>) -> FaultPage {
        around.fault_page()
    }
}

// row: V03
// row: V04
// row: V05
#[test]
fn a_table_may_refuse() {
    let area = area(VmFlags::READ);
    let change = AreaChange::new(&area);
    let at = |page: u64| VirtAddr::new(BASE + page * PAGE_SIZE);
    assert_eq!(Rigid.may_split(&change, at(1)), Err(Errno::EINVAL));
    assert_eq!(Rigid.may_split(&change, at(2)), Ok(()));
    assert_eq!(Rigid.mremap(&change), Err(Errno::EINVAL));
    assert_eq!(
        Rigid.mprotect(&change, area.range, VmFlags::EXEC),
        Err(Errno::EACCES)
    );
}
