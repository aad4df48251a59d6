//! What waits: a thread stays stopped while a worker performs the request that its fault needs. Then
//! its stop is looked at again.

use mm::fault::Fault;
use object::PageRequest;

use crate::memory::{Memory, Served};
use crate::pool::Done;
use crate::sys::wait::Stop;
use crate::thread::Thread;
use crate::tree::{Awaited, Tree};

impl Tree {
    /// Has a request performed while the thread stays stopped.
    pub(crate) fn wait_for(
        &mut self,
        thread: &mut Thread,
        (mut fault, request): (Box<Fault>, PageRequest),
        stop: Stop,
    ) {
        match self.pool.submit(request) {
            Ok(ticket) => {
                thread.waiting = Some((ticket, stop));
                let tid = thread.tid;
                self.requests.insert(ticket, Awaited { tid, fault });
            }
            Err(request) => {
                fault.take_in(request.perform());
                let memory = thread.memory();
                if let Some(again) = take_up(&memory, *fault) {
                    return self.wait_for(thread, again, stop);
                }
                let outcome = self.answer(thread, stop);
                memory.given_up.take();
                self.go_on(thread, outcome, stop);
            }
        }
    }

    /// Goes on with the thread that a performed request was for.
    pub(crate) fn on_obtained(&mut self, done: Done) {
        let Some(awaited) = self.requests.remove(&done.ticket) else {
            return;
        };
        let Some(mut thread) = self.threads.remove(&awaited.tid) else {
            return;
        };
        let Some((_, stop)) = thread.waiting.take() else {
            self.threads.insert(thread.tid, thread);
            return;
        };
        let memory = thread.memory();
        // Beside a fork nothing may change: the stop begins anew afterwards, and finds at hand what
        // was waited for.
        if !self.must_hold(&thread, stop) {
            let mut fault = awaited.fault;
            fault.take_in(done.obtained);
            if let Some(again) = take_up(&memory, *fault) {
                self.wait_for(&mut thread, again, stop);
                self.threads.insert(thread.tid, thread);
                return;
            }
        }
        self.on_thread_stop(thread, stop);
        memory.given_up.take();
    }
}

/// Goes on with a fault whose request has been performed; what it has to wait for next, if it does.
/// If it failed, it fails when the stop is looked at again.
fn take_up(memory: &Memory, fault: Fault) -> Option<(Box<Fault>, PageRequest)> {
    match memory.resume(fault) {
        Served::Wait(fault, request) => return Some((fault, request)),
        Served::No(error) => {
            memory.given_up.replace(Some(error));
        }
        Served::Yes(_) => {}
    }
    None
}
