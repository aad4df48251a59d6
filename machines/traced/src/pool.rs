//! The threads that perform page requests and what else waits for files, so that nobody is stopped
//! but the thread that needs it.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use addr::Errno;
use object::{Obtained, PageRequest};

use crate::errands::Errand;
use crate::space::Shared;

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

/// How many jobs are done at once.
const NR_WORKERS: usize = 4;

/// The workers. They are started by the first job.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    next: u64,
    workers: Option<Workers>,
}

#[derive(Debug)]
struct Workers {
    jobs: Sender<(Ticket, Job)>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// A pool without threads.
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            next: 0,
            workers: None,
        }
    }

    /// Lets a worker do the job; its end comes as an errand. The job comes back when no worker can be
    /// had: the caller does it.
    pub(crate) fn submit(&mut self, job: Job) -> Result<Ticket, Job> {
        if self.workers.is_none() {
            self.workers = start(&self.shared);
        }
        let ticket = Ticket(self.next);
        let Some(workers) = &self.workers else {
            return Err(job);
        };
        self.next += 1;
        match workers.jobs.send((ticket, job)) {
            Ok(()) => Ok(ticket),
            Err(refused) => Err(refused.0.1),
        }
    }
}

impl Drop for Pool {
    /// Waits for no worker: one may be in a read that never ends.
    fn drop(&mut self) {
        if let Some(Workers { jobs, threads }) = self.workers.take() {
            drop(jobs);
            drop(threads);
        }
    }
}

fn start(shared: &Arc<Shared>) -> Option<Workers> {
    let (jobs, queue) = channel::<(Ticket, Job)>();
    let queue = Arc::new(Mutex::new(queue));
    let mut threads = Vec::new();
    for number in 0..NR_WORKERS {
        let (queue, shared) = (Arc::clone(&queue), Arc::downgrade(shared));
        let work = move || {
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok((ticket, job)) = next else { return };
                let performed = job.perform();
                let Some(shared) = shared.upgrade() else {
                    return;
                };
                shared
                    .errands
                    .post(Errand::Done(Done { ticket, performed }));
            }
        };
        let thread = std::thread::Builder::new()
            .name(format!("recto-io-{number}"))
            .spawn(work);
        threads.extend(thread);
    }
    (!threads.is_empty()).then_some(Workers { jobs, threads })
}
