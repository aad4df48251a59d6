//! Every program of `programs/*.toml`, natively and under Recto.

use std::env;

use conformance::host::Traced;
use conformance::program::{self, Faults, Recto, Verdict};
use conformance::subject::Runner;
use conformance::suite;

/// Output, errors, status and files are the same.
// row: S12, S13
#[test]
fn every_program_runs_as_it_does_natively() {
    every_program_runs_alike(Faults::Waiting);
}

/// The same where the host does not let accesses wait.
// row: S12, S13
#[test]
fn every_program_runs_as_it_does_natively_where_faults_are_signals() {
    every_program_runs_alike(Faults::Signals);
}

fn every_program_runs_alike(faults: Faults) {
    let programs = program::load(&program::directory()).expect("the programs of this crate");
    let recto = match available(faults) {
        Ok(recto) => recto,
        Err(why) => {
            suite::say(&format!("skipped: {why} ({} programs)", programs.len()));
            return;
        }
    };
    let filter = env::var("CASE").unwrap_or_default();
    let (mut equal, mut skipped, mut failed) = (0, 0, Vec::new());
    for program in programs
        .iter()
        .filter(|program| program.name.contains(&filter))
    {
        match program
            .compare(&recto)
            .expect("the program can be prepared")
        {
            Verdict::Equal => equal += 1,
            Verdict::Skipped(why) => {
                suite::say(&format!("skipped: {}: {why}", program.name));
                skipped += 1;
            }
            Verdict::Different(lines) => {
                failed.push(format!("{}\n    {}", program.name, lines.join("\n    ")));
            }
        }
    }
    suite::say(&format!(
        "programs, faults {faults:?}: {equal} equal, {} different, {skipped} skipped",
        failed.len()
    ));
    assert!(
        failed.is_empty(),
        "{} programs differ\n{}",
        failed.len(),
        failed.join("\n")
    );
}

/// The `recto` binary, if it can run anything here.
fn available(faults: Faults) -> Result<Recto, String> {
    let path = program::recto()?;
    let recto = Recto { path, faults };
    let traced = Traced::new(recto.clone(), env!("CARGO_BIN_EXE_conformance"));
    traced.unavailable().map_or(Ok(recto), Err)
}
