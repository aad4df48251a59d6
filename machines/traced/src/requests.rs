//! What waits: a thread stays stopped while a worker does the job that its fault or call needs. Then
//! its stop is looked at again.

use mm::fault::Fault;

use crate::memory::{Memory, Served};
use crate::pool::{Done, Job, Performed};
use crate::sys::wait::Stop;
use crate::thread::Thread;
use crate::tree::{Awaited, Tree};

/// A job, and the fault that goes on with what it obtains, if it is for one.
type Needed = (Option<Box<Fault>>, Job);

impl Tree {
    /// Has a job done while the thread stays stopped.
    pub(crate) fn wait_for(&mut self, thread: &mut Thread, (fault, job): Needed, stop: Stop) {
        match self.pool.submit(job) {
            Ok(ticket) => {
                thread.waiting = Some((ticket, stop));
                let tid = thread.tid;
                self.requests.insert(ticket, Awaited { tid, fault });
            }
            Err(job) => {
                if let Some(again) = take_up(thread, fault, job.perform()) {
                    return self.wait_for(thread, again, stop);
                }
                let outcome = self.answer(thread, stop);
                thread.memory().given_up.take();
                thread.worked = None;
                self.go_on(thread, outcome, stop);
            }
        }
    }

    /// Goes on with the thread that a job was for.
    pub(crate) fn on_done(&mut self, done: Done) {
        let Some(Awaited { tid, fault }) = self.requests.remove(&done.ticket) else {
            return;
        };
        let Some(mut thread) = self.threads.remove(&tid) else {
            return;
        };
        let Some((_, stop)) = thread.waiting.take() else {
            self.threads.insert(tid, thread);
            return;
        };
        let memory = thread.memory();
        // Beside a fork nothing may change: the stop begins anew afterwards, and finds at hand what
        // was waited for.
        if !self.must_hold(&thread, stop)
            && let Some(again) = take_up(&mut thread, fault, done.performed)
        {
            self.wait_for(&mut thread, again, stop);
            self.threads.insert(tid, thread);
            return;
        }
        self.on_thread_stop(thread, stop);
        memory.given_up.take();
        if let Some(thread) = self.threads.get_mut(&tid) {
            thread.worked = None;
        }
    }
}

/// Goes on with a fault whose request has been performed, or notes the outcome of work; what has to be
/// waited for next, if anything. A fault that failed fails when the stop is looked at again.
fn take_up(thread: &mut Thread, fault: Option<Box<Fault>>, performed: Performed) -> Option<Needed> {
    let memory: &Memory = &thread.memory();
    match (performed, fault) {
        (Performed::Worked(outcome), _) => thread.worked = Some(outcome),
        (Performed::Obtained(obtained), Some(mut fault)) => {
            fault.take_in(obtained);
            match memory.resume(*fault) {
                Served::Wait(fault, request) => {
                    return Some((Some(fault), Job::Request(request)));
                }
                Served::No(error) => {
                    memory.given_up.replace(Some(error));
                }
                Served::Yes(_) => {}
            }
        }
        (Performed::Obtained(_), None) => {}
    }
    None
}
