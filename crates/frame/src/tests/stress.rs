//! Many threads at once; what is checked is what is left.

use std::sync::Barrier;
use std::sync::mpsc::channel;
use std::vec::Vec;

use super::*;

const ROUNDS: u64 = if cfg!(miri) { 60 } else { 20_000 };

/// A small generator: each thread has its own sequence.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

fn one_thread(arena: &Arc<Arena>, charge: ChargeId, seed: u64, give: &dyn Fn(Folio)) {
    let mut dice = Dice(seed);
    let mut held: Vec<Folio> = Vec::new();
    for round in 0..ROUNDS {
        let request = anon()
            .with_charge((dice.roll(2) == 0).then_some(charge))
            .with_order(order(if dice.roll(16) == 0 {
                dice.roll(4) as u8
            } else {
                0
            }));
        match dice.roll(8) {
            0..=2 => {
                if let Ok(fresh) = arena.alloc(request) {
                    held.push(fresh.into_mapped_anon(OwnerId::anon(seed), round));
                }
            }
            3 => held.extend(arena.alloc(request).map(FreshFolio::mark_uptodate)),
            4 if !held.is_empty() => {
                let at = dice.roll(held.len() as u64) as usize;
                give(held.swap_remove(at));
            }
            5 if !held.is_empty() => {
                let folio = &held[dice.roll(held.len() as u64) as usize];
                folio.add_to_lru();
                drop(arena.try_get(folio.pfn()).map(|folio| folio.lock()));
            }
            6 if dice.roll(64) == 0 => {
                drop(arena.isolate_oldest(LruList::InactiveAnon, 5));
                arena.give_back(64);
            }
            _ => held.truncate(dice.roll(64) as usize),
        }
    }
}

// row: P13
#[test]
fn nothing_is_lost_among_threads() {
    let arena = arena(1500);
    let charge = arena.new_charge_group(Some(1000)).expect("a group");
    let nr_threads = 4;
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..nr_threads).map(|_| channel::<Folio>()).unzip();
    std::thread::scope(|scope| {
        for (nr, receiver) in receivers.into_iter().enumerate() {
            let (arena, next) = (&arena, senders[(nr + 1) % nr_threads].clone());
            scope.spawn(move || {
                one_thread(arena, charge, 77 + nr as u64, &|folio| {
                    drop(receiver.try_iter().collect::<Vec<_>>());
                    // Who is done already does not want it.
                    drop(next.send(folio));
                });
            });
        }
        drop(senders);
    });
    assert_eq!(
        arena.charged(charge).map(|charged| charged.nr_frames),
        Some(0)
    );
    assert_as_new(&arena);
}

#[test]
fn a_frame_number_found_by_chance_gives_a_folio_or_nothing() {
    let arena = arena(40);
    let start = Barrier::new(3);
    std::thread::scope(|scope| {
        for seed in 1..3 {
            let (arena, start) = (&arena, &start);
            scope.spawn(move || {
                start.wait();
                let mut dice = Dice(seed);
                for _ in 0..ROUNDS {
                    let size = order(dice.roll(3) as u8);
                    drop(
                        arena
                            .alloc(anon().with_order(size))
                            .map(FreshFolio::mark_uptodate),
                    );
                }
            });
        }
        start.wait();
        let mut dice = Dice(9);
        for _ in 0..ROUNDS {
            let pfn = addr::Pfn::new(dice.roll(40));
            if let Some(folio) = arena.try_get(pfn) {
                let first = folio.pfn().as_u64();
                assert!((first..first + folio.order().nr_pages()).contains(&pfn.as_u64()));
                assert!(folio.ref_count() >= 1);
            }
        }
    });
    assert_as_new(&arena);
}

#[test]
fn a_store_serves_another_arena_only_when_every_frame_is_back() {
    let rounds = ROUNDS / 10;
    let (sender, receiver) = channel::<Vec<Folio>>();
    std::thread::scope(|scope| {
        scope.spawn(move || receiver.iter().for_each(drop));
        for round in 0..rounds {
            let arena = arena(139);
            assert_eq!(arena.usage().nr_never_used, 138, "round {round}");
            let size = order((round % 3) as u8);
            let request = anon().with_order(size);
            let folios = core::iter::from_fn(|| arena.alloc(request).ok())
                .map(|fresh| fresh.into_mapped_anon(OwnerId::anon(1), 0))
                .collect::<Vec<_>>();
            folios.iter().for_each(Folio::add_to_lru);
            let nr_frames = folios.len() as u64 * size.nr_pages();
            assert_eq!(arena.lru_sizes().total(), nr_frames, "round {round}");
            assert!(sender.send(folios).is_ok());
        }
        drop(sender);
    });
}
