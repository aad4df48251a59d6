//! What this host allows, found by trying it: `recto doctor`.
//!
//! Each trial does in a child what the machine does to a program, and takes bounded time: a child
//! that does not answer is killed, and that is the finding.
//!
//! | file | what is tried |
//! |---|---|
//! | `tracing` | a child is seized, stopped and continued |
//! | `arena` | memory of a file in memory, mapped shared; a page of code that nobody can change |
//! | `reach` | a child's memory is read, a descriptor of it is taken |
//! | `filter` | a child comes under a filter with a listener, and its calls are answered |
//! | `faults` | a child's page faults and forks come by userfaultfd |
//! | `others` | what programs or other machines may use |
//! | `surroundings` | the settings that explain a refusal; read when something was refused |

mod arena;
mod faults;
mod filter;
mod others;
mod reach;
mod surroundings;
mod tracing;

use surroundings::Surroundings;

use std::fmt;

use addr::Errno;

use crate::sys::HostError;
use crate::sys::probe::NoAnswer;

/// One thing that was tried, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was tried.
    pub name: &'static str,
    /// How it stands.
    pub standing: Standing,
    /// What came of it.
    pub detail: String,
    /// The name of the errno that the host refused with, if it did.
    pub errno: Option<&'static str>,
    /// What forbids it: a setting and its value, where it is one.
    pub cause: Option<String>,
    /// What to do about it, where something can be done.
    pub remedy: Option<String>,
}

/// How a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It works.
    Works,
    /// It does not, and programs run without it.
    Absent,
    /// It does not, and no program runs without it.
    Missing,
}

impl Finding {
    fn works(name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            name,
            standing: Standing::Works,
            detail: detail.into(),
            errno: None,
            cause: None,
            remedy: None,
        }
    }

    fn fails(name: &'static str, trouble: Trouble, (standing, then): (Standing, &str)) -> Self {
        let errno = match trouble.failure {
            Failure::Refused(_, error) => Errno::from_raw(error.raw()),
            _ => None,
        };
        Self {
            name,
            standing,
            detail: format!("{}; {then}", trouble.failure),
            errno: errno.map(Errno::name),
            cause: Some(trouble.cause.what),
            remedy: Some(trouble.cause.remedy),
        }
    }
}

/// What follows when something does not work.
const NEEDED: (Standing, &str) = (Standing::Missing, "recto run needs it");
const UNUSED: (Standing, &str) = (Standing::Absent, "recto run does without");
const FASTER: (Standing, &str) = (Standing::Absent, "programs run more slowly, by signals");

/// A trial that did not come to its end, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trouble {
    failure: Failure,
    cause: Cause,
}

impl Trouble {
    /// No child could be made.
    fn childless(error: HostError) -> Self {
        let around = Surroundings::here();
        let cause = match error.raw() {
            libc::EPERM | libc::ENOSYS if around.nr_filters > 0 => around.filtered("clone, pipe2"),
            _ => Cause::new(
                "a limit on processes or open files",
                "see ulimit -u, ulimit -n and the control group's pids.max",
            ),
        };
        Self {
            failure: Failure::Refused("making a child to try it with", error),
            cause,
        }
    }
}

/// Why a trial did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// The host refused something.
    Refused(&'static str, HostError),
    /// A child gave no answer when it was to do this.
    Unanswered(&'static str, NoAnswer),
    /// This was allowed, and did something else.
    Strange(&'static str),
}

impl Failure {
    fn refused(what: &'static str) -> impl FnOnce(HostError) -> Self {
        move |error| Self::Refused(what, error)
    }

    fn unanswered(what: &'static str) -> impl FnOnce(NoAnswer) -> Self {
        move |why| Self::Unanswered(what, why)
    }

    fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused(_, error) => Some(error.raw()),
            _ => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(what, error) => match Errno::from_raw(error.raw()) {
                Some(errno) => write!(f, "{what}: {} ({error})", errno.name()),
                None => write!(f, "{what}: {error}"),
            },
            Self::Unanswered(what, NoAnswer::Silent) => {
                write!(f, "{what}: the child did not answer in time")
            }
            Self::Unanswered(what, NoAnswer::Ended(None)) => write!(f, "{what}: the child died"),
            Self::Unanswered(what, NoAnswer::Ended(Some(signal))) => {
                write!(f, "{what}: the child died of signal {signal}")
            }
            Self::Strange(what) => f.write_str(what),
        }
    }
}

/// What a child told of a host call: its result.
fn told(what: &'static str, word: i64) -> Result<i64, Failure> {
    let errno = word.checked_neg().map(i32::try_from);
    match errno {
        Some(Ok(errno @ 1..)) => Err(Failure::Refused(what, HostError::new(errno))),
        _ => Ok(word),
    }
}

/// Why something is refused, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cause {
    what: String,
    remedy: String,
}

impl Cause {
    fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; to fix: {}", self.what, self.remedy)
    }
}

/// Why the host refuses to let this process trace its child or look into it.
pub(crate) fn why_untraceable(call: &str, error: HostError) -> Cause {
    Surroundings::here().why_untraceable(call, error.raw())
}

/// Why a child's calls do not come to the filter that it is under.
pub(crate) fn why_unheard() -> Cause {
    filter::unknown_calls(&Surroundings::here())
}

/// Why a child cannot come under a filter with a listener.
pub(crate) fn why_no_filter(error: HostError) -> Cause {
    filter::why_no_filter(error.raw(), &Surroundings::here())
}

/// Tries everything that this machine needs, and what it or others may use. The calling thread must
/// trace nobody meanwhile.
#[must_use]
pub fn examine() -> Vec<Finding> {
    vec![
        tracing::examine(),
        arena::examine(),
        reach::examine(),
        filter::examine(),
        faults::examine(),
        others::user_namespaces(),
        others::kvm(),
    ]
}

#[cfg(test)]
mod tests;
