//! Random cases on the host kernel and on the machine `soft`: what one shows, the other shows.
#![cfg(feature = "soft")]

use std::env;
use std::sync::Arc;

use conformance::case::Case;
use conformance::generate::{self, Difference};
use conformance::host::Host;
use conformance::soft::Soft;
use conformance::subject::Runner;
use conformance::suite::{self, Outcome};

/// Cases in a run that says nothing else.
const CASES: u64 = 150;
/// Steps of a case.
const STEPS: usize = 40;

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Where the two machines part, if they do.
fn parted(host: &Arc<dyn Runner>, soft: &Arc<dyn Runner>, case: &Case) -> Option<Difference> {
    match (suite::run(host, case), suite::run(soft, case)) {
        (Outcome::Performed(one), Outcome::Performed(other)) => generate::difference(&one, &other),
        _ => None,
    }
}

/// Seeded and bounded; the shortest form of a difference is printed as a case.
#[test]
fn random_cases_show_the_same_on_host_and_soft() {
    let host: Arc<dyn Runner> = Arc::new(Host::new(env!("CARGO_BIN_EXE_conformance")));
    if let Some(why) = host.unavailable() {
        println!("skipped: {why}");
        return;
    }
    let soft: Arc<dyn Runner> = Arc::new(Soft::new());
    let first = number("SEED", 1);
    for seed in first..first + number("CASES", CASES) {
        let case = generate::case(seed, STEPS);
        if parted(&host, &soft, &case).is_none() {
            continue;
        }
        let least = generate::shrink(&case, &mut |case| parted(&host, &soft, case).is_some());
        let Difference { step, first, second } =
            parted(&host, &soft, &least).expect("shrinking keeps the difference");
        panic!(
            "seed {seed}: at {step}\n    host {first}\n    soft {second}\n{}",
            generate::written(&least)
        );
    }
}
