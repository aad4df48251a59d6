//! Memory: an arena as programs get it, and a page of code as keepers live in.

use std::fs::File;
use std::os::fd::AsFd;

use frame::{Arena, ArenaConfig, ArenaError};

use super::surroundings::setting;
use super::{Cause, Failure, Finding, NEEDED, Surroundings, Trouble};
use crate::stub;
use crate::sys::{HostError, descriptor, probe};

const NAME: &str = "memory files";
/// The fewest that there can be.
const NR_FRAMES: u64 = 2;
const ARENA: &str = "memfd_create, and mmap of it";

pub(super) fn examine() -> Finding {
    match attempt() {
        Ok(()) => Finding::works(
            NAME,
            "an arena of 2 frames was mapped shared, and a sealed page as code",
        ),
        Err(trouble) => Finding::fails(NAME, trouble, NEEDED),
    }
}

fn attempt() -> Result<(), Trouble> {
    let map = || {
        descriptor::probe_mapping(make()?.as_fd())
            .map_err(Failure::refused("mmap of a memory file"))?;
        let code = descriptor::sealed_file(c"recto-probe", &stub::page())
            .map_err(Failure::refused("memfd_create with seals"))?;
        probe::map_code(code.as_fd()).map_err(Failure::refused("mmap of a memory file as code"))
    };
    map().map_err(explained)
}

/// The memory file of the smallest arena.
pub(super) fn file() -> Result<File, Trouble> {
    make().map_err(explained)
}

fn make() -> Result<File, Failure> {
    let arena = Arena::new(ArenaConfig::memfd(NR_FRAMES)).map_err(|error| match error {
        ArenaError::File { errno: Some(errno) } => Failure::Refused(ARENA, HostError::new(errno)),
        _ => Failure::Strange("no address space for an arena"),
    })?;
    let fd = arena.fd().ok_or(Failure::Strange("the arena is no file"))?;
    let own = fd.try_clone_to_owned();
    let own = own.map_err(|error| Failure::Refused("dup", error.into()))?;
    Ok(own.into())
}

fn explained(failure: Failure) -> Trouble {
    let cause = why(failure.errno());
    Trouble { failure, cause }
}

fn why(errno: Option<i32>) -> Cause {
    let around = Surroundings::here();
    match errno {
        Some(libc::ENOMEM | libc::ENOSPC) => Cause::new(
            "the host has no memory for it, or a limit is reached",
            "see ulimit -v and the memory control group's memory.max",
        ),
        Some(libc::EMFILE | libc::ENFILE) => {
            Cause::new("too many files are open", "see ulimit -n and fs.file-max")
        }
        Some(libc::ENOSYS | libc::EPERM) if around.nr_filters > 0 => {
            around.filtered("memfd_create, and mmap and fcntl of it")
        }
        Some(libc::ENOSYS) => Cause::new(
            "this kernel has no memory files",
            "a kernel with CONFIG_MEMFD_CREATE",
        ),
        _ => match setting("/proc/sys/vm/memfd_noexec") {
            Some(value) if value != "0" => Cause::new(
                format!("vm.memfd_noexec = {value}"),
                "sysctl vm.memfd_noexec=0, or run in a pid namespace that sets it",
            ),
            _ => Cause::new(
                "a security module forbids it",
                "let the security module's policy allow memory files that are mapped as code",
            ),
        },
    }
}
