use super::*;

const P: ErrorCode = ErrorCode::PROT;
const W: ErrorCode = ErrorCode::WRITE;
const U: ErrorCode = ErrorCode::USER;
const I: ErrorCode = ErrorCode::INSTR;

// row: F05
#[test]
fn error_codes_are_those_of_the_hardware() {
    let mut bench = Bench::new(1);
    bench.map(0x1000, readable(), 1);
    bench.map(0x2000, writable() - EntryFlags::NO_EXECUTE, 2);
    bench.map(0x3000, EntryFlags::PROT_NONE, 3);
    bench.map(0x4000, EntryFlags::PRESENT | EntryFlags::WRITABLE, 4);
    let cpu = bench.cpu();
    let fetch = |cpu: &mut SoftCpu, addr| cpu.fetch(at(addr), &mut [0]).map_err(code_of);
    let store = |cpu: &mut SoftCpu, addr| cpu.store(at(addr), &[0]).map_err(code_of);
    let load = |cpu: &mut SoftCpu, addr| load(cpu, addr).map_err(code_of);

    assert_eq!(load(cpu, 0x9000), Err(U));
    assert_eq!(store(cpu, 0x9000), Err(W | U));
    assert_eq!(fetch(cpu, 0x9000), Err(I | U));
    assert_eq!(load(cpu, 0x1000), Ok(1));
    assert_eq!(store(cpu, 0x1000), Err(P | W | U));
    assert_eq!(fetch(cpu, 0x1000), Err(P | I | U));
    assert_eq!(fetch(cpu, 0x2000), Ok(()));
    assert_eq!(store(cpu, 0x2000), Ok(()));
    assert_eq!(
        load(cpu, 0x3000),
        Err(U),
        "PROT_NONE is not present to the hardware"
    );
    assert_eq!(load(cpu, 0x4000), Err(P | U), "a supervisor's page");
}

#[test]
fn a_report_names_the_byte_that_faulted() {
    let mut bench = Bench::new(1);
    bench.map(0x1000, writable(), 7);
    let trap = bench
        .cpu()
        .load(at(0x1ff8), &mut [0; 16])
        .expect_err("the second page is missing");
    let Trap::PageFault(info) = trap else {
        panic!("{trap:?}")
    };
    assert_eq!((info.addr, info.access), (at(0x2000), Access::Read));
}

#[test]
fn an_access_across_pages_is_whole_or_nothing() {
    let mut bench = Bench::new(1);
    bench.map(0x1000, writable(), 0);
    bench.map(0x2000, readable(), 0);
    assert!(bench.cpu().store(at(0x1ffe), &[1, 2, 3, 4]).is_err());
    assert_eq!(load(bench.cpu(), 0x1ffe), Ok(0));
    bench.protect(0x2000, writable());
    bench
        .cpu()
        .store(at(0x1ffe), &[1, 2, 3, 4])
        .expect("both pages are writable");
    let mut bytes = [0; 4];
    bench
        .cpu()
        .load(at(0x1ffe), &mut bytes)
        .expect("both pages are readable");
    assert_eq!(bytes, [1, 2, 3, 4]);
}

#[test]
fn a_long_access_goes_page_by_page() {
    let mut bench = Bench::new(1);
    for page in 1..5 {
        bench.map(page * PAGE_SIZE, writable(), 0);
    }
    let long = vec![9; 5 * PAGE_SIZE as usize];
    let trap = bench
        .cpu()
        .store(at(0x1000), &long)
        .expect_err("the fifth page is missing");
    assert_eq!(code_of(trap), W | U);
    assert_eq!(load(bench.cpu(), 0x4fff), Ok(9), "what came before is done");
}

#[test]
fn accessed_and_dirty_are_set_by_the_access_that_needs_them() {
    let mut bench = Bench::new(1);
    bench.map(0x1000, writable(), 0);
    assert!(!bench.peek(0x1000).is_young());
    load(bench.cpu(), 0x1000).expect("readable");
    assert!(bench.peek(0x1000).is_young() && !bench.peek(0x1000).is_dirty());
    bench.cpu().store(at(0x1000), &[1]).expect("writable");
    assert!(bench.peek(0x1000).is_dirty());
    // Once remembered dirty, the CPU does not look again: that is why cleaning must flush.
    let walks = bench.cpu().stats().walks;
    bench.cpu().store(at(0x1008), &[1]).expect("writable");
    assert_eq!(bench.cpu().stats().walks, walks);
}

#[test]
fn a_refused_access_leaves_no_trace() {
    let mut bench = Bench::new(1);
    bench.map(0x1000, readable(), 0);
    assert!(bench.cpu().store(at(0x1000), &[1]).is_err());
    assert!(!bench.peek(0x1000).is_young() && !bench.peek(0x1000).is_dirty());
}

#[test]
fn addresses_that_no_table_can_hold() {
    let mut bench = Bench::new(1);
    let hole = at(1 << 47);
    assert_eq!(
        load(bench.cpu(), hole.as_u64()),
        Err(Trap::NonCanonical { addr: hole })
    );
    let kernel = 0xffff_8000_0000_0000;
    assert_eq!(load(bench.cpu(), kernel).map_err(code_of), Err(U));
    let last = bench.cpu().load(at(u64::MAX), &mut [0; 2]);
    assert!(last.is_err(), "an access does not wrap around");

    let mut five = Bench::with(1, PagingMode::FiveLevel, Arc::new(NoDevices));
    five.map(1 << 50, writable(), 5);
    assert_eq!(load(five.cpu(), 1 << 50), Ok(5));
    assert_eq!(load(five.cpu(), 1 << 47).map_err(code_of), Err(U));
}

#[test]
fn keys_restrict_data_and_not_fetches() {
    let mut bench = Bench::new(1);
    let flags = (writable() - EntryFlags::NO_EXECUTE).with_pkey(2);
    bench.map(0x1000, flags, 0);
    let cpu = bench.cpu();
    cpu.set_pkru(0b10 << 4);
    assert!(load(cpu, 0x1000).is_ok());
    let refused = cpu.store(at(0x1000), &[1]).map_err(code_of);
    assert_eq!(refused, Err(P | W | U | ErrorCode::PK));
    cpu.set_pkru(0b01 << 4);
    assert_eq!(
        load(cpu, 0x1000).map_err(code_of),
        Err(P | U | ErrorCode::PK)
    );
    assert!(cpu.fetch(at(0x1000), &mut [0]).is_ok());
    cpu.set_pkru(0);
    assert!(cpu.store(at(0x1000), &[1]).is_ok());
}

#[test]
fn an_entry_that_leads_nowhere_is_a_reserved_bit_fault() {
    let mut bench = Bench::new(1);
    let nowhere = LoadedSpace {
        root: Pfn::new(1 << 30),
        ..loaded(&bench.mmu, &bench.table)
    };
    bench.cpu().switch_to(nowhere);
    assert_eq!(
        load(bench.cpu(), 0).map_err(code_of),
        Err(P | U | ErrorCode::RSVD)
    );
}

#[test]
fn a_locked_exchange_is_a_write() {
    let mut bench = Bench::new(1);
    bench.map(0x1000, writable(), 0);
    bench.map(0x2000, readable(), 0);
    assert_eq!(bench.cpu().compare_exchange(at(0x1008), 0, 5), Ok(0));
    assert_eq!(bench.cpu().compare_exchange(at(0x1008), 0, 6), Ok(5));
    assert_eq!(load(bench.cpu(), 0x1008), Ok(5));
    assert_eq!(
        bench
            .cpu()
            .compare_exchange(at(0x2000), 1, 1)
            .map_err(code_of),
        Err(P | W | U)
    );
    assert!(bench.cpu().compare_exchange(at(0x1001), 0, 5).is_err());
}

#[test]
fn a_cpu_that_runs_nothing_faults() {
    let mut bench = Bench::new(1);
    bench.map(0x1000, writable(), 0);
    bench.cpu().switch_off();
    assert_eq!(load(bench.cpu(), 0x1000).map_err(code_of), Err(U));
}
