//! Frames that lie idle go back to the host.
//!
//! A thread of its own does it, once a second: a tree whose programs all sleep makes no stops, and
//! that is just when memory lies idle.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use frame::Arena;

/// How long a frame lies idle before its memory goes back.
const IDLE: Duration = Duration::from_secs(1);
/// Frames given back at a time: the host is not asked for more than it does in some milliseconds.
const FRAMES_MAX: u64 = 16 << 10;

/// Gives back what is idle until it is dropped.
#[derive(Debug)]
pub(crate) struct GiveBack {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl GiveBack {
    /// Begins. Where no thread is to be had, frames stay until the arena goes.
    pub(crate) fn begin(arena: &Arc<Arena>) -> Self {
        let arena = Arc::clone(arena);
        let (end, ended) = channel();
        let sweep = move || {
            while ended.recv_timeout(IDLE) == Err(RecvTimeoutError::Timeout) {
                arena.give_back(FRAMES_MAX);
            }
        };
        let thread = thread::Builder::new()
            .name("give back".to_owned())
            .spawn(sweep)
            .ok();
        Self {
            end: Some(end),
            thread,
        }
    }
}

impl Drop for GiveBack {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            // It ends at once, and has nothing to say.
            let _ = thread.join();
        }
    }
}
