//! `recto`: unmodified Linux programs on Recto's own virtual memory.

#![forbid(unsafe_code)]

mod doctor;
mod report;
mod run;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  recto run -- ls -l /
  recto run --stats text -- python3 -c 'print(sum(range(10**6)))'
  recto run --stats json --memory 2G -- ./server 2> stats.json
  recto doctor";

/// Linux programs on a memory manager of their own: every mmap, every page fault, every
/// copy-on-write is decided by Recto's areas, page tables and frames.
#[derive(Debug, Parser)]
#[command(name = "recto", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a program with its whole address space served by Recto.
    Run(RunArguments),
    /// Try what this host allows, and say how to allow what is missing.
    Doctor(DoctorArguments),
}

/// `recto run`.
#[derive(Debug, clap::Args)]
struct RunArguments {
    /// Print what the memory manager did, to standard error, when the program has ended.
    #[arg(long, value_name = "FORM")]
    stats: Option<StatsForm>,
    /// The size of the arena that all frames come from: a number of bytes, or one with K, M, G or T
    /// (or KiB, MiB, GiB, TiB), which are powers of 1024.
    #[arg(long, value_name = "SIZE", default_value = "4G", value_parser = parse_size)]
    memory: u64,
    /// How faults are heard of.
    #[arg(long, value_name = "WAY", default_value = "waiting")]
    faults: FaultsWay,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// `recto doctor`.
#[derive(Debug, clap::Args)]
struct DoctorArguments {
    /// For programs: one JSON object instead of lines.
    #[arg(long)]
    json: bool,
}

/// How the statistics are written.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum StatsForm {
    /// For eyes.
    Text,
    /// For programs: one JSON object.
    Json,
}

/// How a program's faults are heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FaultsWay {
    /// Accesses wait (userfaultfd) until they are served; as signals where the host does not allow that.
    Waiting,
    /// They are signals, and every call that names memory stops: slower, and needs no right to
    /// userfaultfd; to compare.
    Signals,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(answer) => {
            let status = u8::try_from(answer.exit_code()).unwrap_or(2);
            return printed(answer.print(), ExitCode::from(status));
        }
    };
    match arguments.command {
        Command::Run(arguments) => run::run(arguments),
        Command::Doctor(arguments) => {
            let findings = traced::examine();
            let written = if arguments.json {
                doctor::print_json(&findings)
            } else {
                doctor::print_text(&findings, doctor::Colour::of_stdout())
            };
            printed(written, doctor::verdict(&findings))
        }
    }
}

/// `status`, if what was written has come through. A reader that closed the pipe has seen enough.
fn printed(written: io::Result<()>, status: ExitCode) -> ExitCode {
    match written.and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            run::complain(&format!("write error: {error}"));
            ExitCode::FAILURE
        }
        _ => status,
    }
}

/// `512M` and the like, in bytes: a number and a unit, if any.
fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let shift = match unit.to_ascii_uppercase().as_str() {
        "" => 0,
        "K" | "KIB" => 10,
        "M" | "MIB" => 20,
        "G" | "GIB" => 30,
        "T" | "TIB" => 40,
        _ => {
            return Err(format!(
                "{unit} is not a unit: K, M, G, T or KiB, MiB, GiB, TiB"
            ));
        }
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("{text} is not a size"))?;
    let bytes = number
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("{text} is too large"))?;
    const LEAST: u64 = 1 << 20;
    if bytes < LEAST {
        Err(format!("{text} is too small: at least 1M"))
    } else {
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{Arguments, Command, FaultsWay, parse_size};

    #[test]
    fn faults_wait_unless_signals_are_asked_for() {
        let way = |words: &[&str]| {
            let words = ["recto", "run"].iter().chain(words).chain(&["--", "true"]);
            match Arguments::try_parse_from(words).map(|arguments| arguments.command) {
                Ok(Command::Run(run)) => Some(run.faults),
                _ => None,
            }
        };
        assert_eq!(way(&[]), Some(FaultsWay::Waiting));
        assert_eq!(way(&["--faults", "waiting"]), Some(FaultsWay::Waiting));
        assert_eq!(way(&["--faults", "signals"]), Some(FaultsWay::Signals));
        assert_eq!(way(&["--faults", "never"]), None);
    }

    #[test]
    fn sizes_are_numbers_with_a_unit() {
        assert_eq!(parse_size("4096K"), Ok(4 << 20));
        assert_eq!(parse_size("2g"), Ok(2 << 30));
        assert_eq!(parse_size("1MiB"), Ok(1 << 20));
        assert_eq!(parse_size("8388608"), Ok(8 << 20));
        for wrong in [
            "",
            "G",
            "12Q",
            "12MB",
            "4096iB",
            "-1M",
            "99999999999T",
            "17",
        ] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
