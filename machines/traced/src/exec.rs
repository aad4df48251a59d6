//! A program begins: the image that the host built at an exec is taken over.

use std::rc::Rc;

use crate::adopt::{self, Unadoptable};
use crate::halt::{Halt, Next};
use crate::steered;
use crate::sys::signal::kill;
use crate::sys::{Tid, ptrace};
use crate::thread::Thread;
use crate::tree::{Tree, leave, program_of};

impl Tree {
    /// The program of a process is another one from here on.
    pub(crate) fn on_exec(&mut self, thread: &mut Thread) -> Result<Next, Halt> {
        let former = Tid::new(ptrace::event_message(thread.tid)? as i32);
        let process = Rc::clone(&thread.process);
        // The thread that made the call goes on under the number of the process; all others died.
        if former != thread.tid
            && let Some(caller) = self.threads.remove(&former)
        {
            thread.blocked_owned = caller.blocked_owned;
            thread.pending_owned = caller.pending_owned;
            thread.handed_over = caller.handed_over;
            thread.no_new_privs = caller.no_new_privs;
            thread.nr_filters = caller.nr_filters;
        }
        let before = process.memory();
        for tid in [former, thread.tid] {
            before.space.end_thread(tid);
            self.files.forget_task(tid);
        }
        self.threads.retain(|tid, other| {
            let remains = !Rc::ptr_eq(&other.process, &process);
            if !remains {
                before.space.end_thread(*tid);
            }
            remains
        });
        process.nr_threads.set(1);
        // What was held back of those that died is nobody's: their numbers may be used again.
        let is_alive = |tid: &Tid| self.threads.contains_key(tid);
        before.held.borrow_mut().retain(|(tid, _)| is_alive(tid));
        self.release_if_frozen_by(&before, &[former, thread.tid]);
        drop(before);
        self.end_orphans();
        self.note_stats(&process);
        let adopted = adopt::adopt(&self.shared, &self.materials, &mut self.files, thread.tid);
        let memory = match adopted {
            Ok(memory) => memory,
            Err(reason) => return Err(self.cannot_adopt(thread, reason)),
        };
        let before = process.memory.replace(Rc::new(memory));
        process.memory().mm.take_over(&before.mm);
        if let Some(keeper) = leave(before)
            && thread.tid != self.root
        {
            let stub = process.memory().space.stub();
            steered::bury(thread.tid, keeper, stub)?;
        }
        if process.stops_at_calls.get() {
            process.memory().space.prepare_for_calls();
        }
        *process.program.borrow_mut() = program_of(thread.tid);
        process.owned.borrow_mut().exec();
        thread.begin_program();
        Ok(Next::Resume)
    }

    fn cannot_adopt(&mut self, thread: &Thread, reason: Unadoptable) -> Halt {
        if thread.tid == self.root && self.strange.is_none() {
            self.strange = Some(reason);
        }
        match reason {
            Unadoptable::Gone => {}
            Unadoptable::OutOfMemory => return Halt::OutOfMemory,
            Unadoptable::ThirtyTwoBit => {
                eprintln!(
                    "recto: {}: 32-bit programs are not supported",
                    program_of(thread.tid)
                );
            }
            Unadoptable::Strange(what) => {
                eprintln!("recto: {}: {what}", program_of(thread.tid));
            }
        }
        kill(thread.process.pid, libc::SIGKILL);
        Halt::Gone
    }
}
