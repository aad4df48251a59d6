//! The tree against a map: the same installs, zaps, protections and moves.

use std::collections::BTreeMap;

use addr::{PagingMode, VirtAddr};
use proptest::prelude::*;

use super::*;

/// Pages on both sides of every kind of table boundary, by level.
const BASES: [u64; 5] = [
    0x0,
    0x1f_c000,
    (1 << 30) - 0x4000,
    (1 << 39) - 0x4000,
    (1 << 46) + 0x1000,
];
const PAGES_OF_BASE: u64 = 8;

#[derive(Clone, Debug)]
enum Step {
    Install { page: usize, rights: Rights },
    Zap { from: usize, nr: u64 },
    Protect { from: usize, nr: u64, to: Rights },
    Move { from: usize, to: usize, nr: u64 },
    FreeIfEmpty { page: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rights {
    None,
    Read,
    Write,
}

impl Rights {
    fn flags(self) -> EntryFlags {
        match self {
            Self::None => EntryFlags::PROT_NONE,
            Self::Read => readable(),
            Self::Write => writable(),
        }
    }
}

type Model = BTreeMap<u64, (Pfn, Rights)>;

fn page_addr(page: usize) -> VirtAddr {
    let (base, offset) = (page / PAGES_OF_BASE as usize, page % PAGES_OF_BASE as usize);
    at(BASES[base] + offset as u64 * PAGE_SIZE)
}

fn nr_pages() -> usize {
    BASES.len() * PAGES_OF_BASE as usize
}

fn range(from: usize, nr: u64) -> VirtRange {
    pages(page_addr(from).as_u64(), nr)
}

fn any_rights() -> impl Strategy<Value = Rights> {
    prop_oneof![Just(Rights::None), Just(Rights::Read), Just(Rights::Write)]
}

fn any_step() -> impl Strategy<Value = Step> {
    let page = 0..nr_pages();
    let rights = any_rights();
    prop_oneof![
        4 => (page.clone(), any_rights()).prop_map(|(page, rights)| Step::Install { page, rights }),
        2 => (page.clone(), 1..600u64).prop_map(|(from, nr)| Step::Zap { from, nr }),
        2 => (page.clone(), 1..600u64, rights)
            .prop_map(|(from, nr, to)| Step::Protect { from, nr, to }),
        1 => (page.clone(), page.clone(), 1..8u64)
            .prop_map(|(from, to, nr)| Step::Move { from, to, nr }),
        1 => page.prop_map(|page| Step::FreeIfEmpty { page }),
    ]
}

struct Space {
    table: PageTable,
    model: Model,
    mmu: Recorder,
}

impl Space {
    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Install { page, rights } => self.install(page_addr(page), rights),
            Step::Zap { from, nr } => self.zap(range(from, nr)),
            Step::Protect { from, nr, to } => self.protect(range(from, nr), to),
            Step::Move { from, to, nr } => self.shift(range(from, nr), page_addr(to)),
            Step::FreeIfEmpty { page } => {
                let mut gather = Gather::new(&self.table, &self.mmu, range(page, 1));
                self.table
                    .free_if_empty(page_addr(page), &Mmap, &mut gather);
            }
        }
    }

    fn install(&mut self, addr: VirtAddr, rights: Rights) {
        let pfn = mapped_frame(self.table.arena());
        let mut lock = locked_or_alloc(&self.table, addr);
        let result = lock.install(&Mmap, Entry::leaf(pfn, rights.flags()));
        drop(lock);
        assert_eq!(result.is_err(), self.model.contains_key(&addr.as_u64()));
        if result.is_ok() {
            self.model.insert(addr.as_u64(), (pfn, rights));
        } else {
            unmapped(&self.table, self.table.arena().folio_of_entry(pfn));
        }
    }

    fn zap(&mut self, range: VirtRange) {
        zap(&self.table, &self.mmu, range);
        self.model.retain(|addr, _| !range.contains(at(*addr)));
    }

    fn protect(&mut self, range: VirtRange, to: Rights) {
        let mut gather = Gather::new(&self.table, &self.mmu, range);
        let mut cursor = self.table.cursor(range, &Mmap, Visit::Filled);
        let mut visited = Vec::new();
        while let Some(entry) = cursor.advance() {
            visited.push(entry.addr().as_u64());
            entry.protect(&Mmap, &mut gather, to.flags());
        }
        let span = range.start().as_u64()..range.end().as_u64();
        let expected: Vec<_> = self
            .model
            .range(span.clone())
            .map(|(addr, _)| *addr)
            .collect();
        assert_eq!(visited, expected);
        self.model
            .range_mut(span)
            .for_each(|(_, (_, rights))| *rights = to);
    }

    fn shift(&mut self, from: VirtRange, to: VirtAddr) {
        let target = VirtRange::from_len(to, from.bytes()).expect("a range");
        if from.overlaps(&target) {
            return;
        }
        self.zap(target);
        let mut gather = Gather::new(&self.table, &self.mmu, from);
        let mut cursor = self.table.move_entries(from, to, &Mmap);
        while let Some(pair) = cursor.advance(&mut TableReserve::new()).expect("tables") {
            let (old, new) = (pair.from().as_u64(), pair.to().as_u64());
            pair.shift(&mut gather, |entry| entry)
                .expect("zapped before");
            let moved = self.model.remove(&old).expect("the model has it");
            self.model.insert(new, moved);
        }
    }

    fn check(&self) {
        for page in 0..nr_pages() {
            let addr = page_addr(page);
            let found = peek(&self.table, addr).mapping().map(|leaf| {
                let rights = EntryFlags::RIGHTS;
                (leaf.pfn, leaf.flags & rights)
            });
            let expected = self
                .model
                .get(&addr.as_u64())
                .map(|(pfn, to)| (*pfn, to.flags() & EntryFlags::RIGHTS));
            assert_eq!(found, expected, "at {addr:?}");
        }
    }
}

fn run(mode: PagingMode, steps: &[Step]) {
    let arena = arena(512);
    let free = arena.usage().nr_free;
    let mut space = Space {
        table: table(&arena, mode),
        model: Model::new(),
        mmu: Recorder::default(),
    };
    for step in steps {
        space.apply(step);
        space.check();
    }
    let mapped = space.model.len() as u64;
    sync::barrier();
    let used = free - arena.usage().nr_free;
    assert!(used >= mapped + 1 + space.table.bytes() / PAGE_SIZE);
    empty(&space.table, &space.mmu);
    drop(space);
    assert_all_free(&arena, free);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    // row: M07
    // row: M10
    // inv: 26
    // inv: 28
    #[test]
    fn four_levels_agree_with_a_map(steps in proptest::collection::vec(any_step(), 1..40)) {
        run(PagingMode::FourLevel, &steps);
    }

    // row: M07
    #[test]
    fn five_levels_agree_with_a_map(steps in proptest::collection::vec(any_step(), 1..40)) {
        run(PagingMode::FiveLevel, &steps);
    }
}
