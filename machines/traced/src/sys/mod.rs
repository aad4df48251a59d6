//! The rooms where the host is called: the only unsafe code of this machine.
//!
//! Each file wraps one family of host calls in typed, safe functions. Nothing here knows what a
//! program is; nothing above here writes `unsafe`.

pub(crate) mod affinity;
pub(crate) mod descriptor;
pub(crate) mod memory;
pub(crate) mod orders;
pub(crate) mod poll;
pub(crate) mod probe;
pub(crate) mod ptrace;
pub(crate) mod seccomp;
pub(crate) mod signal;
pub(crate) mod spawn;
pub(crate) mod userfault;
pub(crate) mod wait;

use core::fmt;

/// A task of the host, as the host numbers it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Tid(i32);

impl Tid {
    /// The task with this number.
    pub(crate) const fn new(raw: i32) -> Self {
        Self(raw)
    }

    /// The number.
    pub(crate) const fn raw(self) -> i32 {
        self.0
    }
}

impl fmt::Debug for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {}", self.0)
    }
}

impl fmt::Display for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The task is dead, or not stopped: every request on it fails, and its end will be reported by a
/// wait. This is a normal outcome of every ptrace request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// An errno of the host.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct HostError(i32);

impl HostError {
    /// The errno with this number.
    pub(crate) const fn new(raw: i32) -> Self {
        Self(raw)
    }

    /// What the calling thread's last host call failed with.
    pub(crate) fn last() -> Self {
        Self(
            std::io::Error::last_os_error()
                .raw_os_error()
                .unwrap_or(libc::EIO),
        )
    }

    /// The number.
    pub(crate) const fn raw(self) -> i32 {
        self.0
    }
}

impl fmt::Debug for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = std::io::Error::from_raw_os_error(self.0);
        let text = error.to_string();
        f.write_str(text.split(" (os error").next().unwrap_or(&text))
    }
}

impl From<std::io::Error> for HostError {
    fn from(error: std::io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }
}
