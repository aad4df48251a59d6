//! Threads touch memory while others map, move, protect, fork and drop it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use addr::Prot;
use mm::{Advice, RemapFlags};

use crate::kit::{Space, World, at, bytes};
use crate::model::WINDOW;

const RW: Prot = Prot::READ.union(Prot::WRITE);

/// A cheap source of numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % sides
    }
}

/// Every byte ever written to private memory is this one: anything else was somebody else's frame.
const MARK: u8 = 0x5a;
/// And this one to shared memory.
const SHARED_MARK: u8 = 0xa5;
/// From this page on the window is shared memory.
const SHARED_FROM: u64 = 32;

fn touch(space: &Space, dice: &mut Dice) {
    let page = dice.roll(WINDOW);
    let mark = if page < SHARED_FROM {
        MARK
    } else {
        SHARED_MARK
    };
    if dice.roll(2) == 0 {
        let _segv = space.write(at(page), mark);
    } else if let Ok(byte) = space.read(at(page)) {
        assert!(byte == 0 || byte == mark, "page {page} holds {byte:#x}");
    }
}

fn change(space: &Space, dice: &mut Dice) {
    let page = dice.roll(SHARED_FROM - 8);
    let pages = 1 + dice.roll(8);
    match dice.roll(8) {
        0 => drop(space.map_private(page, pages)),
        1 => space.unmap(page, pages).unwrap(),
        2 => drop(space.protect(page, pages, Prot::READ)),
        3 => drop(space.protect(page, pages, RW)),
        4 => drop(space.mm.madvise(at(page), bytes(pages), Advice::DontNeed)),
        5 => {
            let fixed = RemapFlags::MAYMOVE | RemapFlags::FIXED;
            let _moved = space.remap(page, (pages, pages), fixed, dice.roll(SHARED_FROM - 8));
        }
        6 => drop(space.mm.madvise(at(SHARED_FROM), bytes(4), Advice::Remove)),
        _ => {
            let child = space.fork().unwrap();
            for _ in 0..20 {
                touch(&child, dice);
            }
        }
    }
}

// row: M13 M15 S12
// inv: 8 26 27 31 32 33
#[test]
fn threads_fault_while_areas_change() {
    let mut world = World::new(8192);
    let space = world.first();
    space.map_private(0, SHARED_FROM);
    space.map_shared(SHARED_FROM, WINDOW - SHARED_FROM);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for seed in 0..3 {
            let done = &done;
            scope.spawn(move || {
                let mut dice = Dice(seed);
                while !done.load(Ordering::Relaxed) {
                    touch(space, &mut dice);
                }
            });
        }
        let changers: Vec<_> = (0..2)
            .map(|seed| {
                scope.spawn(move || {
                    let mut dice = Dice(1000 + seed);
                    (0..1500).for_each(|_| change(space, &mut dice));
                })
            })
            .collect();
        let ended: Vec<_> = changers
            .into_iter()
            .map(thread::ScopedJoinHandle::join)
            .collect();
        done.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok));
    });
    world.check();
    world.end();
}
