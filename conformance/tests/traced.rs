//! Every case on a process under `recto run`.

use std::env;
use std::sync::Arc;

use conformance::case;
use conformance::host::Traced;
use conformance::program::{self, Faults, Recto};
use conformance::subject::Runner;
use conformance::suite;

/// A traced program sees the kernel that the cases describe.
// row: S12
#[test]
fn every_case_is_true_under_recto_run() {
    every_case_is_true(Faults::Waiting);
}

/// The same where the host does not let accesses wait.
// row: S12
#[test]
fn every_case_is_true_where_faults_are_signals() {
    every_case_is_true(Faults::Signals);
}

fn every_case_is_true(faults: Faults) {
    let cases = case::load(&case::directory()).expect("the cases of this crate");
    let cases = suite::filtered(cases, env::var("CASE").ok().as_deref());
    let runner: Arc<dyn Runner> = match program::recto() {
        Ok(path) => {
            let recto = Recto { path, faults };
            Arc::new(Traced::new(recto, env!("CARGO_BIN_EXE_conformance")))
        }
        Err(why) => {
            suite::say(&format!("skipped: {why} ({} cases)", cases.len()));
            return;
        }
    };
    if let Some(why) = runner.unavailable() {
        suite::say(&format!("skipped: {why} ({} cases)", cases.len()));
        return;
    }
    let outcomes = suite::run_all(&runner, &cases, &mut |_| {});
    suite::say(&suite::summary(runner.name(), &outcomes));
    let failed = outcomes.iter().filter(|outcome| outcome.failed()).count();
    assert!(
        failed == 0,
        "{failed} cases failed\n{}",
        suite::failures(&outcomes)
    );
}
