//! What the host holds of one space, and the host calls that change it: all through the keeper.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use addr::Prot;
use mm::Target;
use object::InodeId;
use object::device::HostRights;

use crate::cover::{Others, Unwritten};
use crate::habits::Own;
use crate::in_flight::InFlight;
use crate::keeper::{Keeper, ZEROES_BYTES};
use crate::memory::TASK_SIZE;
use crate::orders::{Order, Unexpected};
use crate::runs::{Backing, Run, Runs};
use crate::space::{Shared, Unfilled, stub_run};
use crate::stats::HostCounts;
use crate::stub;
use crate::sys::Gone;
use crate::sys::descriptor::with_descriptor;
use crate::watch::Watch;

/// The most host areas a space may have before room is made for more; the host's own limit is
/// 65,530.
pub(crate) const NR_RUNS_MAX: usize = 60_000;
/// Where the stub is looked a new place for.
const NR_STUB_PLACES: u64 = 4096;
const STUB_STEP: u64 = 1 << 20;

/// What the host holds of a space.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Makes the host calls; none before the space has begun, and after its end.
    pub(crate) keeper: Option<Keeper>,
    /// What the host has mapped.
    pub(crate) runs: Runs,
    /// What calls name of it.
    pub(crate) in_flight: InFlight,
    /// Where the stub is.
    pub(crate) stub: u64,
    files: HashMap<(InodeId, HostRights), KeptFile>,
    /// The number of the file of zeroes, once the keeper has it.
    zeroes: Option<u32>,
    /// What the next file that the keeper gets is called in `runs`.
    pub(crate) next_file: u32,
    /// Whether the last run has gone of a file that a program opened to write, since that was asked.
    pub(crate) has_left_writer: bool,
    /// Who hears of accesses that wait, if they can.
    pub(crate) watch: Option<Arc<Watch>>,
    /// What becomes of pages of files that a program may write and has only read.
    pub(crate) unwritten: Unwritten,
    /// Whose habits are taken up in the space, and with which files they have been.
    pub(crate) habits: Own,
    /// The pages at which the host refuses what our tables do.
    pub(crate) shut: BTreeSet<u64>,
    /// While nobody runs in the space: what the host has to forget before somebody does.
    pub(crate) owed: Option<Vec<(u64, u64)>>,
    /// What was asked of the host.
    pub(crate) counts: HostCounts,
}

/// A file that the keeper has open. Once mapped, it could be closed: what it is called in the runs is
/// never given to another file, in this space or in one copied from it, while its number may be.
#[derive(Debug)]
struct KeptFile {
    called: u32,
    number: u32,
    /// How the program opened what this came from.
    opened: HostRights,
    /// What other keepers may get.
    _reader: Option<Arc<OwnedFd>>,
}

/// Rights as the host takes them.
pub(crate) fn host_bits(prot: Prot) -> u64 {
    u64::from((prot & (Prot::READ | Prot::WRITE | Prot::EXEC)).bits())
}

impl Held {
    pub(crate) fn call(&mut self, number: i64, arguments: [u64; 6]) -> Result<i64, Gone> {
        let keeper = self.keeper.as_mut().ok_or(Gone)?;
        self.counts.host_calls += 1;
        let answer = keeper.call(number, arguments);
        if answer.is_err() {
            self.keeper = None;
        }
        answer
    }

    /// Lets the keeper make calls; those that did not go as expected.
    pub(crate) fn make(&mut self, orders: &[Order]) -> Result<Vec<Unexpected>, Gone> {
        let keeper = self.keeper.as_mut().ok_or(Gone)?;
        self.counts.host_calls += orders.len() as u64;
        let unexpected = keeper.all(orders);
        if unexpected.is_err() {
            self.keeper = None;
        }
        unexpected
    }

    /// Lets the keeper map runs, all that it can, and notes them.
    pub(crate) fn map(&mut self, runs: &[Run]) -> Result<(), Unfilled> {
        let (mut wanted, mut orders, mut outcome) = (Vec::new(), Vec::new(), Ok(()));
        for run in runs {
            if self.is_only_protected(run)
                && let Some(watch) = &self.watch
                && watch.descriptor().allow_writes(run.start, run.end).is_ok()
            {
                self.runs.insert(*run);
                continue;
            }
            match self.order_to_map(run) {
                Ok(order) => {
                    wanted.push(*run);
                    orders.push(order);
                }
                Err(unfilled) => outcome = outcome.and(Err(unfilled)),
            }
        }
        let unexpected = self.make(&orders).map_err(|Gone| Unfilled::Dead)?;
        for unexpected in unexpected.iter().rev() {
            let run = wanted.remove(unexpected.nth);
            self.runs.remove(run.start, run.end);
            self.in_flight.disturb(run.start, run.end);
            outcome = Err(Unfilled::Refused(unexpected.errno()));
        }
        for run in &wanted {
            self.runs.insert(*run);
            self.take_shut(run.start, run.end);
        }
        self.let_writes_wait(&wanted);
        if self.runs.take_has_lost_file() || outcome.is_err() {
            self.close_unused();
        }
        outcome
    }

    fn order_to_map(&self, run: &Run) -> Result<Order, Unfilled> {
        let (descriptor, offset) = match run.backing {
            Backing::Arena(offset) => (self.keeper.as_ref().ok_or(Unfilled::Dead)?.arena(), offset),
            Backing::File(called, offset) => {
                let number = self.number_of(called).ok_or(Unfilled::NoSuchPage)?;
                (number, offset)
            }
            Backing::Zeroes(offset) => (self.zeroes.ok_or(Unfilled::NoSuchPage)?, offset),
            Backing::Host => return Err(Unfilled::NoSuchPage),
        };
        let populate = match run.backing {
            Backing::Arena(_) | Backing::Zeroes(_) => libc::MAP_POPULATE,
            _ => 0,
        };
        let flags = (libc::MAP_SHARED | libc::MAP_FIXED | populate) as u64;
        let (bytes, bits) = (run.end - run.start, host_bits(run.prot));
        let arguments = [run.start, bytes, bits, flags, u64::from(descriptor), offset];
        Ok(Order::new(libc::SYS_mmap, arguments).expecting(run.start))
    }

    /// A program puts something where the stub is: it goes where the host has nothing. Should
    /// the program have something there, it is moved again when that is filled.
    pub(crate) fn move_stub(&mut self) -> Result<(), Unfilled> {
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
        self.take_away(&[(from, from + stub::BYTES)], Others::Run);
        Ok(())
    }

    /// Lets the keeper unmap what Recto filled between two addresses.
    pub(crate) fn forget(&mut self, start: u64, end: u64) {
        let taken = self.runs.forgettable(start, end);
        for (start, end) in &taken {
            self.runs.remove(*start, *end);
            self.in_flight.disturb(*start, *end);
        }
        self.take_away(&taken, Others::Run);
        if self.runs.take_has_lost_file() {
            self.close_unused();
        }
    }

    /// Makes room for more runs: all are forgotten but those that calls name or `spared` has, since
    /// nobody can fill those again in time. Should that not be enough, they go too.
    pub(crate) fn make_room(&mut self, spared: (u64, u64)) {
        self.counts.nr_all_forgotten += 1;
        for (start, end) in self.in_flight.spans_between(spared) {
            self.forget(start, end);
        }
        if self.runs.len() >= self.nr_runs_max() {
            self.forget(0, u64::MAX);
        }
    }

    /// The host is to forget `[start, end)`: later, if nobody runs in the space until then.
    pub(crate) fn forget_soon(&mut self, start: u64, end: u64) {
        match &mut self.owed {
            Some(owed) => {
                for (start, end) in self.runs.forgettable(start, end) {
                    owed.push((start, end));
                    self.runs.remove(start, end);
                    self.in_flight.disturb(start, end);
                }
            }
            None => self.forget(start, end),
        }
    }

    /// Forgets what is owed, but for what has been filled anew since.
    pub(crate) fn settle(&mut self) {
        let mut gaps = Vec::new();
        for (start, end) in self.owed.take().unwrap_or_default() {
            gaps.extend(self.runs.gaps(start, end));
        }
        self.take_away(&gaps, Others::Rest);
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
        let mut orders = Vec::new();
        for file in unused {
            self.has_left_writer |= file.opened == HostRights::ReadWrite;
            orders.push(Order::close(file.number));
        }
        let _ = self.make(&orders);
    }

    /// Takes the right to write from what is filled between two addresses.
    pub(crate) fn write_protect(&mut self, start: u64, end: u64) {
        if let Some(watch) = self.watch.clone() {
            return self.protect_watched(&watch, start, end);
        }
        let spans = self.runs.writable(start, end);
        let protecting = |(start, end, prot): &(u64, u64, Prot)| {
            Order::mprotect(*start, *end, host_bits(*prot - Prot::WRITE))
        };
        let orders: Vec<Order> = spans.iter().map(protecting).collect();
        let unexpected = self.make(&orders);
        for (nth, (start, end, _)) in spans.into_iter().enumerate() {
            let is_done = |unexpected: &Vec<Unexpected>| unexpected.iter().all(|u| u.nth != nth);
            if unexpected.as_ref().is_ok_and(is_done) {
                self.runs.write_protect(start, end);
                self.in_flight.disturb(start, end);
            } else {
                self.forget_soon(start, end);
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
        let files = std::mem::take(&mut self.files).into_values();
        let orders: Vec<Order> = files.map(|file| Order::close(file.number)).collect();
        let _ = self.make(&orders);
    }

    /// What an open file of the page's, with these rights, is called: one that is only read is no
    /// writer in the eyes of those who seal or run it, and holds no locks. The keeper gets it if
    /// it has none.
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
        let install = |descriptor: BorrowedFd<'_>| self.install(shared, descriptor);
        let (number, reader) = match rights {
            HostRights::Read => shared.readers.lend(&*file, install),
            HostRights::ReadWrite => with_descriptor(&*file, install).map(|number| (number, None)),
        }
        .ok_or(Unfilled::NoSuchPage)?;
        let number = number?;
        let called = self.next_file;
        self.next_file = called.wrapping_add(1);
        let kept = KeptFile {
            called,
            number,
            opened: file.rights(),
            _reader: reader,
        };
        self.files.insert((inode, rights), kept);
        Ok(called)
    }

    /// Installs a descriptor in the keeper's table; its number there. Should the table be full, what
    /// the keeper has had open of files so far is closed.
    fn install(&mut self, shared: &Shared, descriptor: BorrowedFd<'_>) -> Result<u32, Unfilled> {
        let first = self.try_install(shared, descriptor);
        if first == Err(Unfilled::Refused(libc::EMFILE)) && !self.files.is_empty() {
            self.close_files();
            return self.try_install(shared, descriptor);
        }
        first
    }

    fn try_install(
        &mut self,
        shared: &Shared,
        descriptor: BorrowedFd<'_>,
    ) -> Result<u32, Unfilled> {
        let keeper = self.keeper.as_mut().ok_or(Unfilled::Dead)?;
        self.counts.host_calls += 1;
        let Ok(answer) = keeper.install(&shared.workshop, descriptor) else {
            self.keeper = None;
            return Err(Unfilled::Dead);
        };
        u32::try_from(answer).map_err(|_| Unfilled::Refused(answer.unsigned_abs() as i32))
    }

    /// What a run at `start` is mapped from; the keeper gets the file if it has none.
    pub(crate) fn backing(
        &mut self,
        shared: &Shared,
        (start, target): (u64, Target),
        prot: Prot,
    ) -> Result<Backing, Unfilled> {
        match target {
            Target::Zeroes => {
                if self.zeroes.is_none() {
                    self.zeroes = Some(self.install(shared, shared.workshop.zeroes())?);
                }
                Ok(Backing::Zeroes(start % ZEROES_BYTES))
            }
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
