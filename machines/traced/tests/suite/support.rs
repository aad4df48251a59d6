//! What the tests of this machine share: native runs, traced runs, and reasons to skip.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use traced::{Ending, Outcome, RunConfig, RunError};

/// 512 MiB.
pub(crate) const ARENA_FRAMES: u64 = 1 << 17;

/// Says that a test is skipped, and why.
pub(crate) fn skipped(why: &str) {
    println!("skipped: {why}");
    eprintln!("skipped: {why}");
}

/// A directory of this test's own.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&directory).expect("a directory for the test");
    directory
}

/// Compiles a C program of `programs/`; `None`, with a word why, when there is no compiler.
pub(crate) fn compiled(name: &str, flags: &[&str]) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/programs")
        .join(format!("{name}.c"));
    let tag: String = flags.concat().replace(['-', '/'], "_");
    let target = scratch("programs").join(format!("{name}{tag}{}", std::process::id()));
    let status = Command::new("gcc")
        .args(["-O1", "-w", "-o"])
        .arg(&target)
        .arg(&source)
        .args(flags)
        .status();
    match status {
        Ok(status) if status.success() => Some(target),
        Ok(_) => {
            skipped("gcc cannot compile the program (a static libc may be missing)");
            None
        }
        Err(_) => {
            skipped("there is no gcc");
            None
        }
    }
}

/// Whether a program is there to be run.
pub(crate) fn is_installed(program: &str) -> bool {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join(program).exists())
    });
    if !found {
        skipped(&format!("there is no {program}"));
    }
    found
}

/// What a run printed, and how it ended: the status as a shell shows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Printed {
    /// Standard output.
    pub(crate) out: String,
    /// Its status.
    pub(crate) status: i32,
}

fn shell_line(words: &[&str], out: &Path) -> Vec<OsString> {
    let mut line: Vec<OsString> = ["-c", "exec \"$@\" > \"$0\""]
        .iter()
        .map(OsString::from)
        .collect();
    line.push(out.into());
    line.extend(words.iter().map(OsString::from));
    line
}

/// Runs a command natively.
pub(crate) fn native(words: &[&str]) -> Printed {
    use std::os::unix::process::ExitStatusExt;
    let out = scratch("native").join(unique());
    let status = Command::new("sh")
        .args(shell_line(words, &out))
        .status()
        .expect("a shell");
    let text = std::fs::read(&out).unwrap_or_default();
    let status = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Printed {
        out: String::from_utf8_lossy(&text).into_owned(),
        status,
    }
}

/// Runs a command on our page tables; `None`, with a word why, when this host does not let us.
pub(crate) fn traced(words: &[&str]) -> Option<(Printed, Outcome)> {
    let out = scratch("traced").join(unique());
    let config = RunConfig::new("sh", shell_line(words, &out), ARENA_FRAMES);
    let outcome = run(&config)?;
    let status = match outcome.ending {
        Ending::Exited(status) => status,
        Ending::Killed(signal) | Ending::Asked(signal) => 128 + signal,
    };
    let text = std::fs::read(&out).unwrap_or_default();
    Some((
        Printed {
            out: String::from_utf8_lossy(&text).into_owned(),
            status,
        },
        outcome,
    ))
}

/// As [`traced::run`], with missing rights as a reason to skip.
pub(crate) fn run(config: &RunConfig) -> Option<Outcome> {
    match traced::run(config) {
        Ok(outcome) => Some(outcome),
        Err(error @ (RunError::NotPermitted { .. } | RunError::NoFilter { .. })) => {
            skipped(&error.to_string());
            None
        }
        Err(error) => panic!("the program could not be run: {error}"),
    }
}

/// Runs a command both ways and compares.
pub(crate) fn same(words: &[&str]) {
    let Some((ours, _)) = traced(words) else {
        return;
    };
    assert_eq!(ours, native(words), "{words:?}");
}

/// A name that nobody else uses.
pub(crate) fn unique() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}
