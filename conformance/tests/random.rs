//! Random cases on the host kernel and on the machine `soft`: what one shows, the other shows.
#![cfg(feature = "soft")]

use std::env;
use std::sync::Arc;

use conformance::generate;
use conformance::host::Host;
use conformance::soft::Soft;
use conformance::subject::Runner;
use conformance::suite;

/// Cases in a run that says nothing else.
const CASES: u64 = 150;
fn number(name: &str, default: u64) -> u64 {
    env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Seeded and bounded; the shortest form of a difference is printed as a case.
// inv: 14, 19, 45
#[test]
fn random_cases_show_the_same_on_host_and_soft() {
    let host: Arc<dyn Runner> = Arc::new(Host::new(env!("CARGO_BIN_EXE_conformance")));
    if let Some(why) = host.unavailable() {
        suite::say(&format!("skipped: {why}"));
        return;
    }
    let soft: Arc<dyn Runner> = Arc::new(Soft::new());
    let first = number("SEED", 1);
    for seed in first..first + number("CASES", CASES) {
        if let Some((difference, case)) = generate::parted(&host, &soft, seed) {
            panic!("seed {seed}: {difference}\n{}", generate::written(&case));
        }
    }
}
