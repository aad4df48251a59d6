//! The files of `/proc/PID` that speak of a program's memory, from our own; where they speak of other
//! things too, in the host's text.

use std::fmt::Write;

use addr::{PAGE_SHIFT, VirtAddr, VmFlags};
use mm::{Force, Mm, MmStats};

use crate::host_maps::contents;
use crate::sys::Tid;

/// The names of these files.
pub(crate) const NAMES: [&str; 8] = [
    "maps",
    "statm",
    "cmdline",
    "environ",
    "status",
    "stat",
    "smaps",
    "smaps_rollup",
];

/// The last line of every `maps`: a page of the kernel's, in no space of anyone's.
const VSYSCALL_LINE: &str =
    "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n";
const VSYSCALL_BYTES: u64 = 4096;

/// The most bytes of arguments or environment that are shown.
const STRINGS_BYTES_MAX: u64 = 4 << 20;

/// Whom a file is about.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    /// Its memory.
    pub(crate) mm: &'a Mm,
    /// What else it believes of itself.
    pub(crate) beliefs: Beliefs,
    /// While the tree is kept on one CPU: a task that is not, and may use those that the tree may.
    pub(crate) at_large: Option<Tid>,
}

/// What a thread believes where the host was told something else. Signals are sets of the two.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Beliefs {
    /// Wait for the thread.
    pub(crate) pending: u64,
    /// Wait for its process.
    pub(crate) shared_pending: u64,
    /// Are blocked.
    pub(crate) blocked: u64,
    /// Are ignored.
    pub(crate) ignored: u64,
    /// Whether a signal has stopped it. Recto may just have stopped it too, which it knows nothing of.
    pub(crate) stopped: bool,
    /// How many filters it is under.
    pub(crate) nr_filters: u32,
    /// Whether it may gain no rights.
    pub(crate) no_new_privs: bool,
}

/// The text of a file; `None` for one that is not ours. `host` reads the host's.
pub(crate) fn of(
    name: &str,
    subject: &Subject<'_>,
    host: impl FnOnce() -> String,
) -> Option<Vec<u8>> {
    let mm = subject.mm;
    let text = match name {
        "maps" => return Some([&mm.maps(), VSYSCALL_LINE.as_bytes()].concat()),
        "smaps" => {
            let nothing = mm::smaps_of_nothing(VSYSCALL_BYTES, VmFlags::EXEC);
            return Some([&mm.smaps(), VSYSCALL_LINE.as_bytes(), &nothing].concat());
        }
        "smaps_rollup" => return Some(mm.smaps_rollup()),
        "statm" => statm(mm),
        "status" => status(subject, &host()),
        "stat" => stat(subject, &host())?,
        "cmdline" => {
            let image = mm.image().clone();
            return Some(strings(mm, image.arg_start, image.arg_end));
        }
        "environ" => {
            let image = mm.image().clone();
            return Some(strings(mm, image.env_start, image.env_end));
        }
        _ => return None,
    };
    Some(text.into_bytes())
}

/// Pages of code (`task_mem`, `task_statm`).
fn text_pages(mm: &Mm) -> u64 {
    let image = mm.image().clone();
    let pages_up = |at: VirtAddr| at.as_u64().div_ceil(1 << PAGE_SHIFT);
    pages_up(image.end_code).saturating_sub(image.start_code.as_u64() >> PAGE_SHIFT)
}

/// `proc_pid_status`: the host's lines, but for those of memory, and of what Recto tells the host in
/// the program's stead.
fn status(subject: &Subject<'_>, host: &str) -> String {
    let stats = subject.mm.stats();
    let text_pages = text_pages(subject.mm).min(stats.pages.exec);
    let at_large = subject
        .at_large
        .map(|task| contents(&format!("/proc/{task}/status")));
    let at_large = String::from_utf8_lossy(at_large.as_deref().unwrap_or_default());
    let mut text = String::with_capacity(host.len());
    for line in host.lines() {
        let Some((name, word)) = line.split_once(":\t") else {
            text.push_str(line);
            text.push('\n');
            continue;
        };
        let set = u64::from_str_radix(word.trim(), 16).unwrap_or(0);
        let believed = subject.beliefs;
        // Writing to a string does not fail.
        let _ = match (name, kib_of(name, &stats, text_pages)) {
            (_, Some(kib)) => writeln!(text, "{name}:\t{kib:8} kB"),
            ("State", _) if word.starts_with('t') && believed.stopped => {
                writeln!(text, "{name}:\tT (stopped)")
            }
            ("State", _) if word.starts_with('t') => writeln!(text, "{name}:\tR (running)"),
            ("SigPnd", _) => writeln!(text, "{name}:\t{:016x}", set | believed.pending),
            ("ShdPnd", _) => writeln!(text, "{name}:\t{:016x}", set | believed.shared_pending),
            ("SigBlk", _) => writeln!(text, "{name}:\t{:016x}", set | believed.blocked),
            ("SigIgn", _) => writeln!(text, "{name}:\t{:016x}", set | believed.ignored),
            ("NoNewPrivs", _) => writeln!(text, "{name}:\t{}", u8::from(believed.no_new_privs)),
            ("Cpus_allowed" | "Cpus_allowed_list", _) => {
                let mut lines = at_large.lines();
                let own =
                    lines.find(|other| other.split_once(":\t").is_some_and(|at| at.0 == name));
                writeln!(text, "{}", own.unwrap_or(line))
            }
            ("TracerPid", _) => writeln!(text, "{name}:\t0"),
            ("Seccomp", _) => {
                let mode = 2 * u32::from(believed.nr_filters > 0);
                writeln!(text, "{name}:\t{mode}")
            }
            ("Seccomp_filters", _) => writeln!(text, "{name}:\t{}", believed.nr_filters),
            _ => writeln!(text, "{line}"),
        };
    }
    text
}

/// What a line of `status` says, if it is about memory (`task_mem`).
fn kib_of(name: &str, stats: &MmStats, text_pages: u64) -> Option<u64> {
    const KIB_PER_PAGE: u64 = 1 << (PAGE_SHIFT - 10);
    let pages = match name {
        "VmPeak" => stats.pages.hiwater,
        "VmSize" => stats.pages.total,
        "VmLck" => stats.pages.locked,
        "VmPin" => stats.pages.pinned,
        "VmHWM" => stats.hiwater_rss,
        "VmRSS" => stats.rss.resident(),
        "RssAnon" => stats.rss.anon,
        "RssFile" => stats.rss.file,
        "RssShmem" => stats.rss.shmem,
        "VmData" => stats.pages.data,
        "VmStk" => stats.pages.stack,
        "VmExe" => text_pages,
        "VmLib" => stats.pages.exec - text_pages,
        "VmPTE" => return Some(stats.pgtables_bytes >> 10),
        "VmSwap" => stats.rss.swap,
        _ => return None,
    };
    Some(pages * KIB_PER_PAGE)
}

/// `do_task_stat`: the host's line, but for faults, size and resident pages.
fn stat(subject: &Subject<'_>, host: &str) -> Option<String> {
    // The name may hold anything; the field behind it is the third.
    const THIRD: usize = 3;
    const TRACED: &str = "t";
    let (name, rest) = host.trim_end().rsplit_once(") ")?;
    let stats = subject.mm.stats();
    let mut text = format!("{name})");
    for (number, field) in (THIRD..).zip(rest.split(' ')) {
        let field = match field {
            TRACED if subject.beliefs.stopped => "T",
            TRACED => "R",
            other => other,
        };
        let own = match number {
            10 => Some(stats.faults.minor),
            12 => Some(stats.faults.major),
            23 => Some(stats.pages.total << PAGE_SHIFT),
            24 => Some(stats.rss.resident()),
            _ => None,
        };
        let _ = match own {
            Some(own) => write!(text, " {own}"),
            None => write!(text, " {field}"),
        };
    }
    text.push('\n');
    Some(text)
}

/// Size, resident, shared, text, (library), data and stack, (dirty): in pages (`proc_pid_statm`).
fn statm(mm: &Mm) -> String {
    let stats = mm.stats();
    let text = text_pages(mm);
    let shared = stats.rss.file + stats.rss.shmem;
    let data = stats.pages.data + stats.pages.stack;
    format!(
        "{} {} {shared} {text} 0 {data} 0\n",
        stats.pages.total,
        stats.rss.resident()
    )
}

fn strings(mm: &Mm, start: VirtAddr, end: VirtAddr) -> Vec<u8> {
    let bytes = end
        .as_u64()
        .saturating_sub(start.as_u64())
        .min(STRINGS_BYTES_MAX);
    let mut text = vec![0; bytes as usize];
    let got = mm.read_memory(start, &mut text, Force::Forced);
    text.truncate(got);
    text
}
