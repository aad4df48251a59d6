//! The page in which a keeper finds its orders, and the way its reports come back.
#![expect(unsafe_code, reason = "a page that another process reads, and a futex")]

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::HostError;
use crate::orders::{FIRST_ORDER, NR_ORDERS_MAX, ORDER_WORDS, Order, Report};

const PAGE_BYTES: usize = 4096;
const NR_WORDS: usize = PAGE_BYTES / size_of::<u64>();

/// What a keeper adds to its event when all went as expected, and otherwise.
const ALL_DONE: u64 = 1;
const SOME_LEFT: u64 = 2;

/// Where in the page is what: how many batches there have been, and in the high half how many orders
/// the last one has; the two numbers above; where to wait for the next.
const BATCH: usize = 0;
const NUMBERS: [(usize, u64); 2] = [(1, ALL_DONE), (2, SOME_LEFT)];
const REST: usize = 3;

/// A page of orders. Others can read it; only this process can write it.
#[derive(Debug)]
pub(crate) struct Page {
    words: NonNull<[AtomicU64; NR_WORDS]>,
    file: File,
    event: File,
    nr_batches: u32,
}

// SAFETY: the mapping belongs to the process, whichever thread uses it, and is of atomics.
unsafe impl Send for Page {}

impl Page {
    /// A page without orders, for a keeper that waits at `rest`.
    pub(crate) fn new(rest: u64) -> Result<Self, HostError> {
        let file = page_file()?;
        // SAFETY: numbers alone.
        let event = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        let event = owned(event)?;
        // SAFETY: a mapping at a place that the kernel chooses overlaps nothing.
        let at = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                PAGE_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        let words = NonNull::new(at.cast()).filter(|_| at != libc::MAP_FAILED);
        let page = Self {
            words: words.ok_or_else(HostError::last)?,
            file,
            event: event.into(),
            nr_batches: 0,
        };
        page.seal()?;
        for (at, number) in NUMBERS {
            page.put(at, number);
        }
        page.rest_at(rest);
        Ok(page)
    }

    /// From now on nobody can write it, or cut it off, but through the mapping that there is.
    fn seal(&self) -> Result<(), HostError> {
        let size = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
        let seals = size | libc::F_SEAL_FUTURE_WRITE;
        // SAFETY: numbers alone.
        if unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_ADD_SEALS, seals) } < 0 {
            return Err(HostError::last());
        }
        Ok(())
    }

    fn words(&self) -> &[AtomicU64; NR_WORDS] {
        // SAFETY: 1. the mapping is of this size, begins at a page and lives as long as `self`. 2. its
        // file cannot be cut off. 3. any bytes are atomics, and nobody accesses them otherwise.
        unsafe { self.words.as_ref() }
    }

    fn put(&self, at: usize, value: u64) {
        if let Some(word) = self.words().get(at) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// After its next report the keeper waits at `rest`.
    pub(crate) fn rest_at(&self, rest: u64) {
        self.put(REST, rest);
    }

    /// The file of the page, for the keeper to map.
    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// What the keeper rings.
    pub(crate) fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// Gives the keeper, which waits, as many of these orders as there is room for; their number.
    pub(crate) fn post(&mut self, orders: &[Order]) -> usize {
        let nr_orders = orders.len().min(NR_ORDERS_MAX);
        let places = (FIRST_ORDER..).step_by(ORDER_WORDS);
        for (place, order) in places.zip(orders).take(nr_orders) {
            for (at, word) in (place..).zip(order.words()) {
                self.put(at, word);
            }
        }
        self.nr_batches = self.nr_batches.wrapping_add(1);
        let [batch, ..] = self.words();
        const { assert!(BATCH == 0 && cfg!(target_endian = "little")) };
        let number = u64::from(self.nr_batches);
        batch.store(number | (nr_orders as u64) << 32, Ordering::Release);
        // SAFETY: the address is the low half of a word that outlives the call; nothing is stored.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                batch.as_ptr().cast::<u32>(),
                libc::FUTEX_WAKE,
                1,
            )
        };
        nr_orders
    }

    /// The keeper's report on its last orders, waiting up to `milliseconds` for it. It is told once.
    pub(crate) fn report(&self, milliseconds: i32) -> Option<Report> {
        let mut poll = libc::pollfd {
            fd: self.event.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one pollfd, which outlives the call.
        if unsafe { libc::poll(&raw mut poll, 1, milliseconds) } <= 0 {
            return None;
        }
        let mut told = 0u64;
        // SAFETY: the buffer is the word, and its size is given.
        let got = unsafe {
            libc::read(
                self.event.as_raw_fd(),
                (&raw mut told).cast(),
                size_of::<u64>(),
            )
        };
        if got != size_of::<u64>() as isize {
            return None;
        }
        if told == ALL_DONE {
            return Some(Report::Done);
        }
        Some(Report::from_offset(self.seek(0, libc::SEEK_CUR)))
    }

    fn seek(&self, offset: i64, from: i32) -> i64 {
        // SAFETY: numbers alone.
        unsafe { libc::lseek(self.file.as_raw_fd(), offset, from) }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: the mapping that was made for `self`, and that nothing points into any more.
        unsafe { libc::munmap(self.words.as_ptr().cast(), PAGE_BYTES) };
    }
}

fn owned(number: i32) -> Result<OwnedFd, HostError> {
    if number < 0 {
        return Err(HostError::last());
    }
    // SAFETY: the kernel has just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn page_file() -> Result<File, HostError> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    let name = c"recto-orders".as_ptr();
    // SAFETY: a string that ends with zero.
    let mut number = unsafe { libc::memfd_create(name, flags | libc::MFD_NOEXEC_SEAL) };
    if number < 0 {
        // SAFETY: as above, for kernels that do not know the flag.
        number = unsafe { libc::memfd_create(name, flags) };
    }
    let file = File::from(owned(number)?);
    file.set_len(PAGE_BYTES as u64)?;
    Ok(file)
}
