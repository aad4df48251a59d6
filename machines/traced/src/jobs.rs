//! Job control: when this process stops along with its tree, so that whoever started it sees a
//! stopped job.
//!
//! While it is stopped nobody of the tree can be served. So it does not stop as soon as the first
//! program does, which another one may be about to continue, but when nobody is left that could run;
//! or when the terminal stopped the whole job, this process with it.

use std::rc::Rc;

use crate::halt::{Halt, Next};
use crate::sys::ptrace;
use crate::sys::signal::{Answered, continue_in_own_group, stop_self};
use crate::thread::{Phase, Process, Thread};
use crate::tree::Tree;

impl Tree {
    /// A stopping signal has stopped the process of a thread.
    pub(crate) fn on_group_stop(&mut self, thread: &mut Thread) -> Result<Next, Halt> {
        ptrace::listen(thread.tid)?;
        thread.phase = Phase::GroupStopped;
        self.stop_along(Some(thread));
        Ok(Next::Stay)
    }

    /// Stops this process if that is due. `beside` is a thread that is not in the table just now.
    pub(crate) fn stop_along(&self, beside: Option<&Thread>) {
        let all = || self.threads.values().chain(beside);
        let of_first = || all().filter(|thread| thread.process.pid == self.root);
        let is_stopped = |thread: &Thread| matches!(thread.phase, Phase::GroupStopped);
        let is_due = Answered::is_in_force()
            && of_first().next().is_some()
            && of_first().all(is_stopped)
            && (Answered::is_asked_to_stop() || all().all(is_stopped));
        if !is_due {
            return;
        }
        stop_self();
        Answered::forget_stop();
        // Whoever continued this process meant its job. A program that got the signal already does
        // not get it twice: it has not seen it yet.
        let mut continued: Vec<&Rc<Process>> = Vec::new();
        for thread in all().filter(|thread| is_stopped(thread)) {
            if !continued
                .iter()
                .any(|done| Rc::ptr_eq(done, &thread.process))
            {
                continue_in_own_group(thread.process.pid);
                continued.push(&thread.process);
            }
        }
    }
}
