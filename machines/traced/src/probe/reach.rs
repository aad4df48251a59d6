//! A child's memory and descriptors, as the tracer reaches them.

use std::os::fd::{AsFd, OwnedFd};

use super::tracing::explained;
use super::{Failure, Finding, NEEDED, Trouble};
use crate::sys::probe::Child;
use crate::sys::{descriptor, memory};

const NAME: &str = "reach of a child";
const READ: &str = "process_vm_readv";

pub(super) fn examine() -> Finding {
    match attempt() {
        Ok(()) => Finding::works(
            NAME,
            "its memory was read by process_vm_readv, a descriptor of it taken by pidfd_getfd",
        ),
        Err(trouble) => Finding::fails(NAME, trouble, NEEDED),
    }
}

fn attempt() -> Result<(), Trouble> {
    let child = Child::at_hand().map_err(Trouble::childless)?;
    reach(&child).map_err(|failure| explained(failure, &child))
}

fn reach(child: &Child) -> Result<(), Failure> {
    let unanswered = || Failure::unanswered("start");
    let address = child.hear().map_err(unanswered())?.cast_unsigned();
    let number = child.hear().map_err(unanswered())?;
    let mut word = [0; size_of::<u64>()];
    memory::try_read(child.tid(), address, &mut word).map_err(Failure::refused(READ))?;
    if u64::from_ne_bytes(word) != Child::SECRET {
        return Err(Failure::Strange("process_vm_readv: read something else"));
    }
    take(child, number).map(drop)
}

/// Takes a descriptor of a child.
pub(super) fn take(child: &Child, number: i64) -> Result<OwnedFd, Failure> {
    let number = i32::try_from(number).unwrap_or(-1);
    let task = descriptor::open_task(child.tid()).map_err(Failure::refused("pidfd_open"))?;
    descriptor::take(task.as_fd(), number).map_err(Failure::refused("pidfd_getfd"))
}
