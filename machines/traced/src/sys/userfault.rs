//! userfaultfd: accesses of a program, and of the kernel on its behalf, that wait for us.
#![expect(unsafe_code, reason = "ioctls with raw pointers")]

use super::HostError;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const API: u64 = 0xaa;

const FEATURE_PAGEFAULT_FLAG_WP: u64 = 1 << 0;
const FEATURE_EVENT_FORK: u64 = 1 << 1;
const FEATURE_MISSING_SHMEM: u64 = 1 << 5;
const FEATURE_THREAD_ID: u64 = 1 << 8;
const FEATURE_WP_HUGETLBFS_SHMEM: u64 = 1 << 12;

const FEATURES: u64 = FEATURE_PAGEFAULT_FLAG_WP
    | FEATURE_EVENT_FORK
    | FEATURE_MISSING_SHMEM
    | FEATURE_THREAD_ID
    | FEATURE_WP_HUGETLBFS_SHMEM;

const MODE_MISSING: u64 = 1 << 0;
const MODE_WP: u64 = 1 << 1;

const WRITEPROTECT_WP: u64 = 1 << 0;

const EVENT_PAGEFAULT: u8 = 0x12;
const EVENT_FORK: u8 = 0x13;

const FLAG_WRITE: u64 = 1 << 0;
const FLAG_WP: u64 = 1 << 1;

/// `_IOWR(0xaa, number, bytes)`.
const fn iowr(number: u64, bytes: usize) -> libc::c_ulong {
    3 << 30 | (bytes as u64) << 16 | API << 8 | number
}

/// `_IOR(0xaa, number, bytes)`.
const fn ior(number: u64, bytes: usize) -> libc::c_ulong {
    2 << 30 | (bytes as u64) << 16 | API << 8 | number
}

#[repr(C)]
struct Handshake {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct Range {
    start: u64,
    len: u64,
}

#[repr(C)]
struct Register {
    range: Range,
    mode: u64,
    ioctls: u64,
}

#[repr(C)]
struct WriteProtect {
    range: Range,
    mode: u64,
}

/// `struct uffd_msg`: a kind, and three words.
#[repr(C)]
#[derive(Clone, Copy)]
struct Message {
    kind: u8,
    reserved: [u8; 7],
    words: [u64; 3],
}

const _: () = assert!(size_of::<Message>() == 32);

/// An access that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Where.
    pub(crate) address: u64,
    /// Whether it writes.
    pub(crate) flow: Flow,
    /// Why the host could not let it go on.
    pub(crate) cause: Cause,
    /// The task that makes it, by the number that it has for itself.
    pub(crate) task: i32,
}

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// It reads or executes.
    Read,
    /// It writes.
    Write,
}

/// Why an access waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The host has nothing there.
    Missing,
    /// What it has there is write-protected.
    Protected,
}

/// What a descriptor has to tell.
#[derive(Debug)]
pub(crate) enum Event {
    /// An access waits until it is woken.
    Waiting(Waiting),
    /// The memory was copied: the descriptor for the copy.
    Forked(OwnedFd),
}

/// The descriptor of one host memory.
#[derive(Debug)]
pub(crate) struct Userfault(File);

impl AsFd for Userfault {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Userfault {
    /// Begins with a descriptor that was just made.
    pub(crate) fn begin(descriptor: OwnedFd) -> Result<Self, HostError> {
        let own = Self(File::from(descriptor));
        let mut handshake = Handshake {
            api: API,
            features: FEATURES,
            ioctls: 0,
        };
        own.ask(iowr(0x3f, size_of::<Handshake>()), &mut handshake)?;
        Ok(own)
    }

    /// The descriptor of a copied memory, which has the features of what it was copied from.
    pub(crate) fn inherited(descriptor: OwnedFd) -> Self {
        Self(File::from(descriptor))
    }

    /// The device that makes such descriptors for whoever holds it, whatever their rights.
    pub(crate) fn device() -> Option<OwnedFd> {
        let device = File::options().read(true).open("/dev/userfaultfd").ok()?;
        Some(device.into())
    }

    /// Whether this process may have such descriptors, for accesses of the kernel and with word of
    /// forks: tried by making one.
    pub(crate) fn is_permitted() -> Result<(), HostError> {
        // SAFETY: a number alone; it answers with a descriptor.
        let made = unsafe { libc::syscall(libc::SYS_userfaultfd, FLAGS) };
        if made < 0 {
            return Err(HostError::last());
        }
        // SAFETY: just made, and nobody else knows it.
        let made = unsafe { OwnedFd::from_raw_fd(made as i32) };
        Self::begin(made).map(drop)
    }

    fn ask<T>(&self, request: libc::c_ulong, argument: &mut T) -> Result<(), HostError> {
        // SAFETY: every request of this file names the size of the structure that it is called with.
        let answer =
            unsafe { libc::ioctl(self.0.as_raw_fd(), request, core::ptr::from_mut(argument)) };
        if answer < 0 {
            return Err(HostError::last());
        }
        Ok(())
    }

    /// From now on accesses in `[start, end)` wait where nothing is, and where a page is
    /// write-protected.
    pub(crate) fn register(&self, start: u64, end: u64) -> Result<(), HostError> {
        let mut register = Register {
            range: range(start, end),
            mode: MODE_MISSING | MODE_WP,
            ioctls: 0,
        };
        self.ask(iowr(0x00, size_of::<Register>()), &mut register)
    }

    /// Write-protects the pages in a registered range.
    pub(crate) fn write_protect(&self, start: u64, end: u64) -> Result<(), HostError> {
        self.protect(start, end, WRITEPROTECT_WP)
    }

    /// Ends the write-protection of a range, and wakes who waits there.
    pub(crate) fn allow_writes(&self, start: u64, end: u64) -> Result<(), HostError> {
        self.protect(start, end, 0)
    }

    fn protect(&self, start: u64, end: u64, mode: u64) -> Result<(), HostError> {
        loop {
            let mut request = WriteProtect {
                range: range(start, end),
                mode,
            };
            match self.ask(iowr(0x06, size_of::<WriteProtect>()), &mut request) {
                // A fork is being told of.
                Err(error) if error.raw() == libc::EAGAIN => std::thread::yield_now(),
                answer => return answer,
            }
        }
    }

    /// Lets those go on that wait in `[start, end)`.
    pub(crate) fn wake(&self, start: u64, end: u64) {
        let mut waking = range(start, end);
        // That nobody waits there is no error.
        let _ = self.ask(ior(0x02, size_of::<Range>()), &mut waking);
    }

    /// What there is to tell, up to as many events as are told at once.
    pub(crate) fn read(&self, events: &mut Vec<Event>) {
        const NR: usize = 16;
        let empty = Message {
            kind: 0,
            reserved: [0; 7],
            words: [0; 3],
        };
        let mut messages = [empty; NR];
        // SAFETY: the buffer is the array, whose elements are plain data of the kernel's size.
        let got = unsafe {
            libc::read(
                self.0.as_raw_fd(),
                messages.as_mut_ptr().cast(),
                size_of_val(&messages),
            )
        };
        let count = usize::try_from(got).unwrap_or(0) / size_of::<Message>();
        for message in messages.iter().take(count) {
            if let Some(event) = event(message) {
                events.push(event);
            }
        }
    }
}

/// Closed by an exec, never waited for in a read, and for accesses of the kernel as well.
pub(crate) const FLAGS: i32 = libc::O_CLOEXEC | libc::O_NONBLOCK;

/// The request that makes a descriptor of the device, with the flags.
pub(crate) const NEW: u32 = (API << 8) as u32;

fn range(start: u64, end: u64) -> Range {
    Range {
        start,
        len: end - start,
    }
}

fn event(message: &Message) -> Option<Event> {
    let [first, second, third] = message.words;
    match message.kind {
        EVENT_PAGEFAULT => Some(Event::Waiting(Waiting {
            address: second,
            flow: if first & FLAG_WRITE != 0 {
                Flow::Write
            } else {
                Flow::Read
            },
            cause: if first & FLAG_WP != 0 {
                Cause::Protected
            } else {
                Cause::Missing
            },
            task: third as u32 as i32,
        })),
        EVENT_FORK => {
            let number = first as u32 as i32;
            // SAFETY: the kernel has just put the descriptor into our table, for whoever reads the
            // event.
            Some(Event::Forked(unsafe { OwnedFd::from_raw_fd(number) }))
        }
        _ => None,
    }
}
