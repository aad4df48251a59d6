//! What other threads want done by the tracing thread, which alone may make host calls in a
//! program's space.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::ThreadId;

use machine::FlushKind;

use crate::space::Space;
use crate::sys::spawn::Bell;

/// One thing to do.
#[derive(Debug)]
pub(crate) enum Errand {
    /// Make a space forget.
    Flush {
        /// The space.
        space: Arc<Space>,
        /// What must no longer be done.
        kind: FlushKind,
        /// Where.
        ranges: Vec<(u64, u64)>,
    },
    /// So long have stops been counted.
    PeriodOver,
    /// A worker's job is done.
    Done(crate::pool::Done),
}

/// The way to the tracing thread.
#[derive(Debug)]
pub(crate) struct Errands {
    tracing: ThreadId,
    bell: Arc<Bell>,
    waiting: Mutex<Vec<(Errand, Option<Sender<()>>)>>,
}

impl Errands {
    /// The calling thread is the tracing one; `bell` wakes it.
    pub(crate) fn new(bell: Arc<Bell>) -> Self {
        Self {
            tracing: std::thread::current().id(),
            bell,
            waiting: Mutex::new(Vec::new()),
        }
    }

    /// Whether the calling thread is the tracing one.
    pub(crate) fn is_tracing_thread(&self) -> bool {
        std::thread::current().id() == self.tracing
    }

    /// Asks for an errand and waits until it is done, or the tracing thread has ended.
    pub(crate) fn send(&self, errand: Errand) {
        let (done, answer): (Sender<()>, Receiver<()>) = channel();
        self.push(errand, Some(done));
        let _ = answer.recv();
    }

    /// Asks for an errand without waiting.
    pub(crate) fn post(&self, errand: Errand) {
        self.push(errand, None);
    }

    fn push(&self, errand: Errand, done: Option<Sender<()>>) {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((errand, done));
        self.bell.ring();
    }

    /// Everything asked for since the last time. Dropping the sender tells who waits.
    pub(crate) fn take(&self) -> Vec<(Errand, Option<Sender<()>>)> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
