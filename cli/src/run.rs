//! `recto run`: starts a program, and ends as it ended.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use traced::{Ending, Faults, RunConfig, RunError, SignalPolicy, StatsPolicy};

use crate::{FaultsWay, RunArguments, StatsForm, report};

/// The size of a frame.
const FRAME_BYTES: u64 = 4096;

/// Runs the program. Comes back with its status; if a signal ended it, ends by that signal.
pub(crate) fn run(arguments: RunArguments) -> ExitCode {
    let mut words = arguments.command.into_iter();
    let program: OsString = words.next().unwrap_or_default();
    let mut config = RunConfig::new(program, words.collect(), arguments.memory / FRAME_BYTES);
    config.signals = SignalPolicy::Answer;
    config.faults = match arguments.faults {
        FaultsWay::Waiting => Faults::Waiting,
        FaultsWay::Signals => Faults::Signals,
    };
    if arguments.stats.is_none() {
        config.stats = StatsPolicy::Drop;
    }
    let outcome = match traced::run(&config) {
        Ok(outcome) => outcome,
        Err(error) => {
            let option = match &error {
                RunError::ArenaSize { .. } => "--memory: ",
                _ => "",
            };
            complain(&format!("{option}{error}"));
            return status(error.exit_status());
        }
    };
    match arguments.stats {
        Some(StatsForm::Text) => report::print_text(&outcome.stats),
        Some(StatsForm::Json) => report::print_json(&outcome.stats),
        None => {}
    }
    match outcome.ending {
        Ending::Exited(code) => status(code),
        Ending::Killed(signal) | Ending::Asked(signal) => {
            traced::end_self_by(signal);
            // Not every signal ends a process for which it ended another; a shell's number does.
            status(128 + signal)
        }
    }
}

/// One line to standard error.
pub(crate) fn complain(text: &str) {
    // Nobody reads standard error: there is nowhere else to say it.
    let _ = writeln!(std::io::stderr().lock(), "recto: {text}");
}

/// A status as `exit(2)` takes it: its low eight bits.
fn status(code: i32) -> ExitCode {
    ExitCode::from(code.to_le_bytes()[0])
}
