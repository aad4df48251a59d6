//! Random memory calls against the plainest model: a table with a line per page.

use super::could_merge;
use crate::fixtures::*;
use crate::{Attributes, MmapHeld, NewArea, Vma, VmaTree};
use addr::VmFlags;
use alloc::sync::Arc;
use object::MappedFile;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::vec::Vec;

const PAGES: u64 = 64;

/// What a page is, as far as a program can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Page {
    flags: VmFlags,
    name: u8,
    /// Which file, if any, and the page of it, or the offset of anonymous memory.
    file: Option<usize>,
    pgoff: u64,
}

#[derive(Clone, Debug)]
enum Call {
    Map {
        start: u64,
        pages: u64,
        flags: VmFlags,
    },
    MapFile {
        start: u64,
        pages: u64,
        file: usize,
        base: u64,
    },
    Unmap {
        start: u64,
        pages: u64,
    },
    Protect {
        start: u64,
        pages: u64,
        flags: VmFlags,
    },
    Name {
        start: u64,
        pages: u64,
        name: u8,
    },
    Touch {
        page: u64,
    },
}

fn call() -> impl Strategy<Value = Call> {
    let place =
        || (0..PAGES - 1, 1..16u64).prop_map(|(start, pages)| (start, pages.min(PAGES - start)));
    let flags = || prop_oneof![3 => Just(RW), 2 => Just(RO), 1 => Just(RO | VmFlags::EXEC)];
    prop_oneof![
        6 => (place(), flags()).prop_map(|((start, pages), flags)| Call::Map { start, pages, flags }),
        3 => (place(), 0..2usize, 0..2u64)
            .prop_map(|((start, pages), file, base)| Call::MapFile { start, pages, file, base }),
        3 => place().prop_map(|(start, pages)| Call::Unmap { start, pages }),
        5 => (place(), flags()).prop_map(|((start, pages), flags)| Call::Protect { start, pages, flags }),
        1 => (place(), 0..3u8).prop_map(|((start, pages), name)| Call::Name { start, pages, name }),
        3 => (0..PAGES).prop_map(|page| Call::Touch { page }),
    ]
}

struct World {
    lock: Lock,
    files: [Arc<MappedFile>; 2],
    pages: Vec<Option<Page>>,
}

impl World {
    fn new() -> Self {
        Self {
            lock: space(),
            files: [file(), file()],
            pages: std::vec![None; PAGES as usize],
        }
    }

    fn apply(&mut self, call: &Call) {
        match *call {
            Call::Map {
                start,
                pages,
                flags,
            } => {
                self.map(anonymous(start, start + pages, flags), None);
            }
            Call::MapFile {
                start,
                pages,
                file,
                base,
            } => {
                // Two bases, so that some neighbours continue each other and some do not.
                let new = mapped(&self.files[file], 0, (start, start + pages));
                let mut new = new;
                new.area.pgoff = addr::PgOff::new(new.area.pgoff.as_u64() + base * PAGES);
                self.map(new, Some(file));
            }
            Call::Unmap { start, pages } => {
                self.lock.unmap(start, start + pages);
                self.each(start, pages, |page| *page = None);
            }
            Call::Protect {
                start,
                pages,
                flags,
            } => {
                self.lock
                    .protect(start, start + pages, flags)
                    .expect("no limit is near");
                self.each(start, pages, |page| {
                    if let Some(page) = page {
                        page.flags = flags;
                    }
                });
                self.check_merged(start, pages);
            }
            Call::Name { start, pages, name } => self.name(start, pages, name),
            Call::Touch { page } => {
                if self.pages[page as usize].is_some() {
                    self.lock.touch(page);
                }
            }
        }
    }

    /// As MAP_FIXED does: what is there goes first.
    fn map(&mut self, new: NewArea, file: Option<usize>) {
        let (start, end) = pages(new.area.range);
        let (flags, pgoff) = (new.area.flags, new.area.pgoff.as_u64());
        self.lock.unmap(start, end);
        let placed = self.lock.map(new);
        assert!(placed.vma.range.contains_range(&span(start, end)));
        for page in start..end {
            let pgoff = pgoff + page - start;
            self.pages[page as usize] = Some(Page {
                flags,
                name: 0,
                file,
                pgoff,
            });
        }
        self.check_merged(start, end - start);
    }

    fn name(&mut self, start: u64, pages: u64, name: u8) {
        let as_text = (name > 0).then(|| Arc::<str>::from(std::format!("name {name}")));
        let mut held = self.lock.write();
        each_area(&mut held, span(start, start + pages), |vma| {
            Attributes::of(vma).with_name(as_text.clone())
        })
        .expect("no limit is near");
        drop(held);
        self.each(start, pages, |page| {
            if let Some(page) = page {
                page.name = name;
            }
        });
        self.check_merged(start, pages);
    }

    fn each(&mut self, start: u64, pages: u64, change: impl FnMut(&mut Option<Page>)) {
        self.pages[start as usize..(start + pages) as usize]
            .iter_mut()
            .for_each(change);
    }

    /// No two neighbours that the call touched could still be one (invariant 15).
    fn check_merged(&self, start: u64, pages: u64) {
        let tree = self.lock.snapshot();
        for page in start..=start + pages {
            let Some(next) = tree
                .find(at(page))
                .filter(|next| next.range.start() == at(page))
            else {
                continue;
            };
            let prev = tree
                .find_prev(at(page))
                .filter(|prev| prev.range.end() == at(page));
            assert!(
                prev.is_none_or(|prev| !could_merge(prev, next)),
                "unmerged at page {page}"
            );
        }
    }

    fn compare(&self) {
        let tree = self.lock.snapshot();
        check_tree(&tree);
        for (number, page) in (0u64..).zip(&self.pages) {
            let vma = tree.find(at(number));
            assert_eq!(vma.is_some(), page.is_some(), "page {number}");
            let (Some(vma), Some(page)) = (vma, page) else {
                continue;
            };
            assert_eq!(vma.flags(), page.flags);
            assert_eq!(
                vma.pgoff_of(at(number)).map(|pgoff| pgoff.as_u64()),
                Some(page.pgoff)
            );
            let name = vma
                .name
                .as_deref()
                .and_then(|name| name.bytes().last())
                .map(|c| c - b'0');
            assert_eq!(name.unwrap_or(0), page.name);
            let file = page.file.map(|file| &self.files[file]);
            assert!(object::file::same_open_file(vma.file.as_ref(), file));
        }
        self.check_rmap(&tree);
    }

    /// One link per area and object, no more and no less.
    fn check_rmap(&self, tree: &VmaTree) {
        for file in &self.files {
            let of_file = |vma: &&Arc<Vma>| {
                vma.file
                    .as_ref()
                    .is_some_and(|its| its.same_open_file(file))
            };
            assert_eq!(
                file.mappings().nr_mappings(),
                tree.iter().filter(of_file).count()
            );
        }
        for vma in tree.iter() {
            let Some(chain) = vma.anon_chain() else {
                continue;
            };
            let relatives = tree.iter().filter_map(|vma| vma.anon_chain());
            let count = relatives.filter(|other| other.same_anon_vma(chain)).count();
            assert_eq!(
                chain.own().counts().map(|counts| counts.nr_linked),
                Some(count)
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    // row: M11
    // row: A01
    // row: A04
    // row: A05
    // row: A09
    // row: A10
    // inv: 14
    // inv: 15
    // inv: 16
    #[test]
    fn areas_say_of_every_page_what_the_model_says(calls in proptest::collection::vec(call(), 1..60)) {
        let mut world = World::new();
        for call in &calls {
            world.apply(call);
            world.compare();
        }
        world.lock.unmap(0, PAGES);
        prop_assert!(world.lock.snapshot().is_empty());
        prop_assert_eq!(world.files.each_ref().map(|file| file.mappings().nr_mappings()), [0, 0]);
    }

    // row: A09
    #[test]
    fn merging_does_not_depend_on_the_order_of_mapping(order in Just((0..12u64).collect::<Vec<_>>()).prop_shuffle()) {
        let lock = space();
        let mut present = BTreeSet::new();
        for place in order {
            let _ = lock.map(anonymous(place * 3, place * 3 + 3, RW));
            present.insert(place);
            let runs = present.iter().filter(|place| !present.contains(&(*place + 1))).count();
            prop_assert_eq!(lock.read().tree().len(), runs);
        }
        prop_assert_eq!(lock.layout(), [(0, 36)]);
    }
}
