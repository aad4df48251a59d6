//! Signals of the two that wait: a program blocks them, and the host, which must not, has nowhere to
//! keep them.

use crate::fault::signal_bit;
use crate::sys::ptrace::SignalInfo;

/// At most one of each, with what came with the first (as the kernel keeps them).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pending {
    segv: Option<SignalInfo>,
    bus: Option<SignalInfo>,
}

impl Pending {
    fn place(&mut self, signal: i32) -> Option<&mut Option<SignalInfo>> {
        match signal {
            libc::SIGSEGV => Some(&mut self.segv),
            libc::SIGBUS => Some(&mut self.bus),
            _ => None,
        }
    }

    /// Keeps a signal. If it waits already, what came with the first stays.
    pub(crate) fn put(&mut self, signal: i32, info: SignalInfo) {
        if let Some(place) = self.place(signal) {
            place.get_or_insert(info);
        }
    }

    /// Takes a signal out.
    pub(crate) fn take(&mut self, signal: i32) -> Option<SignalInfo> {
        self.place(signal)?.take()
    }

    /// Which wait.
    pub(crate) fn set(&self) -> u64 {
        let bit = |info: &Option<SignalInfo>, signal: i32| match info {
            Some(_) => signal_bit(signal),
            None => 0,
        };
        bit(&self.segv, libc::SIGSEGV) | bit(&self.bus, libc::SIGBUS)
    }
}
