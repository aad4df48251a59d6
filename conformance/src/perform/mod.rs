//! Performs a case on a subject, step by step, and compares.

mod verbs;
mod verdict;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::case::{AreaLine, Arg, Case, Expr, Step, Symbols, Verb, errno_name, signal_code_name};
use crate::subject::{Broken, Caught, Figures, Subject, Usage, WINDOW, Who};

/// What was seen of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Observed {
    /// A value or address.
    Value(u64),
    /// An errno.
    Errno(i32),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A signal, its code, its address.
    Signal(i32, i32, u64),
    /// Areas.
    Areas(Vec<AreaLine>),
    /// Residence, `1` or `0` a page.
    Pages(String),
    /// The step could not be performed, and nothing after it was.
    Broken(String),
}

/// A step that was performed.
#[derive(Debug, Clone, Serialize)]
pub struct Performed {
    /// The step as written.
    pub step: String,
    /// What was seen.
    pub observed: Observed,
    /// Minor faults during it.
    pub faults: u64,
    /// What was seen, with addresses relative to names.
    pub got: String,
    /// What was expected, if that is not what was seen.
    pub expected: Option<String>,
}

/// A case that was performed.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The name of the case.
    pub case: String,
    /// Its theme.
    pub theme: String,
    /// Which of its figures can be compared.
    pub figures: Figures,
    /// The steps that were performed.
    pub steps: Vec<Performed>,
}

impl Report {
    /// Whether everything was as expected.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failures().next().is_none()
    }

    /// The steps that were not as expected.
    pub fn failures(&self) -> impl Iterator<Item = &Performed> {
        self.steps.iter().filter(|step| step.expected.is_some())
    }
}

/// Performs every step of a case that speaks of the subject's release.
pub fn perform(case: &Case, subject: &mut dyn Subject, dir: &Path) -> Report {
    let mut performance = Performance {
        subject,
        dir: dir.display().to_string(),
        symbols: Symbols::from([("w".into(), WINDOW), ("max".into(), u64::MAX)]),
        people: BTreeMap::from([("main".into(), Who::MAIN)]),
        baseline: BTreeMap::new(),
    };
    let mut report = Report {
        case: case.name.clone(),
        theme: case.theme.clone(),
        figures: performance.subject.figures(),
        steps: Vec::new(),
    };
    if let Err(broken) = performance.prelude(case) {
        report
            .steps
            .push(broken_step("the start of the case", &broken));
        return report;
    }
    let release = performance.subject.release();
    for step in case
        .steps
        .steps
        .iter()
        .filter(|step| step.guard.admits(release))
    {
        let performed = performance.step(step);
        let stop = matches!(performed.observed, Observed::Broken(_));
        report.steps.push(performed);
        if stop {
            break;
        }
    }
    report
}

pub(crate) fn broken_step(step: &str, broken: &Broken) -> Performed {
    Performed {
        step: step.to_string(),
        observed: Observed::Broken(broken.0.clone()),
        faults: 0,
        got: broken.0.clone(),
        expected: Some("a subject that goes on".into()),
    }
}

/// A case being performed.
struct Performance<'s> {
    subject: &'s mut dyn Subject,
    dir: String,
    symbols: Symbols,
    people: BTreeMap<String, Who>,
    /// The counters of each process when it was first seen.
    baseline: BTreeMap<Who, Usage>,
}

impl Performance<'_> {
    /// Finds what `heap` and `stack` stand for, where a case speaks of them, and where the
    /// counters begin.
    fn prelude(&mut self, case: &Case) -> Result<(), Broken> {
        if speaks_of(case, "heap") {
            let heap = self.system_call(Who::MAIN, crate::subject::Sys::Brk, &[0])?;
            self.symbols
                .insert("heap".into(), heap.value.cast_unsigned());
        }
        if speaks_of(case, "stack") {
            let maps = self.subject.maps(Who::MAIN)?;
            let line = maps.lines().find(|line| line.ends_with("[stack]"));
            let bounds = line.and_then(|line| line.split_once(' ')?.0.split_once('-'));
            let (start, end) = bounds.ok_or_else(|| Broken("no [stack] in maps".into()))?;
            let hex = |text| u64::from_str_radix(text, 16).unwrap_or_default();
            self.symbols.insert("stack".into(), hex(start));
            self.symbols.insert("stack_end".into(), hex(end));
        }
        let usage = self.subject.usage(Who::MAIN)?;
        self.baseline.insert(Who::MAIN, usage);
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Performed {
        let seen = match self.observe(step) {
            Ok(seen) => seen,
            Err(broken) => return broken_step(&step.text, &broken),
        };
        if let (Some(name), Observed::Value(value)) = (&step.bind, &seen.observed) {
            self.symbols.insert(name.clone(), *value);
        }
        let expected = self.disagreement(step, &seen);
        Performed {
            step: step.text.clone(),
            got: self.describe(&seen.observed),
            observed: seen.observed,
            faults: seen.faults,
            expected,
        }
    }

    fn who(&self, name: Option<&str>) -> Result<Who, Broken> {
        let name = name.unwrap_or("main");
        self.people
            .get(name)
            .copied()
            .ok_or_else(|| Broken(format!("no process {name}")))
    }

    fn number(&self, step: &Step, place: usize) -> Result<u64, Broken> {
        match step.args.get(place) {
            Some(Arg::Number(expr)) => self.value(expr),
            _ => Err(Broken(format!("argument {} is not a number", place + 1))),
        }
    }

    fn value(&self, expr: &Expr) -> Result<u64, Broken> {
        expr.value(&self.symbols).map_err(Broken)
    }

    /// A value as a reader of the case would write it.
    fn describe(&self, observed: &Observed) -> String {
        match observed {
            Observed::Value(value) => self.place(*value),
            Observed::Errno(errno) => errno_name(*errno),
            Observed::Bytes(bytes) => show_bytes(bytes),
            Observed::Signal(signal, code, addr) => {
                format!(
                    "{} @ {}",
                    signal_code_name(*signal, *code),
                    self.place(*addr)
                )
            }
            Observed::Areas(areas) => show_areas(areas),
            Observed::Pages(pages) => format!("pages {pages}"),
            Observed::Broken(why) => why.clone(),
        }
    }

    /// An address relative to the nearest name below it.
    fn place(&self, addr: u64) -> String {
        let near = self
            .symbols
            .iter()
            .filter(|(_, base)| **base >= 0x1_0000 && addr >= **base && addr - **base < 1 << 30)
            .max_by_key(|(_, base)| **base);
        match near {
            Some((name, base)) if addr == *base => name.clone(),
            Some((name, base)) => format!("{name}+{:#x}", addr - base),
            None if addr < 0x1_0000 => format!("{addr}"),
            None => format!("{addr:#x}"),
        }
    }
}

/// Whether a name occurs in the steps of the case.
fn speaks_of(case: &Case, name: &str) -> bool {
    case.steps.steps.iter().any(|step| step.text.contains(name))
}

/// Areas as cases write them.
fn show_areas(areas: &[AreaLine]) -> String {
    if areas.is_empty() {
        return "empty".into();
    }
    areas
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Bytes as cases write them, long ones cut.
fn show_bytes(bytes: &[u8]) -> String {
    let first = bytes.first().copied().unwrap_or_default();
    if bytes.len() > 1 && bytes.iter().all(|byte| *byte == first) {
        return format!("x{first:02x}*{}", bytes.len());
    }
    if !bytes.is_empty()
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_graphic() || *byte == b' ')
    {
        return format!("{:?}", String::from_utf8_lossy(bytes));
    }
    let hex: String = bytes
        .iter()
        .take(32)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if bytes.len() > 32 {
        format!("x{hex}... ({} bytes)", bytes.len())
    } else {
        format!("x{hex}")
    }
}

/// What was seen, before it is compared.
struct Seen {
    observed: Observed,
    faults: u64,
}

impl Seen {
    fn new(observed: Observed) -> Self {
        Self {
            observed,
            faults: 0,
        }
    }

    /// A raw return value.
    fn returned(value: i64) -> Self {
        let errno = i32::try_from(-i128::from(value))
            .ok()
            .filter(|errno| (1..4096).contains(errno));
        Self::new(errno.map_or(Observed::Value(value.cast_unsigned()), Observed::Errno))
    }

    fn caught(caught: Caught) -> Observed {
        Observed::Signal(caught.signal, caught.code, caught.addr)
    }
}

/// The verbs whose success is a value that the subject chooses.
fn chooses(verb: Verb) -> bool {
    matches!(verb, Verb::Plain(crate::subject::Sys::Brk))
}
