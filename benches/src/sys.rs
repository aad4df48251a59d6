//! The host kernel's side: the same work, done by its mmap, its page fault and its fork.

#![expect(
    unsafe_code,
    reason = "room: mmap, page touches and fork on the host kernel"
)]

use std::io;
use std::ptr;
use std::time::Duration;

const PAGE: usize = 4096;

/// Measures the time that this thread runs, in the kernel or not: what other programs do with the
/// CPU meanwhile counts for neither side of a comparison.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    started: Duration,
}

impl Stopwatch {
    /// From now on.
    #[must_use]
    pub fn start() -> Self {
        Self {
            started: thread_time(),
        }
    }

    /// Time run since.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        thread_time().saturating_sub(self.started)
    }
}

fn thread_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: it writes `time`, which outlives the call, and nothing else.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// A private anonymous mapping of the host kernel, never backed by huge pages.
#[derive(Debug)]
pub struct HostMapping {
    start: *mut u8,
    pages: usize,
}

impl HostMapping {
    /// Maps `pages` fresh pages.
    ///
    /// # Errors
    /// What `mmap(2)` says.
    pub fn new(pages: usize) -> io::Result<Self> {
        let bytes = pages * PAGE;
        // SAFETY: an anonymous mapping at an address of the kernel's choice overlaps nothing.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the range is the mapping just made; the advice changes no contents.
        unsafe { libc::madvise(start, bytes, libc::MADV_NOHUGEPAGE) };
        Ok(Self {
            start: start.cast(),
            pages,
        })
    }

    /// Writes one byte to each page.
    pub fn write_all(&mut self) {
        for page in 0..self.pages {
            // SAFETY: `page` lies inside the mapping, which is writable and ours alone.
            unsafe { self.start.add(page * PAGE).write_volatile(1) };
        }
    }

    /// Reads one byte of each page.
    #[must_use]
    pub fn read_all(&self) -> u64 {
        // SAFETY: each page lies inside the mapping, which is readable.
        (0..self.pages)
            .map(|page| u64::from(unsafe { self.start.add(page * PAGE).read_volatile() }))
            .sum()
    }
}

impl Drop for HostMapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new`, and nothing refers into it any more.
        unsafe { libc::munmap(self.start.cast(), self.pages * PAGE) };
    }
}

/// The time of one anonymous write fault of the kernel, over `pages` of them.
///
/// # Errors
/// What `mmap(2)` says.
pub fn write_fault(pages: usize) -> io::Result<Duration> {
    let mut mapping = HostMapping::new(pages)?;
    let start = Stopwatch::start();
    mapping.write_all();
    Ok(start.elapsed() / u32::try_from(pages).unwrap_or(u32::MAX))
}

/// The time of one read fault of the kernel on untouched anonymous memory (the zero page).
///
/// # Errors
/// What `mmap(2)` says.
pub fn zero_page_fault(pages: usize) -> io::Result<Duration> {
    let mapping = HostMapping::new(pages)?;
    let start = Stopwatch::start();
    std::hint::black_box(mapping.read_all());
    Ok(start.elapsed() / u32::try_from(pages).unwrap_or(u32::MAX))
}

/// The time that `fork(2)` takes in a process that has `mapping` resident. The child leaves at
/// once and is reaped outside the measured time.
///
/// # Errors
/// What `fork(2)` says.
pub fn fork_time(mapping: &mut HostMapping) -> io::Result<Duration> {
    mapping.write_all();
    let start = Stopwatch::start();
    // SAFETY: the child calls nothing but `_exit`, which is async-signal-safe.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: ends the child without running any destructor of the parent's.
        unsafe { libc::_exit(0) };
    }
    let elapsed = start.elapsed();
    if child < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut status = 0;
    // SAFETY: waits for the child just made; `status` outlives the call.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    Ok(elapsed)
}
