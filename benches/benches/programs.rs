//! `cargo bench -p recto-benches --bench programs`: whole programs under `recto run`, as ratios
//! against the same programs run natively, in turn, medians.
//!
//! It needs the built program: `cargo build --release` first.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use recto_benches::pairs::{Pair, compare, timed};

const ROUNDS: usize = 7;

const SUM: &str = "print(sum(range(10**6)))";

/// The programs, and the ratio that we promise to stay at or below.
const PROGRAMS: &[(&str, &[&str], f64)] = &[
    (
        "python3 -c 'print(sum(range(10**6)))'",
        &["python3", "-c", SUM],
        2.5,
    ),
    ("ls -lR /usr", &["ls", "-lR", "/usr"], 6.0),
];

fn main() {
    let Some(recto) = find_recto() else {
        println!("skipped: no target/release/recto; run cargo build --release first");
        return;
    };
    println!(
        "{:<34} {:>12} {:>12} {:>8}",
        "medians", "recto run", "native", "ratio"
    );
    for (name, command, limit) in PROGRAMS {
        if !runs(Command::new(command[0]).arg("--version")) {
            println!("{name:<34} skipped: no {}", command[0]);
            continue;
        }
        print(&recto, name, command, *limit);
    }
    // `python3` may be a script that starts dozens of programs to find the interpreter.
    if let Some(interpreter) = interpreter() {
        print(
            &recto,
            "  (its interpreter alone)",
            &[&interpreter, "-c", SUM],
            2.5,
        );
    }
}

fn print(recto: &Path, name: &'static str, command: &[&str], limit: f64) {
    let ours = || wall(Command::new(recto).args(["run", "--"]).args(command));
    let host = || wall(Command::new(command[0]).args(&command[1..]));
    let pair = compare(name, ROUNDS, ours, host);
    println!(
        "{}",
        Pair {
            limit: Some(limit),
            ..pair
        }
    );
}

fn interpreter() -> Option<String> {
    let ask = "import sys; print(sys.executable)";
    let answer = Command::new("python3").args(["-c", ask]).output().ok()?;
    let path = String::from_utf8(answer.stdout).ok()?;
    Some(path.trim().to_owned()).filter(|path| !path.is_empty())
}

fn find_recto() -> Option<PathBuf> {
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    Some(folder.join("release/recto")).filter(|path| path.exists())
}

fn runs(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

fn wall(command: &mut Command) -> Duration {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    timed(|| command.status().is_ok())
}
