//! userfaultfd: a child's page faults come here, those that the kernel makes in its stead too, and so
//! do its forks. Programs run without.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use super::arena;
use super::reach::take;
use super::surroundings::setting;
use super::tracing::explained;
use super::{Cause, FASTER, Failure, Finding, Surroundings, Trouble, told};
use crate::sys::HostError;
use crate::sys::probe::faults::{Event, FEATURES, Faults, Kind};
use crate::sys::probe::{Child, Deadline, NoAnswer};

const NAME: &str = "faults by userfaultfd";
const DEVICE: &str = "/dev/userfaultfd";
const CALL: &str = "userfaultfd";
const HANDSHAKE: &str = "UFFDIO_API";
const FAULT: &str = "a fault by userfaultfd";
const FORK: &str = "a fork by userfaultfd";
const PAGE: u64 = 4096;
const A_MOMENT: Duration = Duration::from_millis(10);

pub(super) fn examine() -> Finding {
    match attempt() {
        Ok(How::Call) => Finding::works(NAME, "kernel-mode faults, fork events"),
        Ok(How::Device) => {
            Finding::works(NAME, "kernel-mode faults, fork events; by /dev/userfaultfd")
        }
        Err(trouble) => Finding::fails(NAME, trouble, FASTER),
    }
}

/// What gave the descriptor.
#[derive(Clone, Copy, Debug)]
enum How {
    Call,
    Device,
}

fn attempt() -> Result<How, Trouble> {
    let device = File::options().read(true).write(true).open(DEVICE);
    let device = device.map_err(HostError::from);
    let pages = arena::file()?;
    // The first page is there before it is mapped.
    let written = pages.write_all_at(&[1], 0);
    let fd = device.as_ref().ok().map(AsFd::as_fd);
    let child = Child::faulting(fd, pages.as_fd()).map_err(Trouble::childless)?;
    let explained = |failure| explained(failure, &child);
    written.map_err(|error| explained(Failure::Refused("write to a memory file", error.into())))?;
    let (number, how) = open(&child, device.err())?;
    agree(&child)?;
    let pages = hear(&child, "mmap of a memory file").map_err(explained)?;
    hear(&child, "UFFDIO_REGISTER").map_err(explained)?;
    let faults = Faults::new(take(&child, number).map_err(explained)?);
    serve(&child, &faults, pages.cast_unsigned()).map_err(explained)?;
    Ok(how)
}

/// The number of the child's descriptor. `unopened` is why the device was not opened.
fn open(child: &Child, unopened: Option<HostError>) -> Result<(i64, How), Trouble> {
    let failure = match hear(child, CALL) {
        Ok(number) => return Ok((number, How::Call)),
        Err(failure) => failure,
    };
    let Failure::Refused(_, by_call) = failure else {
        return Err(explained(failure, child));
    };
    let by_device = match (hear(child, DEVICE), unopened) {
        (Ok(number), _) => return Ok((number, How::Device)),
        (Err(_), Some(error)) | (Err(Failure::Refused(_, error)), None) => error,
        (Err(failure), None) => return Err(explained(failure, child)),
    };
    let cause = why_no_descriptor(by_call.raw(), &Surroundings::here(), by_device);
    Err(Trouble { failure, cause })
}

/// Hears what the kernel has agreed to.
fn agree(child: &Child) -> Result<(), Trouble> {
    let Err(failure) = hear(child, HANDSHAKE) else {
        return Ok(());
    };
    let cause = match failure.errno() {
        Some(libc::EPERM) => Cause::new(
            "fork events need CAP_SYS_PTRACE, and a user namespace's does not count",
            "run as the host's root or with its CAP_SYS_PTRACE",
        ),
        Some(_) => {
            let offered = hear(child, HANDSHAKE).map_or(0, i64::cast_unsigned);
            Cause::new(
                format!("this kernel does not know {}", lacking(offered)),
                "a kernel of 5.19 or later",
            )
        }
        None => return Err(explained(failure, child)),
    };
    Err(Trouble { failure, cause })
}

fn hear(child: &Child, what: &'static str) -> Result<i64, Failure> {
    told(what, child.hear().map_err(Failure::unanswered(what))?)
}

/// Lets the kernel store to the pages in the child's stead, and the child fork.
fn serve(child: &Child, faults: &Faults, pages: u64) -> Result<(), Failure> {
    let steps = [
        (pages, Kind::Minor),
        (pages + PAGE, Kind::Missing),
        (pages, Kind::WriteProtected),
    ];
    for (page, wanted) in steps {
        if wanted == Kind::WriteProtected {
            let protected = faults.protect(page);
            protected.map_err(Failure::refused("UFFDIO_WRITEPROTECT"))?;
        }
        child.go();
        match event(child, faults, FAULT)? {
            Event::Fault { kind, address, tid } => {
                if (kind, address & !(PAGE - 1), tid) != (wanted, page, child.tid()) {
                    return Err(Failure::Strange("a fault is reported as another"));
                }
                let resolved = faults.resolve(kind, address);
                resolved.map_err(Failure::refused("the answer to a fault"))?;
            }
            _ => return Err(Failure::Strange("something else than a fault is reported")),
        }
        hear(child, FAULT)?;
    }
    child.go();
    match event(child, faults, FORK)? {
        Event::Fork(of_child) => drop(of_child),
        _ => return Err(Failure::Strange("something else than a fork is reported")),
    }
    hear(child, FORK).map(drop)
}

/// The next event; that the child goes on without one is a failure.
fn event(child: &Child, faults: &Faults, what: &'static str) -> Result<Event, Failure> {
    let until = Deadline::of_a_step();
    while !until.is_over() {
        let event = faults.next(A_MOMENT).map_err(Failure::refused(what))?;
        if let Some(event) = event {
            return Ok(event);
        }
        let word = child.hear_for(Duration::ZERO);
        if let Some(word) = word.map_err(Failure::unanswered(what))? {
            told(what, word)?;
            return Err(Failure::Strange("a fault or fork went unreported"));
        }
    }
    Err(Failure::Unanswered(what, NoAnswer::Silent))
}

/// Why userfaultfd(2) was refused with `errno` (`userfaultfd_syscall_allowed`).
fn why_no_descriptor(errno: i32, around: &Surroundings, by_device: HostError) -> Cause {
    const UNPRIVILEGED: &str = "/proc/sys/vm/unprivileged_userfaultfd";
    let nr = around.nr_filters;
    let (cause, remedy) = match (errno, setting(UNPRIVILEGED)) {
        (libc::ENOSYS, None) => (
            "this kernel has none".to_owned(),
            "a kernel with CONFIG_USERFAULTFD",
        ),
        (libc::EPERM, Some(value)) if value != "1" && !around.may_trace_anyone => (
            format!("vm.unprivileged_userfaultfd = {value}, and no CAP_SYS_PTRACE"),
            "run as root or with CAP_SYS_PTRACE (vm.unprivileged_userfaultfd=1 or rights on \
             /dev/userfaultfd would allow faults, but no fork events)",
        ),
        _ if nr > 0 => (
            format!("a seccomp filter (Seccomp_filters: {nr})"),
            "let the container's seccomp profile allow userfaultfd, or give rights on \
             /dev/userfaultfd; CAP_SYS_PTRACE is needed too",
        ),
        _ => (
            "CAP_SYS_PTRACE of a user namespace alone, or a security module".to_owned(),
            "run as the host's root, outside of what confines this process",
        ),
    };
    Cause::new(format!("{cause}; {DEVICE}: {by_device}"), remedy)
}

/// The features that the kernel does not offer.
fn lacking(offered: u64) -> String {
    let names: Vec<&str> = FEATURES
        .iter()
        .filter(|(bit, _)| offered & 1 << bit == 0)
        .map(|(_, name)| *name)
        .collect();
    names.join(", ")
}
