//! One run of a program.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{Program, Recto, directory};

/// Where commands are looked for.
pub(super) const SEARCH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Seconds that a program may take if it does not say.
const PATIENCE: u64 = 120;

/// What a run left behind.
#[derive(Debug, Clone)]
pub struct Result {
    /// How it ended.
    pub ended: Ended,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// The files that are compared; empty where there is none.
    pub files: Vec<Vec<u8>>,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// Not: it was stopped after so many seconds.
    Hung(u64),
}

impl Ended {
    fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Exited(code),
            (None, signal) => Self::Killed(signal.unwrap_or_default()),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exit status {status}"),
            Self::Killed(signal) => write!(f, "killed by {}", crate::case::signal_name(*signal)),
            Self::Hung(seconds) => write!(f, "still running after {seconds} s"),
        }
    }
}

fn expanded(word: &str) -> String {
    word.replace("{src}", &directory().join("src").display().to_string())
}

fn environment(command: &mut Command, dir: &Path) {
    command.current_dir(dir).env_clear();
    command
        .env("PATH", SEARCH)
        .env("HOME", dir)
        .env("LC_ALL", "C")
        .env("TMPDIR", dir);
}

/// Runs a command natively that must succeed.
pub(super) fn prepare(argv: &[String], dir: &Path) -> io::Result<()> {
    let words: Vec<String> = argv.iter().map(|word| expanded(word)).collect();
    let [program, args @ ..] = words.as_slice() else {
        return Ok(());
    };
    let mut command = Command::new(program);
    environment(&mut command, dir);
    let output = command.args(args).output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(io::Error::other(format!(
        "{words:?}: {}: {text}",
        output.status
    )))
}

/// Runs the program, under `recto` if given.
pub(super) fn run(program: &Program, dir: &Path, recto: Option<&Recto>) -> io::Result<Result> {
    let mut words: Vec<String> = program.argv.iter().map(|word| expanded(word)).collect();
    if let Some(recto) = recto {
        words.splice(0..0, recto.words());
    }
    words.splice(0..0, program.through.iter().cloned());
    // The streams go to files beside the folder, so that nothing can fill a pipe.
    let stream = |name: &str| dir.with_extension(name);
    let mut command = Command::new(&words[0]);
    environment(&mut command, dir);
    command
        .args(&words[1..])
        .envs(&program.env)
        .process_group(0);
    command
        .stdout(File::create(stream("stdout"))?)
        .stderr(File::create(stream("stderr"))?);
    command.stdin(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program need not read what it is given.
        let _ = stdin.write_all(program.stdin.as_bytes());
    }
    let ended = wait(&mut child, program.seconds.unwrap_or(PATIENCE))?;
    let files = program
        .compare
        .iter()
        .map(|name| fs::read(dir.join(name)).unwrap_or_default());
    Ok(Result {
        ended,
        stdout: fs::read(stream("stdout"))?,
        stderr: fs::read(stream("stderr"))?,
        files: files.collect(),
    })
}

/// Waits for the end, or ends it: a Recto takes its tree with it.
fn wait(child: &mut Child, seconds: u64) -> io::Result<Ended> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Ended::of(status));
        }
        if start.elapsed() > Duration::from_secs(seconds) {
            child.kill()?;
            child.wait()?;
            return Ok(Ended::Hung(seconds));
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Builds `recto` with the profile of the tests, whose crates are there already.
pub(super) fn build_recto() -> std::result::Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(directory())
        .args(["build", "--quiet", "--profile", "test"]);
    command.args(["--package", "recto-cli", "--message-format", "json"]);
    let output = command
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    if !output.status.success() {
        return Err("the package recto-cli does not build".into());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut executables =
        messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    executables
        .next()
        .ok_or_else(|| "cargo named no executable of recto-cli".into())
}
