use std::sync::Arc;

use addr::{Prot, SigCode, Signal, VirtAddr};
use mm::{MapFlags, MapRequest};

use super::{Computer, ComputerConfig, Crash, Process};

fn process() -> (Arc<Computer>, Process) {
    let computer = Computer::new(ComputerConfig::default()).expect("memory");
    let process = Process::start(&computer).expect("a process");
    (computer, process)
}

// row: F10
#[test]
fn memory_is_zero_until_it_is_written() {
    let (_computer, process) = process();
    let request = MapRequest::anonymous(3 * 4096, Prot::READ | Prot::WRITE);
    let at = process.mm().mmap(&request).expect("mapped");
    let mut bytes = [1; 4];
    process.load(at, &mut bytes).expect("readable");
    assert_eq!(bytes, [0; 4]);
    let across = VirtAddr::new(at.as_u64() + 4094);
    process.store(across, b"page").expect("writable");
    process.load(across, &mut bytes).expect("readable");
    assert_eq!(&bytes, b"page");
    assert_eq!(process.faults().minor(), 3);
}

// row: F05
// inv: 76
#[test]
fn a_refused_access_is_a_signal_with_its_address() {
    let (_computer, process) = process();
    let request = MapRequest::anonymous(4096, Prot::READ);
    let at = process.mm().mmap(&request).expect("mapped");
    let crash = process.store(at, b"x").expect_err("read-only");
    assert!(matches!(crash, Crash::Signal { code: SigCode::AccErr, addr } if addr == at));
    let crash = process
        .load(VirtAddr::ZERO, &mut [0])
        .expect_err("nothing there");
    assert_eq!(crash.signal(), Some(Signal::Segv));
    let crash = process
        .load(VirtAddr::new(1 << 60), &mut [0])
        .expect_err("nobody's");
    assert!(matches!(crash, Crash::NonCanonical { .. }));
}

// row: S12
// inv: 45
#[test]
fn a_fork_writes_on_both_sides() {
    let (_computer, parent) = process();
    let request = MapRequest::anonymous(4096, Prot::READ | Prot::WRITE);
    let at = parent.mm().mmap(&request).expect("mapped");
    parent.store(at, b"same").expect("writable");
    let child = parent.fork().expect("a child");
    child.store(at, b"mine").expect("writable");
    parent.store(at, b"ours").expect("writable");
    let mut seen = [0; 4];
    child.load(at, &mut seen).expect("readable");
    assert_eq!(&seen, b"mine");
    parent.load(at, &mut seen).expect("readable");
    assert_eq!(&seen, b"ours");
}

// row: F05
#[test]
fn the_stack_grows_by_touching() {
    let (_computer, process) = process();
    let image = process.mm().image().start_stack;
    let deep = image.saturating_sub(1 << 20);
    process.store(deep, b"deep").expect("the stack grows");
    let too_deep = image.saturating_sub(9 << 20);
    assert!(process.store(too_deep, b"x").is_err());
    assert!(process.mm().maps_text().trim_end().ends_with("[stack]"));
}

// row: M01, M02
#[test]
fn frames_come_back_when_the_last_user_goes() {
    let (computer, process) = process();
    let request = MapRequest::anonymous(64 << 12, Prot::READ | Prot::WRITE);
    let request = request.with(MapFlags::POPULATE);
    let before = computer.arena().usage();
    process.mm().mmap(&request).expect("mapped");
    assert!(computer.arena().usage() != before);
    drop(process);
    sync::barrier();
}
