//! A case: its tags, its files and its steps.

mod expect;
mod expr;
mod names;
mod parse;
mod step;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::Deserialize;

pub use expect::{AreaLine, Expect, Expectation, area_lines};
pub use expr::{Expr, Symbols};
pub use names::{advice, errno_name, errno_number, map_flags, signal_code_name, signal_name};
pub use parse::ParseError;
pub use step::{Arg, Guard, Script, Step, Verb};

use crate::subject::Release;

/// A file of cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    case: Vec<Case>,
}

/// One case: what is done, and what Linux does.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Unique in the suite.
    pub name: String,
    /// Why it is so, or where it is written.
    #[serde(default)]
    pub about: String,
    /// Rows of the mission that it exercises.
    #[serde(default)]
    pub rows: Vec<String>,
    /// Invariants of the specification that it checks.
    #[serde(default)]
    pub inv: Vec<u32>,
    /// Things that not every host or machine has.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Files that exist before the first step.
    #[serde(default)]
    pub files: BTreeMap<String, FileSetup>,
    /// The first release that behaves so, if older ones differ.
    pub since: Option<String>,
    /// The first release that no longer behaves so.
    pub until: Option<String>,
    /// What is done.
    pub steps: Script,
    /// The theme: the folder it was read from.
    #[serde(skip)]
    pub theme: String,
}

/// What a file holds before the first step.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSetup {
    /// Its length, as an expression (`3p`, `2p+100`). Page 0 is filled with `A`, page 1 with `B`...
    pub size: Option<String>,
    /// Or its contents, literally.
    pub text: Option<String>,
    /// Its permission bits; `0o600` if absent.
    pub mode: Option<u32>,
}

impl FileSetup {
    /// The bytes of the file.
    pub fn bytes(&self) -> Result<Vec<u8>, ParseError> {
        if let Some(text) = &self.text {
            return Ok(text.clone().into_bytes());
        }
        let size = Expr::parse(self.size.as_deref().unwrap_or("0"))?
            .value(&Symbols::new())
            .map_err(ParseError::new)?;
        Ok((0..size)
            .map(|at| b'A' + u8::try_from(at / 4096 % 26).unwrap_or(0))
            .collect())
    }
}

impl Case {
    /// Whether it speaks of this release.
    #[must_use]
    pub fn applies_to(&self, release: Release) -> bool {
        let bound = |text: &Option<String>| text.as_deref().and_then(Release::parse);
        bound(&self.since).is_none_or(|since| release >= since)
            && bound(&self.until).is_none_or(|until| release < until)
    }

    /// Creates the files of the case.
    pub fn create_files(&self, dir: &Path) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        for (name, setup) in &self.files {
            let path = dir.join(name);
            fs::write(&path, setup.bytes().map_err(io::Error::other)?)?;
            let mode = setup.mode.unwrap_or(0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        }
        Ok(())
    }
}

/// What is wrong with the case files.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file or folder cannot be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not of the format.
    #[error("{path}: {reason}")]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// The folder of the cases of this crate.
#[must_use]
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

/// Reads every case below a folder, in order of theme, file and place.
pub fn load(dir: &Path) -> Result<Vec<Case>, LoadError> {
    let mut cases = Vec::new();
    let mut seen = BTreeSet::new();
    for theme in entries(dir)? {
        if !theme.is_dir() {
            continue;
        }
        for path in entries(&theme)? {
            if path
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                for case in load_file(&path)? {
                    if !seen.insert(case.name.clone()) {
                        let reason = format!("a second case named {}", case.name);
                        return Err(LoadError::Malformed { path, reason });
                    }
                    cases.push(case);
                }
            }
        }
    }
    Ok(cases)
}

/// Reads the cases of one file.
pub fn load_file(path: &Path) -> Result<Vec<Case>, LoadError> {
    let text = fs::read_to_string(path).map_err(|source| LoadError::Unreadable {
        path: path.into(),
        source,
    })?;
    let file: CaseFile = toml::from_str(&text).map_err(|error| LoadError::Malformed {
        path: path.into(),
        reason: error.to_string(),
    })?;
    let theme = path
        .parent()
        .and_then(Path::file_name)
        .map(|name| name.to_string_lossy());
    let mut cases = file.case;
    for case in &mut cases {
        case.theme = theme.as_deref().unwrap_or_default().to_string();
    }
    Ok(cases)
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let unreadable = |source| LoadError::Unreadable {
        path: dir.into(),
        source,
    };
    let mut paths = fs::read_dir(dir)
        .map_err(unreadable)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    paths.sort();
    Ok(paths)
}
