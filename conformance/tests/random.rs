//! Random cases on the host kernel and on each machine: what one shows, the others show.
#![cfg(feature = "soft")]

use std::env;
use std::sync::Arc;

use conformance::generate;
use conformance::host::{Host, Traced};
use conformance::program::{self, Faults, Recto};
use conformance::soft::Soft;
use conformance::subject::Runner;
use conformance::suite;

fn number(name: &str, default: u64) -> u64 {
    env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Seeded and bounded; the shortest form of a difference is printed as a case.
fn compare(ours: &Arc<dyn Runner>, nr_cases: u64) {
    let host: Arc<dyn Runner> = Arc::new(Host::new(env!("CARGO_BIN_EXE_conformance")));
    if let Some(why) = host.unavailable().or_else(|| ours.unavailable()) {
        suite::say(&format!("skipped: {why}"));
        return;
    }
    let first = number("SEED", 1);
    for seed in first..first + number("CASES", nr_cases) {
        if let Some((difference, case)) = generate::parted(&host, ours, seed) {
            panic!("seed {seed}: {difference}\n{}", generate::written(&case));
        }
    }
}

// inv: 14, 19, 45
#[test]
fn random_cases_show_the_same_on_host_and_soft() {
    let soft: Arc<dyn Runner> = Arc::new(Soft::new());
    compare(&soft, 150);
}

// row: S12
#[test]
fn random_cases_show_the_same_on_host_and_traced() {
    compare_traced(Faults::Waiting);
}

// row: S12
#[test]
fn random_cases_show_the_same_on_host_and_traced_by_signals() {
    compare_traced(Faults::Signals);
}

fn compare_traced(faults: Faults) {
    match program::recto() {
        Ok(path) => {
            let agent = env!("CARGO_BIN_EXE_conformance");
            let traced: Arc<dyn Runner> = Arc::new(Traced::new(Recto { path, faults }, agent));
            compare(&traced, 60);
        }
        Err(why) => suite::say(&format!("skipped: {why}")),
    }
}
