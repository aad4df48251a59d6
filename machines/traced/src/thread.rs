//! A traced thread of a program, and the process it belongs to.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use addr::{Access, Errno, VirtRange};
use mm::{MmUser, Pins};

use crate::actions::Actions;
use crate::calls::filter::Borrowed;
use crate::calls::process_vm::Copying;
use crate::in_flight::Named;
use crate::memory::Memory;
use crate::pending::Pending;
use crate::pool::Ticket;
use crate::space::Space;
use crate::stats::Running;
use crate::sys::Tid;
use crate::sys::ptrace::Regs;
use crate::sys::wait::Stop;

/// A process: threads that came and go together.
#[derive(Debug)]
pub(crate) struct Process {
    /// Its number: that of its first thread.
    pub(crate) pid: Tid,
    /// The memory it runs in; an exec gives it another.
    pub(crate) memory: RefCell<Rc<Memory>>,
    /// What it runs.
    pub(crate) program: RefCell<String>,
    /// What was counted for it.
    pub(crate) counts: Cell<Running>,
    /// Threads alive.
    pub(crate) nr_threads: Cell<u32>,
    /// What the program believes of the signals that Recto owns.
    pub(crate) owned: RefCell<Actions>,
    /// Those of the two that wait for any of its threads.
    pub(crate) pending: RefCell<Pending>,
    /// Whether it has had a descriptor that reads one of the two.
    pub(crate) has_signalfd: Cell<bool>,
    /// Whether it has had a descriptor of some program's memory.
    pub(crate) has_mem_file: Cell<bool>,
    /// Whether it stops at every call that names memory.
    pub(crate) stops_at_calls: Cell<bool>,
}

impl Process {
    /// A process with one thread.
    pub(crate) fn new(pid: Tid, memory: Rc<Memory>, program: String) -> Rc<Self> {
        Rc::new(Self {
            pid,
            memory: RefCell::new(memory),
            program: RefCell::new(program),
            counts: Cell::new(Running::default()),
            nr_threads: Cell::new(0),
            owned: RefCell::new(Actions::default()),
            pending: RefCell::new(Pending::default()),
            has_signalfd: Cell::new(false),
            has_mem_file: Cell::new(false),
            stops_at_calls: Cell::new(false),
        })
    }

    /// The memory it runs in now.
    pub(crate) fn memory(&self) -> Rc<Memory> {
        Rc::clone(&self.memory.borrow())
    }

    /// Whether nobody but the calling thread runs in the memory.
    pub(crate) fn is_alone(&self) -> bool {
        self.nr_threads.get() == 1 && Rc::strong_count(&self.memory.borrow()) == 1
    }

    /// Counts something.
    pub(crate) fn count(&self, change: impl FnOnce(&mut Running)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }
}

/// What a thread is doing.
#[derive(Debug)]
pub(crate) enum Phase {
    /// It has been made, and has not stopped for the first time.
    Newborn(Option<Birth>),
    /// It runs in its memory, or is in a call, or is about to be resumed.
    Running,
    /// It makes a process; stops of its memory's other threads are held back.
    Forking(Box<Fork>),
    /// It has been let into a call, to be looked at when it comes back.
    InCall(OnReturn),
    /// It enters a handler; what it blocked of the two before belongs into the frame.
    EnteringHandler(u64),
    /// It is in a group stop.
    GroupStopped,
}

/// A fork that has been prepared on our side.
#[derive(Debug)]
pub(crate) struct Fork {
    /// The child's space, if it gets its own.
    pub(crate) child: Option<(MmUser, Arc<Space>)>,
    /// Whether the child is a thread of the same process.
    pub(crate) kind: Kin,
    /// Where the child's number goes in the child's own memory.
    pub(crate) child_tid_at: Option<u64>,
    /// Where the kernel clears it at the child's end.
    pub(crate) clear_tid_at: u64,
    /// Who keeps the kernel from storing the child's number itself.
    pub(crate) kept_off: KeptOff,
}

/// How the host's kernel is kept from storing a child's number, before the child has its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeptOff {
    /// It need not be, or what it meets is write-protected.
    Not,
    /// The call does not ask for it: these were the flags that it was made with.
    ByFlags(u64),
    /// The page that it would store to is shut.
    ByPage(u64),
}

/// What a new task is to its maker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kin {
    /// A thread of the same process.
    Thread,
    /// A process in the same memory.
    Sharing,
    /// A process with a copy of the memory.
    Copy,
}

/// What a newborn needs before its first instruction.
#[derive(Debug)]
pub(crate) struct Birth {
    /// What was prepared.
    pub(crate) fork: Box<Fork>,
}

/// What is done when a call comes back.
#[derive(Clone, Debug)]
pub(crate) enum OnReturn {
    /// A file was opened that may be one whose text is ours.
    Opened,
    /// It is to stop at every call that names memory from now on.
    StopAtCalls,
    /// A file may have another length now: this one, and no other meanwhile.
    Resized(Resized, u64),
    /// What a file, by this descriptor, holds from this offset on may have moved.
    Shifted(i32, u64),
    /// A task is told its CPUs at this address.
    Cpus(u64),
    /// Limits may have changed.
    Limits,
    /// What the thread is allowed may have changed.
    Rights,
    /// It has a filter of its own, if the call succeeded.
    Filtered(Borrowed),
    /// Its personality may be another.
    Personality(u32),
    /// While it was in the call the host blocked for it what the program blocks.
    Consumed,
    /// The program is told its own view of a signal's action.
    Action(OldAction),
    /// The thread's alternate signal stack is another, if the call succeeded.
    AlternateStack(Option<(u64, u64)>),
    /// The call had a mask of its own, which is over; the program gets its own argument back in place
    /// of the one that was patched.
    OwnMask(usize, u64),
}

/// How a call that gives a file another length names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resized {
    /// By this descriptor.
    At(i32),
    /// By the descriptor that it returns.
    Returned,
    /// By a path.
    ByPath,
}

/// An action that a call in flight reports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OldAction {
    /// Of which signal.
    pub(crate) signal: i32,
    /// What the program believed of its actions before the call.
    pub(crate) before: Actions,
    /// Where the kernel writes it; 0 if nowhere.
    pub(crate) at: u64,
    /// The program's own second argument, if it was patched.
    pub(crate) argument: Option<u64>,
}

/// A fault that came before, to notice one that never ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Repeat {
    /// Where.
    pub(crate) address: u64,
    /// By which instruction.
    pub(crate) instruction: u64,
    /// How often.
    pub(crate) times: u32,
}

/// A thread.
#[derive(Debug)]
pub(crate) struct Thread {
    /// Its number.
    pub(crate) tid: Tid,
    /// Its process.
    pub(crate) process: Rc<Process>,
    /// What it is doing.
    pub(crate) phase: Phase,
    /// The stop that is looked at again when a request has been performed.
    pub(crate) waiting: Option<(Ticket, Stop)>,
    /// What came of the work that its stop was handled again for.
    pub(crate) worked: Option<Result<(), Errno>>,
    /// The copy between memories that its call makes, while others have their turn.
    pub(crate) copying: Option<Box<Copying>>,
    /// The pages that its call names and that must stay where they are, because of a fork meanwhile.
    pub(crate) pins: Vec<Pins>,
    /// SIGSEGV and SIGBUS, as far as the program believes that it blocks them.
    pub(crate) blocked_owned: u64,
    /// What it blocked of them before the call that it is in, which has a mask of its own.
    pub(crate) blocked_before: Option<u64>,
    /// Those of the two that wait for it to unblock them.
    pub(crate) pending_owned: Pending,
    /// Those of the two that were handed to the host for it, with what really came with them.
    pub(crate) handed_over: Pending,
    /// Whether it is being ended by a signal that it blocks.
    pub(crate) doomed: bool,
    /// Whether it has jumped into the stub, where for the program there is nothing.
    pub(crate) in_stub: bool,
    /// Whether it may gain no rights, by its own word: Recto may have said so of the whole tree.
    pub(crate) no_new_privs: bool,
    /// How many filters of its own it is under.
    pub(crate) nr_filters: u32,
    /// The call that a filter sends it SIGSYS for, and the filter's word.
    pub(crate) trapped: Option<(Regs, u32)>,
    /// Its alternate signal stack, if it has one.
    pub(crate) alternate_stack: Option<(u64, u64)>,
    /// Where the kernel clears its number when it ends.
    pub(crate) clear_tid_at: u64,
    /// Its list of robust futexes.
    pub(crate) robust_list: u64,
    /// The last fault.
    pub(crate) repeat: Repeat,
}

impl Thread {
    /// A thread of `process`.
    pub(crate) fn new(tid: Tid, process: &Rc<Process>, phase: Phase) -> Self {
        process.nr_threads.set(process.nr_threads.get() + 1);
        Self {
            tid,
            process: Rc::clone(process),
            phase,
            waiting: None,
            worked: None,
            copying: None,
            pins: Vec::new(),
            blocked_owned: 0,
            blocked_before: None,
            pending_owned: Pending::default(),
            handed_over: Pending::default(),
            doomed: false,
            in_stub: false,
            no_new_privs: false,
            nr_filters: 0,
            trapped: None,
            alternate_stack: None,
            clear_tid_at: 0,
            robust_list: 0,
            repeat: Repeat::default(),
        }
    }

    /// It begins another program: what the last one had told the kernel is over.
    pub(crate) fn begin_program(&mut self) {
        self.phase = Phase::Running;
        self.pins.clear();
        (self.doomed, self.in_stub) = (false, false);
        (self.clear_tid_at, self.robust_list) = (0, 0);
        (self.alternate_stack, self.blocked_before) = (None, None);
    }

    /// The memory it runs in.
    pub(crate) fn memory(&self) -> Rc<Memory> {
        self.process.memory()
    }

    /// Notes that the call it is about to make names `[start, end)` of a memory.
    pub(crate) fn note_in_flight(&self, memory: &Memory, (start, end): (u64, u64), access: Access) {
        memory.space.name(self.tid, Named { start, end, access });
    }

    /// Its last call is over.
    pub(crate) fn forget_in_flight(&mut self) {
        self.memory().space.end_call(self.tid);
        self.pins.clear();
    }

    /// Pins the pages that the kernel may be writing for this thread, before a fork shares them.
    pub(crate) fn pin_in_flight(&mut self, memory: &Memory) {
        if !self.pins.is_empty() {
            return;
        }
        for flight in memory.space.named_by(self.tid) {
            if flight.access != Access::Write {
                continue;
            }
            let (start, end) = (
                addr::VirtAddr::new(flight.start).align_down(),
                addr::VirtAddr::new(flight.end),
            );
            if let Some(range) = end.align_up().and_then(|end| VirtRange::new(start, end)) {
                self.pins.push(memory.mm.pin_range(range, Access::Write));
            }
        }
    }
}
