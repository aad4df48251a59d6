//! The epoch of a hosted build, over crossbeam-epoch.
//!
//! Work is collected per CPU and handed over a batch at a time, so that retiring costs a push.
//! crossbeam says when a batch is ripe, and says so in the middle of somebody's pin, with whatever
//! locks that thread holds. So nothing is done there but to note it; ripe work is done by a thread
//! of its own, which holds nothing, or by a barrier. Each batch has a ticket until it is done; a
//! barrier hands over everything, then waits until the tickets given out before are back.

use std::boxed::Box;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Once;
use std::time::Duration;
use std::vec::Vec;

use parking_lot::{Condvar, Mutex};

use crate::MAX_CPUS;

type Work = Box<dyn FnOnce() + Send>;

const BATCH: usize = 64;

/// How often a barrier goes back for what retired work retired.
const ROUNDS: usize = 4;

/// How long the reaper leaves readers alone when nothing is ripe yet.
const REST: Duration = Duration::from_millis(1);

static COLLECTED: [Mutex<Vec<Work>>; MAX_CPUS] = [const { Mutex::new(Vec::new()) }; MAX_CPUS];

static QUEUE: Mutex<Queue> = Mutex::new(Queue {
    next_ticket: 0,
    undone: BTreeSet::new(),
    ripe: Vec::new(),
});

static HANDED_OVER: Condvar = Condvar::new();

std::thread_local! {
    static RUNS_RETIRED_WORK: Cell<bool> = const { Cell::new(false) };
}

struct Queue {
    next_ticket: u64,
    undone: BTreeSet<u64>,
    ripe: Vec<Batch>,
}

pub(super) struct Guard {
    _guard: crossbeam_epoch::Guard,
}

impl Guard {
    #[inline]
    pub(super) fn new() -> Self {
        Self {
            _guard: crossbeam_epoch::pin(),
        }
    }
}

pub(super) fn is_pinned() -> bool {
    crossbeam_epoch::is_pinned()
}

pub(super) fn retire(work: Work) {
    let mut collected = COLLECTED[crate::cpu()].lock();
    collected.push(work);
    if collected.len() < BATCH {
        return;
    }
    let batch = Batch::take(&mut collected);
    drop(collected);
    hand_over(batch);
}

pub(super) fn barrier() {
    if RUNS_RETIRED_WORK.get() {
        debug_assert!(false, "a barrier in retired work");
        return;
    }
    for _ in 0..ROUNDS {
        for collected in &COLLECTED {
            let mut collected = collected.lock();
            if !collected.is_empty() {
                let batch = Batch::take(&mut collected);
                drop(collected);
                hand_over(batch);
            }
        }
        await_tickets();
        if COLLECTED
            .iter()
            .all(|collected| collected.lock().is_empty())
        {
            return;
        }
    }
}

fn await_tickets() {
    let end = QUEUE.lock().next_ticket;
    let mut waits = 0;
    while QUEUE
        .lock()
        .undone
        .first()
        .is_some_and(|oldest| *oldest < end)
    {
        crossbeam_epoch::pin().flush();
        if run_ripe() == 0 {
            back_off(&mut waits);
        }
    }
}

fn back_off(waits: &mut u32) {
    *waits += 1;
    if *waits < 100 {
        std::thread::yield_now();
    } else {
        std::thread::sleep(Duration::from_micros(50));
    }
}

fn hand_over(batch: Batch) {
    start_reaper();
    let guard = crossbeam_epoch::pin();
    guard.defer(move || QUEUE.lock().ripe.push(batch));
    guard.flush();
    drop(guard);
    HANDED_OVER.notify_one();
}

fn run_ripe() -> usize {
    let ripe = core::mem::take(&mut QUEUE.lock().ripe);
    let nr_ripe = ripe.len();
    RUNS_RETIRED_WORK.set(true);
    ripe.into_iter().for_each(Batch::run);
    RUNS_RETIRED_WORK.set(false);
    nr_ripe
}

fn start_reaper() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        // Without the thread, retired work waits for a barrier: late, but never lost.
        let _ = std::thread::Builder::new()
            .name("recto-epoch".into())
            .spawn(reap);
    });
}

fn reap() {
    loop {
        let mut queue = QUEUE.lock();
        while queue.undone.is_empty() {
            HANDED_OVER.wait(&mut queue);
        }
        drop(queue);
        crossbeam_epoch::pin().flush();
        if run_ripe() == 0 {
            std::thread::sleep(REST);
        }
    }
}

struct Batch {
    ticket: u64,
    work: Vec<Work>,
}

impl Batch {
    /// What was collected, with a ticket. Both with the collection's lock held: a barrier that
    /// finds the collection empty also finds the ticket.
    fn take(collected: &mut Vec<Work>) -> Self {
        let mut queue = QUEUE.lock();
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        queue.undone.insert(ticket);
        Self {
            ticket,
            work: core::mem::take(collected),
        }
    }

    fn run(mut self) {
        for work in self.work.drain(..) {
            work();
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // Even if some work panicked: nobody waits for ever.
        QUEUE.lock().undone.remove(&self.ticket);
    }
}
