//! Many cases on one runner, and what came of them.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;
use std::{env, fs, io, process, thread};

use serde::Serialize;

use crate::case::Case;
use crate::perform::{Report, perform};
use crate::subject::{Broken, Figures, Runner};

/// What came of one case.
#[derive(Debug, Clone, Serialize)]
pub enum Outcome {
    /// It was performed.
    Performed(Report),
    /// It was not, and why.
    Skipped {
        /// The name of the case.
        case: String,
        /// Its theme.
        theme: String,
        /// Why.
        why: String,
    },
}

impl Outcome {
    /// Whether the case was performed and something was not as expected.
    #[must_use]
    pub fn failed(&self) -> bool {
        matches!(self, Self::Performed(report) if !report.passed())
    }

    fn theme(&self) -> &str {
        match self {
            Self::Performed(report) => &report.theme,
            Self::Skipped { theme, .. } => theme,
        }
    }
}

/// Cases whose name or theme contains the text; all if there is none.
#[must_use]
pub fn filtered(cases: Vec<Case>, filter: Option<&str>) -> Vec<Case> {
    let Some(filter) = filter else { return cases };
    let wanted = |case: &Case| format!("{}/{}", case.theme, case.name).contains(filter);
    cases.into_iter().filter(wanted).collect()
}

/// A case that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// Performs one case, on a thread of its own: one that panics or hangs is a failed case.
#[must_use]
pub fn run(runner: &Arc<dyn Runner>, case: &Case) -> Outcome {
    let (sender, receiver) = mpsc::channel();
    let (own_runner, own_case) = (Arc::clone(runner), case.clone());
    let thread = thread::spawn(move || {
        let outcome = run_here(&*own_runner, &own_case);
        // Nobody listens any more if it took too long.
        let _ = sender.send(outcome);
    });
    let why = match receiver.recv_timeout(PATIENCE) {
        Ok(outcome) => return outcome,
        Err(RecvTimeoutError::Timeout) => format!("it hangs: {} s", PATIENCE.as_secs()),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => format!("it panics: {}", message(&*panic)),
            Ok(()) => "it says nothing".into(),
        },
    };
    Outcome::Performed(unstarted(case, &Broken(why)))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}

fn run_here(runner: &dyn Runner, case: &Case) -> Outcome {
    let skipped = |why: String| Outcome::Skipped {
        case: case.name.clone(),
        theme: case.theme.clone(),
        why,
    };
    if let Some(need) = case.needs.iter().find(|need| !runner.offers(need)) {
        return skipped(format!("needs {need}"));
    }
    match attempt(runner, case) {
        Ok(Some(report)) => Outcome::Performed(report),
        Ok(None) => skipped("speaks of another release".into()),
        Err(broken) => Outcome::Performed(unstarted(case, &broken)),
    }
}

fn attempt(runner: &dyn Runner, case: &Case) -> Result<Option<Report>, Broken> {
    let dir = Scratch::create().map_err(|error| Broken(error.to_string()))?;
    case.create_files(&dir.0)
        .map_err(|error| Broken(error.to_string()))?;
    let mut subject = runner.start(&dir.0)?;
    if !case.applies_to(subject.release()) {
        return Ok(None);
    }
    Ok(Some(perform(case, subject.as_mut(), &dir.0)))
}

fn unstarted(case: &Case, broken: &Broken) -> Report {
    Report {
        case: case.name.clone(),
        theme: case.theme.clone(),
        figures: Figures::NONE,
        steps: vec![crate::perform::broken_step(
            "the start of the subject",
            broken,
        )],
    }
}

/// A folder that goes when it is no longer needed.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new one.
    pub fn create() -> io::Result<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("conformance-{}-{number}", process::id()));
        fs::create_dir_all(&path)?;
        fs::canonicalize(path).map(Self)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A folder that stays is untidy, not wrong.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Performs many, saying each to `tell` when it is done.
pub fn run_all(
    runner: &Arc<dyn Runner>,
    cases: &[Case],
    tell: &mut dyn FnMut(&Outcome),
) -> Vec<Outcome> {
    let each = cases.iter().map(|case| {
        let outcome = run(runner, case);
        tell(&outcome);
        outcome
    });
    each.collect()
}

/// Every failing step, with what was seen and what was expected.
#[must_use]
pub fn failures(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.failed()) {
        let Outcome::Performed(report) = outcome else {
            continue;
        };
        let _ = writeln!(text, "FAILED {}/{}", report.theme, report.case);
        for step in report.failures() {
            let expected = step.expected.as_deref().unwrap_or_default();
            let _ = writeln!(text, "    {}", step.step);
            let _ = writeln!(text, "        got      {}", step.got);
            let _ = writeln!(text, "        expected {expected}");
        }
    }
    text
}

#[derive(Debug, Default)]
struct Counts {
    passed: usize,
    failed: usize,
    skipped: usize,
}

/// A table: a theme a line, then the sum, then why cases were skipped.
#[must_use]
pub fn summary(runner: &str, outcomes: &[Outcome]) -> String {
    let mut themes: BTreeMap<&str, Counts> = BTreeMap::new();
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    let mut sum = Counts::default();
    for outcome in outcomes {
        let theme = themes.entry(outcome.theme()).or_default();
        match outcome {
            Outcome::Skipped { why, .. } => {
                *reasons.entry(why).or_default() += 1;
                theme.skipped += 1;
                sum.skipped += 1;
            }
            Outcome::Performed(report) if report.passed() => {
                theme.passed += 1;
                sum.passed += 1;
            }
            Outcome::Performed(_) => {
                theme.failed += 1;
                sum.failed += 1;
            }
        }
    }
    let mut text = format!(
        "{runner:<14} {:>7} {:>7} {:>8}\n",
        "passed", "failed", "skipped"
    );
    for (name, counts) in themes
        .iter()
        .map(|(name, counts)| (*name, counts))
        .chain([("all", &sum)])
    {
        let Counts {
            passed,
            failed,
            skipped,
        } = counts;
        let _ = writeln!(text, "{name:<14} {passed:>7} {failed:>7} {skipped:>8}");
    }
    for (why, count) in reasons {
        let _ = writeln!(text, "skipped: {why} ({count})");
    }
    text
}

/// Says something on standard error even where a test harness keeps what tests print: what was
/// skipped, and why, is not for failures only.
pub fn say(text: &str) {
    // Words that cannot be said are no reason to fail.
    let _ = writeln!(io::stderr(), "{}", text.trim_end());
}
