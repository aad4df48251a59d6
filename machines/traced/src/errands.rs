//! What other threads want done by the tracing thread, which alone may trace and keeps account of
//! the programs.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::ThreadId;

use crate::space::Space;
use crate::sys::spawn::Bell;

/// One thing to do.
#[derive(Debug)]
pub(crate) enum Errand {
    /// What a call names may no longer be ready.
    Disturbed,
    /// An access in a space needs memory, and there is none.
    OutOfMemory {
        /// The space.
        space: Arc<Space>,
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
    waiting: Mutex<Vec<Errand>>,
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

    /// Asks for an errand, without waiting for it.
    pub(crate) fn post(&self, errand: Errand) {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(errand);
        self.bell.ring();
    }

    /// Everything asked for since the last time.
    pub(crate) fn take(&self) -> Vec<Errand> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
