//! Holds a machine against the cases: `conformance host|soft|traced [FILTER] [--json]`.

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use conformance::case;
use conformance::host::{AGENT, Host, Traced, agent};
use conformance::subject::Runner;
use conformance::suite::{self, Outcome};

const USAGE: &str = "usage: conformance host|soft|traced [FILTER] [--json]
Performs the cases of conformance/cases whose theme/name contains FILTER.
The runner traced takes the recto binary from $RECTO, or from beside this one.";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    if let [mode, socket] = args.as_slice()
        && mode == AGENT
    {
        agent::serve(socket);
    }
    let json = args.iter().any(|arg| arg == "--json");
    let mut words = args
        .iter()
        .filter(|arg| !arg.starts_with("--"))
        .map(String::as_str);
    match words.next().map(runner) {
        Some(Ok(runner)) => hold(
            &runner,
            words.next(),
            if json { tell_json } else { tell },
        ),
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

fn runner(name: &str) -> Result<Arc<dyn Runner>, String> {
    let own = env::current_exe().map_err(|error| error.to_string())?;
    match name {
        "host" => Ok(Arc::new(Host::new(own))),
        "traced" => {
            let beside = || own.with_file_name("recto");
            let recto = env::var_os("RECTO").map_or_else(beside, PathBuf::from);
            Ok(Arc::new(Traced::new(recto, own)))
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
