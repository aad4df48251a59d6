//! Comparing what was seen with what was expected.

use crate::case::{Expect, Expectation, Step, Verb, errno_name, signal_code_name};
use crate::subject::Exact;

use super::{Observed, Performance, Seen, chooses, show_areas, show_bytes};

impl Performance<'_> {
    /// What was expected, if it is not what was seen.
    pub(super) fn disagreement(&self, step: &Step, seen: &Seen) -> Option<String> {
        let expect = &step.expect;
        let figures = self.subject.figures();
        let uncounted = figures.faults == Exact::No;
        let cost = expect
            .faults
            .is_none_or(|faults| faults == seen.faults || uncounted);
        if self.agrees(step, &seen.observed) && cost {
            return None;
        }
        let mut wanted = self.wanted(step, expect);
        if let Some(faults) = expect.faults {
            wanted.push_str(&format!(" in {faults} faults (it took {})", seen.faults));
        }
        Some(wanted)
    }

    fn agrees(&self, step: &Step, observed: &Observed) -> bool {
        let failed = matches!(observed, Observed::Errno(_) | Observed::Signal(..));
        match (&step.expect.result, observed) {
            (_, Observed::Broken(_)) => false,
            (Expect::Any, _) => true,
            (_, Observed::Value(_)) if self.is_uncounted(step) => true,
            (Expect::Success, _) => !failed && !chooses(step.verb),
            (Expect::Errno(errno), Observed::Errno(seen)) => errno == seen,
            (Expect::Value(expr), Observed::Value(seen)) => {
                expr.value(&self.symbols).is_ok_and(|value| value == *seen)
            }
            (Expect::Aligned(unit), Observed::Value(seen)) => seen.is_multiple_of(*unit),
            (Expect::Bytes(bytes), Observed::Bytes(seen)) => bytes == seen,
            (Expect::Signal { signal, code, at }, Observed::Signal(seen, with, addr)) => {
                let at = match at {
                    Some(expr) => expr.value(&self.symbols).ok(),
                    None => self.accessed_address(step),
                };
                signal == seen && code == with && at.is_none_or(|at| at == *addr)
            }
            (Expect::Areas(areas), Observed::Areas(seen)) => areas == seen,
            (Expect::Pages(pages), Observed::Pages(seen)) => self.agrees_on_residence(pages, seen),
            _ => false,
        }
    }

    fn is_uncounted(&self, step: &Step) -> bool {
        step.verb == Verb::Counter && self.subject.figures().counters == Exact::No
    }

    fn agrees_on_residence(&self, pages: &str, seen: &str) -> bool {
        if self.subject.figures().residence == Exact::Yes {
            return pages == seen;
        }
        let each = || pages.chars().zip(seen.chars());
        pages.len() == seen.len() && each().all(|(page, seen)| page == '0' || seen == '1')
    }

    fn wanted(&self, step: &Step, expectation: &Expectation) -> String {
        match &expectation.result {
            Expect::Success if chooses(step.verb) => "an expectation: brk never fails".into(),
            Expect::Success => "success".into(),
            Expect::Any => "anything".into(),
            Expect::Errno(errno) => errno_name(*errno),
            Expect::Value(expr) => match expr.value(&self.symbols) {
                Ok(value) => format!("{expr} ({})", self.place(value)),
                Err(why) => format!("{expr} ({why})"),
            },
            Expect::Aligned(unit) => format!("an address aligned to {unit:#x}"),
            Expect::Bytes(bytes) => show_bytes(bytes),
            Expect::Signal { signal, code, at } => {
                let at = match at {
                    Some(expr) => expr.value(&self.symbols).ok(),
                    None => self.accessed_address(step),
                };
                let place = at.map_or_else(String::new, |at| format!(" @ {}", self.place(at)));
                format!("{}{place}", signal_code_name(*signal, *code))
            }
            Expect::Areas(areas) => show_areas(areas),
            Expect::Pages(pages) => format!("pages {pages}"),
        }
    }
}
