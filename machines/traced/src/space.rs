//! The host memory of one program as a cache of its `Mm`'s tables.
//!
//! A translation is filled by letting the keeper map a run of the arena, or of a file, at its
//! address, and forgotten by letting it unmap the run. What is filled is noted in [`Runs`], so that
//! most questions need no host call. All host calls are made by the tracing thread; another thread
//! that wants something forgotten leaves an errand and waits.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, OnceLock};

use addr::{PAGE_SHIFT, PageSize, Prot, VirtAddr, VirtRange};
use machine::{AccessedDirty, Flush, FlushKind, FlushScope, Mmu, MmuCaps, TableUse, Translation};
use mm::Target;
use object::InodeId;
use object::device::{DeviceSpace, HostRights};
use sync::Mutex;

use crate::errands::{Errand, Errands};
use crate::keeper::{Keeper, Workshop};
use crate::memory::TASK_SIZE;
use crate::runs::{Backing, Run, Runs};
use crate::stats::HostCounts;
use crate::sys::{Gone, Tid, descriptor};
use crate::{files, stub};

/// The most host areas a space may have before all of them are forgotten; the host's own limit is
/// 65,530.
const NR_RUNS_MAX: usize = 60_000;

/// Where the stub page is looked a new place for.
const NR_STUB_PLACES: u64 = 4096;
const STUB_STEP: u64 = 1 << 20;

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

#[derive(Debug, Default)]
struct Held {
    keeper: Option<Keeper>,
    runs: Runs,
    stub: u64,
    files: HashMap<(InodeId, HostRights), KeptFile>,
    /// What the next file that the keeper gets is called in `runs`.
    next_file: u32,
    /// Whether the last run has gone of a file that a program opened to write, since that was asked.
    has_left_writer: bool,
    counts: HostCounts,
}

/// A file that the keeper has open. Once mapped, it could be closed: what it is called in the runs is
/// never given to another file, in this space or in one copied from it, while its number may be.
#[derive(Clone, Copy, Debug)]
struct KeptFile {
    called: u32,
    number: u32,
    /// How the program opened what this came from.
    opened: HostRights,
}

fn host_bits(prot: Prot) -> u64 {
    u64::from((prot & (Prot::READ | Prot::WRITE | Prot::EXEC)).bits())
}

impl Held {
    fn call(&mut self, number: i64, arguments: [u64; 6]) -> Result<i64, Gone> {
        let keeper = self.keeper.as_mut().ok_or(Gone)?;
        self.counts.host_calls += 1;
        let answer = keeper.call(number, arguments);
        if answer.is_err() {
            self.keeper = None;
        }
        answer
    }

    fn map(&mut self, run: Run) -> Result<(), Unfilled> {
        let (descriptor, offset) = match run.backing {
            Backing::Arena(offset) => (self.keeper.as_ref().ok_or(Unfilled::Dead)?.arena(), offset),
            Backing::File(called, offset) => {
                let number = self.number_of(called).ok_or(Unfilled::NoSuchPage)?;
                (number, offset)
            }
            Backing::Host => return Err(Unfilled::NoSuchPage),
        };
        let populate = match run.backing {
            Backing::Arena(_) => libc::MAP_POPULATE,
            _ => 0,
        };
        let flags = (libc::MAP_SHARED | libc::MAP_FIXED | populate) as u64;
        let bytes = run.end - run.start;
        let arguments = [
            run.start,
            bytes,
            host_bits(run.prot),
            flags,
            u64::from(descriptor),
            offset,
        ];
        let answer = self
            .call(libc::SYS_mmap, arguments)
            .map_err(|Gone| Unfilled::Dead)?;
        if answer != run.start as i64 {
            self.runs.remove(run.start, run.end);
            self.close_unused();
            return Err(Unfilled::Refused(answer.unsigned_abs() as i32));
        }
        self.runs.insert(run);
        if self.runs.take_has_lost_file() {
            self.close_unused();
        }
        Ok(())
    }

    /// A program puts something where the stub page is: it goes where the host has nothing. Should
    /// the program have something there, the page is moved again when that is filled.
    fn move_stub(&mut self) -> Result<(), Unfilled> {
        let (from, runs) = (self.stub, &self.runs);
        let is_free = |at: &u64| runs.within(*at, at + stub::BYTES).next().is_none();
        let places = (1..NR_STUB_PLACES).map(|step| from + step * STUB_STEP);
        let to = places
            .filter(|at| *at < TASK_SIZE)
            .find(is_free)
            .ok_or(Unfilled::OfTheHost)?;
        let keeper = self.keeper.as_mut().ok_or(Unfilled::Dead)?;
        keeper.move_stub(from, to).map_err(|Gone| Unfilled::Dead)?;
        self.runs.remove(from, from + stub::BYTES);
        self.runs.insert(stub_run(to));
        self.stub = to;
        self.call(libc::SYS_munmap, [from, stub::BYTES, 0, 0, 0, 0])
            .map_err(|Gone| Unfilled::Dead)?;
        Ok(())
    }

    fn forget(&mut self, start: u64, end: u64) {
        for (start, end) in self.runs.forgettable(start, end) {
            self.runs.remove(start, end);
            let _ = self.call(libc::SYS_munmap, [start, end - start, 0, 0, 0, 0]);
        }
        if self.runs.take_has_lost_file() {
            self.close_unused();
        }
    }

    /// Closes the files that nothing is mapped of any more: an open file holds locks, and keeps others
    /// from running the file, or from sealing it, or its memory from going.
    fn close_unused(&mut self) {
        let runs = &self.runs;
        let unused = self
            .files
            .extract_if(|_, file| !runs.has_file(file.called))
            .map(|(_, file)| file);
        for file in unused.collect::<Vec<KeptFile>>() {
            self.has_left_writer |= file.opened == HostRights::ReadWrite;
            let _ = self.call(libc::SYS_close, [u64::from(file.number), 0, 0, 0, 0, 0]);
        }
    }

    fn write_protect(&mut self, start: u64, end: u64) {
        for (start, end, prot) in self.runs.writable(start, end) {
            let bits = host_bits(prot - Prot::WRITE);
            let answer = self.call(libc::SYS_mprotect, [start, end - start, bits, 0, 0, 0]);
            if answer == Ok(0) {
                self.runs.write_protect(start, end);
            } else {
                self.forget(start, end);
            }
        }
    }

    fn number_of(&self, called: u32) -> Option<u32> {
        let mut files = self.files.values();
        files
            .find(|file| file.called == called)
            .map(|file| file.number)
    }

    /// Closes what the keeper has open but the arena. What is mapped stays mapped.
    fn close_files(&mut self) {
        for (_, file) in std::mem::take(&mut self.files) {
            let _ = self.call(libc::SYS_close, [u64::from(file.number), 0, 0, 0, 0, 0]);
        }
    }

    /// What an open file of the page's, with these rights, is called: one that is only read is no
    /// writer in the eyes of those who seal or run it, and holds no locks. The keeper gets it if
    /// it has none; should its table be full, what it has had open so far is closed.
    fn file(
        &mut self,
        shared: &Shared,
        page: &object::device::DevicePage,
        rights: HostRights,
    ) -> Result<u32, Unfilled> {
        let inode = page.pagemap.inode();
        if let Some(kept) = self.files.get(&(inode, rights)) {
            return Ok(kept.called);
        }
        let file = page.pagemap.file(rights).ok_or(Unfilled::NoSuchPage)?;
        let number = files::with_descriptor(&*file, |descriptor: BorrowedFd<'_>| {
            let reader = match rights {
                HostRights::Read => descriptor::reopen_to_read(descriptor).ok(),
                HostRights::ReadWrite => None,
            };
            let descriptor = reader.as_ref().map_or(descriptor, AsFd::as_fd);
            let first = self.install(shared, descriptor);
            if first == Err(Unfilled::Refused(libc::EMFILE)) && !self.files.is_empty() {
                self.close_files();
                return self.install(shared, descriptor);
            }
            first
        })
        .ok_or(Unfilled::NoSuchPage)??;
        let called = self.next_file;
        self.next_file = called.wrapping_add(1);
        let kept = KeptFile {
            called,
            number,
            opened: file.rights(),
        };
        self.files.insert((inode, rights), kept);
        Ok(called)
    }

    /// Installs a descriptor in the keeper's table; its number there.
    fn install(&mut self, shared: &Shared, descriptor: BorrowedFd<'_>) -> Result<u32, Unfilled> {
        let keeper = self.keeper.as_mut().ok_or(Unfilled::Dead)?;
        self.counts.host_calls += 1;
        let Ok(answer) = keeper.install(&shared.workshop, descriptor) else {
            self.keeper = None;
            return Err(Unfilled::Dead);
        };
        u32::try_from(answer).map_err(|_| Unfilled::Refused(answer.unsigned_abs() as i32))
    }

    fn backing(
        &mut self,
        shared: &Shared,
        target: Target,
        prot: Prot,
    ) -> Result<Backing, Unfilled> {
        match target {
            Target::Arena(pfn) => Ok(Backing::Arena(pfn.phys_addr())),
            Target::Device(pfn) => {
                let page = shared.devices.page(pfn).ok_or(Unfilled::NoSuchPage)?;
                let rights = if prot.contains(Prot::WRITE) {
                    HostRights::ReadWrite
                } else {
                    HostRights::Read
                };
                let called = self.file(shared, &page, rights)?;
                let offset = page.pgoff.bytes().ok_or(Unfilled::NoSuchPage)?;
                Ok(Backing::File(called, offset))
            }
        }
    }
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
