//! Accesses that wait, and the thread that serves them.
//!
//! Where the host lets us, a program's faults are no signals: an access to what is not filled waits
//! in the host's kernel, whoever makes it, until we have filled it and wake it. So a system call that
//! names memory needs no preparation and no stop, and a signal is a signal.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use addr::{Access, PAGE_SIZE};
use mm::fault::Fault;
use mm::{Cause as Denial, FaultKind};
use object::PageRequest;
use sync::Mutex;

use crate::cover::Unwritten;
use crate::errands::Errand;
use crate::memory::{Memory, Refused, Served};
use crate::pool::{Job, Pool, Work};
use crate::space::Space;
use crate::sys::poll::{Poll, Token};
use crate::sys::userfault::{Cause, Event, Flow, Userfault, Waiting};
use crate::sys::{HostError, Tid};

/// How often one access may wait at one address, with our tables ready for it, before the host
/// refuses it.
const REPEATS_MAX: u32 = 16;

/// The accesses of one space that wait.
#[derive(Debug)]
pub(crate) struct Watch {
    descriptor: Userfault,
    token: Token,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    pace: Pace,
    /// What waits for a fork to be over.
    deferred: Vec<Waiting>,
    /// The descriptors of copies that forks have made, and that nobody has asked for yet.
    born: VecDeque<OwnedFd>,
    /// The last access, and how often it came.
    last: (i32, u64),
    times: u32,
}

/// Whether accesses are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Pace {
    /// As they come.
    #[default]
    Served,
    /// When the fork that is under way is over.
    Deferred,
}

impl Watch {
    /// What the descriptor tells of, which is heard of under `token`.
    pub(crate) fn new(descriptor: Userfault, token: Token) -> Arc<Self> {
        Arc::new(Self {
            descriptor,
            token,
            queue: Mutex::new(Queue::default()),
        })
    }

    /// The host's side.
    pub(crate) fn descriptor(&self) -> &Userfault {
        &self.descriptor
    }

    /// From now on writes to what the host has in `[start, end)` wait.
    pub(crate) fn let_writes_wait(&self, start: u64, end: u64) -> Result<(), HostError> {
        self.descriptor.register(start, end)?;
        self.descriptor.write_protect(start, end)
    }

    /// From now until [`Self::thaw`] no access is served: what the host copies in a fork must be
    /// what our tables had when they were copied.
    pub(crate) fn freeze(&self) {
        self.queue.lock().pace = Pace::Deferred;
    }

    /// Accesses are served again.
    pub(crate) fn thaw(&self) {
        let mut queue = self.queue.lock();
        queue.pace = Pace::Served;
        queue.born.clear();
        for waiting in queue.deferred.drain(..) {
            // It is made again, and waits again.
            self.wake(waiting.address);
        }
    }

    /// The descriptor of the copy that a fork has just made. The fork has returned, so whoever reads
    /// the events has begun to.
    pub(crate) fn take_born(&self) -> Option<OwnedFd> {
        self.queue.lock().born.pop_front()
    }

    /// Lets those go on that wait for the page at `address`.
    pub(crate) fn wake(&self, address: u64) {
        let page = address & !(PAGE_SIZE - 1);
        self.descriptor.wake(page, page + PAGE_SIZE);
    }

    fn on_ready(&self, space: &Arc<Space>, workers: &Mutex<Pool>) {
        let mut queue = self.queue.lock();
        let mut events = Vec::new();
        self.descriptor.read(&mut events);
        for event in events {
            match event {
                Event::Forked(descriptor) => queue.born.push_back(descriptor),
                Event::Waiting(waiting) if queue.pace == Pace::Deferred => {
                    queue.deferred.push(waiting);
                }
                Event::Waiting(waiting) => {
                    let kind = serve(space, self, &waiting, workers);
                    queue.note(space, self, &waiting, kind);
                }
            }
        }
    }
}

impl Space {
    /// From now on accesses to what is not filled wait, and are served. Nobody runs in the space.
    pub(crate) fn begin_watch(
        &self,
        watcher: &Watcher,
        watch: Arc<Watch>,
    ) -> Result<(), HostError> {
        let this = self.this.get().cloned().unwrap_or_default();
        watcher.add(&watch, this)?;
        let mut held = self.held.lock();
        held.begin_watch(watch);
        Ok(())
    }

    /// The same in a space that was copied from one where they do.
    pub(crate) fn go_on_watching(&self) -> Result<(), HostError> {
        let (Some(watcher), Some(watch)) = (&self.shared.watcher, self.watch()) else {
            return Ok(());
        };
        watcher.add(&watch, self.this.get().cloned().unwrap_or_default())
    }

    /// Who hears of accesses that wait.
    pub(crate) fn watch(&self) -> Option<Arc<Watch>> {
        self.held.lock().watch.clone()
    }

    /// Whether accesses wait, so that no call needs its memory made ready.
    pub(crate) fn is_watched(&self) -> bool {
        self.held.lock().watch.is_some()
    }

    /// The memory that it is of, while it has a user.
    pub(crate) fn memory(self: &Arc<Self>) -> Option<Memory> {
        let mm = self.mm.get().and_then(Weak::upgrade)?.get_not_zero()?;
        Some(Memory::new(mm, Arc::clone(self)))
    }

    /// Lets the host refuse what our tables refuse at the page of `address`.
    pub(crate) fn shut(&self, address: u64) {
        self.changing().shut(address & !(addr::PAGE_SIZE - 1));
    }

    /// What our tables refuse in `[start, end)` may have become less.
    pub(crate) fn open(&self, start: u64, end: u64) {
        if self.is_watched() {
            self.changing().open(start, end);
        }
    }

    /// Whether what a system call names is made ready before the call.
    pub(crate) fn is_prepared_for_calls(&self) -> bool {
        let held = self.held.lock();
        held.watch.is_none() || held.unwritten == Unwritten::Mapped
    }

    /// From now on it is.
    pub(crate) fn prepare_for_calls(&self) {
        self.held.lock().unwritten = Unwritten::Mapped;
    }

    /// A program may write `[start, end)` from now on.
    pub(crate) fn open_for_writing(&self, start: u64, end: u64) {
        if !self.is_prepared_for_calls() {
            self.changing().forget_unwritable_files(start, end);
        }
    }

    /// Leaves an errand to the tracing thread.
    pub(crate) fn post(&self, errand: Errand) {
        self.shared.errands.post(errand);
    }

    /// Counts an access that waited.
    pub(crate) fn count_waited(&self, in_core: Duration, in_machine: Duration) {
        let counts = &mut self.held.lock().counts;
        counts.nr_waited += 1;
        counts.in_core += in_core;
        counts.in_machine += in_machine;
    }
}

impl Queue {
    /// Notes how an access was served. One that waits again and again although our tables allow it is
    /// refused by the host in the end.
    fn note(&mut self, space: &Space, watch: &Watch, waiting: &Waiting, kind: Option<FaultKind>) {
        let this = (waiting.task, waiting.address);
        self.times = match kind {
            Some(FaultKind::Spurious) if self.last == this => self.times + 1,
            _ => 0,
        };
        self.last = this;
        if self.times > REPEATS_MAX {
            space.shut(waiting.address);
            watch.wake(waiting.address);
        }
    }
}

/// A fault, and what it has to wait for.
type Needed = (Box<Fault>, PageRequest);

/// Serves an access that waits.
fn serve(
    space: &Arc<Space>,
    watch: &Watch,
    waiting: &Waiting,
    workers: &Mutex<Pool>,
) -> Option<FaultKind> {
    // Without a memory, the tasks are on their way out.
    let memory = space.memory()?;
    let began = Instant::now();
    let access = match waiting.flow {
        Flow::Write => Access::Write,
        Flow::Read => memory.access_of_read(waiting.address),
    };
    let refused = match waiting.cause {
        Cause::Protected if !memory.allows(waiting.address, access) => Refused::Forbidden,
        _ => Refused::Missing,
    };
    let served = memory.serve_access(waiting.address, access, refused);
    let kind = match &served {
        Served::Yes(kind) => Some(*kind),
        _ => None,
    };
    let mut spans = match &served {
        Served::Yes(_) => memory.touched(waiting.address, access),
        _ => Vec::new(),
    };
    let in_core = began.elapsed();
    spans.push((waiting.address, waiting.address.saturating_add(1)));
    if let Some(waiting_for) = finish(&memory, watch, (waiting.address, spans), served) {
        hand_over(&memory, watch, waiting.address, waiting_for, workers);
    }
    space.count_waited(in_core, began.elapsed());
    kind
}

/// Does what comes of a fault at `address`, for which `spans` are to be filled; what it has to wait for,
/// if it does. Nobody forks the memory meanwhile.
fn finish(
    memory: &Memory,
    watch: &Watch,
    (address, spans): (u64, Vec<(u64, u64)>),
    served: Served,
) -> Option<Needed> {
    match served {
        Served::Yes(_) => memory.fill_all(spans),
        Served::No(error) if matches!(error.cause, Denial::OutOfMemory) => {
            let space = Arc::clone(&memory.space);
            memory.space.post(Errand::OutOfMemory { space });
            return None;
        }
        Served::No(_) => memory.space.shut(address),
        Served::Wait(fault, request) => return Some((fault, request)),
    }
    watch.wake(address);
    None
}

/// Lets a worker wait for what a fault needs, and go on with it.
fn hand_over(
    memory: &Memory,
    watch: &Watch,
    address: u64,
    (fault, request): Needed,
    workers: &Mutex<Pool>,
) {
    let space = Arc::clone(&memory.space);
    let work = Work::new(move || {
        go_on(&space, address, (fault, request));
        Ok(())
    });
    if workers.lock().submit(Job::Work(work)).is_err() {
        // No worker can be had: the access is made again, until there is one.
        watch.wake(address);
    }
}

/// Waits for what a fault needs until it needs no more.
fn go_on(space: &Arc<Space>, address: u64, (mut fault, mut request): Needed) {
    loop {
        fault.take_in(request.perform());
        let (Some(memory), Some(watch)) = (space.memory(), space.watch()) else {
            return;
        };
        let served = memory.resume(*fault);
        let queue = watch.queue.lock();
        if queue.pace == Pace::Deferred {
            // Beside a fork nothing may be filled: the access is made again afterwards.
            return watch.wake(address);
        }
        let spans = vec![(address, address.saturating_add(1))];
        match finish(&memory, &watch, (address, spans), served) {
            Some(needed) => (fault, request) = needed,
            None => return,
        }
    }
}

/// The thread that serves the accesses of a tree.
#[derive(Debug)]
pub(crate) struct Watcher {
    inside: Arc<Inside>,
    task: Tid,
    /// Makes descriptors for those who have not the right to.
    device: Option<OwnedFd>,
}

struct Inside {
    poll: Poll,
    spaces: Mutex<HashMap<Token, Weak<Space>>>,
    next: AtomicU64,
    workers: Mutex<Pool>,
}

impl core::fmt::Debug for Inside {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Inside").finish_non_exhaustive()
    }
}

impl Watcher {
    /// Starts the thread.
    pub(crate) fn start() -> Result<Self, HostError> {
        let inside = Arc::new(Inside {
            poll: Poll::new()?,
            spaces: Mutex::new(HashMap::new()),
            next: AtomicU64::new(0),
            workers: Mutex::new(Pool::new(drop)),
        });
        let (told, task) = std::sync::mpsc::channel();
        let own = Arc::clone(&inside);
        std::thread::Builder::new()
            .name("recto-faults".to_owned())
            .spawn(move || {
                let _ = told.send(Tid::own_thread());
                own.serve();
            })?;
        let task = task.recv().map_err(|_| HostError::new(libc::EAGAIN))?;
        let device = Userfault::device();
        Ok(Self {
            inside,
            task,
            device,
        })
    }

    /// The thread.
    pub(crate) fn task(&self) -> Tid {
        self.task
    }

    /// What makes descriptors for a keeper whose program has not the right to have one.
    pub(crate) fn device(&self) -> Option<BorrowedFd<'_>> {
        self.device.as_ref().map(AsFd::as_fd)
    }

    /// A token that was not used before.
    pub(crate) fn token(&self) -> Token {
        Token(self.inside.next.fetch_add(1, Ordering::Relaxed))
    }

    /// From now on accesses of the space are served.
    pub(crate) fn add(&self, watch: &Watch, space: Weak<Space>) -> Result<(), HostError> {
        self.inside.spaces.lock().insert(watch.token, space);
        self.inside.poll.add(&watch.descriptor, watch.token)
    }

    /// The space has ended.
    pub(crate) fn remove(&self, watch: &Watch) {
        self.inside.spaces.lock().remove(&watch.token);
        self.inside.poll.remove(&watch.descriptor);
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.inside.poll.end();
    }
}

impl Inside {
    fn serve(&self) {
        while let Some(ready) = self.poll.wait() {
            for token in ready {
                let space = self.spaces.lock().get(&token).and_then(Weak::upgrade);
                if let Some(space) = space
                    && let Some(watch) = space.watch()
                {
                    watch.on_ready(&space, &self.workers);
                }
            }
        }
    }
}
