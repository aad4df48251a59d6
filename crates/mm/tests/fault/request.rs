//! What is asked, what is refused, and what the answers are called.

use std::sync::Arc;

use addr::{Access, FaultFlags, FaultResult, PAGE_SIZE, Prot, SigCode, Signal, VirtAddr};
use machine::{ErrorCode, FaultInfo, Mode};
use mm::{Attempt, Fault, FaultKind, MapRequest, TaskFaults, attempt};

use crate::space::{BASE, Host, RW, bare, page, read_at, write_at};

// row: F05
#[test]
fn nothing_mapped_is_maperr_and_forbidden_is_accerr() {
    let (_arena, mm) = bare(256);
    let range = PAGE_SIZE;
    mm.mmap(&MapRequest::anonymous(range, Prot::READ).fixed_at(BASE))
        .unwrap();
    let cases = [
        (BASE.checked_sub(1).unwrap(), Access::Read, SigCode::MapErr),
        (
            BASE.checked_add(PAGE_SIZE).unwrap(),
            Access::Write,
            SigCode::MapErr,
        ),
        (BASE, Access::Write, SigCode::AccErr),
    ];
    // inv: 76
    for (addr, access, code) in cases {
        let error = mm
            .handle_fault(&FaultInfo::missing(addr, access, Mode::User))
            .unwrap_err();
        assert_eq!(error.si_code(), Some(code), "{access:?} at {addr:?}");
        assert_eq!(error.si_code().map(SigCode::signal), Some(Signal::Segv));
        assert_eq!(error.addr, addr);
        assert_eq!(error.result(), FaultResult::SIGSEGV);
    }
}

// row: F05
#[test]
fn access_error_asks_in_the_kernels_order() {
    let (_arena, mm) = bare(256);
    let map = |n: u64, prot| {
        let at = BASE.checked_add(n * PAGE_SIZE).unwrap();
        mm.mmap(&MapRequest::anonymous(PAGE_SIZE, prot).fixed_at(at))
            .unwrap()
    };
    let (none, read, write, both) = (
        map(0, Prot::NONE),
        map(1, Prot::READ),
        map(2, Prot::WRITE),
        map(3, RW),
    );
    let user = ErrorCode::USER;
    let try_it = |addr, code: ErrorCode| {
        let info = FaultInfo {
            addr,
            access: code.access(),
            error_code: code | user,
            mode: Mode::User,
        };
        mm.handle_fault(&info).map_err(|error| error.si_code())
    };
    // 0. A reserved bit in an entry, whatever else is said.
    assert_eq!(
        try_it(both, ErrorCode::RSVD | ErrorCode::PROT | ErrorCode::PK).unwrap_err(),
        Some(SigCode::MapErr)
    );
    // 1. A protection key.
    assert_eq!(
        try_it(both, ErrorCode::PK).unwrap_err(),
        Some(SigCode::PkuErr)
    );
    // 2. SGX.
    assert_eq!(
        try_it(both, ErrorCode::SGX).unwrap_err(),
        Some(SigCode::AccErr)
    );
    // 4. A shadow-stack access to what is none.
    assert_eq!(
        try_it(both, ErrorCode::SHSTK).unwrap_err(),
        Some(SigCode::AccErr)
    );
    // 5. A write to what may not be written.
    assert_eq!(
        try_it(read, ErrorCode::WRITE).unwrap_err(),
        Some(SigCode::AccErr)
    );
    // 6. A read that a present translation refused.
    assert_eq!(
        try_it(both, ErrorCode::PROT).unwrap_err(),
        Some(SigCode::AccErr)
    );
    // 7. A read of what is not accessible at all.
    assert_eq!(
        try_it(none, ErrorCode::empty()).unwrap_err(),
        Some(SigCode::AccErr)
    );
    // What is allowed: a read of write-only memory; a fetch, as long as nothing is there.
    assert!(try_it(write, ErrorCode::empty()).is_ok());
    assert!(try_it(read, ErrorCode::INSTR).is_ok());
    // ...but the fetch is refused once it is.
    let again = try_it(read, ErrorCode::INSTR | ErrorCode::PROT);
    assert_eq!(again.unwrap_err(), Some(SigCode::AccErr));
}

// row: F03 row: F06
#[test]
fn flags_that_mean_nothing_are_refused() {
    let (_arena, user) = bare(256);
    let mm = user.shared();
    mm.mmap(&MapRequest::anonymous(PAGE_SIZE, Prot::READ).fixed_at(BASE))
        .unwrap();
    let end = |flags| match attempt(Fault::for_access(mm, BASE, flags)) {
        Attempt::Handled(handled) => Ok(handled.kind),
        Attempt::Failed(error) => Err(error.result()),
        Attempt::Needs(..) => panic!("nothing to wait for"),
    };
    let both = FaultFlags::DEFAULT | FaultFlags::WRITE | FaultFlags::UNSHARE;
    // inv: 5
    assert_eq!(end(both), Err(FaultResult::SIGSEGV));
    assert!(both.check().is_err());
    let tried = FaultFlags::TRIED | FaultFlags::WRITE;
    assert_eq!(end(tried), Err(FaultResult::SIGSEGV));
    assert!(tried.check().is_err());
    // A forced write to private memory is legal.
    assert_eq!(
        end(FaultFlags::DEFAULT | FaultFlags::WRITE),
        Ok(FaultKind::Anon)
    );
    // Not to wait is a request to return, on the mmap lock.
    assert_eq!(
        end(FaultFlags::DEFAULT | FaultFlags::RETRY_NOWAIT),
        Ok(FaultKind::Spurious)
    );
}

// row: F03
#[test]
fn unsharing_memory_that_is_shared_by_intent_is_a_plain_read() {
    let (_arena, user) = bare(256);
    let mm = user.shared();
    let request = MapRequest {
        flags: mm::MapFlags::SHARED | mm::MapFlags::ANONYMOUS,
        ..MapRequest::anonymous(PAGE_SIZE, RW)
    };
    mm.mmap(&request.fixed_at(BASE)).unwrap();
    let flags = FaultFlags::DEFAULT | FaultFlags::UNSHARE;
    let Attempt::Handled(handled) = attempt(Fault::for_access(mm, BASE, flags)) else {
        panic!("a page of shared memory is at hand")
    };
    assert_eq!(handled.kind, FaultKind::File);
    assert_eq!(mm.stats().rss.shmem, 1);
}

// row: F28
#[test]
fn a_task_is_charged_with_what_it_ran() {
    let (_arena, user) = bare(256);
    let mm = user.shared();
    mm.mmap(&MapRequest::anonymous(4 * PAGE_SIZE, RW).fixed_at(BASE))
        .unwrap();
    let task = Arc::new(TaskFaults::default());
    for n in 0..3 {
        let info = write_at(BASE.checked_add(n * PAGE_SIZE).unwrap());
        let fault = Fault::new(mm, &info).counted_to(Arc::clone(&task));
        assert!(matches!(attempt(fault), Attempt::Handled(_)));
    }
    let nowhere = Fault::new(mm, &read_at(VirtAddr::new(4096))).counted_to(Arc::clone(&task));
    assert!(matches!(attempt(nowhere), Attempt::Failed(_)));
    // inv: 52
    assert_eq!((task.minor(), task.major()), (3, 0));
    let faults = mm.stats().faults;
    assert_eq!(
        (faults.pgfault, faults.minor, faults.major, faults.failed),
        (3, 3, 0, 1)
    );
}

// row: F28
#[test]
fn an_access_that_no_area_allows_is_no_fault_by_the_kernels_count() {
    let (_arena, mm) = bare(256);
    mm.mmap(&MapRequest::anonymous(PAGE_SIZE, Prot::READ).fixed_at(BASE))
        .unwrap();
    let key = FaultInfo {
        addr: BASE,
        access: Access::Read,
        error_code: ErrorCode::PK | ErrorCode::USER,
        mode: Mode::User,
    };
    // inv: 52
    for info in [read_at(VirtAddr::new(4096)), write_at(BASE), key] {
        assert!(mm.handle_fault(&info).is_err());
    }
    let faults = mm.stats().faults;
    assert_eq!((faults.pgfault, faults.failed, faults.denied), (0, 3, 3));
    // What handle_mm_fault itself refuses is one.
    let both = FaultFlags::DEFAULT | FaultFlags::WRITE | FaultFlags::UNSHARE;
    let refused = attempt(Fault::for_access(mm.shared(), BASE, both));
    assert!(matches!(refused, Attempt::Failed(_)));
    let faults = mm.stats().faults;
    assert_eq!((faults.pgfault, faults.failed, faults.minor), (1, 4, 0));
}

// row: F25 row: F26
#[test]
fn nothing_is_held_when_an_attempt_returns() {
    let host = Host::new(256);
    let space = host.space();
    let range = space.anon(2, RW);
    // inv: 1
    for addr in [page(range, 0), page(range, 1), VirtAddr::new(0x1000)] {
        let _ = attempt(Fault::new(space.mm.shared(), &write_at(addr)));
        sync::rank::assert_none_held();
        assert!(
            space.mm.mmap_lock().try_write().is_some(),
            "the mmap lock is free"
        );
        assert!(!sync::is_pinned());
    }
}

// row: F01
#[test]
fn a_traced_fault_names_its_steps() {
    let (_arena, mm) = bare(256);
    mm.mmap(&MapRequest::anonymous(PAGE_SIZE, RW).fixed_at(BASE))
        .unwrap();
    let (result, trace) = mm.handle_fault_traced(&write_at(BASE));
    assert_eq!(result.unwrap().kind, FaultKind::Anon);
    let names: Vec<&str> = trace.steps().iter().map(|step| step.linux).collect();
    assert_eq!(
        names,
        [
            "lock_vma_under_rcu",
            "handle_mm_fault",
            "create_huge_pmd",
            "__handle_mm_fault",
            "do_anonymous_page",
            "__anon_vma_prepare",
            "set_ptes",
        ]
    );
    let (_, trace) = mm.handle_fault_traced(&read_at(VirtAddr::new(0)));
    assert!(trace.has("lock_mm_and_find_vma"));
}

// row: F04
#[test]
fn outcomes_have_the_kernels_bits() {
    let (_arena, mm) = bare(256);
    mm.mmap(&MapRequest::anonymous(PAGE_SIZE, RW).fixed_at(BASE))
        .unwrap();
    assert_eq!(
        mm.handle_fault(&write_at(BASE)).unwrap().result(),
        FaultResult::empty()
    );
    let error = mm.handle_fault(&read_at(VirtAddr::new(0))).unwrap_err();
    assert!(error.result().is_error());
    assert_eq!(error.errno(), addr::Errno::EFAULT);
}

// row: F29
#[test]
fn a_build_with_an_mmu_handles_faults() {
    let (_arena, mm) = bare(256);
    mm.mmap(&MapRequest::anonymous(PAGE_SIZE, RW).fixed_at(BASE))
        .unwrap();
    assert!(mm::handle_mm_fault(mm::ThisBuild, &mm, &write_at(BASE)).is_ok());
}
