//! Every case on Recto's `Mm` with the machine `soft`.
#![cfg(feature = "soft")]

use std::env;
use std::sync::Arc;

use conformance::case;
use conformance::soft::Soft;
use conformance::subject::Runner;
use conformance::suite;

/// Our memory calls, faults, signals and maps are Linux's.
#[test]
fn every_case_is_true_of_our_address_space() {
    let runner: Arc<dyn Runner> = Arc::new(Soft::new());
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
}
