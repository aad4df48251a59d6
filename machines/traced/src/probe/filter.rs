//! seccomp: a child comes under a filter with a listener, and its calls are answered.

use super::reach::take;
use super::surroundings::setting;
use super::tracing::explained;
use super::{Cause, Failure, Finding, NEEDED, Surroundings, Trouble, told};
use crate::sys::probe::{Child, Deadline, NoAnswer};
use crate::sys::ptrace;
use crate::sys::seccomp::{Cookie, Filter, INSTALL_CALL, Listener, Place, Verdict};
use crate::sys::wait::Stop;
use std::os::fd::AsFd;
use std::time::Duration;

const NAME: &str = "seccomp";
const INSTALL: &str = "seccomp with SECCOMP_FILTER_FLAG_NEW_LISTENER";
const NOTIFY: &str = "a call to the listener";
const TRACE: &str = "a call to the tracer";
/// More than there are calls; the filter lets the child make all of them.
const NR_CALLS: usize = 1024;
/// What the tracer answers for the child's call.
const ANSWER: i64 = 0x5ec;
/// How long to wait for one of two things before the other is looked for.
const A_MOMENT: i32 = 10;

/// Whether the child is traced while it is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Traced {
    Yes,
    No,
}

pub(super) fn examine() -> Finding {
    match attempt() {
        Ok(Traced::Yes) => Finding::works(
            NAME,
            "a child's calls came to a filter's listener and to its tracer, and were answered",
        ),
        Ok(Traced::No) => Finding::works(
            NAME,
            "a child's call came to a filter's listener; none to a tracer: see ptrace",
        ),
        Err(trouble) => Finding::fails(NAME, trouble, NEEDED),
    }
}

fn attempt() -> Result<Traced, Trouble> {
    let cookie = Cookie::random().map_err(|error| Trouble {
        failure: Failure::Refused("getrandom", error),
        cause: Surroundings::here().filtered("getrandom"),
    })?;
    let filter = Filter::new(&[Verdict::Pass; NR_CALLS], cookie);
    let child = Child::under(&filter, cookie).map_err(Trouble::childless)?;
    filter_calls(&child).map_err(|failure| explained_of_filter(failure, &child))
}

fn filter_calls(child: &Child) -> Result<Traced, Failure> {
    let traced = match ptrace::seize(child.tid()) {
        Ok(()) => Traced::Yes,
        Err(_) => Traced::No,
    };
    child.go();
    let number = hear(child, INSTALL)?;
    let listener = Listener::new(take(child, number)?);
    child.go();
    answer_listener(child, &listener)?;
    if traced == Traced::Yes {
        child.go();
        answer_stop(child)?;
    }
    Ok(traced)
}

fn hear(child: &Child, what: &'static str) -> Result<i64, Failure> {
    told(what, child.hear().map_err(Failure::unanswered(what))?)
}

/// Gives the child a descriptor by its listener.
fn answer_listener(child: &Child, listener: &Listener) -> Result<(), Failure> {
    let until = Deadline::of_a_step();
    let asking = loop {
        let asking = listener.receive(A_MOMENT);
        if let Some(asking) = asking.map_err(Failure::refused("SECCOMP_IOCTL_NOTIF_RECV"))? {
            break asking;
        }
        let word = child.hear_for(Duration::ZERO);
        if let Some(word) = word.map_err(Failure::unanswered(NOTIFY))? {
            told(NOTIFY, word)?;
            return Err(Failure::Strange("a call to the listener went elsewhere"));
        }
        if until.is_over() {
            return Err(Failure::Unanswered(NOTIFY, NoAnswer::Silent));
        }
    };
    let place = Place::Lowest {
        close_on_exec: true,
    };
    let stdin = std::io::stdin();
    let given = asking.give(stdin.as_fd(), place);
    let number = given.map_err(Failure::refused("SECCOMP_IOCTL_NOTIF_ADDFD"))?;
    match hear(child, NOTIFY)? {
        got if got == i64::from(number) => Ok(()),
        _ => Err(Failure::Strange(
            "the listener's answer did not come through",
        )),
    }
}

/// Answers the child's call at the stop that it makes.
fn answer_stop(child: &Child) -> Result<(), Failure> {
    let tid = child.tid();
    let gone = |_| Failure::Unanswered(TRACE, NoAnswer::Ended(None));
    let until = Deadline::of_a_step();
    let regs = loop {
        match child.stop_at_hand().map_err(Failure::unanswered(TRACE))? {
            Some(Stop::Seccomp) => break ptrace::registers(tid).map_err(gone)?,
            Some(_) => ptrace::resume(tid, 0).map_err(gone)?,
            None => {}
        }
        let moment = Duration::from_millis(1);
        let word = child.hear_for(moment);
        if let Some(word) = word.map_err(Failure::unanswered(TRACE))? {
            told(TRACE, word)?;
            return Err(Failure::Strange("a call to the tracer went elsewhere"));
        }
        if until.is_over() {
            return Err(Failure::Unanswered(TRACE, NoAnswer::Silent));
        }
    };
    if regs.call_number() != INSTALL_CALL {
        return Err(Failure::Strange("a stop shows another call than was made"));
    }
    let mut answered = regs;
    answered.skip_call(ANSWER);
    ptrace::set_registers(tid, &answered).map_err(gone)?;
    ptrace::resume(tid, 0).map_err(gone)?;
    match hear(child, TRACE)? {
        ANSWER => Ok(()),
        _ => Err(Failure::Strange("the tracer's answer did not come through")),
    }
}

fn explained_of_filter(failure: Failure, child: &Child) -> Trouble {
    let cause = match failure {
        Failure::Refused(INSTALL, error) => why_no_filter(error.raw(), &Surroundings::here()),
        Failure::Refused(NOTIFY | TRACE, _) => unknown_calls(&Surroundings::here()),
        _ => return explained(failure, child),
    };
    Trouble { failure, cause }
}

/// A filter above ours fails calls with numbers that are no calls of Linux, and Recto makes those.
pub(super) fn unknown_calls(around: &Surroundings) -> Cause {
    Cause::new(
        format!(
            "a seccomp filter above Recto's own (Seccomp_filters: {}) fails calls that it does not \
             know",
            around.nr_filters
        ),
        "run without that filter (docker: --security-opt seccomp=unconfined)",
    )
}

/// Why a filter with a listener cannot be installed.
pub(super) fn why_no_filter(errno: i32, around: &Surroundings) -> Cause {
    let actions = setting("/proc/sys/kernel/seccomp/actions_avail");
    match (errno, around.nr_filters, actions) {
        (libc::EBUSY, 0, _) => Cause::new(
            "another Recto, which does not show its filter, and the kernel allows one listener",
            "run outside of it: Recto does not run under itself",
        ),
        (libc::EBUSY, nr, _) => Cause::new(
            format!(
                "a filter with a listener is installed above Recto (Seccomp_filters: {nr}), and the \
                 kernel allows one"
            ),
            "run outside of the container that answers calls so, or let its profile notify of none",
        ),
        (libc::EINVAL, _, Some(actions)) => Cause::new(
            format!("kernel.seccomp.actions_avail = {actions}"),
            "a kernel of 5.9 or later, with CONFIG_SECCOMP_FILTER",
        ),
        (_, 1.., _) => around.filtered("seccomp"),
        (_, 0, Some(_)) => Cause::new(
            "no seccomp filter: a security module",
            "run outside of what confines this process",
        ),
        (_, 0, None) => Cause::new(
            "this kernel has no seccomp filters, or /proc is not mounted",
            "a kernel of 5.9 or later, with CONFIG_SECCOMP_FILTER",
        ),
    }
}
