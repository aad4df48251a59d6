//! How `recto run` starts a program and ends as it did: what a shell would see.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use conformance::program;
use conformance::suite::{self, Scratch};

fn recto() -> Option<PathBuf> {
    let recto = program::recto();
    recto
        .inspect_err(|why| suite::say(&format!("skipped: {why} (starts)")))
        .ok()
}

/// Signals from outside, closed standard descriptors and files that are no programs do what they do
/// natively.
// row: S12
#[test]
fn programs_start_and_end_as_natively() {
    let Some(recto) = recto() else { return };
    if Command::new("bash").arg("--version").output().is_err() {
        return suite::say("skipped: no bash (starts)");
    }
    let natively = play(&[]);
    let traced = play(&[&recto.to_string_lossy(), "run", "--"]);
    let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text(&natively), text(&traced), "under recto {traced:?}");
    assert_eq!(natively.status, traced.status, "under recto {traced:?}");
}

/// What does not come through is told.
// row: S12
#[test]
fn an_answer_that_cannot_be_written_is_an_error() {
    let Some(recto) = recto() else { return };
    for word in ["doctor", "--help"] {
        let full = File::options().write(true).open("/dev/full");
        let mut command = Command::new(&recto);
        let output = command.arg(word).stdout(full.expect("/dev/full")).output();
        let output = output.expect("recto runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.starts_with("recto: write error: "), "{told}");
    }
}

/// An arena that there cannot be is an error of the option, and of its own status.
// row: S12
#[test]
fn an_arena_that_is_too_large_names_the_option() {
    let Some(recto) = recto() else { return };
    let mut command = Command::new(&recto);
    let output = command
        .args(["run", "--memory", "100T", "--", "true"])
        .output();
    let output = output.expect("recto runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("--memory"), "{told}");
}

/// What comes of the script with `prefix` before each program.
fn play(prefix: &[&str]) -> Output {
    let scratch = Scratch::create().expect("a folder");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/src/starts.sh");
    let mut shell = Command::new("bash");
    let played = shell
        .arg(script)
        .args(prefix)
        .current_dir(scratch.path())
        .output();
    played.expect("bash runs")
}
