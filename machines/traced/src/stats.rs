//! What is counted while a tree runs.

use std::rc::Rc;
use std::time::Duration;

use mm::MmStats;

use crate::run::StatsPolicy;
use crate::thread::Process;
use crate::tree::Tree;

/// What was asked of the host for one space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostCounts {
    /// Calls that the keeper made.
    pub host_calls: u64,
    /// Runs that were mapped.
    pub nr_fills: u64,
    /// Requests to forget.
    pub nr_flushes: u64,
    /// How often everything was forgotten because there were too many runs.
    pub nr_all_forgotten: u64,
    /// Runs mapped now: host areas.
    pub nr_runs: u64,
    /// Pages mapped now.
    pub nr_pages: u64,
    /// Accesses that waited until they were served.
    pub nr_waited: u64,
    /// Time spent in our memory manager for them.
    pub in_core: Duration,
    /// Time spent on them in all.
    pub in_machine: Duration,
}

/// What was counted for one process, exec to exec.
#[derive(Clone, Debug)]
pub struct ProcessStats {
    /// Its number.
    pub pid: i32,
    /// What it ran.
    pub program: String,
    /// What its memory counted; several processes that shared one memory each show all of it.
    pub memory: MmStats,
    /// What its host memory counted, likewise.
    pub host: HostCounts,
    /// Its stops.
    pub stops: u64,
    /// Its system calls that were seen: those that name memory.
    pub calls: u64,
    /// Faults that it took.
    pub faults: u64,
    /// Times it forked.
    pub forks: u64,
    /// Time spent in our memory manager for it.
    pub in_core: Duration,
    /// Time spent in host calls and on its stops.
    pub in_machine: Duration,
}

/// What was counted for a tree.
#[derive(Clone, Debug, Default)]
pub struct TreeStats {
    /// Each process, in the order they ended.
    pub processes: Vec<ProcessStats>,
    /// Frames given back to the host.
    pub nr_frames_given_back: u64,
}

/// Counters of one process while it runs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Running {
    pub(crate) stops: u64,
    pub(crate) calls: u64,
    pub(crate) faults: u64,
    pub(crate) forks: u64,
    pub(crate) in_core: Duration,
    pub(crate) in_machine: Duration,
}

impl Tree {
    /// Keeps what was counted of a program that ends.
    pub(crate) fn note_stats(&mut self, process: &Process) {
        if self.stats_policy == StatsPolicy::Drop {
            return;
        }
        let is_own = Rc::strong_count(&process.memory.borrow()) == 1;
        let memory = process.memory();
        let (counts, host) = (process.counts.get(), memory.space.counts());
        let waited = if is_own { host } else { HostCounts::default() };
        self.stats.processes.push(ProcessStats {
            pid: process.pid.raw(),
            program: process.program.borrow().clone(),
            memory: memory.mm.stats(),
            host,
            stops: counts.stops,
            calls: counts.calls,
            faults: counts.faults + waited.nr_waited,
            forks: counts.forks,
            in_core: counts.in_core + waited.in_core,
            in_machine: counts.in_machine + waited.in_machine,
        });
        process.counts.set(crate::stats::Running::default());
    }
}
