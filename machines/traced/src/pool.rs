//! The threads that perform page requests and what else waits for files, so that nobody is stopped
//! but the thread that needs it.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use addr::Errno;
use object::{Obtained, PageRequest};

/// Which request it was, among those under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ticket(pub(crate) u64);

/// Part of a call that may wait for files.
pub(crate) struct Work(Box<dyn FnOnce() -> Result<(), Errno> + Send>);

impl Work {
    /// Work that `act` does, with no lock held when it waits.
    pub(crate) fn new(act: impl FnOnce() -> Result<(), Errno> + Send + 'static) -> Self {
        Self(Box::new(act))
    }
}

impl core::fmt::Debug for Work {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Work").finish_non_exhaustive()
    }
}

/// Something for a worker.
#[derive(Debug)]
pub(crate) enum Job {
    /// A request of a fault.
    Request(PageRequest),
    /// Part of a call.
    Work(Work),
}

impl Job {
    /// Does it. May take as long as a disk takes.
    pub(crate) fn perform(self) -> Performed {
        match self {
            Self::Request(request) => Performed::Obtained(request.perform()),
            Self::Work(Work(act)) => Performed::Worked(act()),
        }
    }
}

/// What a worker has done.
#[derive(Debug)]
pub(crate) enum Performed {
    /// What a request brought.
    Obtained(Obtained),
    /// How the work ended.
    Worked(Result<(), Errno>),
}

/// A job that is done.
#[derive(Debug)]
pub(crate) struct Done {
    /// Which.
    pub(crate) ticket: Ticket,
    /// What came of it.
    pub(crate) performed: Performed,
}

/// How many jobs are done at once. A worker may be in a read that never ends, so there is another as
/// long as all are busy.
const NR_WORKERS_MAX: usize = 32;

/// The workers, and the way to them.
pub(crate) struct Pool {
    report: Arc<dyn Fn(Done) + Send + Sync>,
    next: u64,
    jobs: Sender<(Ticket, Job)>,
    queue: Arc<Mutex<Receiver<(Ticket, Job)>>>,
    /// Jobs given to workers and not done yet.
    nr_jobs: Arc<AtomicUsize>,
    nr_workers: usize,
}

impl core::fmt::Debug for Pool {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Pool")
            .field("nr_workers", &self.nr_workers)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool without threads. They call `report` with what they have done.
    pub(crate) fn new(report: impl Fn(Done) + Send + Sync + 'static) -> Self {
        let (jobs, queue) = channel();
        Self {
            report: Arc::new(report),
            next: 0,
            jobs,
            queue: Arc::new(Mutex::new(queue)),
            nr_jobs: Arc::new(AtomicUsize::new(0)),
            nr_workers: 0,
        }
    }

    /// Lets a worker do the job, a new one if all are busy. The job comes back when no worker can be
    /// had: the caller does it.
    pub(crate) fn submit(&mut self, job: Job) -> Result<Ticket, Job> {
        let are_all_busy = self.nr_jobs.load(Ordering::Acquire) >= self.nr_workers;
        if are_all_busy && self.nr_workers < NR_WORKERS_MAX && self.start_worker().is_ok() {
            self.nr_workers += 1;
        }
        if self.nr_workers == 0 {
            return Err(job);
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        self.nr_jobs.fetch_add(1, Ordering::AcqRel);
        match self.jobs.send((ticket, job)) {
            Ok(()) => Ok(ticket),
            Err(refused) => Err(refused.0.1),
        }
    }

    /// Starts a worker. It ends when the pool does; nobody waits for that.
    fn start_worker(&self) -> io::Result<JoinHandle<()>> {
        let (queue, nr_jobs) = (Arc::clone(&self.queue), Arc::clone(&self.nr_jobs));
        let report = Arc::clone(&self.report);
        let work = move || {
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok((ticket, job)) = next else { return };
                let performed = job.perform();
                nr_jobs.fetch_sub(1, Ordering::AcqRel);
                report(Done { ticket, performed });
            }
        };
        let name = format!("recto-io-{}", self.nr_workers);
        std::thread::Builder::new().name(name).spawn(work)
    }
}

#[cfg(test)]
mod tests;
