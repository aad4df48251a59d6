//! The host memory of one program as a cache of its `Mm`'s tables.
//!
//! A translation is filled by letting the keeper map a run of the arena, or of a file, at its
//! address, and forgotten by letting it unmap the run. What is filled is noted in [`Runs`], so that
//! most questions need no host call. Any thread may make host calls, with what is held locked.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use addr::{PAGE_SHIFT, PageSize, Prot, VirtAddr, VirtRange};
use machine::{AccessedDirty, Flush, FlushKind, FlushScope, Mmu, MmuCaps, TableUse, Translation};
use mm::{Mm, Target};
use object::device::DeviceSpace;
use sync::{Mutex, MutexGuard};

use crate::errands::{Errand, Errands};
use crate::habits::Habits;
use crate::held::Held;
use crate::in_flight::Named;
use crate::keeper::{Keeper, Workshop};
use crate::memory::{TASK_SIZE, WINDOW_BYTES};
use crate::readers::Readers;
use crate::runs::{Backing, Run, Runs};
use crate::special::Fate;
use crate::stats::HostCounts;
use crate::stub;
use crate::sys::Tid;
use crate::sys::userfault::Userfault;
use crate::watch::{Watch, Watcher};

/// What all spaces of a tree share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Makes keepers.
    pub(crate) workshop: Workshop,
    /// Files as device memory.
    pub(crate) devices: Arc<DeviceSpace>,
    /// What other threads want done by the tracing one.
    pub(crate) errands: Errands,
    /// Whether, in some space, what a call names may no longer be ready.
    pub(crate) disturbed: AtomicBool,
    /// What keepers have open of files to read them.
    pub(crate) readers: Readers,
    /// What its programs touched so far.
    pub(crate) habits: Mutex<Habits>,
    /// Who serves accesses that wait, if the host lets them.
    pub(crate) watcher: Option<Watcher>,
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

/// Whether a process may be looked at by others of its user (`SUID_DUMP_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dumpable {
    /// Not.
    No = 0,
    /// By those who may trace it.
    Yes = 1,
}

/// The host memory of one space.
#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) shared: Arc<Shared>,
    pub(crate) this: OnceLock<Weak<Space>>,
    /// Whose tables it caches.
    pub(crate) mm: OnceLock<Weak<Mm>>,
    pub(crate) held: Mutex<Held>,
    /// The keeper's number, also when it has been killed. It can be had while somebody waits for the
    /// keeper, which may wait for whoever asks.
    kept_by: Mutex<Option<Tid>>,
}

impl Space {
    /// A space without a keeper: nothing is filled in it until it has one.
    pub(crate) fn new(shared: &Arc<Shared>) -> Arc<Self> {
        let space = Arc::new(Self {
            shared: Arc::clone(shared),
            this: OnceLock::new(),
            mm: OnceLock::new(),
            held: Mutex::new(Held::default()),
            kept_by: Mutex::new(None),
        });
        let _ = space.this.set(Arc::downgrade(&space));
        space
    }

    /// It caches the tables of `mm`.
    pub(crate) fn caches(&self, mm: &Arc<Mm>) {
        let _once = self.mm.set(Arc::downgrade(mm));
    }

    /// Gives the space its keeper. `runs` is what the host has mapped in it already.
    pub(crate) fn begin(&self, keeper: Keeper, runs: Runs, stub: u64) {
        let mut held = self.held.lock();
        held.stub = stub;
        *self.kept_by.lock() = Some(keeper.tid());
        held.keeper = Some(keeper);
        held.runs = runs;
        held.settle();
    }

    /// Notes what the host has mapped in a space that was just copied and has no keeper yet. What is
    /// to be forgotten before it has one, it then owes.
    pub(crate) fn inherit(&self, parent: &Self) {
        let (runs, stub) = (parent.runs(), parent.stub());
        let (next_file, watch, inherited) = {
            let held = parent.held.lock();
            let inherited = (held.shut.clone(), held.unwritten, held.habits.clone());
            (held.next_file, held.watch.clone(), inherited)
        };
        let mut held = self.held.lock();
        (held.shut, held.unwritten, held.habits) = inherited;
        if let (Some(watcher), Some(born)) =
            (&self.shared.watcher, watch.and_then(|w| w.take_born()))
        {
            held.watch = Some(Watch::new(Userfault::inherited(born), watcher.token()));
        }
        (held.runs, held.stub, held.next_file) = (runs, stub, next_file);
        held.owed = Some(Vec::new());
    }

    /// Where the stub is.
    pub(crate) fn stub(&self) -> u64 {
        self.held.lock().stub
    }

    /// Whether there is something of the stub at an address.
    pub(crate) fn is_in_stub(&self, address: u64) -> bool {
        address.wrapping_sub(self.stub()) < stub::BYTES
    }

    /// Who makes its host calls.
    pub(crate) fn keeper(&self) -> Option<Tid> {
        *self.kept_by.lock()
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

    /// From now until the answer is dropped the host need not forget anything: the caller lets nobody
    /// run in the space meanwhile. What is filled anew by then was never unmapped.
    pub(crate) fn hold_back(self: &Arc<Self>) -> HeldBack {
        self.held.lock().owed.get_or_insert_default();
        HeldBack(Arc::clone(self))
    }

    /// Whether the host lets itself be asked about the programs in the space, and dumps them.
    pub(crate) fn set_dumpable(&self, wanted: Dumpable) {
        let arguments = [libc::PR_SET_DUMPABLE as u64, wanted as u64, 0, 0, 0, 0];
        let _ = self.held.lock().call(libc::SYS_prctl, arguments);
    }

    /// Whether it does.
    pub(crate) fn is_dumpable(&self) -> bool {
        let arguments = [libc::PR_GET_DUMPABLE as u64, 0, 0, 0, 0, 0];
        let answer = self.held.lock().call(libc::SYS_prctl, arguments);
        answer.map_or(true, |value| value == Dumpable::Yes as i64)
    }

    /// What of the vDSO family is in `[start, end)` shares the fate of its areas.
    pub(crate) fn follow(&self, (start, end): (u64, u64), fate: Fate) {
        self.held.lock().follow((start, end), fate);
    }

    /// Makes the host forget `[start, end)`.
    pub(crate) fn forget(&self, start: u64, end: u64) {
        self.changing().forget(start, end);
    }

    /// Makes room for more host areas, but not at the cost of what lies around `[start, end)`.
    pub(crate) fn make_room(&self, start: u64, end: u64) {
        self.changing().make_room(around(start, end));
    }

    /// Notes that the call a thread is about to make names a range.
    pub(crate) fn name(&self, tid: Tid, named: Named) {
        self.held.lock().in_flight.name(tid, named);
    }

    /// A thread's last call is over.
    pub(crate) fn end_call(&self, tid: Tid) {
        self.held.lock().in_flight.end_call(tid);
    }

    /// A thread is gone, or in another space.
    pub(crate) fn end_thread(&self, tid: Tid) {
        self.held.lock().in_flight.end_thread(tid);
    }

    /// What a thread's last call names.
    pub(crate) fn named_by(&self, tid: Tid) -> Vec<Named> {
        self.held.lock().in_flight.of(tid).to_vec()
    }

    /// What may be done in `[start, end)` may have become more: what calls name there is looked at
    /// again.
    pub(crate) fn disturb(&self, start: u64, end: u64) {
        self.changing().in_flight.disturb(start, end);
    }

    /// Whether what a call names may no longer be ready.
    pub(crate) fn is_disturbed(&self) -> bool {
        self.held.lock().in_flight.is_disturbed()
    }

    /// What calls name and may no longer be ready.
    pub(crate) fn take_disturbed(&self) -> Vec<Named> {
        self.held.lock().in_flight.take_disturbed()
    }

    /// What the host holds, to change it: whoever serves the tree hears of it when something was
    /// changed under a call.
    pub(crate) fn changing(&self) -> Changing<'_> {
        Changing {
            shared: &self.shared,
            held: self.held.lock(),
        }
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
        *self.kept_by.lock() = None;
        if let (Some(watcher), Some(watch)) = (&self.shared.watcher, held.watch.take()) {
            watcher.remove(&watch);
        }
        held.keeper.take().map(|keeper| keeper.tid())
    }

    /// Does what a flush asks.
    pub(crate) fn flush_here(&self, kind: FlushKind, ranges: &[(u64, u64)]) {
        let mut held = self.changing();
        held.counts.nr_flushes += 1;
        for (start, end) in ranges {
            match kind {
                FlushKind::Forget => self.forget_under_calls(&mut held, *start, *end),
                FlushKind::WriteProtect => held.write_protect(*start, *end),
            }
        }
    }

    /// Makes the host forget `[start, end)`. Where calls under way name pages, those that our tables
    /// still have are exchanged for what they are now, so that a call never finds nothing in between:
    /// an mprotect must not be felt by who needs none of the rights that it takes.
    fn forget_under_calls(&self, held: &mut Held, start: u64, end: u64) {
        let mut from = start;
        let named = match held.watch.is_some() && held.owed.is_none() {
            // No call is noted: any may be under way.
            true => vec![(start, end.min(TASK_SIZE))],
            false => held.in_flight.named_in(start, end),
        };
        for (named, named_end) in named {
            let kept = self.translated(named, named_end);
            for run in kept {
                let (first, last) = (run.range.start().as_u64(), run.range.end().as_u64());
                held.forget_soon(from, first);
                from = first;
                if self.map_over(held, &[run]).is_ok() {
                    from = last;
                }
            }
            held.in_flight.disturb(named, named_end);
        }
        held.forget_soon(from, end);
    }

    /// What our tables have of a span.
    fn translated(&self, start: u64, end: u64) -> Vec<mm::Run> {
        let mut runs = Vec::new();
        let range = VirtRange::new(VirtAddr::new(start), VirtAddr::new(end.min(TASK_SIZE)));
        if let (Some(range), Some(mm)) = (range, self.mm.get().and_then(Weak::upgrade)) {
            mm.translations(range, |run| runs.push(run));
        }
        runs
    }
}

/// What the host holds of a space, being changed.
pub(crate) struct Changing<'a> {
    shared: &'a Shared,
    held: MutexGuard<'a, Held>,
}

impl Deref for Changing<'_> {
    type Target = Held;

    fn deref(&self) -> &Held {
        &self.held
    }
}

impl DerefMut for Changing<'_> {
    fn deref_mut(&mut self) -> &mut Held {
        &mut self.held
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        let errands = &self.shared.errands;
        if self.held.in_flight.is_disturbed()
            && !self.shared.disturbed.swap(true, Ordering::AcqRel)
            && !errands.is_tracing_thread()
        {
            errands.post(Errand::Disturbed);
        }
    }
}

/// What is being filled with `[start, end)`, and what may have been just before.
pub(crate) fn around(start: u64, end: u64) -> (u64, u64) {
    (
        start.saturating_sub(WINDOW_BYTES),
        end.saturating_add(WINDOW_BYTES),
    )
}

/// Nobody runs in the space while this lives; its end makes the host forget what it has to.
#[must_use = "what the host has to forget is forgotten when this is dropped"]
#[derive(Debug)]
pub(crate) struct HeldBack(Arc<Space>);

impl Drop for HeldBack {
    fn drop(&mut self) {
        self.0.held.lock().settle();
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
                self.flush_here(
                    flush.kind,
                    &[(range.start().as_u64(), range.end().as_u64())],
                );
            }
            _ => self.flush_here(flush.kind, &spans(flush)),
        }
    }

    /// A page that is filled is exchanged by one host call; one that is not stays so.
    fn replace(&self, addr: VirtAddr, new: Translation) {
        let start = addr.align_down().as_u64();
        let Some(range) = VirtRange::page_of(addr) else {
            return;
        };
        let mut held = self.changing();
        if held.runs.at(start).is_none() {
            return;
        }
        if held.owed.is_some() {
            return held.forget_soon(start, range.end().as_u64());
        }
        let run = mm::Run {
            range,
            target: target_of(new),
            prot: new.prot,
        };
        if self.fill_parts(&mut held, &[run]).is_err() {
            held.forget(start, range.end().as_u64());
        }
    }
}

fn target_of(translation: Translation) -> Target {
    let pfn = translation.pfn;
    if object::device::is_device(pfn) {
        Target::Device(pfn)
    } else {
        Target::Arena(pfn)
    }
}

/// The run of the stub's pages at `stub`.
pub(crate) fn stub_run(stub: u64) -> Run {
    Run {
        start: stub,
        end: stub + stub::BYTES,
        prot: Prot::READ | Prot::EXEC,
        backing: Backing::Host,
    }
}

const _: () = assert!(1 << PAGE_SHIFT == stub::PAGE_BYTES);
