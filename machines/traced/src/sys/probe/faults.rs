//! A child whose page faults come here by userfaultfd, those that the kernel makes in its stead too.

use super::super::{HostError, Tid};
use super::{Child, Wire, answer, is_readable, make};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// The number of a userfaultfd's request whose structure has `bytes`, which it reads and stores to.
const fn request(number: u64, bytes: usize) -> u64 {
    const READS_AND_STORES: u64 = 3;
    READS_AND_STORES << 30 | (bytes as u64) << 16 | KIND << 8 | number
}

const KIND: u64 = 0xaa;
/// `USERFAULTFD_IOC_NEW`, which has no structure.
const NEW: u64 = KIND << 8;
const HANDSHAKE: u64 = request(0x3f, size_of::<[u64; 3]>());
const REGISTER: u64 = request(0x00, size_of::<[u64; 4]>());
const SUPPLY_ZEROES: u64 = request(0x04, size_of::<[u64; 4]>());
const WRITE_PROTECT: u64 = request(0x06, size_of::<[u64; 3]>());
const SUPPLY_PRESENT: u64 = request(0x07, size_of::<[u64; 4]>());

/// `UFFDIO_REGISTER_MODE_MISSING`, `_WP` and `_MINOR`.
const ALL_MODES: u64 = 0b111;
const PAGE: u64 = 4096;

/// What the machine wants of a userfaultfd: bit and name, less `UFFD_FEATURE_`.
pub(crate) const FEATURES: [(u32, &str); 6] = [
    (0, "PAGEFAULT_FLAG_WP"),
    (1, "EVENT_FORK"),
    (5, "MISSING_SHMEM"),
    (8, "THREAD_ID"),
    (10, "MINOR_SHMEM"),
    (12, "WP_HUGETLBFS_SHMEM"),
];

fn wanted() -> u64 {
    FEATURES.iter().fold(0, |set, (bit, _)| set | 1 << bit)
}

/// How many pages the child maps.
const NR_PAGES: u64 = 2;

impl Child {
    /// A child that makes a userfaultfd and maps two pages of `file` under it. It tells:
    /// 1. what userfaultfd(2) answered, and where that failed, what `device` did;
    /// 2. what the handshake answered, and where that failed, what the kernel could have agreed to, and
    ///    no more;
    /// 3. where the pages are; what registering them answered.
    ///
    /// Then it has the kernel store a word to the first page, one to the second and one to the first
    /// again, and forks at the next word. It tells what came of each.
    pub(crate) fn faulting(
        device: Option<BorrowedFd<'_>>,
        file: BorrowedFd<'_>,
    ) -> Result<Self, HostError> {
        let (device, file) = (device.map(|fd| fd.as_raw_fd()), file.as_raw_fd());
        make(|wire| {
            let Some(descriptor) = open(wire, device) else {
                return;
            };
            let Some(pages) = prepare(wire, descriptor, file) else {
                return;
            };
            for page in [0, 1, 0] {
                wire.tell(wire.hear_at(core::ptr::with_exposed_provenance_mut(
                    (pages + page * PAGE) as usize,
                )));
            }
            wire.hear();
            wire.tell(fork());
        })
    }
}

/// Makes the descriptor; its number.
fn open(wire: &Wire, device: Option<i32>) -> Option<i32> {
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
    // SAFETY: numbers alone.
    let by_call = answer(unsafe { libc::syscall(libc::SYS_userfaultfd, flags) });
    wire.tell(by_call);
    if by_call >= 0 {
        return i32::try_from(by_call).ok();
    }
    // SAFETY: numbers alone: the request takes no structure.
    let by_device = answer(unsafe { libc::ioctl(device.unwrap_or(-1), NEW, flags) }.into());
    wire.tell(by_device);
    i32::try_from(by_device).ok().filter(|number| *number >= 0)
}

/// Agrees on what is wanted, maps the pages and registers them; where they are.
fn prepare(wire: &Wire, descriptor: i32, file: i32) -> Option<u64> {
    let mut api = [KIND, wanted(), 0];
    let agreed = perform(descriptor, HANDSHAKE, &mut api);
    wire.tell(agreed);
    if agreed < 0 {
        let mut api = [KIND, 0, 0];
        let asked = perform(descriptor, HANDSHAKE, &mut api);
        let [_, features, _] = api;
        wire.tell(if asked < 0 { asked } else { features as i64 });
        return None;
    }
    let (prot, bytes) = (libc::PROT_READ | libc::PROT_WRITE, NR_PAGES * PAGE);
    // SAFETY: a mapping at a place that the kernel chooses overlaps nothing.
    let at = unsafe {
        libc::mmap(
            core::ptr::null_mut(),
            bytes as usize,
            prot,
            libc::MAP_SHARED,
            file,
            0,
        )
    };
    if at == libc::MAP_FAILED {
        wire.tell(answer(-1));
        return None;
    }
    let at = at.expose_provenance() as u64;
    wire.tell(at as i64);
    let registered = perform(descriptor, REGISTER, &mut [at, bytes, ALL_MODES, 0]);
    wire.tell(registered);
    (registered >= 0).then_some(at)
}

/// Makes a child that ends at once, and waits for it; its number.
fn fork() -> i64 {
    // SAFETY: as fork(2), but that the child runs nothing but the call that ends it.
    let pid = answer(unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) });
    if pid == 0 {
        // SAFETY: ends the process and runs nothing of it.
        unsafe { libc::_exit(0) };
    }
    if pid > 0 {
        // SAFETY: nothing is stored.
        unsafe { libc::waitpid(pid as i32, core::ptr::null_mut(), libc::__WALL) };
    }
    pid
}

/// Makes a request of a userfaultfd whose structure is these words.
fn perform<const WORDS: usize>(descriptor: i32, request: u64, words: &mut [u64; WORDS]) -> i64 {
    // SAFETY: every request is made with a structure of the size that its number tells.
    answer(unsafe { libc::ioctl(descriptor, request, words.as_mut_ptr()) }.into())
}

/// What a userfaultfd reports.
#[derive(Debug)]
pub(crate) enum Event {
    /// A fault, that waits for an answer.
    Fault {
        /// What kind it is.
        kind: Kind,
        /// Where.
        address: u64,
        /// The task, as the faulting one counts.
        tid: Tid,
    },
    /// A fork: the same of the child.
    Fork(Faults),
    /// Something that was not asked for.
    Other,
}

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// There is no such page in the file.
    Missing,
    /// It is in the file, and not mapped.
    Minor,
    /// It may not be written.
    WriteProtected,
}

/// A userfaultfd of a child, as the parent holds it.
#[derive(Debug)]
pub(crate) struct Faults(File);

impl Faults {
    /// What was taken from the child's table.
    pub(crate) fn new(taken: OwnedFd) -> Self {
        Self(taken.into())
    }

    /// The next event, if it comes within this time.
    pub(crate) fn next(&self, time: Duration) -> Result<Option<Event>, HostError> {
        const FAULT: u8 = 0x12;
        const FORK: u8 = 0x13;
        const WRITE_PROTECTED: u64 = 1 << 1;
        const MINOR: u64 = 1 << 2;
        if !is_readable(self.0.as_fd(), time) {
            return Ok(None);
        }
        let mut message = [0u64; 4];
        let mut bytes = [0u8; size_of::<[u64; 4]>()];
        match (&self.0).read(&mut bytes) {
            Ok(got) if got == bytes.len() => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        for (word, bytes) in message.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
        }
        let [_, first, address, tid] = message;
        Ok(Some(match bytes[0] {
            FAULT => Event::Fault {
                kind: match first {
                    flags if flags & WRITE_PROTECTED != 0 => Kind::WriteProtected,
                    flags if flags & MINOR != 0 => Kind::Minor,
                    _ => Kind::Missing,
                },
                address,
                tid: Tid::new(tid as i32),
            },
            FORK => {
                // SAFETY: reading the event has made the descriptor, and nobody else knows it.
                Event::Fork(Self::new(unsafe { OwnedFd::from_raw_fd(first as i32) }))
            }
            _ => Event::Other,
        }))
    }

    /// Ends a fault: the page is there from now on, and may be written.
    pub(crate) fn resolve(&self, kind: Kind, address: u64) -> Result<(), HostError> {
        let page = address & !(PAGE - 1);
        self.perform(match kind {
            Kind::Missing => (SUPPLY_ZEROES, [page, PAGE, 0, 0]),
            Kind::Minor => (SUPPLY_PRESENT, [page, PAGE, 0, 0]),
            Kind::WriteProtected => (WRITE_PROTECT, [page, PAGE, 0, 0]),
        })
    }

    /// From now on writing to the page is a fault.
    pub(crate) fn protect(&self, address: u64) -> Result<(), HostError> {
        const PROTECT: u64 = 1;
        self.perform((WRITE_PROTECT, [address, PAGE, PROTECT, 0]))
    }

    fn perform(&self, (request, mut words): (u64, [u64; 4])) -> Result<(), HostError> {
        let done = perform(self.0.as_raw_fd(), request, &mut words);
        if done < 0 {
            Err(HostError::last())
        } else {
            Ok(())
        }
    }
}
