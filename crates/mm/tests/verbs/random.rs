//! Random calls and accesses on a family of spaces, against the model, every account checked.

use std::collections::BTreeSet;

use addr::{Errno, Prot, VmFlags};
use mm::{Advice, MapFlags, RemapFlags};
use proptest::prelude::*;

use crate::kit::{BASE, Space, World, at};
use crate::model::{Kind, Model, Source, WINDOW};

/// One step of a random run.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Map {
        page: u64,
        pages: u64,
        prot: Prot,
        kind: Kind,
        more: MapFlags,
    },
    Unmap {
        page: u64,
        pages: u64,
    },
    Protect {
        page: u64,
        pages: u64,
        prot: Prot,
    },
    Remap {
        page: u64,
        old: u64,
        new: u64,
        to: u64,
        flags: RemapFlags,
    },
    Advise {
        page: u64,
        pages: u64,
        advice: Advice,
    },
    Lock {
        page: u64,
        pages: u64,
    },
    Unlock {
        page: u64,
        pages: u64,
    },
    Read {
        page: u64,
    },
    Write {
        page: u64,
        byte: u8,
    },
    Fork,
    Exit,
    Switch {
        to: usize,
    },
}

fn page() -> impl Strategy<Value = u64> {
    0..WINDOW
}

fn span() -> impl Strategy<Value = (u64, u64)> {
    (0..WINDOW, 1..9u64).prop_map(|(page, pages)| (page, pages.min(WINDOW - page)))
}

fn prot() -> impl Strategy<Value = Prot> {
    prop_oneof![
        6 => Just(Prot::READ | Prot::WRITE),
        2 => Just(Prot::READ),
        1 => Just(Prot::NONE),
        1 => Just(Prot::READ | Prot::EXEC),
        1 => Just(Prot::WRITE),
    ]
}

fn advice() -> impl Strategy<Value = Advice> {
    prop::sample::select(vec![
        Advice::DontNeed,
        Advice::DontNeed,
        Advice::DontNeedLocked,
        Advice::Free,
        Advice::DontFork,
        Advice::DoFork,
        Advice::WipeOnFork,
        Advice::KeepOnFork,
        Advice::GuardInstall,
        Advice::GuardInstall,
        Advice::GuardRemove,
        Advice::Sequential,
        Advice::Cold,
        Advice::WillNeed,
    ])
}

fn map() -> impl Strategy<Value = Op> {
    let kind = prop_oneof![
        5 => Just(Kind::Private),
        2 => Just(Kind::Shared),
        1 => Just(Kind::Droppable),
    ];
    let more = prop_oneof![
        6 => Just(MapFlags::empty()),
        1 => Just(MapFlags::FIXED_NOREPLACE),
        1 => Just(MapFlags::NORESERVE),
        1 => Just(MapFlags::POPULATE),
        1 => Just(MapFlags::LOCKED),
    ];
    (span(), prot(), kind, more).prop_map(|((page, pages), prot, kind, more)| Op::Map {
        page,
        pages,
        prot,
        kind,
        more,
    })
}

fn remap() -> impl Strategy<Value = Op> {
    let flags = prop::sample::select(vec![
        RemapFlags::empty(),
        RemapFlags::MAYMOVE | RemapFlags::FIXED,
        RemapFlags::MAYMOVE | RemapFlags::FIXED,
        RemapFlags::MAYMOVE | RemapFlags::FIXED | RemapFlags::DONTUNMAP,
    ]);
    let lens = prop_oneof![
        3 => (1..6u64).prop_map(|pages| (pages, pages)),
        2 => (0..6u64, 1..6u64),
    ];
    (page(), lens, page(), flags).prop_map(|(page, (old, new), to, flags)| {
        let room = |at: u64, pages: u64| pages.min(WINDOW - at);
        let (old, to) = (room(page, old), to.min(WINDOW - 6));
        let new = if flags.contains(RemapFlags::DONTUNMAP) {
            old
        } else {
            new
        };
        let new = if flags.is_empty() {
            room(page, new)
        } else {
            new
        };
        Op::Remap {
            page,
            old,
            new,
            to,
            flags,
        }
    })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => map(),
        3 => span().prop_map(|(page, pages)| Op::Unmap { page, pages }),
        4 => (span(), prot())
            .prop_map(|((page, pages), prot)| Op::Protect { page, pages, prot }),
        4 => remap(),
        4 => (span(), advice())
            .prop_map(|((page, pages), advice)| Op::Advise { page, pages, advice }),
        1 => span().prop_map(|(page, pages)| Op::Lock { page, pages }),
        1 => span().prop_map(|(page, pages)| Op::Unlock { page, pages }),
        6 => page().prop_map(|page| Op::Read { page }),
        10 => (page(), 1..255u8).prop_map(|(page, byte)| Op::Write { page, byte }),
        2 => Just(Op::Fork),
        1 => Just(Op::Exit),
        2 => (0..4usize).prop_map(|to| Op::Switch { to }),
    ]
}

/// The spaces, their models, and which one is at work.
struct Run {
    world: World,
    models: Vec<Model>,
    now: usize,
}

impl Run {
    fn new(frames: u64, nr_copied_max: u64) -> Self {
        let mut world = World::new(frames);
        world.spaces[0].nr_copied_max = nr_copied_max;
        Run {
            world,
            models: vec![Model::default()],
            now: 0,
        }
    }

    fn space(&self) -> &Space {
        &self.world.spaces[self.now]
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Map {
                page,
                pages,
                prot,
                kind,
                more,
            } => self.map((page, pages), prot, kind, more),
            Op::Unmap { page, pages } => {
                assert_eq!(self.space().unmap(page, pages), Ok(()));
                self.models[self.now].unmap(page, pages);
            }
            Op::Protect { page, pages, prot } => {
                let done = self.space().protect(page, pages, prot);
                assert_eq!(done, self.models[self.now].protect(page, pages, prot));
            }
            Op::Remap {
                page,
                old,
                new,
                to,
                flags,
            } => self.remap((page, old), (to, new), flags),
            Op::Advise {
                page,
                pages,
                advice,
            } => {
                let done = self.space().mm.madvise(at(page), pages * 4096, advice);
                assert_eq!(
                    done,
                    self.models[self.now].advise(page, pages, advice),
                    "{op:?}"
                );
            }
            Op::Lock { page, pages } => {
                let done = self.space().mm.mlock(at(page), pages * 4096);
                assert_eq!(done, self.models[self.now].lock(page, pages));
            }
            Op::Unlock { page, pages } => {
                let done = self.space().mm.munlock(at(page), pages * 4096);
                assert_eq!(done, self.models[self.now].unlock(page, pages));
            }
            Op::Read { page } => self.read(page),
            Op::Write { page, byte } => {
                let done = self.space().write(at(page), byte).is_ok();
                assert_eq!(done, self.models[self.now].write(page, byte), "page {page}");
            }
            Op::Fork | Op::Exit => self.family(op),
            Op::Switch { to } => self.now = to % self.models.len(),
        }
    }

    /// A space comes or goes.
    fn family(&mut self, op: &Op) {
        if matches!(op, Op::Fork) && self.models.len() < 4 {
            let child = self.space().fork().unwrap();
            self.models.push(self.models[self.now].fork());
            self.world.spaces.push(child);
        } else if matches!(op, Op::Exit) && self.models.len() > 1 {
            self.models.remove(self.now);
            self.world.spaces.remove(self.now);
            self.now = 0;
        }
    }

    fn map(&mut self, (page, pages): (u64, u64), prot: Prot, kind: Kind, more: MapFlags) {
        let flags = match kind {
            Kind::Private => MapFlags::PRIVATE,
            Kind::Shared => MapFlags::SHARED,
            Kind::Droppable => MapFlags::DROPPABLE,
        };
        let done = self.space().map(page, pages, prot, flags | more);
        let model = &mut self.models[self.now];
        let occupied = (page..page + pages).any(|at| model.pages.contains_key(&at));
        let locked = more.contains(MapFlags::LOCKED);
        if more.contains(MapFlags::FIXED_NOREPLACE) && occupied {
            assert_eq!(done, Err(Errno::EEXIST));
        } else if locked && kind == Kind::Droppable {
            assert_eq!(done, Err(Errno::EINVAL));
        } else {
            assert_eq!(done, Ok(at(page)));
            model.map(page, pages, prot, kind);
            if locked {
                let _faulted_in = model.lock(page, pages);
            }
            self.world.note_objects();
        }
    }

    /// Areas decide what mremap may do, so the tree from before the call says what to expect.
    fn remap(&mut self, (page, old): (u64, u64), (to, new): (u64, u64), flags: RemapFlags) {
        let tree = self.space().tree();
        let model = &mut self.models[self.now];
        let done = self.world.spaces[self.now].remap(page, (old, new), flags, to);
        let fixed = flags.contains(RemapFlags::FIXED);
        let target = if fixed { to } else { page };
        if let Ok(addr) = done {
            assert_eq!(addr, at(target));
            let keep = flags.contains(RemapFlags::DONTUNMAP);
            let source = if keep { Source::Kept } else { Source::Unmapped };
            model.remap((page, old), (target, new), source);
            if keep {
                let after = self.world.spaces[self.now].tree();
                adopt_locks(model, &tree, &after, (page, old));
                // A copy that joins its source is one area with it, and unlocked as such.
                let joined = after.find(at(target)).map(|vma| vma.range);
                if joined.is_some_and(|range| range.contains(at(page))) {
                    adopt_locks(model, &after, &after, (target, new));
                }
            }
            return;
        }
        let area = tree.find(at(page));
        let overlap = fixed && page < to + new && to < page + old;
        let within = area.is_some_and(|vma| vma.range.end() >= at(page + old.min(new)));
        let private_copy = old == 0;
        let no_room = !fixed && new > old;
        assert!(
            area.is_none() || overlap || !within || private_copy || no_room,
            "mremap({page}, {old}, {new}, {flags:?}, {to}) = {done:?}"
        );
        // A fixed destination may be unmapped already, and a tail cut off.
        let mapped = |page: u64| self.world.spaces[self.now].tree().find(at(page)).is_some();
        let gone: Vec<u64> = model
            .pages
            .keys()
            .copied()
            .filter(|page| !mapped(*page))
            .collect();
        for lost in gone {
            assert!(
                fixed && (to..to + new).contains(&lost),
                "page {lost} is lost"
            );
            model.pages.remove(&lost);
        }
    }

    fn read(&self, page: u64) {
        let seen = self.space().read(at(page)).ok();
        assert_eq!(
            seen,
            self.models[self.now].read(page),
            "page {page} of {}",
            self.now
        );
    }

    /// Areas against pages, in every space.
    fn compare_areas(&self) {
        for (space, model) in self.world.spaces.iter().zip(&self.models) {
            let mut mapped = BTreeSet::new();
            for vma in space.tree().iter() {
                for addr in vma.range.page_addrs() {
                    let nr = (addr.as_u64() - BASE) / 4096;
                    mapped.insert(nr);
                    let page = model
                        .pages
                        .get(&nr)
                        .unwrap_or_else(|| panic!("{nr} is mapped"));
                    let flags = vma.flags();
                    assert_eq!(Prot::from_vm_flags(flags), page.prot, "page {nr}");
                    let has = |flag| flags.contains(flag);
                    assert_eq!(has(VmFlags::LOCKED), page.locked, "page {nr}");
                    assert_eq!(has(VmFlags::DONTCOPY), page.dont_fork, "page {nr}");
                    assert_eq!(has(VmFlags::WIPEONFORK), page.wipe_on_fork, "page {nr}");
                }
            }
            let missing: Vec<_> = model
                .pages
                .keys()
                .filter(|nr| !mapped.contains(nr))
                .collect();
            assert!(missing.is_empty(), "pages {missing:?} are not mapped");
        }
    }

    fn compare_bytes(&mut self) {
        for now in 0..self.models.len() {
            self.now = now;
            (0..WINDOW).for_each(|page| self.read(page));
        }
        self.now = 0;
    }
}

/// The kernel unlocks the whole areas that a move without unmapping leaves behind, as they are when
/// the destination is already cleared. Which pages that were is taken from the new tree; that the
/// counters agree is checked anyway.
fn adopt_locks(model: &mut Model, before: &vma::VmaTree, after: &vma::VmaTree, span: (u64, u64)) {
    let Some(range) = addr::VirtRange::from_len(at(span.0), span.1 * 4096) else {
        return;
    };
    for addr in before.range(range).flat_map(|vma| vma.range.page_addrs()) {
        let page = model.pages.get_mut(&((addr.as_u64() - BASE) / 4096));
        if let (Some(page), Some(vma)) = (page, after.find(addr)) {
            page.locked = vma.flags().contains(VmFlags::LOCKED);
        }
    }
}

/// Runs `ops` against the model, with forks that copy at most so many pages at once.
fn agree(ops: &[Op], nr_copied_max: u64) {
    let mut run = Run::new(4096, nr_copied_max);
    for op in ops {
        run.step(op);
        run.compare_areas();
        run.world.check();
    }
    run.compare_bytes();
    run.world.check();
    run.world.end();
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    // row: S01 S02 S03 S04 S07 S12 S13 M11 M17 A01 A02 A04 A09 A10
    // inv: 9 14 16 17 18 24 28 36 37 40 41 45 47 48 50
    #[test]
    fn random_calls_agree_with_the_model(ops in prop::collection::vec(op(), 1..60)) {
        agree(&ops, 0);
    }

    // row: S12
    // inv: 18 28 45 47 48 50
    #[test]
    fn random_calls_agree_where_forks_copy(
        ops in prop::collection::vec(op(), 1..60),
        nr_copied_max in 1..64u64,
    ) {
        agree(&ops, nr_copied_max);
    }
}
