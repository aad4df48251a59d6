//! `cargo xtask`: the project's own checks, one command each.
//!
//! Every check prints what it looked at and fails with one line per finding, so that a reader
//! of the output knows the file, the line and the rule.

#![forbid(unsafe_code)]

mod ci;
mod coverage;
mod layers;
mod rooms;
mod sizes;
mod source;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own checks.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    after_help = "Examples:\n  cargo xtask ci\n  cargo xtask coverage --write"
)]
struct Arguments {
    #[command(subcommand)]
    check: Check,
}

#[derive(Debug, Subcommand)]
enum Check {
    /// A crate, and a module of `mm`, uses only what lies below it.
    Layers,
    /// Functions fit a screen, files and argument lists stay short.
    Sizes,
    /// Unsafe code lives in the named rooms only.
    UnsafeRooms,
    /// COVERAGE.md says what the row tags in the tests say.
    Coverage {
        /// Write COVERAGE.md instead of comparing with it.
        #[arg(long)]
        write: bool,
    },
    /// Everything that must pass before a change lands, save the tests.
    Ci,
}

/// What a check found: a line for the summary, or the findings.
pub(crate) type Verdict = Result<String, Vec<String>>;

fn main() -> ExitCode {
    let root = source::workspace_root();
    let verdict = match Arguments::parse().check {
        Check::Layers => layers::check(&root),
        Check::Sizes => sizes::check(&root),
        Check::UnsafeRooms => rooms::check(&root),
        Check::Coverage { write: true } => coverage::write(&root),
        Check::Coverage { write: false } => coverage::check(&root),
        Check::Ci => ci::run(&root),
    };
    match verdict {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(findings) => {
            for finding in &findings {
                eprintln!("{finding}");
            }
            eprintln!("{} finding(s)", findings.len());
            ExitCode::FAILURE
        }
    }
}
