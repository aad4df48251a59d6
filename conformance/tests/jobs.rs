//! Job control: `recto run` on a terminal, under an interactive shell.

use std::path::Path;
use std::process::{Command, Output};

use conformance::program;
use conformance::suite;

/// Ctrl-Z, `fg`, `kill -CONT` and Ctrl-C do what they do natively.
// row: S12
#[test]
fn a_job_stops_goes_on_and_ends_as_natively() {
    let recto = match program::recto() {
        Ok(recto) => recto,
        Err(why) => return suite::say(&format!("skipped: {why} (job control)")),
    };
    for needed in ["python3", "bash"] {
        if Command::new(needed).arg("--version").output().is_err() {
            return suite::say(&format!("skipped: no {needed} (job control)"));
        }
    }
    let natively = play(&[]);
    assert!(natively.status.success(), "natively {natively:?}");
    let recto = recto.to_string_lossy();
    let traced = play(&[&recto, "run", "--"]);
    assert_eq!(natively.stdout, traced.stdout, "under recto {traced:?}");
    assert_eq!(natively.status, traced.status, "under recto {traced:?}");
}

/// What comes of the sessions with `prefix` before each program.
fn play(prefix: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/src/jobs.py");
    let played = Command::new("python3").arg(script).args(prefix).output();
    played.expect("python3 runs")
}
