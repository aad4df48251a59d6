//! ptrace: a child is seized, stopped and continued.

use super::{Cause, Failure, Finding, NEEDED, Surroundings, Trouble};
use crate::sys::probe::{Child, NoAnswer};
use crate::sys::ptrace;
use crate::sys::wait::Stop;

const NAME: &str = "ptrace";
const SEIZE: &str = "ptrace(PTRACE_SEIZE)";
const STOP: &str = "ptrace(PTRACE_INTERRUPT)";
const CONTINUE: &str = "ptrace(PTRACE_CONT)";

pub(super) fn examine() -> Finding {
    match attempt() {
        Ok(()) => Finding::works(NAME, works()),
        Err(trouble) => Finding::fails(NAME, trouble, NEEDED),
    }
}

fn attempt() -> Result<(), Trouble> {
    let child = Child::at_hand().map_err(Trouble::childless)?;
    trace(&child).map_err(|failure| explained(failure, &child))
}

fn trace(child: &Child) -> Result<(), Failure> {
    let tid = child.tid();
    let gone = |what| Failure::Unanswered(what, NoAnswer::Ended(None));
    for _ in ["the word's address", "the descriptor"] {
        child.hear().map_err(Failure::unanswered("start"))?;
    }
    ptrace::seize(tid).map_err(Failure::refused(SEIZE))?;
    ptrace::interrupt(tid).map_err(Failure::refused(STOP))?;
    match child.stop().map_err(Failure::unanswered(STOP))? {
        Stop::Attention => {}
        _ => {
            return Err(Failure::Strange(
                "PTRACE_INTERRUPT: the child stopped otherwise",
            ));
        }
    }
    ptrace::registers(tid).map_err(|_| gone("ptrace(PTRACE_GETREGS)"))?;
    ptrace::resume(tid, 0).map_err(|_| gone(CONTINUE))?;
    child.go();
    child.hear().map_err(Failure::unanswered(CONTINUE))?;
    Ok(())
}

fn works() -> String {
    let works = "a child was seized, stopped and continued";
    match Surroundings::here().tracer {
        Some(tracer) => format!(
            "{works}; Recto is itself being traced by PID {} ({}), which does not follow forks",
            tracer.pid, tracer.name
        ),
        None => works.to_owned(),
    }
}

/// Why something was not done to a child, or not by it.
pub(super) fn explained(failure: Failure, child: &Child) -> Trouble {
    let around = Surroundings::of_child(child.tid());
    let cause = match (failure, &around.tracer) {
        (Failure::Refused(call, error), _) => around.why_untraceable(call, error.raw()),
        (_, Some(tracer)) => tracer.cause(),
        (Failure::Unanswered(_, NoAnswer::Ended(Some(libc::SIGSYS))), _) => {
            around.filtered("what it needs")
        }
        _ => Cause::new(
            "not known: nothing refused it",
            "try again on a host that is less busy",
        ),
    };
    Trouble { failure, cause }
}
