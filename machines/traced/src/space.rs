//! The host memory of one program as a cache of its `Mm`'s tables.
//!
//! A translation is filled by letting the keeper map a run of the arena, or of a file, at its
//! address, and forgotten by letting it unmap the run. What is filled is noted in [`Runs`], so that
//! most questions need no host call. All host calls are made by the tracing thread; another thread
//! that wants something forgotten leaves an errand and waits.

use std::sync::{Arc, OnceLock};

use addr::{PAGE_SHIFT, PageSize, Prot, VirtAddr, VirtRange};
use machine::{AccessedDirty, Flush, FlushKind, FlushScope, Mmu, MmuCaps, TableUse, Translation};
use mm::Target;
use object::device::DeviceSpace;
use sync::Mutex;

use crate::errands::{Errand, Errands};
use crate::held::Held;
use crate::keeper::{Keeper, Workshop};
use crate::runs::{Backing, Run, Runs};
use crate::stats::HostCounts;
use crate::stub;
use crate::sys::Tid;

/// The most host areas a space may have before all of them are forgotten; the host's own limit is
/// 65,530.
const NR_RUNS_MAX: usize = 60_000;

/// What all spaces of a tree share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Makes keepers.
    pub(crate) workshop: Workshop,
    /// Files as device memory.
    pub(crate) devices: Arc<DeviceSpace>,
    /// What other threads want done by the tracing one.
    pub(crate) errands: Errands,
}

/// Why something could not be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfilled {
    /// The space is being taken down.
    Dead,
    /// The host refused with this errno.
    Refused(i32),
    /// The host's own pages are in the way.
    OfTheHost,
    /// The page is no memory that the host could map.
    NoSuchPage,
}

/// The host memory of one space.
#[derive(Debug)]
pub(crate) struct Space {
    shared: Arc<Shared>,
    this: OnceLock<std::sync::Weak<Space>>,
    held: Mutex<Held>,
}

impl Space {
    /// A space without a keeper: nothing is filled in it until it has one.
    pub(crate) fn new(shared: &Arc<Shared>) -> Arc<Self> {
        let space = Arc::new(Self {
            shared: Arc::clone(shared),
            this: OnceLock::new(),
            held: Mutex::new(Held::default()),
        });
        let _ = space.this.set(Arc::downgrade(&space));
        space
    }

    /// Gives the space its keeper. `runs` is what the host has mapped in it already.
    pub(crate) fn begin(&self, keeper: Keeper, runs: Runs, stub: u64) {
        let mut held = self.held.lock();
        held.stub = stub;
        held.keeper = Some(keeper);
        held.runs = runs;
    }

    /// Notes what the host has mapped in a space that was just copied and has no keeper yet.
    pub(crate) fn inherit(&self, parent: &Self) {
        let (runs, stub) = (parent.runs(), parent.stub());
        let next_file = parent.held.lock().next_file;
        let mut held = self.held.lock();
        (held.runs, held.stub, held.next_file) = (runs, stub, next_file);
    }

    /// Where the stub page is.
    pub(crate) fn stub(&self) -> u64 {
        self.held.lock().stub
    }

    /// What the host has mapped now.
    pub(crate) fn runs(&self) -> Runs {
        self.held.lock().runs.clone()
    }

    /// What was asked of the host so far.
    pub(crate) fn counts(&self) -> HostCounts {
        let held = self.held.lock();
        let mut counts = held.counts;
        counts.nr_runs = held.runs.len() as u64;
        counts.nr_pages = held.runs.nr_pages();
        counts
    }

    /// The first address in `[start, end)` at which the host would refuse an access.
    pub(crate) fn first_refused(&self, start: u64, end: u64, wanted: Prot) -> Option<u64> {
        self.held.lock().runs.first_refused(start, end, wanted)
    }

    /// What the host would let an access to `address` do.
    pub(crate) fn rights_at(&self, address: u64) -> Option<Prot> {
        self.held.lock().runs.at(address).map(|run| run.prot)
    }

    /// Fills `range`, whose pages are `target` and what follows it.
    pub(crate) fn fill(
        &self,
        range: VirtRange,
        target: Target,
        prot: Prot,
    ) -> Result<(), Unfilled> {
        let mut held = self.held.lock();
        let (start, end) = (range.start().as_u64(), range.end().as_u64());
        if held.stub < end && start < held.stub + stub::BYTES {
            held.move_stub()?;
        }
        let in_the_way = |run: Run| run.backing == Backing::Host;
        if held.runs.within(start, end).any(in_the_way) {
            return Err(Unfilled::OfTheHost);
        }
        if held.runs.len() >= NR_RUNS_MAX {
            held.forget(0, u64::MAX);
            held.counts.nr_all_forgotten += 1;
        }
        let backing = held.backing(&self.shared, target, prot)?;
        held.counts.nr_fills += 1;
        held.map(Run {
            start,
            end,
            prot,
            backing,
        })
    }

    /// Makes the host forget `[start, end)`.
    pub(crate) fn forget(&self, start: u64, end: u64) {
        self.held.lock().forget(start, end);
    }

    /// Whether the last run has gone of a file that a program opened to write, since this was asked
    /// last. If no area is of it any more, what Recto has open of it has to go before the program
    /// goes on: it may lock it, seal it or run it.
    pub(crate) fn take_has_left_writer(&self) -> bool {
        std::mem::take(&mut self.held.lock().has_left_writer)
    }

    /// Takes the keeper out: from now on nothing is filled, and there is nothing to forget. The
    /// memory goes when the last task in it does.
    pub(crate) fn end(&self) -> Option<Tid> {
        let mut held = self.held.lock();
        held.runs = Runs::default();
        held.keeper.take().map(|keeper| keeper.tid())
    }

    /// Does what a flush asks, on the tracing thread.
    pub(crate) fn flush_here(&self, kind: FlushKind, ranges: &[(u64, u64)]) {
        let mut held = self.held.lock();
        held.counts.nr_flushes += 1;
        for (start, end) in ranges {
            match kind {
                FlushKind::Forget => held.forget(*start, *end),
                FlushKind::WriteProtect => held.write_protect(*start, *end),
            }
        }
    }

    fn flush(&self, kind: FlushKind, ranges: &[(u64, u64)]) {
        if self.shared.errands.is_tracing_thread() {
            return self.flush_here(kind, ranges);
        }
        if let Some(space) = self.this.get().and_then(std::sync::Weak::upgrade) {
            self.shared.errands.send(Errand::Flush {
                space,
                kind,
                ranges: ranges.to_vec(),
            });
        }
    }
}

/// The spans a flush is about.
fn spans(flush: &Flush<'_>) -> Vec<(u64, u64)> {
    match flush.scope {
        FlushScope::Space => vec![(0, u64::MAX)],
        FlushScope::Ranges(ranges) => ranges
            .iter()
            .map(|range| (range.start().as_u64(), range.end().as_u64()))
            .collect(),
    }
}

impl Mmu for Space {
    fn caps(&self) -> MmuCaps {
        MmuCaps {
            tables: TableUse::FilledBySoftware,
            accessed_dirty: AccessedDirty::SetByFaults,
            max_page: PageSize::Size4K,
        }
    }

    /// Nothing: what a fault installed is filled when it has been handled, in as few runs as
    /// possible.
    fn update_mmu_cache(&self, _range: VirtRange) {}

    fn flush_tlb(&self, flush: &Flush<'_>) {
        match flush.scope {
            FlushScope::Ranges([range]) => {
                self.flush(
                    flush.kind,
                    &[(range.start().as_u64(), range.end().as_u64())],
                );
            }
            _ => self.flush(flush.kind, &spans(flush)),
        }
    }

    /// A page that is filled is exchanged by one host call; one that is not stays so.
    fn replace(&self, addr: VirtAddr, new: Translation) {
        let start = addr.align_down().as_u64();
        let Some(range) = VirtRange::page_of(addr) else {
            return;
        };
        if !self.shared.errands.is_tracing_thread() {
            return self.flush(FlushKind::Forget, &[(start, range.end().as_u64())]);
        }
        if self.rights_at(start).is_none() {
            return;
        }
        let filled = match target_of(new) {
            Some(target) => self.fill(range, target, new.prot),
            None => Err(Unfilled::NoSuchPage),
        };
        if filled.is_err() {
            self.forget(start, range.end().as_u64());
        }
    }
}

fn target_of(translation: Translation) -> Option<Target> {
    let pfn = translation.pfn;
    Some(if object::device::is_device(pfn) {
        Target::Device(pfn)
    } else {
        Target::Arena(pfn)
    })
}

/// The run of the stub page at `stub`.
pub(crate) fn stub_run(stub: u64) -> Run {
    Run {
        start: stub,
        end: stub + stub::BYTES,
        prot: Prot::READ | Prot::EXEC,
        backing: Backing::Host,
    }
}

const _: () = assert!(1 << PAGE_SHIFT == stub::BYTES);
