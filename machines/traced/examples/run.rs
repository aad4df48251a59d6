//! Runs a program on our page tables: `cargo run -p recto-traced --example run -- PROGRAM ARGS…`.

use traced::{Ending, RunConfig, SignalPolicy};

const ARENA_FRAMES: u64 = 1 << 18;

fn main() {
    let mut words = std::env::args_os().skip(1);
    let Some(program) = words.next() else {
        eprintln!("usage: run PROGRAM [ARGUMENTS]");
        std::process::exit(2);
    };
    let mut config = RunConfig::new(program, words.collect(), ARENA_FRAMES);
    config.signals = SignalPolicy::Answer;
    match traced::run(&config) {
        Ok(outcome) => {
            if std::env::var_os("RECTO_STATS").is_some() {
                for process in &outcome.stats.processes {
                    eprintln!("{process:#?}");
                }
            }
            match outcome.ending {
                Ending::Exited(status) => std::process::exit(status),
                Ending::Killed(signal) | Ending::Asked(signal) => {
                    traced::end_self_by(signal);
                    std::process::exit(128 + signal);
                }
            }
        }
        Err(error) => {
            eprintln!("recto: {error}");
            std::process::exit(error.exit_status());
        }
    }
}
