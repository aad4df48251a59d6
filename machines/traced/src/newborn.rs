//! Tasks being made: from the entry of `fork` and its like to a child's first instruction.

use std::rc::Rc;
use std::sync::Arc;

use addr::{PAGE_SIZE, VirtAddr};
use machine::FlushKind;
use mm::{Force, ForkConfig, Target};

use crate::halt::{Halt, Next};
use crate::keeper::Keeper;
use crate::memory::{Frozen, Memory};
use crate::numbers;
use crate::runs::Backing;
use crate::space::Space;
use crate::sys::signal::kill;
use crate::sys::wait::{self, Stop};
use crate::sys::{Tid, ptrace};
use crate::thread::{Birth, Fork, KeptOff, Kin, Phase, Process, Thread};
use crate::tree::Tree;

/// How many pages a fork copies at most. For every few of them that it does not copy both sides take
/// a stop, which costs as much as copying a dozen; and even if nobody writes to most of them, copying
/// so many takes no longer than the stops that are saved for the rest.
const NR_COPIED_MAX: u64 = 128;

/// What a call that makes a task asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    /// What the task is to its maker.
    pub(crate) kind: Kin,
    /// Where its number goes in its own memory.
    pub(crate) child_tid_at: Option<u64>,
    /// Where the kernel clears it at its end.
    pub(crate) clear_tid_at: u64,
    /// Who keeps the kernel from storing the number.
    pub(crate) kept_off: KeptOff,
}

/// Prepares our side of a fork at the entry of the call: the child's space exists, and the parent's
/// host memory is write-protected where the child shares it, before the host copies it.
pub(crate) fn prepare(tree: &mut Tree, thread: &mut Thread, wish: Wish) -> Result<Next, Halt> {
    let Wish {
        kind,
        child_tid_at,
        clear_tid_at,
        kept_off,
    } = wish;
    let memory = thread.memory();
    let child = if kind == Kin::Copy {
        thread.pin_in_flight(&memory);
        let mut is_alone = true;
        for other in tree.threads.values_mut() {
            if Rc::ptr_eq(&other.memory(), &memory) {
                is_alone = false;
                other.pin_in_flight(&memory);
            }
        }
        if let Some(watch) = memory.space.watch() {
            watch.freeze();
        }
        let space = Space::new(&tree.shared);
        let mmu = Arc::clone(&space) as Arc<dyn machine::Mmu>;
        let mut config = ForkConfig::new(mmu);
        if is_alone {
            config.nr_copied_max = NR_COPIED_MAX;
        }
        let mm = memory.mm.fork(&config);
        let Ok(mm) = mm else {
            if let Some(watch) = memory.space.watch() {
                watch.thaw();
            }
            return crate::calls::skip(thread, -i64::from(libc::ENOMEM));
        };
        memory.frozen.set(Frozen::By(thread.tid));
        if let KeptOff::ByPage(at) = kept_off {
            memory.space.shut(at);
        } else if let Some(at) = child_tid_at.filter(|_| kept_off == KeptOff::Not) {
            // The kernel stores the child's number when the host's memory is still the parent's: not
            // even a page that another call keeps writable may take it.
            let page = VirtAddr::new(at).align_down().as_u64();
            let pages = (page, page.saturating_add(PAGE_SIZE));
            memory.space.flush_here(FlushKind::WriteProtect, &[pages]);
        }
        Some((mm, space))
    } else {
        None
    };
    thread
        .process
        .count(|counts| counts.forks += u64::from(kind != Kin::Thread));
    thread.phase = Phase::Forking(Box::new(Fork {
        child,
        kind,
        child_tid_at,
        clear_tid_at,
        kept_off,
    }));
    Ok(Next::ToCallEdge)
}

/// The call came back without having made a task, or the task has ended already.
pub(crate) fn failed(tree: &mut Tree, thread: &mut Thread) {
    if let Phase::Forking(fork) = std::mem::replace(&mut thread.phase, Phase::Running) {
        let_on(thread, fork.kept_off);
    }
    tree.release_if_frozen_by(&thread.memory(), &[thread.tid]);
}

/// What kept the kernel off is over for a thread: the call's registers are the program's again.
fn let_on(thread: &Thread, kept_off: KeptOff) {
    match kept_off {
        KeptOff::Not => {}
        KeptOff::ByFlags(flags) => {
            // One that is gone needs none.
            let _ = ptrace::registers(thread.tid).and_then(|mut regs| {
                regs.set_argument(0, flags);
                ptrace::set_registers(thread.tid, &regs)
            });
        }
        KeptOff::ByPage(at) => thread.memory().space.open(at, at.saturating_add(1)),
    }
}

/// The maker's event: the new task exists, and may have stopped already.
pub(crate) fn on_birth(tree: &mut Tree, thread: &mut Thread) -> Result<Next, Halt> {
    let child = Tid::new(ptrace::event_message(thread.tid)? as i32);
    if matches!(thread.phase, Phase::Forking(_)) {
        born(tree, thread, child);
    } else {
        // Nothing that Recto let make a task.
        kill(child, libc::SIGKILL);
    }
    Ok(Next::Resume)
}

/// A thread that was killed inside the call ends without the event. What the call has returned tells
/// whether there is a new task, which goes on without its maker.
pub(crate) fn on_maker_ending(tree: &mut Tree, thread: &mut Thread) -> Result<(), Halt> {
    if !matches!(thread.phase, Phase::Forking(_)) {
        return Ok(());
    }
    let number = ptrace::registers(thread.tid)?.result();
    match numbers::made_by(thread.tid, number) {
        Some(child) => born(tree, thread, child),
        None => failed(tree, thread),
    }
    Ok(())
}

/// A task has been made; its maker is stopped.
fn born(tree: &mut Tree, thread: &mut Thread, child: Tid) {
    if !wait::is_awaited(child) || tree.threads.contains_key(&child) {
        return failed(tree, thread);
    }
    let Phase::Forking(fork) = std::mem::replace(&mut thread.phase, Phase::Running) else {
        return;
    };
    let_on(thread, fork.kept_off);
    let memory = thread.memory();
    let process = process_for(thread, child, &fork, &memory);
    let runs_source = Rc::clone(&memory);
    let mut newborn = Thread::new(child, &process, Phase::Running);
    newborn.blocked_owned = thread.blocked_owned;
    newborn.no_new_privs = thread.no_new_privs;
    newborn.nr_filters = thread.nr_filters;
    newborn.clear_tid_at = fork.clear_tid_at;
    let is_thread = fork.kind == Kin::Thread;
    if !is_thread {
        newborn.alternate_stack = thread.alternate_stack;
    }
    let copied = fork.child.is_some();
    if copied {
        // What the host has copied into the child is what it has in the parent at this moment.
        process.memory().space.inherit(&runs_source.space);
    }
    newborn.phase = Phase::Newborn(Some(Birth { fork }));
    let early = tree.early.iter().position(|tid| *tid == child);
    if let Some(at) = early {
        tree.early.swap_remove(at);
        let outcome = on_first_stop(tree, &mut newborn, Stop::Attention);
        tree.go_on(&mut newborn, outcome, Stop::Attention);
    }
    tree.threads.insert(child, newborn);
    if is_thread && let Some(together) = &mut tree.together {
        together.on_thread(&tree.shared, child);
    }
    if copied {
        tree.thaw(&memory);
    }
}

fn process_for(thread: &Thread, child: Tid, fork: &Fork, memory: &Rc<Memory>) -> Rc<Process> {
    let program = thread.process.program.borrow().clone();
    let process = match (&fork.kind, &fork.child) {
        (Kin::Thread, _) => return Rc::clone(&thread.process),
        (_, Some((mm, space))) => {
            let own = Memory::new(mm.clone(), Arc::clone(space));
            Process::new(child, Rc::new(own), program)
        }
        (_, None) => Process::new(child, Rc::clone(memory), program),
    };
    *process.owned.borrow_mut() = *thread.process.owned.borrow();
    process.has_signalfd.set(thread.process.has_signalfd.get());
    process.has_mem_file.set(thread.process.has_mem_file.get());
    let stops_at_calls = thread.process.stops_at_calls.get();
    process.stops_at_calls.set(stops_at_calls);
    process
}

/// A new task has stopped for the first time, before its first instruction.
pub(crate) fn on_first_stop(
    tree: &mut Tree,
    thread: &mut Thread,
    stop: Stop,
) -> Result<Next, Halt> {
    if matches!(stop, Stop::Ending) {
        return Ok(Next::Resume);
    }
    let Phase::Newborn(birth) = std::mem::replace(&mut thread.phase, Phase::Running) else {
        return Ok(Next::Resume);
    };
    let Some(birth) = birth else {
        return Ok(Next::Resume);
    };
    let memory = thread.memory();
    if birth.fork.child.is_some() {
        let keeper = Keeper::make(&tree.shared.workshop, thread.tid, memory.space.stub());
        // Without a keeper it could never run.
        let keeper = keeper.inspect_err(|_| kill(thread.process.pid, libc::SIGKILL))?;
        if memory.space.go_on_watching().is_err() {
            kill(thread.process.pid, libc::SIGKILL);
        }
        settle(&memory, keeper);
        let_on(thread, birth.fork.kept_off);
        drop(birth.fork.child);
        if let Some(at) = birth.fork.child_tid_at {
            // The kernel's own write met a write-protected page, and was lost.
            let number = numbers::own(thread.tid).to_le_bytes();
            memory
                .mm
                .write_memory(VirtAddr::new(at), &number, Force::Plain);
            memory.fill(at, at.saturating_add(4));
        }
    }
    Ok(Next::Resume)
}

/// Gives a copied space its keeper, and lets it have what our tables have where the host has copied
/// something else: areas that children do not get, and pages that the parent has kept for itself.
fn settle(memory: &Memory, keeper: Keeper) {
    let space = &memory.space;
    let runs = space.runs();
    space.begin(keeper, runs.clone(), space.stub());
    // It has not run yet.
    let _held_back = space.hold_back();
    let mut others = Vec::new();
    for run in runs.within(0, u64::MAX) {
        if run.backing != Backing::Host {
            unlike_tables(memory, &run, &mut others);
        }
    }
    space.flush_here(FlushKind::Forget, &others);
    memory.fill_all(others);
}

/// The parts of a run of which the child's tables do not have the same frames, with at least its
/// rights. They were copied from the parent's, so what they have of a file is what the run is of.
fn unlike_tables(memory: &Memory, run: &crate::runs::Run, others: &mut Vec<(u64, u64)>) {
    let Some(range) = addr::VirtRange::new(VirtAddr::new(run.start), VirtAddr::new(run.end)) else {
        return;
    };
    let mut next = run.start;
    memory.mm.translations(range, |ours| {
        let (start, end) = (ours.range.start().as_u64(), ours.range.end().as_u64());
        let same = ours.prot.contains(run.prot)
            && match (run.backing, ours.target) {
                (Backing::Arena(offset), Target::Arena(pfn)) => {
                    pfn.phys_addr() == offset + (start - run.start)
                }
                (Backing::Zeroes(_), Target::Zeroes) => true,
                (Backing::File(..), Target::Device(_)) => true,
                _ => false,
            };
        if same {
            join(others, (next, start));
            next = end;
        }
    });
    join(others, (next, run.end));
}

/// Adds a span that lies behind all others, to the last if it follows at once.
fn join(spans: &mut Vec<(u64, u64)>, (start, end): (u64, u64)) {
    match spans.last_mut() {
        _ if start >= end => {}
        Some(last) if last.1 == start => last.1 = end,
        _ => spans.push((start, end)),
    }
}
