//! `recto doctor`: tries what Recto needs of this host, and says how to allow what is missing.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use serde::Serialize;
use traced::{Finding, Standing};

/// Whether the output is for eyes on a terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Colour {
    /// A terminal.
    On,
    /// A file or a pipe.
    Off,
}

impl Colour {
    /// Colour is for terminals only.
    pub(crate) fn of_stdout() -> Self {
        if io::stdout().is_terminal() {
            Self::On
        } else {
            Self::Off
        }
    }
}

fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Works => "works",
        Standing::Absent => "absent",
        Standing::Missing => "missing",
    }
}

/// Prints a line per finding, under it why and what to do where something does not work, and at the
/// end what it comes to.
pub(crate) fn print_text(findings: &[Finding], colour: Colour) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for finding in findings {
        let (word, paint) = match finding.standing {
            Standing::Works => ("works", "32"),
            Standing::Absent => ("does not work", "33"),
            Standing::Missing => ("does not work", "31"),
        };
        let word = match colour {
            Colour::On => format!("\x1b[{paint}m{word}\x1b[0m"),
            Colour::Off => word.to_owned(),
        };
        let (name, detail) = (finding.name, &finding.detail);
        match finding.standing {
            Standing::Works => writeln!(out, "{name}: {word} ({detail})")?,
            _ => writeln!(out, "{name}: {word}: {detail}")?,
        }
        if let Some(cause) = &finding.cause {
            writeln!(out, "  why: {cause}")?;
        }
        if let Some(remedy) = &finding.remedy {
            writeln!(out, "  to fix: {remedy}")?;
        }
    }
    let conclusion = if ready(findings) {
        "programs can run"
    } else {
        "programs cannot run"
    };
    writeln!(out, "{conclusion}")
}

/// A finding, for programs.
#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    state: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'a str>,
}

impl<'a> Row<'a> {
    fn of(finding: &'a Finding) -> Self {
        Self {
            name: finding.name,
            state: word(finding.standing),
            detail: &finding.detail,
            errno: finding.errno,
            cause: finding.cause.as_deref(),
            remedy: finding.remedy.as_deref(),
        }
    }
}

/// Prints the findings as one JSON object.
pub(crate) fn print_json(findings: &[Finding]) -> io::Result<()> {
    let rows: Vec<Row<'_>> = findings.iter().map(Row::of).collect();
    let object = serde_json::json!({ "ready": ready(findings), "findings": rows });
    writeln!(io::stdout().lock(), "{object:#}")
}

fn ready(findings: &[Finding]) -> bool {
    findings
        .iter()
        .all(|finding| finding.standing != Standing::Missing)
}

/// Success if nothing is missing.
pub(crate) fn verdict(findings: &[Finding]) -> ExitCode {
    if ready(findings) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
