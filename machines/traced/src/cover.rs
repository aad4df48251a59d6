//! What lies where nothing is filled, in a space whose accesses can wait.
//!
//! The host has an area of its own there, the cover, registered with the space's userfaultfd and
//! never given a page: an access to it, of the program or of the kernel on its behalf, waits until it
//! has been served and what it needs is mapped over the cover. A page of the arena that our tables do
//! not let be written is mapped so that it could be, and write-protected through the same
//! descriptor: a write to it waits too. Only where our tables refuse an access does the host, which
//! raises the signal, or says EFAULT, by itself.

use std::sync::Arc;

use addr::{PAGE_SIZE, Prot};

use crate::held::{Held, NR_RUNS_MAX, host_bits};
use crate::memory::TASK_SIZE;
use crate::orders::Order;
use crate::runs::{Backing, Run};
use crate::watch::Watch;

/// All that a program could do.
const ALL: Prot = Prot::READ.union(Prot::WRITE).union(Prot::EXEC);

/// The lowest address that is covered: below, the host may let nobody map anything.
const COVER_START: u64 = 0x1_0000;

/// First address, and the first behind.
type Span = (u64, u64);

/// Whether the program's threads run while the host's memory is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Others {
    /// They may.
    Run,
    /// They are stopped, or wait.
    Rest,
}

/// What becomes, where accesses wait, of a file's page that a program may write and has only read: no
/// write of the kernel to it could wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Unwritten {
    /// It is got ready for the write at once: of a private mapping, copied.
    #[default]
    Written,
    /// It is mapped as it is; what calls name is made ready before them, so that none writes to it.
    Mapped,
}

impl Held {
    /// How many runs there may be: about as many areas as the host allows, with cover in between.
    pub(crate) fn nr_runs_max(&self) -> usize {
        match self.watch {
            Some(_) => NR_RUNS_MAX / 2,
            None => NR_RUNS_MAX,
        }
    }

    /// Covers all of a fresh space where nothing is filled. Nobody runs in it yet.
    pub(crate) fn begin_watch(&mut self, watch: Arc<Watch>) {
        self.watch = Some(watch);
        let gaps = self.runs.gaps(0, TASK_SIZE);
        self.take_away(&gaps, Others::Rest);
    }

    /// Lets the host have nothing of ours in some spans.
    pub(crate) fn take_away(&mut self, spans: &[(u64, u64)], others: Others) {
        if spans.is_empty() {
            return;
        }
        let Some(watch) = self.watch.clone() else {
            let orders: Vec<Order> = spans.iter().map(unmap).collect();
            let _ = self.make(&orders);
            return;
        };
        // Until it is registered, nobody may touch it.
        let prot = match others {
            Others::Run => Prot::NONE,
            Others::Rest => ALL,
        };
        let (low, spans) = split(spans);
        for (start, end) in &spans {
            self.take_shut(*start, *end);
        }
        let covering = spans.iter().flat_map(|span| cover(span, prot));
        let orders: Vec<Order> = low.iter().map(unmap).chain(covering).collect();
        let unexpected = self.make(&orders).unwrap_or_default();
        let mut late = Vec::new();
        for (nth, (start, end)) in spans.iter().enumerate() {
            let is_covered = unexpected.iter().all(|u| u.nth != low.len() + 2 * nth)
                && watch.descriptor().register(*start, *end).is_ok();
            late.push(match (is_covered, others) {
                (true, Others::Rest) => continue,
                (true, Others::Run) => Order::mprotect(*start, *end, host_bits(ALL)),
                // The host has no room for another area: what is filled there next is filled late.
                (false, _) => unmap(&(*start, *end)),
            });
        }
        let _ = self.make(&late);
    }

    /// Whether a run is what the host has there already, but for the right to write.
    pub(crate) fn is_only_protected(&self, run: &Run) -> bool {
        let Some(had) = self.runs.at(run.start) else {
            return false;
        };
        let had = had.part(run.start, had.end);
        self.watch.is_some()
            && had.end >= run.end
            && had.backing == run.backing
            && had.prot | Prot::WRITE == run.prot
            && can_wait(run)
            && self.shut.range(run.start..run.end).next().is_none()
    }

    /// Lets writes to what was just mapped and may not be written wait.
    pub(crate) fn let_writes_wait(&mut self, runs: &[Run]) {
        let Some(watch) = self.watch.clone() else {
            return;
        };
        let mut orders = Vec::new();
        let is_meant = |run: &&Run| !run.prot.contains(Prot::WRITE) && can_wait(run);
        for run in runs.iter().filter(is_meant) {
            if watch.let_writes_wait(run.start, run.end).is_ok() {
                let bits = host_bits(run.prot | Prot::WRITE);
                orders.push(Order::mprotect(run.start, run.end, bits));
            }
        }
        let _ = self.make(&orders);
    }

    /// Takes the right to write from what is filled between two addresses: writes wait from now on.
    /// A file's page goes, since no write to it could wait.
    pub(crate) fn protect_watched(&mut self, watch: &Watch, start: u64, end: u64) {
        for (start, end) in self.runs.writable_memory(start, end) {
            if watch.let_writes_wait(start, end).is_ok() {
                self.runs.write_protect(start, end);
                self.in_flight.disturb(start, end);
            } else {
                self.forget_soon(start, end);
            }
        }
        for (start, end, _) in self.runs.writable(start, end) {
            self.forget_soon(start, end);
        }
    }

    /// Lets the host refuse what our tables refuse at a page, until it is opened.
    pub(crate) fn shut(&mut self, page: u64) {
        if self.watch.is_none() {
            return;
        }
        let _ = match self.runs.at(page) {
            Some(run) => {
                let bits = host_bits(run.prot);
                self.call(libc::SYS_mprotect, [page, PAGE_SIZE, bits, 0, 0, 0])
            }
            None => self.call(libc::SYS_munmap, [page, PAGE_SIZE, 0, 0, 0, 0]),
        };
        self.shut.insert(page);
    }

    /// What our tables refuse between two addresses may have become less: accesses wait again.
    pub(crate) fn open(&mut self, start: u64, end: u64) {
        for page in self.take_shut(start, end) {
            if self
                .runs
                .at(page)
                .is_none_or(|run| run.backing != Backing::Host)
            {
                self.runs.remove(page, page + PAGE_SIZE);
                self.take_away(&[(page, page + PAGE_SIZE)], Others::Run);
            }
        }
    }

    /// What a program may write from now on between two addresses: pages of files that cannot be
    /// written go, since no write to them could wait.
    pub(crate) fn forget_unwritable_files(&mut self, start: u64, end: u64) {
        for (start, end) in self.runs.unwritable_files(start, end) {
            self.forget_soon(start, end);
        }
    }

    pub(crate) fn take_shut(&mut self, start: u64, end: u64) -> Vec<u64> {
        let pages: Vec<u64> = self.shut.range(start..end.max(start)).copied().collect();
        for page in &pages {
            self.shut.remove(page);
        }
        pages
    }
}

fn unmap((start, end): &(u64, u64)) -> Order {
    Order::munmap(*start, *end)
}

/// The cover of a span: mapped, and left out of core dumps, which would look at each of its pages.
fn cover((start, end): &Span, prot: Prot) -> [Order; 2] {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
    let (bits, flags, bytes) = (host_bits(prot), flags as u64, end - start);
    let mapping = [*start, bytes, bits, flags, u64::MAX, 0];
    let advice = [*start, bytes, libc::MADV_DONTDUMP as u64, 0, 0, 0];
    [
        Order::new(libc::SYS_mmap, mapping).expecting(*start),
        Order::new(libc::SYS_madvise, advice),
    ]
}

/// What of some spans is not covered, and what is.
fn split(spans: &[Span]) -> (Vec<Span>, Vec<Span>) {
    let parts = |low: u64, high: u64| {
        let parts = spans
            .iter()
            .map(move |(s, e)| ((*s).max(low), (*e).min(high)));
        parts.filter(|(s, e)| s < e).collect::<Vec<Span>>()
    };
    (parts(0, COVER_START), parts(COVER_START, u64::MAX))
}

/// Whether writes to a run wait when it may not be written: a host file's pages cannot.
fn can_wait(run: &Run) -> bool {
    matches!(run.backing, Backing::Arena(_) | Backing::Zeroes(_))
}
