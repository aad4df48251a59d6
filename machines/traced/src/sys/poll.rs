//! Waiting for several descriptors at once.
#![expect(unsafe_code, reason = "epoll is a host call with raw pointers")]

use super::HostError;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// What a descriptor is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Token(pub(crate) u64);

/// The token of the end.
const END: u64 = u64::MAX;

/// Descriptors that are waited for.
#[derive(Debug)]
pub(crate) struct Poll {
    epoll: OwnedFd,
    end: OwnedFd,
}

fn owned(number: libc::c_int) -> Result<OwnedFd, HostError> {
    if number < 0 {
        return Err(HostError::last());
    }
    // SAFETY: a descriptor that the call just made has answered with, which nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

impl Poll {
    /// Nothing yet.
    pub(crate) fn new() -> Result<Self, HostError> {
        // SAFETY: numbers alone.
        let epoll = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: numbers alone.
        let end = owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })?;
        let poll = Self { epoll, end };
        poll.control(libc::EPOLL_CTL_ADD, &poll.end, END)?;
        Ok(poll)
    }

    fn control(
        &self,
        operation: libc::c_int,
        descriptor: &impl AsFd,
        token: u64,
    ) -> Result<(), HostError> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: token,
        };
        let number = descriptor.as_fd().as_raw_fd();
        // SAFETY: the event is read by the call, and outlives it.
        let answer =
            unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, number, &raw mut event) };
        if answer < 0 {
            return Err(HostError::last());
        }
        Ok(())
    }

    /// Waits for this descriptor too.
    pub(crate) fn add(&self, descriptor: &impl AsFd, token: Token) -> Result<(), HostError> {
        self.control(libc::EPOLL_CTL_ADD, descriptor, token.0)
    }

    /// Waits for it no more.
    pub(crate) fn remove(&self, descriptor: &impl AsFd) {
        // That it was not waited for is no error.
        let _ = self.control(libc::EPOLL_CTL_DEL, descriptor, 0);
    }

    /// Whoever waits now or later comes back for good.
    pub(crate) fn end(&self) {
        let one = 1u64;
        // SAFETY: eight bytes are read from the word.
        unsafe {
            libc::write(
                self.end.as_raw_fd(),
                (&raw const one).cast(),
                size_of::<u64>(),
            )
        };
    }

    /// Waits until there is something to read; from where, or `None` at the end.
    pub(crate) fn wait(&self) -> Option<Vec<Token>> {
        const NR: usize = 16;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; NR];
        loop {
            // SAFETY: as many events as the array has are stored.
            let got = unsafe {
                libc::epoll_wait(
                    self.epoll.as_raw_fd(),
                    events.as_mut_ptr(),
                    NR as libc::c_int,
                    -1,
                )
            };
            let Ok(count) = usize::try_from(got) else {
                if HostError::last().raw() == libc::EINTR {
                    continue;
                }
                return None;
            };
            let tokens: Vec<Token> = events
                .iter()
                .take(count)
                .map(|event| Token(event.u64))
                .collect();
            return (!tokens.contains(&Token(END))).then_some(tokens);
        }
    }
}
