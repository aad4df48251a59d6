use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::vec::Vec;

use addr::{PAGE_SIZE, Pfn};
use frame::{AllocRequest, Purpose};
use proptest::prelude::*;

use super::*;
use crate::owner;
use crate::rmap::{Flushes, LockMode, WalkEnd, walk, walk_owner};
use crate::testing::FakeSpace;

const BASE: u64 = 0x10_0000;

fn walked(owner: OwnerId, index: u64, pfn: Pfn) -> BTreeSet<(usize, u64)> {
    let mut found = BTreeSet::new();
    let mut flushes = Flushes::new();
    let end = walk_owner(owner, PgOff::new(index), &mut flushes, &mut |place, _| {
        if place.space.visit(place.address, pfn, place.held).is_some() {
            let space = core::ptr::from_ref(place.space).cast::<()>() as usize;
            found.insert((space, place.address.as_u64()));
        }
        ControlFlow::Continue(())
    });
    assert!(matches!(end, WalkEnd::Complete | WalkEnd::Unowned));
    found
}

fn identity(space: &Arc<FakeSpace>) -> usize {
    Arc::as_ptr(space).cast::<()>() as usize
}

// row: A07
#[test]
fn fork_makes_a_child_that_the_parent_does_not_reach() {
    let (parent, child) = (FakeSpace::new(), FakeSpace::new());
    let p = AnonChain::prepare(parent.mapping(BASE, 4, 16));
    let c = p.fork(child.mapping(BASE, 4, 16));
    assert!(p.is_singular());
    assert_eq!(c.nr_links(), 2);
    assert!(c.own().same_root(p.own()));
    assert_eq!(c.own().parent().as_ref(), Some(p.own()));
    assert_eq!(c.own().root().as_ref(), Some(p.own()));
    assert_eq!(c.owner_of_shared(), p.owner_of_exclusive());

    // A page of the parent is looked for in both, one of the child only there.
    parent.map(BASE, Pfn::new(7));
    child.map(BASE, Pfn::new(7));
    let both = BTreeSet::from([(identity(&parent), BASE), (identity(&child), BASE)]);
    assert_eq!(walked(p.owner_of_exclusive(), 16, Pfn::new(7)), both);
    let mut places = 0;
    let mut flushes = Flushes::new();
    let end = walk_owner(
        c.owner_of_exclusive(),
        PgOff::new(16),
        &mut flushes,
        &mut |_, _| {
            places += 1;
            ControlFlow::Continue(())
        },
    );
    assert_eq!((end, places), (WalkEnd::Complete, 1));
}

// row: A07
#[test]
fn counts_follow_linux() {
    let spaces: Vec<_> = (0..4).map(|_| FakeSpace::new()).collect();
    let p = AnonChain::prepare(spaces[0].mapping(BASE, 4, 16));
    let of = |chain: &AnonChain| chain.own().counts().unwrap();
    assert_eq!(
        of(&p),
        AnonCounts {
            num_children: 1,
            num_active_vmas: 1,
            nr_linked: 1
        }
    );
    let c = p.fork(spaces[1].mapping(BASE, 4, 16));
    assert_eq!(
        of(&p),
        AnonCounts {
            num_children: 2,
            num_active_vmas: 1,
            nr_linked: 2
        }
    );
    assert_eq!(
        of(&c),
        AnonCounts {
            num_children: 0,
            num_active_vmas: 1,
            nr_linked: 1
        }
    );
    let half = c.duplicate(spaces[1].mapping(BASE + 2 * PAGE_SIZE, 2, 18));
    assert_eq!(
        of(&c),
        AnonCounts {
            num_children: 0,
            num_active_vmas: 2,
            nr_linked: 2
        }
    );
    assert!(half.same_anon_vma(&c));

    // The root is never taken over while it has a child, even without an area of its own.
    p.unlink();
    let g = c.fork(spaces[2].mapping(BASE, 4, 16));
    assert_eq!(g.nr_links(), 3);
    // The child's is, once its areas are gone and it has at most one child: the grandchild's child.
    c.unlink();
    half.unlink();
    let gg = g.fork(spaces[3].mapping(BASE, 4, 16));
    assert_eq!(gg.nr_links(), 3);
    assert_eq!(gg.own(), c.own());
    assert_eq!(of(&gg).num_active_vmas, 1);
}

// row: A07
#[test]
fn forking_from_child_to_child_does_not_grow_the_chain() {
    let mut chain = AnonChain::prepare(FakeSpace::new().mapping(BASE, 4, 16));
    for _ in 0..1000 {
        let child = chain.fork(FakeSpace::new().mapping(BASE, 4, 16));
        chain.unlink();
        chain = child;
    }
    assert!(chain.nr_links() <= 4, "{}", chain.nr_links());
}

// row: A07
// inv: 48
#[test]
fn an_owner_is_forgotten_with_its_last_area() {
    let space = FakeSpace::new();
    let p = AnonChain::prepare(space.mapping(BASE, 4, 16));
    let c = p.fork(space.mapping(BASE, 4, 16));
    let (root, own) = (p.owner_of_exclusive(), c.owner_of_exclusive());
    assert!(owner::is_anon(root));
    p.unlink();
    p.unlink();
    assert!(
        owner::find(root).is_some(),
        "the child is still linked to it"
    );
    drop(c);
    assert!(owner::find(root).is_none());
    assert!(owner::find(own).is_none());
    drop(p);
}

// row: A07
#[test]
fn a_neighbour_is_shared_with_only_if_it_is_no_fork_child() {
    let space = FakeSpace::new();
    let p = AnonChain::prepare(space.mapping(BASE, 4, 16));
    let next = space.mapping(BASE + 4 * PAGE_SIZE, 4, 20);
    let shared = AnonChain::prepare_sharing(&p, next.clone()).unwrap();
    assert!(shared.same_anon_vma(&p) && shared.is_singular());
    let child = p.fork(space.mapping(BASE, 4, 16));
    assert!(AnonChain::prepare_sharing(&child, next).is_none());
}

// row: A07
#[test]
fn a_dead_space_is_passed_over() {
    let (parent, child) = (FakeSpace::new(), FakeSpace::new());
    let p = AnonChain::prepare(parent.mapping(BASE, 1, 16));
    let c = p.fork(child.mapping(BASE, 1, 16));
    child.map(BASE, Pfn::new(3));
    drop(parent);
    let only = BTreeSet::from([(identity(&child), BASE)]);
    assert_eq!(walked(p.owner_of_exclusive(), 16, Pfn::new(3)), only);
    drop((p, c));
}

// row: A07
// inv: 47
#[test]
fn a_private_folio_leads_to_parent_and_child() {
    let arena = crate::testing::arena(16);
    let (parent, child) = (FakeSpace::new(), FakeSpace::new());
    let p = AnonChain::prepare(parent.mapping(BASE, 4, 16));
    let fresh = arena.alloc(AllocRequest::zeroed(Purpose::Anon)).unwrap();
    let folio = fresh.into_mapped_anon(p.owner_of_exclusive(), 18);
    assert!(owner::is_anon(folio.owner()));
    let c = p.fork(child.mapping(BASE, 4, 16));
    let mut places = Vec::new();
    let mut flushes = Flushes::new();
    let end = walk(
        &folio.lock(),
        LockMode::Wait,
        &mut flushes,
        &mut |place, _| {
            places.push((place.address.as_u64(), place.page, place.nr_pages));
            ControlFlow::Continue(())
        },
    );
    assert_eq!(end, WalkEnd::Complete);
    assert_eq!(places, [(BASE + 2 * PAGE_SIZE, 0, 1); 2], "the older first");
    let locked = folio.lock();
    let moving = crate::RmapWrite::of(None, Some(c.own()));
    let end = walk(&locked, LockMode::Try, &mut flushes, &mut |_, _| {
        panic!("entries are moving")
    });
    assert_eq!(end, WalkEnd::Contended);
    drop(moving);
    folio.remove_map();
}

/// One area of the model.
struct ModelArea {
    space: usize,
    start: u64,
    pages: u64,
    pgoff: u64,
    chain: Option<AnonChain>,
    /// Page of the area, and which page is mapped there.
    mapped: BTreeMap<u64, usize>,
}

/// One private page: who owns it, and where in its owner.
struct ModelPage {
    owner: OwnerId,
    index: u64,
}

#[derive(Default)]
struct Model {
    spaces: Vec<Arc<FakeSpace>>,
    areas: Vec<ModelArea>,
    pages: Vec<ModelPage>,
    next_start: u64,
}

#[derive(Clone, Debug)]
enum Step {
    Touch(usize, u64),
    Copy(usize, u64),
    Fork(usize),
    Split(usize, u64),
    Move(usize),
    Unmap(usize),
    Share(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let which = any::<usize>;
    prop_oneof![
        6 => (which(), any::<u64>()).prop_map(|(a, p)| Step::Touch(a, p)),
        3 => (which(), any::<u64>()).prop_map(|(a, p)| Step::Copy(a, p)),
        2 => which().prop_map(Step::Fork),
        2 => (which(), any::<u64>()).prop_map(|(a, p)| Step::Split(a, p)),
        1 => which().prop_map(Step::Move),
        2 => which().prop_map(Step::Unmap),
        1 => which().prop_map(Step::Share),
    ]
}

fn pfn_of(page: usize) -> Pfn {
    Pfn::new(page as u64 + 1000)
}

impl Model {
    fn new() -> Self {
        let mut model = Model {
            next_start: 0x100_0000,
            ..Model::default()
        };
        model.spaces.push(FakeSpace::new());
        for pages in [6, 3] {
            let start = model.fresh_start();
            model.add_area(ModelArea {
                space: 0,
                start,
                pages,
                pgoff: start / PAGE_SIZE,
                chain: None,
                mapped: BTreeMap::new(),
            });
        }
        model
    }

    fn fresh_start(&mut self) -> u64 {
        self.next_start += 64 * PAGE_SIZE;
        self.next_start
    }

    fn mapping(&self, area: &ModelArea) -> Mapping {
        self.spaces[area.space].mapping(area.start, area.pages, area.pgoff)
    }

    fn add_area(&mut self, area: ModelArea) {
        for (page, id) in &area.mapped {
            self.spaces[area.space].map(area.start + page * PAGE_SIZE, pfn_of(*id));
        }
        self.areas.push(area);
    }

    fn apply(&mut self, step: &Step) {
        if self.areas.is_empty() {
            return;
        }
        let nr = self.areas.len();
        match *step {
            Step::Touch(which, page) => self.touch(which % nr, page, |held| !held),
            Step::Copy(which, page) => self.touch(which % nr, page, |held| held),
            Step::Fork(which) => self.fork(self.areas[which % nr].space),
            Step::Split(which, at) => self.split(which % nr, at),
            Step::Move(which) => self.relocate(which % nr),
            Step::Unmap(which) => self.unmap(which % nr),
            Step::Share(which) => self.share(which % nr),
        }
    }

    /// A new private page, where there is none (a fault) or instead of one (a copy).
    fn touch(&mut self, which: usize, page: u64, wanted: impl Fn(bool) -> bool) {
        let page = page % self.areas[which].pages;
        if !wanted(self.areas[which].mapped.contains_key(&page)) {
            return;
        }
        if self.areas[which].chain.is_none() {
            let mapping = self.mapping(&self.areas[which]);
            self.areas[which].chain = Some(AnonChain::prepare(mapping));
        }
        let area = &mut self.areas[which];
        let owner = area.chain.as_ref().unwrap().owner_of_exclusive();
        let id = self.pages.len();
        area.mapped.insert(page, id);
        self.pages.push(ModelPage {
            owner,
            index: area.pgoff + page,
        });
        self.spaces[area.space].map(area.start + page * PAGE_SIZE, pfn_of(id));
    }

    fn fork(&mut self, space: usize) {
        if self.spaces.len() > 12 {
            return;
        }
        let child = self.spaces.len();
        self.spaces.push(FakeSpace::new());
        let mut born = Vec::new();
        for area in self.areas.iter().filter(|area| area.space == space) {
            let mut copy = ModelArea {
                space: child,
                chain: None,
                mapped: area.mapped.clone(),
                ..*area
            };
            copy.chain = area
                .chain
                .as_ref()
                .map(|chain| chain.fork(self.mapping(&copy)));
            born.push(copy);
        }
        for area in born {
            self.add_area(area);
        }
    }

    fn split(&mut self, which: usize, at: u64) {
        if self.areas[which].pages < 2 {
            return;
        }
        let at = 1 + at % (self.areas[which].pages - 1);
        let old = self.areas.swap_remove(which);
        let part = |first: u64, pages: u64| {
            let mut area = ModelArea {
                space: old.space,
                start: old.start + first * PAGE_SIZE,
                pages,
                pgoff: old.pgoff + first,
                chain: None,
                mapped: BTreeMap::new(),
            };
            let inside = old.mapped.range(first..first + pages);
            area.mapped = inside.map(|(page, id)| (page - first, *id)).collect();
            area.chain = old
                .chain
                .as_ref()
                .map(|chain| chain.duplicate(self.mapping(&area)));
            area
        };
        let (low, high) = (part(0, at), part(at, old.pages - at));
        if let Some(chain) = &old.chain {
            chain.unlink();
        }
        self.add_area(low);
        self.add_area(high);
    }

    fn relocate(&mut self, which: usize) {
        let old = self.areas.swap_remove(which);
        let mut area = ModelArea {
            start: self.fresh_start(),
            chain: None,
            mapped: old.mapped.clone(),
            ..old
        };
        area.chain = old
            .chain
            .as_ref()
            .map(|chain| chain.duplicate(self.mapping(&area)));
        for page in old.mapped.keys() {
            self.spaces[old.space].unmap(old.start + page * PAGE_SIZE);
        }
        drop(old.chain);
        self.add_area(area);
    }

    fn unmap(&mut self, which: usize) {
        let old = self.areas.swap_remove(which);
        for page in old.mapped.keys() {
            self.spaces[old.space].unmap(old.start + page * PAGE_SIZE);
        }
    }

    /// An area beside this one shares its anon_vma, if it may.
    fn share(&mut self, which: usize) {
        let near = &self.areas[which];
        let mut area = ModelArea {
            space: near.space,
            start: near.start + near.pages * PAGE_SIZE,
            pages: 2,
            pgoff: near.pgoff + near.pages,
            chain: None,
            mapped: BTreeMap::new(),
        };
        let taken = self.areas.iter().any(|other| {
            other.space == area.space
                && other.start < area.start + area.pages * PAGE_SIZE
                && area.start < other.start + other.pages * PAGE_SIZE
        });
        if taken {
            return;
        }
        let mapping = self.mapping(&area);
        area.chain = near
            .chain
            .as_ref()
            .and_then(|near| AnonChain::prepare_sharing(near, mapping));
        self.add_area(area);
    }

    /// Every page's walk finds exactly where the model has it mapped.
    fn check(&self) {
        let mut places: BTreeMap<usize, BTreeSet<(usize, u64)>> = BTreeMap::new();
        for area in &self.areas {
            for (page, id) in &area.mapped {
                let place = (
                    identity(&self.spaces[area.space]),
                    area.start + page * PAGE_SIZE,
                );
                places.entry(*id).or_default().insert(place);
                let own = area.chain.as_ref().unwrap().own();
                let owner::Owner::Anon(owner) = owner::find(self.pages[*id].owner).unwrap() else {
                    panic!("a private page of a file")
                };
                // inv: 47
                assert!(owner.same_root(own));
                assert_eq!(self.pages[*id].index, area.pgoff + page);
            }
        }
        for (id, page) in self.pages.iter().enumerate() {
            let expected = places.remove(&id).unwrap_or_default();
            assert_eq!(
                walked(page.owner, page.index, pfn_of(id)),
                expected,
                "page {id}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    // row: A07
    // inv: 47
    // inv: 49
    #[test]
    fn every_walk_finds_exactly_the_places_of_its_page(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut model = Model::new();
        for step in &steps {
            model.apply(step);
        }
        model.check();
        let owners: Vec<OwnerId> = model.pages.iter().map(|page| page.owner).collect();
        drop(model);
        for owner in owners {
            prop_assert!(owner::find(owner).is_none(), "nothing of a family is left behind");
        }
    }
}
