//! Every case against the host kernel: what the cases claim is what Linux does.

use std::env;
use std::sync::Arc;

use conformance::case;
use conformance::host::Host;
use conformance::subject::Runner;
use conformance::suite::{self, Outcome};

/// The expectations are facts.
#[test]
fn every_case_is_true_of_the_host_kernel() {
    let runner: Arc<dyn Runner> = Arc::new(Host::new(env!("CARGO_BIN_EXE_conformance")));
    if let Some(why) = runner.unavailable() {
        suite::say(&format!("skipped: {why}"));
        return;
    }
    let cases = case::load(&case::directory()).expect("the cases of this crate");
    let cases = suite::filtered(cases, env::var("CASE").ok().as_deref());
    let outcomes = suite::run_all(&runner, &cases, &mut |_| {});
    suite::say(&suite::summary(runner.name(), &outcomes));
    let failed = outcomes.iter().filter(|outcome| outcome.failed()).count();
    assert!(
        failed == 0,
        "{failed} cases failed\n{}",
        suite::failures(&outcomes)
    );
    assert!(
        !outcomes
            .iter()
            .all(|outcome| matches!(outcome, Outcome::Skipped { .. }))
    );
}
