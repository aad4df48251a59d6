//! Threads that install, zap and free tables while others walk.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use addr::PagingMode;
use machine::NoMmu;

use super::*;

const ROUNDS: u64 = 3_000;
/// Pages of two tables, so that both sides of the boundary are in play.
const PAGES: u64 = 12;

fn page(number: u64) -> VirtAddr {
    at(0x20_0000 - PAGES / 2 * PAGE_SIZE + number % PAGES * PAGE_SIZE)
}

/// A cheap sequence; each thread has its own seed.
fn next(random: &mut u64) -> u64 {
    *random = random
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *random >> 33
}

/// Maps the page if it is empty; a lost race gives the frame back.
fn try_map(table: &PageTable, addr: VirtAddr) -> bool {
    let pfn = mapped_frame(table.arena());
    // The frame says which page it belongs to, before anybody can see it.
    table.arena().write(pfn, 0, &addr.as_u64().to_ne_bytes());
    let installed = locked_or_alloc(table, addr).install(&Mmap, Entry::leaf(pfn, writable()));
    if installed.is_err() {
        unmapped(table, table.arena().folio_of_entry(pfn));
    }
    installed.is_ok()
}

fn mutate(table: &PageTable, seed: u64, mapped: &AtomicU64) {
    let mut random = seed;
    for _ in 0..ROUNDS {
        let addr = page(next(&mut random));
        match next(&mut random) % 4 {
            0 | 1 => {
                mapped.fetch_add(u64::from(try_map(table, addr)), Ordering::Relaxed);
            }
            2 => zap(table, &NoMmu, pages(addr.as_u64(), 1)),
            _ => {
                zap(table, &NoMmu, pages(page(0).as_u64(), PAGES));
                let mut gather = Gather::new(table, &NoMmu, pages(page(0).as_u64(), PAGES));
                table.free_if_empty(addr, &Mmap, &mut gather);
            }
        }
    }
}

/// Walks without locks, then looks again under the lock: a present entry leads to a frame that
/// was filled for this very page.
fn look(table: &PageTable, seed: u64, done: &AtomicBool) {
    let mut random = seed;
    while !done.load(Ordering::Relaxed) {
        let addr = page(next(&mut random));
        let pin = sync::pin();
        let Some(slot) = table.slot(addr, &pin) else {
            continue;
        };
        let seen = slot.snapshot();
        assert!(seen.is_none() || seen.is_present());
        let Some(lock) = slot.lock() else { continue };
        if let Some(leaf) = lock.read().mapping() {
            let mut owner = [0; 8];
            table.arena().read(leaf.pfn, 0, &mut owner);
            assert_eq!(u64::from_ne_bytes(owner), addr.as_u64());
        }
    }
}

// inv: 26
// inv: 27
// inv: 30
// inv: 39
#[test]
fn tables_come_and_go_under_walkers() {
    let arena = arena(4096);
    let free = arena.usage().nr_free;
    let table = table(&arena, PagingMode::FourLevel);
    let (done, mapped) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|threads| {
        let mutators: Vec<_> = (1..=3)
            .map(|seed| {
                threads.spawn({
                    let (table, mapped) = (&table, &mapped);
                    move || mutate(table, seed, mapped)
                })
            })
            .collect();
        for seed in 11..=12 {
            let (table, done) = (&table, &done);
            threads.spawn(move || look(table, seed, done));
        }
        for mutator in mutators {
            mutator.join().expect("a mutator");
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(mapped.load(Ordering::Relaxed) > 0);
    empty(&table, &NoMmu);
    drop(table);
    assert_all_free(&arena, free);
}

// inv: 28
#[test]
fn racing_walks_make_one_table_each() {
    for _ in 0..200 {
        let arena = arena(64);
        let free = arena.usage().nr_free;
        let table = table(&arena, PagingMode::FiveLevel);
        thread::scope(|threads| {
            for number in 0..4 {
                let table = &table;
                threads.spawn(move || drop(locked_or_alloc(table, at(number * PAGE_SIZE))));
            }
        });
        assert_eq!(table.bytes(), 3 * PAGE_SIZE);
        empty(&table, &NoMmu);
        drop(table);
        assert_all_free(&arena, free);
    }
}

/// Hardware sets accessed and dirty at any moment; no change of ours may lose them.
#[test]
fn bits_the_hardware_sets_are_never_lost() {
    let arena = arena(64);
    let table = table(&arena, PagingMode::FourLevel);
    let pfn = map(&table, at(0x1000), writable());
    let leaf_table = {
        let pin = sync::pin();
        table
            .slot(at(0x1000), &pin)
            .expect("there is a table")
            .table_pfn()
    };
    for round in 0..2_000 {
        thread::scope(|threads| {
            let hardware = threads.spawn(|| {
                let words = arena.words(leaf_table);
                loop {
                    let old = words.load(1);
                    if old & EntryFlags::WRITABLE.bits() == 0 {
                        return false;
                    }
                    let new = old | EntryFlags::DIRTY.bits() | EntryFlags::ACCESSED.bits();
                    if words.compare_exchange(1, old, new).is_ok() {
                        return true;
                    }
                }
            });
            let mut gather = Gather::new(&table, &NoMmu, pages(0x1000, 1));
            let mut lock = locked_or_alloc(&table, at(0x1000));
            let old = if round % 2 == 0 {
                lock.restrict(&Rmap, &mut gather, EntryFlags::WRITABLE)
            } else {
                lock.protect(&Mmap, &mut gather, readable())
            };
            drop(lock);
            let wrote = hardware.join().expect("the hardware");
            let now = peek(&table, at(0x1000));
            assert_eq!(now.is_dirty(), wrote);
            assert_eq!(old.is_dirty(), wrote);
        });
        let mut gather = Gather::new(&table, &NoMmu, pages(0x1000, 1));
        let mut lock = locked_or_alloc(&table, at(0x1000));
        lock.restrict(&Mmap, &mut gather, EntryFlags::DIRTY | EntryFlags::ACCESSED);
        let _ = lock.grant(&Mmap, EntryFlags::WRITABLE);
        drop(lock);
    }
    assert_eq!(
        peek(&table, at(0x1000)).mapping().map(|leaf| leaf.pfn),
        Some(pfn)
    );
    empty(&table, &NoMmu);
}
