//! The threads that perform page requests, so that a fault that waits stops nobody else.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use object::{Obtained, PageRequest};

use crate::errands::Errand;
use crate::space::Shared;

/// Which request it was, among those under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ticket(pub(crate) u64);

/// A performed request.
#[derive(Debug)]
pub(crate) struct Done {
    /// Which.
    pub(crate) ticket: Ticket,
    /// What it brought.
    pub(crate) obtained: Obtained,
}

/// How many requests are performed at once.
const NR_WORKERS: usize = 4;

/// The workers. They are started by the first request.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    next: u64,
    workers: Option<Workers>,
}

#[derive(Debug)]
struct Workers {
    requests: Sender<(Ticket, PageRequest)>,
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

    /// Lets a worker perform the request; its end comes as an errand. `None` when no worker can be
    /// had: the caller performs it.
    pub(crate) fn submit(&mut self, request: PageRequest) -> Result<Ticket, PageRequest> {
        if self.workers.is_none() {
            self.workers = start(&self.shared);
        }
        let ticket = Ticket(self.next);
        let Some(workers) = &self.workers else {
            return Err(request);
        };
        self.next += 1;
        match workers.requests.send((ticket, request)) {
            Ok(()) => Ok(ticket),
            Err(refused) => Err(refused.0.1),
        }
    }
}

impl Drop for Pool {
    /// Waits for no worker: one may be in a read that never ends.
    fn drop(&mut self) {
        if let Some(Workers { requests, threads }) = self.workers.take() {
            drop(requests);
            drop(threads);
        }
    }
}

fn start(shared: &Arc<Shared>) -> Option<Workers> {
    let (requests, queue) = channel::<(Ticket, PageRequest)>();
    let queue = Arc::new(Mutex::new(queue));
    let mut threads = Vec::new();
    for number in 0..NR_WORKERS {
        let (queue, shared) = (Arc::clone(&queue), Arc::downgrade(shared));
        let work = move || {
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok((ticket, request)) = next else { return };
                let obtained = request.perform();
                let Some(shared) = shared.upgrade() else {
                    return;
                };
                shared
                    .errands
                    .post(Errand::Obtained(Done { ticket, obtained }));
            }
        };
        let thread = std::thread::Builder::new()
            .name(format!("recto-io-{number}"))
            .spawn(work);
        threads.extend(thread);
    }
    (!threads.is_empty()).then_some(Workers { requests, threads })
}
