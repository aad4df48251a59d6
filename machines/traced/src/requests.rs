//! What waits: a thread stays stopped while a worker performs the request that its fault needs.

use mm::fault::Fault;

use crate::fault;
use crate::halt::{Halt, Next};
use crate::pool::Done;
use crate::thread::{Phase, Redo, Thread};
use crate::tree::{Awaited, Tree};

impl Tree {
    /// Has a request performed while the thread stays stopped.
    pub(crate) fn wait_for(
        &mut self,
        thread: &mut Thread,
        (fault, request): (Box<Fault>, object::PageRequest),
        redo: Redo,
    ) {
        match self.pool.submit(request) {
            Ok(ticket) => {
                thread.phase = Phase::Waiting(ticket, redo);
                self.requests.insert(
                    ticket,
                    Awaited {
                        tid: thread.tid,
                        fault,
                    },
                );
            }
            Err(request) => {
                let mut fault = fault;
                fault.take_in(request.perform());
                let outcome = self.answer_again(thread, *fault, redo);
                self.go_on(thread, outcome, redo);
            }
        }
    }

    /// Goes on with what a request was needed for.
    fn answer_again(
        &mut self,
        thread: &mut Thread,
        fault: Fault,
        redo: Redo,
    ) -> Result<Next, Halt> {
        match redo {
            Redo::Fault(address) => fault::resume(thread, address, fault),
            Redo::Stop(stop) => {
                let memory = thread.memory();
                match memory.resume(fault) {
                    crate::memory::Served::Wait(fault, request) => Err(Halt::Wait(fault, request)),
                    _ => self.answer(thread, stop),
                }
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
        let mut fault = awaited.fault;
        fault.take_in(done.obtained);
        if let Phase::Waiting(ticket, redo) = thread.phase
            && ticket == done.ticket
        {
            thread.phase = Phase::Running;
            let outcome = self.answer_again(&mut thread, *fault, redo);
            self.go_on(&mut thread, outcome, redo);
        }
        self.threads.insert(thread.tid, thread);
    }
}
