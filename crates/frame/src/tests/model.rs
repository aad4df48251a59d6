//! A whole arena against a model that only remembers what it has.

use proptest::prelude::*;
use std::vec::Vec;

use super::*;

const FRAMES: u64 = 700;

#[derive(Clone, Copy, Debug)]
enum Step {
    Alloc {
        order: u8,
        purpose: usize,
        charged: bool,
    },
    Map,
    Clone(usize),
    Drop(usize),
    Pin(usize),
    Lru(usize),
    Isolate(usize),
    Reserve(u8),
    Take(usize, u64),
    DropBlock(usize),
    GiveBack,
    Scan(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let nr = any::<usize>;
    prop_oneof![
        6 => (0u8..5, 0usize..4, any::<bool>())
            .prop_map(|(order, purpose, charged)| Step::Alloc { order, purpose, charged }),
        6 => Just(Step::Map),
        2 => nr().prop_map(Step::Clone),
        9 => nr().prop_map(Step::Drop),
        1 => nr().prop_map(Step::Pin),
        2 => nr().prop_map(Step::Lru),
        1 => nr().prop_map(Step::Isolate),
        1 => (0u8..7).prop_map(Step::Reserve),
        4 => (nr(), 0u64..64).prop_map(|(block, nr)| Step::Take(block, nr)),
        1 => nr().prop_map(Step::DropBlock),
        1 => Just(Step::GiveBack),
        1 => (0usize..20).prop_map(Step::Scan),
    ]
}

/// Something held, with the number that was written into each of its frames.
enum Holding {
    Folio(Folio, u64),
    Pin {
        folio: Folio,
        stamp: u64,
        _pin: FolioPin,
    },
}

impl Holding {
    fn folio(&self) -> &Folio {
        match self {
            Self::Folio(folio, _) | Self::Pin { folio, .. } => folio,
        }
    }

    fn stamp(&self) -> u64 {
        match self {
            Self::Folio(_, stamp) | Self::Pin { stamp, .. } => *stamp,
        }
    }
}

#[derive(Clone, Copy)]
enum Life {
    Mapped,
    Unmapped,
}

struct World {
    arena: Arc<Arena>,
    charge: ChargeId,
    holdings: Vec<Holding>,
    blocks: Vec<Block>,
    next_stamp: u64,
}

impl World {
    fn new() -> Self {
        let arena = arena(FRAMES);
        let charge = arena.new_charge_group(Some(300)).expect("a group");
        Self {
            arena,
            charge,
            holdings: Vec::new(),
            blocks: Vec::new(),
            next_stamp: 1,
        }
    }

    fn hold(&mut self, mut fresh: FreshFolio, life: Life) {
        let stamp = self.next_stamp;
        self.next_stamp += 1;
        for nr in 0..fresh.order().nr_pages() {
            let mut word = [1; 8];
            fresh.read(nr * 4096, &mut word);
            assert_eq!(word, [0; 8], "it was asked to be zero");
            fresh.write(nr * 4096, &stamp.to_ne_bytes());
        }
        let folio = match life {
            Life::Mapped => fresh.into_mapped_anon(OwnerId::anon(1), stamp),
            Life::Unmapped => fresh.mark_uptodate(),
        };
        self.holdings.push(Holding::Folio(folio, stamp));
    }

    fn pick(&self, nr: usize) -> Option<usize> {
        (!self.holdings.is_empty()).then(|| nr % self.holdings.len())
    }

    fn alloc(&mut self, request: AllocRequest) {
        if let Ok(fresh) = self.arena.alloc(request) {
            self.hold(fresh, Life::Unmapped);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Alloc {
                order: size,
                purpose,
                charged,
            } => {
                let charge = charged.then_some(self.charge);
                let request = AllocRequest::zeroed(Purpose::ALL[purpose]);
                self.alloc(request.with_order(order(size)).with_charge(charge));
            }
            Step::Map => {
                if let Ok(fresh) = self.arena.alloc(anon()) {
                    self.hold(fresh, Life::Mapped);
                }
            }
            Step::Reserve(size) => self.blocks.extend(self.arena.reserve(order(size))),
            Step::Take(block, nr) => {
                let taken = (!self.blocks.is_empty()).then(|| block % self.blocks.len());
                let taken = taken.and_then(|block| self.blocks[block].take(nr, anon()).ok());
                if let Some(fresh) = taken {
                    self.hold(
                        fresh,
                        if nr % 2 == 0 {
                            Life::Mapped
                        } else {
                            Life::Unmapped
                        },
                    );
                }
            }
            Step::DropBlock(block) if !self.blocks.is_empty() => {
                self.blocks.swap_remove(block % self.blocks.len());
            }
            Step::DropBlock(_) => {}
            Step::GiveBack => {
                self.arena.give_back(100);
            }
            Step::Scan(max) => {
                let isolated = self.arena.isolate_oldest(LruList::InactiveAnon, max);
                isolated.iter().for_each(Folio::add_to_lru);
            }
            Step::Clone(nr)
            | Step::Drop(nr)
            | Step::Pin(nr)
            | Step::Lru(nr)
            | Step::Isolate(nr) => {
                if let Some(at) = self.pick(nr) {
                    self.step_on(step, at);
                }
            }
        }
    }

    fn step_on(&mut self, step: Step, at: usize) {
        let holding = &self.holdings[at];
        let (folio, stamp) = (holding.folio(), holding.stamp());
        match step {
            Step::Clone(_) => {
                let holding = Holding::Folio(folio.clone(), stamp);
                self.holdings.push(holding);
            }
            Step::Pin(_) => {
                let holding = Holding::Pin {
                    _pin: folio.pin(),
                    folio: folio.clone(),
                    stamp,
                };
                self.holdings.push(holding);
            }
            Step::Lru(_) => folio.add_to_lru(),
            Step::Isolate(_) => {
                folio.isolate();
            }
            _ => drop(self.holdings.swap_remove(at)),
        }
    }

    fn check(&self) {
        let mut frames: Vec<(u64, Purpose, u64)> = Vec::new();
        for holding in &self.holdings {
            let folio = holding.folio();
            for nr in 0..folio.order().nr_pages() {
                let mut word = [0; 8];
                folio.read(nr * 4096, &mut word);
                assert_eq!(
                    u64::from_ne_bytes(word),
                    holding.stamp(),
                    "somebody else wrote here"
                );
            }
            let charged = u64::from(folio.charge().is_some());
            frames.push((folio.pfn().as_u64(), folio.purpose(), charged));
        }
        frames.sort();
        frames.dedup();
        let size = |pfn: u64| {
            let record = self.arena.record(addr::Pfn::new(pfn)).expect("ours");
            record.order().nr_pages()
        };
        let usage = self.arena.usage();
        assert!(usage.is_balanced(), "{usage:?}");
        for purpose in Purpose::ALL {
            let mut expected: u64 = frames
                .iter()
                .filter(|frame| frame.1 == purpose)
                .map(|frame| size(frame.0))
                .sum();
            if purpose == Purpose::Block {
                expected += self.blocks.iter().map(Block::nr_left).sum::<u64>();
            }
            assert_eq!(usage.of(purpose), expected, "{purpose:?}");
        }
        let charged: u64 = frames.iter().map(|frame| frame.2 * size(frame.0)).sum();
        assert_eq!(
            self.arena
                .charged(self.charge)
                .map(|charged| charged.nr_frames),
            Some(charged)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 200 }, ..ProptestConfig::default() })]

    // row: P13
    // inv: 54
    /// Every frame is accounted for after every few steps, nobody's contents are touched by
    /// another, and at the end all of it is free and merged.
    #[test]
    fn frames_in_use_are_the_sum_over_what_is_held(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for (nr, step) in steps.into_iter().enumerate() {
            world.step(step);
            if nr % 8 == 0 {
                world.check();
            }
        }
        world.check();
        world.holdings.clear();
        world.check();
        world.blocks.clear();
        world.check();
        assert_as_new(&world.arena);
    }
}
