//! Holds a machine against the cases: `conformance host|soft|traced|traced-signals [FILTER] [--json]`.

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use conformance::host::{AGENT, Host, Traced, agent};
use conformance::program::{Faults, Recto};
use conformance::subject::Runner;
use conformance::suite::{self, Outcome};
use conformance::{case, generate};

const USAGE: &str = "usage: conformance host|soft|traced|traced-signals [FILTER] [--json]
       conformance random SEED CASES [FIRST SECOND]
Performs the cases of conformance/cases whose theme/name contains FILTER.
The runners traced take the recto binary from $RECTO, or from beside this one.
random compares two runners, host and soft by default, on cases made from seeds.";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    if let [mode, socket] = args.as_slice()
        && mode == AGENT
    {
        agent::serve(socket);
    }
    if args.first().is_some_and(|word| word == "random") {
        return random(&args[1..]);
    }
    let json = args.iter().any(|arg| arg == "--json");
    let mut words = args
        .iter()
        .filter(|arg| !arg.starts_with("--"))
        .map(String::as_str);
    match words.next().map(runner) {
        Some(Ok(runner)) => hold(&runner, words.next(), if json { tell_json } else { tell }),
        Some(Err(why)) => {
            eprintln!("conformance: {why}");
            ExitCode::FAILURE
        }
        None => {
            eprintln!("{USAGE}");
            ExitCode::FAILURE
        }
    }
}

/// Two machines, side by side.
fn random(args: &[String]) -> ExitCode {
    let number = |place: usize| args.get(place).and_then(|text| text.parse().ok());
    let name = |place: usize, default| args.get(place).map_or(default, String::as_str);
    let (Some(seed), Some(cases)) = (number(0), number(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    let (first, second) = match (runner(name(2, "host")), runner(name(3, "soft"))) {
        (Ok(first), Ok(second)) => (first, second),
        (Err(why), _) | (_, Err(why)) => {
            eprintln!("conformance: {why}");
            return ExitCode::FAILURE;
        }
    };
    let seeds: std::ops::Range<u64> = seed..seed + cases;
    let mut parted: u64 = 0;
    for seed in seeds {
        if let Some((difference, case)) = generate::parted(&first, &second, seed) {
            parted += 1;
            println!("seed {seed}: {difference}\n{}", generate::written(&case));
        }
    }
    println!(
        "{cases} cases, {parted} on which {} and {} part",
        first.name(),
        second.name()
    );
    if parted == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn runner(name: &str) -> Result<Arc<dyn Runner>, String> {
    let own = env::current_exe().map_err(|error| error.to_string())?;
    match name {
        "host" => Ok(Arc::new(Host::new(own))),
        "traced" | "traced-signals" => {
            let faults = match name {
                "traced" => Faults::Waiting,
                _ => Faults::Signals,
            };
            let beside = || own.with_file_name("recto");
            let path = env::var_os("RECTO").map_or_else(beside, PathBuf::from);
            Ok(Arc::new(Traced::new(Recto { path, faults }, own)))
        }
        #[cfg(feature = "soft")]
        "soft" => Ok(Arc::new(conformance::soft::Soft::new())),
        other => Err(format!("no runner {other}\n{USAGE}")),
    }
}

fn hold(runner: &Arc<dyn Runner>, filter: Option<&str>, tell: fn(&Outcome)) -> ExitCode {
    let cases = match case::load(&case::directory()) {
        Ok(cases) => suite::filtered(cases, filter),
        Err(error) => {
            eprintln!("conformance: {error}");
            return ExitCode::FAILURE;
        }
    };
    if let Some(why) = runner.unavailable() {
        println!("skipped: {why} ({} cases)", cases.len());
        return ExitCode::SUCCESS;
    }
    let outcomes = suite::run_all(runner, &cases, &mut |outcome| tell(outcome));
    eprintln!();
    eprint!("{}", suite::failures(&outcomes));
    eprint!("{}", suite::summary(runner.name(), &outcomes));
    if outcomes.iter().any(Outcome::failed) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn tell(outcome: &Outcome) {
    let mark = match outcome {
        Outcome::Skipped { .. } => 's',
        failed if failed.failed() => 'F',
        _ => '.',
    };
    eprint!("{mark}");
    // Progress that cannot be shown is no reason to stop.
    let _ = io::stderr().flush();
}

/// A line of JSON a case, on standard output.
fn tell_json(outcome: &Outcome) {
    if let Ok(line) = serde_json::to_string(outcome) {
        println!("{line}");
    }
}
