use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;

#[test]
fn a_cpu_remembers_until_it_is_told() {
    let mut bench = Bench::new(2);
    bench.map(0x1000, writable(), 1);
    bench.cpu().store(at(0x1000), &[2]).expect("writable");
    for cpu in &mut bench.cpus {
        assert_eq!(load(cpu, 0x1000), Ok(2));
    }
    let mut gather = Gather::new(&bench.table, &*bench.mmu, page(0x1000));
    {
        let pin = sync::pin();
        let slot = bench
            .table
            .slot(at(0x1000), &pin)
            .expect("there is a table");
        let _ = slot.lock().expect("it stays").clear(&Mmap, &mut gather);
    }
    for cpu in &mut bench.cpus {
        assert_eq!(load(cpu, 0x1000), Ok(2), "not told yet");
    }
    gather.finish();
    for cpu in &mut bench.cpus {
        assert!(load(cpu, 0x1000).is_err());
    }
}

#[test]
fn write_protection_leaves_reading_remembered() {
    let mut bench = Bench::new(1);
    bench.map(0x1000, writable(), 1);
    bench.cpu().store(at(0x1000), &[2]).expect("writable");
    let walks = bench.cpu().stats().walks;
    bench.protect(0x1000, readable());
    assert_eq!(load(bench.cpu(), 0x1000), Ok(2));
    assert_eq!(bench.cpu().stats().walks, walks, "still remembered");
    assert!(bench.cpu().store(at(0x1000), &[3]).is_err());
}

#[test]
fn spaces_do_not_mix() {
    let mut bench = Bench::new(1);
    bench.map(0x1000, writable(), 1);
    let machine = Arc::clone(bench.cpu().machine());
    let other_table = PageTable::new(Arc::clone(&bench.arena), PagingMode::FourLevel);
    let other_table = Arc::new(other_table.expect("a root"));
    let other = machine.new_space();
    assert_eq!(load(bench.cpu(), 0x1000), Ok(1));
    bench.cpu().switch_to(loaded(&other, &other_table));
    assert!(load(bench.cpu(), 0x1000).is_err());
    let home = loaded(&bench.mmu, &bench.table);
    bench.cpu().switch_to(home);
    let hits = bench.cpu().stats().hits;
    assert_eq!(load(bench.cpu(), 0x1000), Ok(1));
    assert_eq!(
        bench.cpu().stats().hits,
        hits + 1,
        "remembered across the switch"
    );
    other.flush_tlb(&Flush::space());
    assert_eq!(load(bench.cpu(), 0x1000), Ok(1));
    assert_eq!(
        bench.cpu().stats().hits,
        hits + 2,
        "another space's flush is not ours"
    );
    bench.mmu.flush_tlb(&Flush::space());
    let walks = bench.cpu().stats().walks;
    assert_eq!(load(bench.cpu(), 0x1000), Ok(1));
    assert_eq!(bench.cpu().stats().walks, walks + 1);
}

#[test]
fn losing_everything_remembered_is_legal() {
    let mut bench = Bench::new(1);
    for page in 0..60 {
        bench.map(page * PAGE_SIZE, writable(), page as u8);
    }
    for round in 0..2 {
        for page in 0..60 {
            assert_eq!(
                load(bench.cpu(), page * PAGE_SIZE),
                Ok(page as u8),
                "{round}"
            );
        }
        bench.cpu().forget_all();
    }
}

/// CPUs write through a page while it is zapped, its frame reused and the page mapped anew. A
/// write that lands after the flush would spoil the frame's next life.
// inv: 32
// inv: 31
#[test]
fn no_cpu_writes_to_a_frame_after_its_flush() {
    let mut bench = Bench::new(2);
    let done = AtomicBool::new(false);
    let mut cpus = std::mem::take(&mut bench.cpus);
    thread::scope(|threads| {
        for cpu in &mut cpus {
            let done = &done;
            threads.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    match cpu.store(at(0x1ffc), &[0xee; 4]) {
                        Ok(()) => {}
                        Err(trap) => assert_eq!(code_of(trap), ErrorCode::USER | ErrorCode::WRITE),
                    }
                }
            });
        }
        for _ in 0..60 {
            let pfn = bench.map(0x1000, writable(), 0);
            let mut gather = Gather::new(&bench.table, &*bench.mmu, page(0x1000));
            let folio = bench.arena.try_get(pfn).expect("it is mapped");
            {
                let pin = sync::pin();
                let slot = bench
                    .table
                    .slot(at(0x1000), &pin)
                    .expect("there is a table");
                let old = slot.lock().expect("it stays").clear(&Mmap, &mut gather);
                assert!(old.is_present());
            }
            gather.finish();
            // The frame is ours alone now.
            bench.arena.write(pfn, 0, &[0; PAGE_SIZE as usize]);
            thread::yield_now();
            let mut tail = [1; 4];
            bench.arena.read(pfn, 0xffc, &mut tail);
            assert_eq!(tail, [0; 4], "written after the flush");
            drop(folio);
        }
        done.store(true, Ordering::Relaxed);
    });
}
