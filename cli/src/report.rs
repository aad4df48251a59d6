//! What the memory manager did, per process and in sum.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use serde::Serialize;
use traced::{ProcessStats, TreeStats};

/// Faults by kind, and how they ended.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Faults {
    anon_zero: u64,
    anon: u64,
    anon_around: u64,
    file: u64,
    around_hits: u64,
    cow_copied: u64,
    fork_copied: u64,
    cow_reused: u64,
    shared_write: u64,
    stack_growth: u64,
    spurious: u64,
    failed: u64,
    minor: u64,
    major: u64,
}

/// Memory, in KiB.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Memory {
    peak_rss_kib: u64,
    peak_anon_kib: u64,
    peak_file_kib: u64,
    peak_shmem_kib: u64,
    final_anon_kib: u64,
    final_file_kib: u64,
    final_shmem_kib: u64,
    page_table_kib: u64,
    areas: u64,
}

/// What the host was asked.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Host {
    forks: u64,
    system_calls_seen: u64,
    stops: u64,
    host_calls: u64,
    host_areas: u64,
    host_areas_per_1000_pages: f64,
    core_ms: f64,
    machine_ms: f64,
}

/// One process, or the sum of all.
#[derive(Clone, Debug, Default, Serialize)]
struct Account {
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    program: Option<String>,
    faults: Faults,
    memory: Memory,
    host: Host,
}

/// Everything.
#[derive(Debug, Serialize)]
struct Report {
    processes: Vec<Account>,
    sum: Account,
    arena_frames_given_back: u64,
}

impl Report {
    fn of(stats: &TreeStats) -> Self {
        let processes: Vec<Account> = stats.processes.iter().map(Account::of).collect();
        let mut sum = Account::default();
        for process in &processes {
            sum.add(process);
        }
        Self {
            processes,
            sum,
            arena_frames_given_back: stats.nr_frames_given_back,
        }
    }
}

const KIB_PER_PAGE: u64 = 4;

impl Account {
    fn of(process: &ProcessStats) -> Self {
        let (counts, rss) = (&process.memory.faults, &process.memory.rss);
        let peak = &process.memory.hiwater_by_kind;
        let faults = Faults {
            anon_zero: counts.anon_zero,
            anon: counts.anon,
            anon_around: counts.anon_around,
            file: counts.file,
            around_hits: counts.around_hits,
            cow_copied: counts.cow_copied,
            fork_copied: counts.fork_copied,
            cow_reused: counts.cow_reused,
            shared_write: counts.shared_write,
            stack_growth: counts.stack_growth,
            spurious: counts.spurious,
            failed: counts.failed,
            minor: counts.minor,
            major: counts.major,
        };
        let memory = Memory {
            peak_rss_kib: process.memory.hiwater_rss * KIB_PER_PAGE,
            peak_anon_kib: peak.anon * KIB_PER_PAGE,
            peak_file_kib: peak.file * KIB_PER_PAGE,
            peak_shmem_kib: peak.shmem * KIB_PER_PAGE,
            final_anon_kib: rss.anon * KIB_PER_PAGE,
            final_file_kib: rss.file * KIB_PER_PAGE,
            final_shmem_kib: rss.shmem * KIB_PER_PAGE,
            page_table_kib: process.memory.pgtables_bytes / 1024,
            areas: process.memory.areas,
        };
        let host = Host {
            forks: process.forks,
            system_calls_seen: process.calls,
            stops: process.stops,
            host_calls: process.host.host_calls,
            host_areas: process.host.nr_runs,
            host_areas_per_1000_pages: per_thousand(process.host.nr_runs, memory.final_kib()),
            core_ms: milliseconds(process.in_core),
            machine_ms: milliseconds(process.in_machine),
        };
        let program = Some(process.program.clone());
        Self {
            pid: Some(process.pid),
            program,
            faults,
            memory,
            host,
        }
    }

    fn add(&mut self, other: &Self) {
        let (ours, theirs) = (&mut self.faults, &other.faults);
        ours.anon_zero += theirs.anon_zero;
        ours.anon += theirs.anon;
        ours.anon_around += theirs.anon_around;
        ours.file += theirs.file;
        ours.around_hits += theirs.around_hits;
        ours.cow_copied += theirs.cow_copied;
        ours.fork_copied += theirs.fork_copied;
        ours.cow_reused += theirs.cow_reused;
        ours.shared_write += theirs.shared_write;
        ours.stack_growth += theirs.stack_growth;
        ours.spurious += theirs.spurious;
        ours.failed += theirs.failed;
        ours.minor += theirs.minor;
        ours.major += theirs.major;
        let (ours, theirs) = (&mut self.memory, &other.memory);
        ours.peak_rss_kib += theirs.peak_rss_kib;
        ours.peak_anon_kib += theirs.peak_anon_kib;
        ours.peak_file_kib += theirs.peak_file_kib;
        ours.peak_shmem_kib += theirs.peak_shmem_kib;
        ours.final_anon_kib += theirs.final_anon_kib;
        ours.final_file_kib += theirs.final_file_kib;
        ours.final_shmem_kib += theirs.final_shmem_kib;
        ours.page_table_kib += theirs.page_table_kib;
        ours.areas += theirs.areas;
        let resident = ours.final_kib();
        let (ours, theirs) = (&mut self.host, &other.host);
        ours.forks += theirs.forks;
        ours.system_calls_seen += theirs.system_calls_seen;
        ours.stops += theirs.stops;
        ours.host_calls += theirs.host_calls;
        ours.host_areas += theirs.host_areas;
        ours.host_areas_per_1000_pages = per_thousand(ours.host_areas, resident);
        ours.core_ms += theirs.core_ms;
        ours.machine_ms += theirs.machine_ms;
    }

    fn text(&self, out: &mut String) {
        let (faults, memory, host) = (&self.faults, &self.memory, &self.host);
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "  faults  {} minor, {} major: {} zero page, {} anon (and {} around), {} file (and {} \
             around),\n          {} copied (and {} by fork), {} reused, {} shared write, {} stack \
             growth, {} spurious, {} failed",
            faults.minor,
            faults.major,
            faults.anon_zero,
            faults.anon,
            faults.anon_around,
            faults.file,
            faults.around_hits,
            faults.cow_copied,
            faults.fork_copied,
            faults.cow_reused,
            faults.shared_write,
            faults.stack_growth,
            faults.spurious,
            faults.failed,
        );
        let _ = writeln!(
            out,
            "  memory  peak {} KiB: {} anon, {} file, {} shmem; final {} anon, {} file, {} shmem;\n\
             \x20         {} areas, {} KiB of page tables",
            memory.peak_rss_kib,
            memory.peak_anon_kib,
            memory.peak_file_kib,
            memory.peak_shmem_kib,
            memory.final_anon_kib,
            memory.final_file_kib,
            memory.final_shmem_kib,
            memory.areas,
            memory.page_table_kib,
        );
        let _ = writeln!(
            out,
            "  host    {} stops, {} system calls seen, {} host calls, {:.1} host areas per 1,000 \
             pages\n  time    {:.1} ms in the core, {:.1} ms in the machine; {} forks",
            host.stops,
            host.system_calls_seen,
            host.host_calls,
            host.host_areas_per_1000_pages,
            host.core_ms,
            host.machine_ms,
            host.forks,
        );
    }
}

impl Memory {
    fn final_kib(&self) -> u64 {
        self.final_anon_kib + self.final_file_kib + self.final_shmem_kib
    }
}

fn per_thousand(areas: u64, resident_kib: u64) -> f64 {
    let pages = (resident_kib / KIB_PER_PAGE).max(1);
    areas as f64 * 1000.0 / pages as f64
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Prints for eyes, to standard error.
pub(crate) fn print_text(stats: &TreeStats) {
    let report = Report::of(stats);
    let mut text = String::new();
    for process in &report.processes {
        let (program, pid) = (
            process.program.as_deref().unwrap_or("?"),
            process.pid.unwrap_or(0),
        );
        let _ = writeln!(text, "recto: {program} ({pid})");
        process.text(&mut text);
    }
    let _ = writeln!(text, "recto: sum of {} processes", report.processes.len());
    report.sum.text(&mut text);
    let _ = writeln!(
        text,
        "  arena   {} frames given back",
        report.arena_frames_given_back
    );
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Prints one JSON object, to standard error.
pub(crate) fn print_json(stats: &TreeStats) {
    if let Ok(text) = serde_json::to_string(&Report::of(stats)) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }
}
