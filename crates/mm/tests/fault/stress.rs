//! Many threads at once, and everything adds up at the end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use addr::{Access, PAGE_SIZE, VirtAddr, VirtRange};
use mm::{Advice, Force, MapRequest};

use crate::space::{BASE, Dice, Host, RW, page};

const THREADS: u64 = 4;

// row: F23 row: F28
#[test]
fn threads_that_fault_on_the_same_pages_get_one_page_each() {
    let host = Host::new(1024);
    let before = host.usage();
    {
        let space = host.space();
        let range = space.anon(256, RW);
        let sum = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let mut program = space.run();
                let sum = &sum;
                scope.spawn(move || {
                    for n in 0..256 {
                        let at = page(range, n).checked_add(thread * 8).unwrap();
                        program.store_word(at, thread + 1).unwrap();
                        sum.fetch_add(program.load_word(at).unwrap(), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(sum.load(Ordering::Relaxed), 256 * (1 + 2 + 3 + 4));
        let stats = space.mm.stats();
        // inv: 27 inv: 50
        assert_eq!(stats.rss.anon, 256);
        assert_eq!(stats.faults.anon, 256);
        assert_eq!(stats.faults.pgfault, 256 + stats.faults.spurious);
    }
    assert_eq!(host.usage().nr_in_use(), before.nr_in_use());
}

// row: F23 row: F25
#[test]
fn faults_run_beside_munmap_mprotect_and_dontneed() {
    let host = Host::new(2048);
    let before = host.usage();
    {
        let space = host.space();
        let range = space.anon(64, RW);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let mut program = space.run();
                let stop = &stop;
                scope.spawn(move || {
                    let mut dice = Dice(thread);
                    while !stop.load(Ordering::Relaxed) {
                        let at = page(range, dice.throw(64));
                        // A signal is as good an answer as a page: which depends on who was first.
                        let _ = program.store(at, 1);
                        let _ = program.load(at);
                    }
                });
            }
            let mut dice = Dice(99);
            for _ in 0..400 {
                let (from, pages) = (dice.throw(60), 1 + dice.throw(4));
                let (at, len) = (page(range, from), pages * PAGE_SIZE);
                match dice.throw(4) {
                    0 => space.mm.munmap(at, len).unwrap(),
                    1 => drop(space.mm.mprotect(at, len, addr::Prot::READ)),
                    2 => drop(space.mm.madvise(at, len, Advice::DontNeed)),
                    _ => {
                        let request = MapRequest::anonymous(len, RW).fixed_at(at);
                        assert_eq!(space.mm.mmap(&request), Ok(at));
                    }
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        let stats = space.mm.stats();
        let mapped = space
            .mm
            .mmap_lock()
            .snapshot()
            .iter()
            .map(|vma| vma.nr_pages())
            .sum::<u64>();
        // inv: 17
        assert_eq!(stats.pages.total, mapped);
        // inv: 50
        let present = (0..64).map(|n| space.entry(page(range, n)));
        let private = present
            .filter(|entry| entry.is_present() && !entry.is_special())
            .count();
        assert_eq!(stats.rss.anon, private as u64);
    }
    assert_eq!(host.usage().nr_in_use(), before.nr_in_use());
}

// row: F18 row: F17
#[test]
fn forks_of_a_space_whose_threads_write_see_one_moment() {
    let host = Host::new(4096);
    let before = host.usage();
    {
        let space = host.space();
        let range = space.anon(16, RW);
        space.mm.populate(range).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..3_u64 {
                let mut program = space.run();
                let stop = &stop;
                scope.spawn(move || {
                    let mut count = 0_u64;
                    while !stop.load(Ordering::Relaxed) {
                        count += 1;
                        for n in 0..16 {
                            let at = page(range, n).checked_add(thread * 8).unwrap();
                            program.store_word(at, count).unwrap();
                        }
                    }
                });
            }
            for _ in 0..40 {
                let child = space.fork();
                let mut program = child.run();
                for thread in 0..3_u64 {
                    // inv: 45: each writer goes up the pages in order, so what a child sees never
                    // rises from one page to the next, and stays as it is.
                    let words: Vec<u64> = (0..16)
                        .map(|n| page(range, n).checked_add(thread * 8).unwrap())
                        .map(|at| program.load_word(at).unwrap())
                        .collect();
                    assert!(words.is_sorted_by(|a, b| a >= b), "{words:?}");
                    assert!(words[0] - words[15] <= 1, "{words:?}");
                }
                program.store_word(range.start(), 12345).unwrap();
                assert_eq!(program.load_word(range.start()).unwrap(), 12345);
                drop(program);
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(space.mm.stats().rss.anon, 16);
        assert_eq!(space.mm.stats().forks, 40);
    }
    assert_eq!(host.usage().nr_in_use(), before.nr_in_use());
}

// row: F18
#[test]
fn pins_and_forks_do_not_lose_writes() {
    let host = Host::new(2048);
    let space = host.space();
    let range = space.anon(4, RW);
    std::thread::scope(|scope| {
        let pinner = scope.spawn(|| {
            for round in 1..=200_u64 {
                let pins = space.mm.pin_range(range, Access::Write);
                assert_eq!(pins.pages().len(), 4);
                // inv: 43: what is written through the pin is what the program reads.
                for pinned in pins.pages() {
                    let mm::Target::Arena(pfn) = pinned.target() else {
                        panic!("arena memory")
                    };
                    host.arena.write(pfn, 0, &round.to_le_bytes());
                }
                for n in 0..4 {
                    let mut word = [0; 8];
                    assert_eq!(
                        space
                            .mm
                            .read_memory(page(range, n), &mut word, Force::Plain),
                        8
                    );
                    assert_eq!(u64::from_le_bytes(word), round);
                }
            }
        });
        let mut forks = 0;
        while forks < 20 || !pinner.is_finished() {
            forks += 1;
            drop(space.fork());
        }
        pinner.join().unwrap();
    });
    assert_eq!(space.mm.stats().rss.anon, 4);
}

// row: F26
#[test]
fn a_first_touch_of_every_area_by_every_thread() {
    let host = Host::new(4096);
    let space = host.space();
    let areas = 64;
    for n in 0..areas {
        let at = BASE.checked_add(2 * n * PAGE_SIZE).unwrap();
        space
            .mm
            .mmap(&MapRequest::anonymous(PAGE_SIZE, RW).fixed_at(at))
            .unwrap();
    }
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let mut program = space.run();
            scope.spawn(move || {
                for n in 0..areas {
                    program
                        .store(BASE.checked_add(2 * n * PAGE_SIZE).unwrap(), 1)
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(space.mm.stats().rss.anon, areas);
    let whole = VirtRange::from_len(BASE, 2 * areas * PAGE_SIZE).unwrap();
    space.mm.munmap(whole.start(), whole.bytes()).unwrap();
    assert_eq!(space.mm.stats().rss.anon, 0);
    let _ = VirtAddr::ZERO;
}
