//! What one CPU remembers.

use addr::{PAGE_SHIFT, PAGE_SIZE, Pfn, VirtAddr, VirtRange};
use machine::FlushKind;
use pgtable::EntryFlags;

/// Sets; a page's number chooses one.
const SETS: usize = 64;
/// Entries of a set.
const WAYS: usize = 4;

/// The number of a space. Never used twice, so no entry of a space that is gone can hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpaceId(pub(crate) u64);

/// A remembered translation of one 4 KiB page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cached {
    space: SpaceId,
    page: u64,
    pub(crate) pfn: Pfn,
    /// Rights of the whole walk, and the leaf's key and dirty bit.
    pub(crate) flags: EntryFlags,
}

impl Cached {
    pub(crate) const fn new(space: SpaceId, addr: VirtAddr, pfn: Pfn, flags: EntryFlags) -> Self {
        Self {
            space,
            page: addr.as_u64() >> PAGE_SHIFT,
            pfn,
            flags,
        }
    }
}

/// How often a CPU's TLB helped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlbStats {
    /// Accesses that found their translation.
    pub hits: u64,
    /// Walks of the tables.
    pub walks: u64,
    /// Flushes that reached this CPU.
    pub flushes: u64,
}

/// A set-associative TLB, its entries tagged by space.
#[derive(Debug)]
pub(crate) struct Tlb {
    sets: Box<[[Option<Cached>; WAYS]; SETS]>,
    /// The way that the next insertion takes when a set is full.
    victim: usize,
    pub(crate) stats: TlbStats,
}

impl Tlb {
    pub(crate) fn new() -> Self {
        Self {
            sets: Box::new([[None; WAYS]; SETS]),
            victim: 0,
            stats: TlbStats::default(),
        }
    }

    pub(crate) fn lookup(&self, space: SpaceId, addr: VirtAddr) -> Option<Cached> {
        let page = addr.as_u64() >> PAGE_SHIFT;
        let mut ways = self.sets[set_of(page)].iter().flatten();
        ways.find(|cached| cached.page == page && cached.space == space)
            .copied()
    }

    pub(crate) fn insert(&mut self, new: Cached) {
        let set = &mut self.sets[set_of(new.page)];
        let same = |cached: &Cached| cached.page == new.page && cached.space == new.space;
        let way = set
            .iter()
            .position(|way| way.as_ref().is_some_and(same))
            .or_else(|| set.iter().position(Option::is_none))
            .unwrap_or(self.victim);
        set[way] = Some(new);
        self.victim = (self.victim + 1) % WAYS;
    }

    /// Forgets, or stops writing through, what it remembers of `range`.
    pub(crate) fn flush_range(&mut self, space: SpaceId, range: VirtRange, kind: FlushKind) {
        if range.bytes() <= PAGE_SIZE * SETS as u64 {
            for addr in range.page_addrs() {
                let page = addr.as_u64() >> PAGE_SHIFT;
                let set = &mut self.sets[set_of(page)];
                drop_matching(set, kind, |cached| {
                    cached.page == page && cached.space == space
                });
            }
        } else {
            let first = range.start().as_u64() >> PAGE_SHIFT;
            let pages = first..first + range.pages();
            for set in &mut self.sets[..] {
                drop_matching(set, kind, |cached| {
                    cached.space == space && pages.contains(&cached.page)
                });
            }
        }
    }

    /// Forgets, or stops writing through, all it remembers of `space`.
    pub(crate) fn flush_space(&mut self, space: SpaceId, kind: FlushKind) {
        for set in &mut self.sets[..] {
            drop_matching(set, kind, |cached| cached.space == space);
        }
    }
}

const fn set_of(page: u64) -> usize {
    page as usize % SETS
}

fn drop_matching(
    set: &mut [Option<Cached>; WAYS],
    kind: FlushKind,
    matches: impl Fn(&Cached) -> bool,
) {
    for way in set.iter_mut() {
        if let Some(cached) = way
            && matches(cached)
        {
            match kind {
                FlushKind::Forget => *way = None,
                FlushKind::WriteProtect => {
                    cached.flags -= EntryFlags::WRITABLE | EntryFlags::DIRTY;
                }
            }
        }
    }
}
