//! The host kernel as a subject: a small process that does what it is told, and its controller.
//!
//! The controller is the test; the process (the *agent*) is this crate's own binary with a hidden
//! subcommand, so that a crash is an outcome and nothing of the test lies in the space under test.
//! The agent allocates nothing once it has started. The same agent under `recto run` is the
//! subject of the runner `traced`.

mod access;
pub mod agent;
mod controller;
mod status;
mod wire;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use crate::program::{Faults, Recto};
use crate::subject::{Broken, Figures, Release, Runner, Subject};

pub use controller::Controller;

/// The argument that makes the `conformance` binary an agent.
pub const AGENT: &str = "agent";

/// Performs cases on the host kernel.
#[derive(Debug)]
pub struct Host {
    agent: PathBuf,
}

impl Host {
    /// With the `conformance` binary at this path.
    #[must_use]
    pub fn new(agent: impl Into<PathBuf>) -> Self {
        Self {
            agent: agent.into(),
        }
    }
}

impl Runner for Host {
    fn name(&self) -> &'static str {
        "host"
    }

    fn unavailable(&self) -> Option<String> {
        other_platform()
    }

    fn offers(&self, need: &str) -> bool {
        match need {
            "memlock" => locks_much(),
            "root" => fs::metadata("/proc/self").is_ok_and(|own| owner(&own) == 0),
            "no_pkeys" => !cpu_has("ospke"),
            "memory_failure" => Path::new("/proc/sys/vm/memory_failure_recovery").exists(),
            "thp" => Path::new("/sys/kernel/mm/transparent_hugepage").exists(),
            "proc_mem" | "process_vm" | "mseal" | "guard" | "memfd" | "punch" | "tail"
            | "remap_file_pages" | "counters" | "page_cache" => true,
            _ => false,
        }
    }

    fn start(&self, dir: &Path) -> Result<Box<dyn Subject>, Broken> {
        let mut command = Command::new(&self.agent);
        command.arg(AGENT);
        let controller = Controller::start(command, dir, host_release()?, Figures::ALL)?;
        Ok(Box::new(controller))
    }
}

/// Performs cases on a process under `recto run`.
#[derive(Debug)]
pub struct Traced {
    recto: Recto,
    agent: PathBuf,
}

impl Traced {
    /// With the `recto` and `conformance` binaries at these paths.
    #[must_use]
    pub fn new(recto: Recto, agent: impl Into<PathBuf>) -> Self {
        let agent = agent.into();
        Self { recto, agent }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.recto.path);
        command.args(self.recto.words().iter().skip(1));
        command
    }
}

impl Runner for Traced {
    fn name(&self) -> &'static str {
        match self.recto.faults {
            Faults::Waiting => "traced",
            Faults::Signals => "traced, by signals",
        }
    }

    fn unavailable(&self) -> Option<String> {
        let path = &self.recto.path;
        if !path.exists() {
            let path = path.display();
            return Some(format!("no {path}: build the package recto-cli"));
        }
        let tried = self.command().arg("/bin/true").output();
        match tried {
            Ok(output) if output.status.success() => None,
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stderr);
                let line = text.lines().next().unwrap_or("it said nothing").to_string();
                Some(format!("recto cannot run /bin/true here: {line}"))
            }
            Err(error) => Some(format!("{}: {error}", path.display())),
        }
    }

    fn offers(&self, need: &str) -> bool {
        matches!(
            need,
            "proc_mem"
                | "counters"
                | "process_vm"
                | "memfd"
                | "punch"
                | "tail"
                | "guard"
                | "mseal"
                | "remap_file_pages"
                | "no_pkeys"
        )
    }

    fn start(&self, dir: &Path) -> Result<Box<dyn Subject>, Broken> {
        let mut command = self.command();
        command.arg(&self.agent).arg(AGENT);
        let controller = Controller::start(command, dir, Release::REFERENCE, Figures::NONE)?;
        Ok(Box::new(controller))
    }
}

/// The release of the running kernel.
pub fn host_release() -> Result<Release, Broken> {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").map_err(broken)?;
    Release::parse(&text).ok_or_else(|| Broken(format!("not a release: {text}")))
}

fn other_platform() -> Option<String> {
    let x86 = cfg!(all(target_os = "linux", target_arch = "x86_64"));
    (!x86).then(|| "the cases speak of Linux on x86-64".into())
}

/// Whether a process may lock all that an agent has mapped.
fn locks_much() -> bool {
    let text = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max locked memory"));
    let hard = line.and_then(|line| line.split_whitespace().nth(1));
    hard.is_some_and(|hard| {
        hard.parse::<u64>()
            .map_or(hard == "unlimited", |hard| hard > 64 << 20)
    })
}

fn cpu_has(flag: &str) -> bool {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines()
        .any(|line| line.starts_with("flags") && line.split(' ').any(|word| word == flag))
}

fn owner(metadata: &fs::Metadata) -> u32 {
    use std::os::unix::fs::MetadataExt;
    metadata.uid()
}

fn broken(error: io::Error) -> Broken {
    Broken(error.to_string())
}
