//! The loop that serves a tree of programs: one thread waits for their stops and answers each.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use mm::fault::Fault;

use crate::actions::Actions;
use crate::adopt::{self, Materials, Unadoptable};
use crate::calls::filter::Refusals;
use crate::errands::Errand;
use crate::files::Files;
use crate::halt::{Halt, Next};
use crate::memory::{Frozen, Memory};
use crate::pool::{Job, Pool, Ticket};
use crate::run::StatsPolicy;
use crate::space::{Shared, Space};
use crate::stats::TreeStats;
use crate::sys::signal::{Answered, Inherited, kill};
use crate::sys::wait::{self, NoStop, Stop};
use crate::sys::{Gone, Tid, ptrace};
use crate::thread::{Phase, Process, Repeat, Thread};
use crate::together::Together;
use crate::watch::Watcher;
use crate::{calls, fault, newborn, numbers, signals};

/// How the first program of a tree ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal; and whether it dumped core.
    Killed(i32),
}

/// A job under way, and who waits for it.
#[derive(Debug)]
pub(crate) struct Awaited {
    /// The thread that waits.
    pub(crate) tid: Tid,
    /// The fault that goes on with what is obtained, if it is for one.
    pub(crate) fault: Option<Box<Fault>>,
}

/// A tree of programs.
#[derive(Debug)]
pub(crate) struct Tree {
    /// What all spaces share.
    pub(crate) shared: Arc<Shared>,
    /// What memories are made of.
    pub(crate) materials: Materials,
    /// The files they map.
    pub(crate) files: Files,
    /// Every thread, by its number.
    pub(crate) threads: HashMap<Tid, Thread>,
    /// Newborns that stopped before their maker's event came.
    pub(crate) early: Vec<Tid>,
    /// What filters of programs say.
    pub(crate) refusals: Refusals,
    bell: Tid,
    pub(crate) root: Tid,
    root_end: Option<End>,
    pub(crate) strange: Option<Unadoptable>,
    pub(crate) pool: Pool,
    pub(crate) requests: HashMap<Ticket, Awaited>,
    ending: Option<i32>,
    pub(crate) stats: TreeStats,
    pub(crate) stats_policy: StatsPolicy,
    /// On which CPUs it runs, as long as it has not chosen any itself.
    pub(crate) together: Option<Together>,
}

/// What is left when a tree has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// How the first program ended.
    pub(crate) end: End,
    /// The signal that asked this process to end, if one did.
    pub(crate) asked_by: Option<i32>,
    /// What was counted.
    pub(crate) stats: TreeStats,
}

/// The host tells of the youngest task first. After so many stops all that have stopped get their
/// turn, so that a task that does nothing but fork does not keep the others from theirs.
const FAIR_EVERY: u32 = 256;

impl Tree {
    /// A tree whose first task is `root`, which is on the way to its first exec.
    pub(crate) fn new(shared: &Arc<Shared>, materials: Materials, bell: Tid, root: Tid) -> Self {
        let tracing = Arc::downgrade(shared);
        Self {
            shared: Arc::clone(shared),
            materials,
            files: Files::new(&shared.devices),
            threads: HashMap::new(),
            early: Vec::new(),
            refusals: Refusals::default(),
            bell,
            root,
            root_end: None,
            strange: None,
            pool: Pool::new(move |done| {
                if let Some(shared) = tracing.upgrade() {
                    shared.errands.post(Errand::Done(done));
                }
            }),
            requests: HashMap::new(),
            ending: None,
            stats: TreeStats::default(),
            stats_policy: StatsPolicy::Keep,
            together: None,
        }
    }

    /// Takes over the image of the first program, which is stopped at its exec.
    pub(crate) fn begin(&mut self, inherited: Inherited) -> Result<(), Unadoptable> {
        let root = self.root;
        let memory = adopt::adopt(&self.shared, &self.materials, &mut self.files, root)?;
        let process = Process::new(root, Rc::new(memory), program_of(root));
        let mut thread = Thread::new(root, &process, Phase::Running);
        if self.shared.watcher.is_none() {
            *process.owned.borrow_mut() = Actions::ignoring(inherited.ignored);
            thread.blocked_owned = inherited.blocked;
        }
        calls::prctl::begin(&mut thread);
        self.threads.insert(root, thread);
        ptrace::resume(root, 0).map_err(|Gone| Unadoptable::Gone)
    }

    /// Serves the tree until its last task has ended.
    pub(crate) fn serve(mut self) -> Ended {
        let (mut taken, mut nth) = (VecDeque::new(), 0u32);
        while !self.threads.is_empty() {
            nth = nth.wrapping_add(1);
            if nth.is_multiple_of(FAIR_EVERY) {
                taken.extend(wait::all_at_hand());
            }
            match taken.pop_front().map_or_else(wait::any, Ok) {
                Ok((tid, stop)) => self.on_stop(tid, stop),
                Err(NoStop::Interrupted) => self.look_around(),
                Err(NoStop::NoTasks) => break,
            }
        }
        let end = self.root_end.unwrap_or(End::Killed(libc::SIGKILL));
        Ended {
            end,
            asked_by: self.ending,
            stats: self.stats,
        }
    }

    fn on_stop(&mut self, tid: Tid, stop: Stop) {
        if tid == self.bell {
            if !matches!(stop, Stop::Exited { .. } | Stop::Killed { .. }) {
                let _ = ptrace::resume(tid, 0);
            }
            return self.look_around();
        }
        match self.threads.remove(&tid) {
            Some(thread) => self.on_thread_stop(thread, stop),
            None => self.on_unknown_stop(tid, stop),
        }
    }

    /// A task that is no thread of a program (yet): a keeper that was killed or sent a signal, or a
    /// newborn whose maker's event has not come.
    fn on_unknown_stop(&mut self, tid: Tid, stop: Stop) {
        match stop {
            Stop::Exited { .. } | Stop::Killed { .. } => {
                self.early.retain(|early| *early != tid);
                self.on_lost(tid);
            }
            Stop::Attention if self.kept_by(tid).is_some() => {
                let _ = ptrace::resume(tid, 0);
            }
            Stop::Attention => {
                self.early.push(tid);
                self.end_orphans();
            }
            _ => {
                let _ = ptrace::resume(tid, 0);
            }
        }
    }

    fn kept_by(&self, tid: Tid) -> Option<&Thread> {
        let mut threads = self.threads.values();
        threads.find(|thread| thread.memory().space.keeper() == Some(tid))
    }

    /// A program whose keeper somebody killed cannot go on.
    fn on_lost(&self, tid: Tid) {
        if let Some(thread) = self.kept_by(tid) {
            thread.memory().space.end();
            kill(thread.process.pid, libc::SIGKILL);
        }
    }

    /// Ends newborns of whom nobody can tell any more what they are: their maker was killed, and
    /// killed again before it could be asked.
    pub(crate) fn end_orphans(&mut self) {
        let is_making = |thread: &Thread| matches!(thread.phase, Phase::Forking(_));
        if self.early.is_empty() || self.threads.values().any(is_making) {
            return;
        }
        for orphan in self.early.drain(..) {
            // A thread dies with its process.
            if numbers::is_process(orphan) {
                kill(orphan, libc::SIGKILL);
            }
        }
    }

    pub(crate) fn on_thread_stop(&mut self, mut thread: Thread, stop: Stop) {
        if let Stop::Exited { .. } | Stop::Killed { .. } = stop {
            return self.on_death(thread, stop);
        }
        // Of a thread that was killed while it waited, only the later stop counts.
        if let Some((ticket, _)) = thread.waiting.take() {
            self.requests.remove(&ticket);
        }
        thread.process.count(|counts| counts.stops += 1);
        if let Some(together) = &mut self.together {
            together.on_stop();
        }
        if self.must_hold(&thread, stop) {
            // Of a thread that was killed while it was held, only the later stop counts.
            let memory = thread.memory();
            let mut held = memory.held.borrow_mut();
            held.retain(|(tid, _)| *tid != thread.tid);
            held.push((thread.tid, stop));
            self.threads.insert(thread.tid, thread);
            return;
        }
        let began = Instant::now();
        let resting = thread
            .process
            .is_alone()
            .then(|| thread.memory().space.clone());
        let held_back = resting.as_ref().filter(|space| space.is_watched());
        let held_back = held_back.map(Space::hold_back);
        let outcome = self.answer(&mut thread, stop);
        drop(held_back);
        self.refill(&thread.memory());
        self.go_on(&mut thread, outcome, stop);
        thread
            .process
            .count(|counts| counts.in_machine += began.elapsed());
        self.threads.insert(thread.tid, thread);
    }

    /// Whether the stop has to wait for another thread's fork. What does not touch memory need not.
    pub(crate) fn must_hold(&self, thread: &Thread, stop: Stop) -> bool {
        match thread.memory().frozen.get() {
            Frozen::By(maker) => {
                maker != thread.tid
                    && !matches!(thread.phase, Phase::Newborn(_))
                    && !matches!(stop, Stop::Group(_) | Stop::Attention | Stop::Exec)
            }
            Frozen::No => false,
        }
    }

    /// Decides how a stopped thread goes on.
    pub(crate) fn answer(&mut self, thread: &mut Thread, stop: Stop) -> Result<Next, Halt> {
        if matches!(thread.phase, Phase::Newborn(_)) {
            return newborn::on_first_stop(self, thread, stop);
        }
        if let Phase::EnteringHandler(before) = thread.phase {
            if stop == Stop::Signal(libc::SIGTRAP) {
                signals::in_handler(thread, before)?;
                thread.phase = Phase::Running;
                return Ok(Next::Resume);
            }
            thread.phase = Phase::Running;
        }
        match stop {
            Stop::Seccomp => {
                thread.forget_in_flight();
                thread.repeat = Repeat::default();
                calls::on_entry(self, thread)
            }
            Stop::CallEdge => calls::on_return(self, thread),
            Stop::Signal(signal) => {
                // What its call names stays noted: the call may go on by restart_syscall, unseen.
                if let Some(next) = fault::on_signal(thread, signal)? {
                    return Ok(next);
                }
                signals::on_signal(self, thread, signal)
            }
            Stop::Birth => newborn::on_birth(self, thread),
            Stop::Exec => self.on_exec(thread),
            Stop::Ending => {
                newborn::on_maker_ending(self, thread)?;
                calls::on_ending(thread)?;
                Ok(Next::Resume)
            }
            Stop::Group(_) => self.on_group_stop(thread),
            Stop::Attention => {
                if matches!(thread.phase, Phase::GroupStopped) {
                    thread.phase = Phase::Running;
                }
                Ok(Next::Resume)
            }
            Stop::Other | Stop::Exited { .. } | Stop::Killed { .. } => Ok(Next::Resume),
        }
    }

    /// Makes ready again what calls under way name and lost in this stop, in `memory` or any other.
    /// While a fork is under way it waits for that: the child must not inherit it.
    fn refill(&self, memory: &Rc<Memory>) {
        if !self.shared.disturbed.swap(false, Ordering::AcqRel) {
            return;
        }
        let others = self.threads.values().map(Thread::memory);
        for memory in others.chain([Rc::clone(memory)]) {
            if memory.frozen.get() == Frozen::No && memory.space.is_disturbed() {
                memory.refill();
            }
        }
    }

    /// Lets a thread go on as its stop's answer says.
    pub(crate) fn go_on(&mut self, thread: &mut Thread, outcome: Result<Next, Halt>, stop: Stop) {
        let resumed = match outcome {
            Ok(Next::Resume) => ptrace::resume(thread.tid, 0),
            Ok(Next::ResumeWith(signal)) => ptrace::resume(thread.tid, signal),
            Ok(Next::IntoHandler(signal)) => ptrace::resume_into_handler(thread.tid, signal),
            Ok(Next::ToCallEdge) => ptrace::resume_to_call_edge(thread.tid, 0),
            Ok(Next::Stay) => Ok(()),
            Err(Halt::Gone) => Err(Gone),
            Err(Halt::OutOfMemory) => {
                self.kill_for_memory(thread);
                Ok(())
            }
            Err(Halt::Wait(fault, request)) => {
                self.wait_for(thread, (Some(fault), Job::Request(request)), stop);
                Ok(())
            }
            Err(Halt::Work(work)) => {
                self.wait_for(thread, (None, Job::Work(work)), stop);
                Ok(())
            }
        };
        // A thread that is gone is reported by a wait.
        let _ = resumed;
    }

    /// Does what other threads have asked for, and looks whether this process is to end.
    fn look_around(&mut self) {
        for errand in self.shared.errands.take() {
            match errand {
                Errand::Disturbed => {}
                Errand::OutOfMemory { space } => self.on_out_of_memory(&space),
                Errand::PeriodOver => self.on_period(),
                Errand::Done(done) => self.on_done(done),
            }
        }
        if let Some(memory) = self.threads.values().next().map(Thread::memory) {
            self.refill(&memory);
        }
        if Answered::is_asked_to_stop() {
            self.stop_along(None);
        }
        if self.ending.is_none()
            && let Some(signal) = Answered::ending()
        {
            self.ending = Some(signal);
            self.kill_all();
        }
    }

    /// Lets the stops go on that were held back while a memory was frozen.
    pub(crate) fn thaw(&mut self, memory: &Rc<Memory>) {
        memory.frozen.set(Frozen::No);
        if let Some(watch) = memory.space.watch() {
            watch.thaw();
        }
        memory.refill();
        let held = std::mem::take(&mut *memory.held.borrow_mut());
        for (tid, stop) in held {
            if let Some(thread) = self.threads.remove(&tid) {
                self.on_thread_stop(thread, stop);
            }
        }
    }

    /// Lets every thread, and `other` that is not in the table just now, run on any CPU for good.
    pub(crate) fn part(&mut self, other: Tid) {
        if let Some(together) = self.together.take() {
            let watcher = self.shared.watcher.iter().map(Watcher::task);
            together.part(self.threads.keys().copied().chain([other]).chain(watcher));
        }
    }

    /// While the tree is kept on one CPU: a task that may use all that the tree may, since it was there
    /// before.
    pub(crate) fn task_at_large(&self) -> Option<Tid> {
        let together = self.together.as_ref()?;
        together.believed().map(|_| self.bell)
    }

    /// Stops have been counted for a while: all threads, and who makes host calls for them, may have
    /// to run elsewhere.
    fn on_period(&mut self) {
        let keepers = self
            .threads
            .values()
            .filter_map(|thread| thread.memory().space.keeper());
        let watcher = self.shared.watcher.iter().map(Watcher::task);
        let tasks = self.threads.keys().copied().chain(keepers).chain(watcher);
        if let Some(together) = &mut self.together {
            together.on_period(tasks);
        }
    }

    fn on_death(&mut self, thread: Thread, stop: Stop) {
        let process = Rc::clone(&thread.process);
        if thread.tid == self.root {
            self.root_end = Some(match stop {
                Stop::Killed { signal, .. } => End::Killed(signal),
                Stop::Exited { status } => End::Exited(status),
                _ => End::Killed(libc::SIGKILL),
            });
        }
        if let Some((ticket, _)) = thread.waiting {
            self.requests.remove(&ticket);
        }
        let memory = thread.memory();
        let tid = thread.tid;
        memory.space.end_thread(tid);
        self.files.forget_task(tid);
        drop(thread);
        self.release_if_frozen_by(&memory, &[tid]);
        self.end_orphans();
        drop(memory);
        let left = process.nr_threads.get().saturating_sub(1);
        process.nr_threads.set(left);
        if left == 0 {
            self.note_stats(&process);
            if let Ok(process) = Rc::try_unwrap(process) {
                leave(process.memory.into_inner());
            }
        }
    }

    /// Lets a memory go on whose maker has ended or begun another program.
    pub(crate) fn release_if_frozen_by(&mut self, memory: &Rc<Memory>, tids: &[Tid]) {
        if let Frozen::By(maker) = memory.frozen.get()
            && tids.contains(&maker)
        {
            self.thaw(memory);
        }
    }

    /// An access that waits for memory waits for ever: who makes it is killed.
    fn on_out_of_memory(&self, space: &Arc<Space>) {
        let mut threads = self.threads.values();
        if let Some(thread) = threads.find(|thread| Arc::ptr_eq(&thread.memory().space, space)) {
            self.kill_for_memory(thread);
        }
    }

    /// The arena is exhausted: the process that needs memory is killed.
    fn kill_for_memory(&self, thread: &Thread) {
        let pid = thread.process.pid;
        let program = thread.process.program.borrow();
        eprintln!("recto: out of memory: killed process {pid} ({program})");
        kill(pid, libc::SIGKILL);
    }

    fn kill_all(&self) {
        for thread in self.threads.values() {
            kill(thread.process.pid, libc::SIGKILL);
        }
    }
}

/// A process no longer uses a memory. If it was the last one, the keeper goes first, so that there
/// is nothing to forget when the tables are taken down; which it was.
pub(crate) fn leave(memory: Rc<Memory>) -> Option<Tid> {
    let memory = Rc::try_unwrap(memory).ok()?;
    let keeper = memory.space.end();
    if let Some(keeper) = keeper {
        kill(keeper, libc::SIGKILL);
    }
    keeper
}

/// What a task runs, by its own word.
pub(crate) fn program_of(tid: Tid) -> String {
    let name = std::fs::read_to_string(format!("/proc/{tid}/comm")).unwrap_or_default();
    name.trim_end().to_owned()
}
