//! Whole programs, run natively and under Recto, and compared.
//!
//! A program of `programs/*.toml` says what is run, where, with what, and which of its results must
//! be equal: standard output and standard error (after masks), exit status or signal, and files.

mod mask;
mod run;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use serde::Deserialize;

use crate::case::LoadError;
use crate::suite::Scratch;
use mask::Masks;
pub use run::{Ended, Result as RunResult};

/// A file of programs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgramFile {
    program: Vec<Program>,
}

/// One program.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Unique.
    pub name: String,
    /// What it is there for.
    #[serde(default)]
    pub about: String,
    /// Paths or commands that must exist; the program is skipped otherwise.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Commands run natively before each run, in its folder. `{src}` is `programs/src`.
    #[serde(default)]
    pub prepare: Vec<Vec<String>>,
    /// The command. `{src}` as above.
    pub argv: Vec<String>,
    /// A command that starts it, or `recto`, by what follows it.
    #[serde(default)]
    pub through: Vec<String>,
    /// Its environment beside PATH, HOME and LC_ALL=C.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Its standard input.
    #[serde(default)]
    pub stdin: String,
    /// Files that lie in its folder.
    #[serde(default)]
    pub files: BTreeMap<String, Contents>,
    /// Files that it makes, and that must be equal.
    #[serde(default)]
    pub compare: Vec<String>,
    /// What may differ: each match is replaced by `#` before comparing.
    #[serde(default)]
    pub masks: Vec<String>,
    /// Compare the lines of standard output as a set, for programs whose parts run at once.
    #[serde(default)]
    pub any_order: Option<Order>,
    /// Seconds that it may take under Recto.
    pub seconds: Option<u64>,
}

/// How the lines of the streams are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Sorted first.
    Lines,
}

/// What a file holds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contents {
    /// This text.
    pub text: Option<String>,
    /// Or so many lines, each a number that looks random.
    pub lines: Option<u64>,
}

impl Contents {
    fn bytes(&self) -> Vec<u8> {
        if let Some(text) = &self.text {
            return text.clone().into_bytes();
        }
        let mut random = crate::generate::Random::new(1);
        let lines =
            (0..self.lines.unwrap_or_default()).map(|_| format!("{:020}\n", random.number()));
        lines.collect::<String>().into_bytes()
    }
}

/// `recto run`, as it is called.
#[derive(Debug, Clone)]
pub struct Recto {
    /// The binary.
    pub path: PathBuf,
    /// How faults are heard of.
    pub faults: Faults,
}

/// How `recto run` hears of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Faults {
    /// As accesses that wait, where the host allows it.
    Waiting,
    /// As signals.
    Signals,
}

impl Recto {
    /// The words before the program and its arguments.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let way = match self.faults {
            Faults::Waiting => "waiting",
            Faults::Signals => "signals",
        };
        let path = self.path.display().to_string();
        let rest = ["run", "--faults", way, "--"].map(str::to_owned);
        [path].into_iter().chain(rest).collect()
    }
}

/// What came of a program.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// The two runs were equal.
    Equal,
    /// They were not: in what, a line each.
    Different(Vec<String>),
    /// It was not run, and why.
    Skipped(String),
}

/// The folder of the programs of this crate.
#[must_use]
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs")
}

/// Reads every program of a folder.
pub fn load(dir: &Path) -> Result<Vec<Program>, LoadError> {
    let unreadable = |source| LoadError::Unreadable {
        path: dir.into(),
        source,
    };
    let listed = fs::read_dir(dir).map_err(unreadable)?;
    let mut paths: Vec<PathBuf> = listed.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    });
    paths.sort();
    let mut programs = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).map_err(|source| LoadError::Unreadable {
            path: path.clone(),
            source,
        })?;
        let file: ProgramFile = toml::from_str(&text).map_err(|error| LoadError::Malformed {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        programs.extend(file.program);
    }
    Ok(programs)
}

impl Program {
    /// Runs it natively and under Recto, one after the other in a folder of the same name.
    pub fn compare(&self, recto: &Recto) -> io::Result<Verdict> {
        if let Some(missing) = self.needs.iter().find(|need| !exists(need)) {
            return Ok(Verdict::Skipped(format!("no {missing}")));
        }
        let masks = Masks::new(&self.masks).map_err(io::Error::other)?;
        let scratch = Scratch::create()?;
        let dir = scratch.path().join("run");
        let native = self.once(&dir, None)?;
        let traced = self.once(&dir, Some(recto))?;
        let differences = self.differences(&native, &traced, &masks);
        Ok(if differences.is_empty() {
            Verdict::Equal
        } else {
            Verdict::Different(differences)
        })
    }

    /// One run in a fresh folder.
    fn once(&self, dir: &Path, recto: Option<&Recto>) -> io::Result<RunResult> {
        // The folder is not there the first time.
        let _ = fs::remove_dir_all(dir);
        fs::create_dir_all(dir)?;
        for (name, contents) in &self.files {
            fs::write(dir.join(name), contents.bytes())?;
        }
        for command in &self.prepare {
            run::prepare(command, dir)?;
        }
        run::run(self, dir, recto)
    }

    fn differences(&self, native: &RunResult, traced: &RunResult, masks: &Masks) -> Vec<String> {
        let mut lines = Vec::new();
        if native.ended != traced.ended {
            lines.push(format!(
                "natively {}, under recto {}",
                native.ended, traced.ended
            ));
        }
        let mut streams = vec![
            ("stdout".to_string(), &native.stdout, &traced.stdout),
            ("stderr".to_string(), &native.stderr, &traced.stderr),
        ];
        for (name, (one, other)) in self
            .compare
            .iter()
            .zip(native.files.iter().zip(&traced.files))
        {
            streams.push((name.clone(), one, other));
        }
        for (name, one, other) in streams {
            let [one, other] = [one, other].map(|bytes| self.comparable(bytes, masks));
            if one != other {
                lines.push(format!("{name}: {}", first_difference(&one, &other)));
            }
        }
        lines
    }

    fn comparable(&self, bytes: &[u8], masks: &Masks) -> String {
        let text = masks.apply(&String::from_utf8_lossy(bytes));
        if self.any_order.is_none() {
            return text;
        }
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines.join("\n")
    }
}

fn first_difference(one: &str, other: &str) -> String {
    let pairs = one.lines().zip(other.lines()).enumerate();
    for (number, (left, right)) in pairs {
        if left != right {
            return format!(
                "line {}: natively {left:?}, under recto {right:?}",
                number + 1
            );
        }
    }
    let (short, long) = (one.lines().count(), other.lines().count());
    let last = other.lines().last().unwrap_or_default();
    format!("natively {short} lines, under recto {long}; its last: {last:?}")
}

/// Whether a path is there, or a command in the search path.
fn exists(need: &str) -> bool {
    if need.contains('/') {
        return Path::new(need).exists();
    }
    run::SEARCH
        .split(':')
        .any(|dir| Path::new(dir).join(need).exists())
}

/// The `recto` binary: `$RECTO`, or built by the cargo that runs the tests.
pub fn recto() -> Result<PathBuf, String> {
    if let Some(path) = env::var_os("RECTO") {
        return Ok(PathBuf::from(path));
    }
    run::build_recto()
}
