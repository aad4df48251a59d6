//! Frames in our address space.

#![expect(
    unsafe_code,
    reason = "maps the arena and moves bytes in and out of it"
)]

use core::fmt;
use core::ops::Deref;
use core::ptr::NonNull;

use super::{PAGE_SIZE, WORDS_PER_FRAME, Words};
use crate::record::FrameRecord;
use sync::atomic::AtomicU64;

/// From this many bytes on a run is moved by a string instruction; below, word by word, so that an
/// aligned store of a program arrives whole.
const RUN: usize = 17;

/// The records of an arena. They stay for as long as the process, as its frames do.
#[derive(Debug)]
pub(crate) struct Records(&'static [FrameRecord]);

impl Deref for Records {
    type Target = [FrameRecord];

    #[inline]
    fn deref(&self) -> &[FrameRecord] {
        self.0
    }
}

/// A run of frames in our address space. It is never unmapped: what it is backed by may be
/// exchanged, but the addresses stay, so a frame number of the past finds other bytes, not none.
pub(crate) struct Memory {
    base: NonNull<AtomicU64>,
    nr_frames: u64,
}

// SAFETY:
// 1. `base` is the start of memory that is never unmapped (see `place`).
// 2. It is reached only as atomic words, or through the string instructions of this file.
unsafe impl Send for Memory {}
// SAFETY: as above; neither way in needs `&mut`.
unsafe impl Sync for Memory {}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} frames at {:p})", self.nr_frames, self.base)
    }
}

impl Memory {
    /// Addresses for `nr_frames`, backed by zeroes.
    pub(crate) fn new(nr_frames: u64) -> Option<Self> {
        let bytes = usize::try_from(nr_frames.checked_mul(PAGE_SIZE)?).ok()?;
        Some(Self {
            base: place::reserve(bytes)?,
            nr_frames,
        })
    }

    /// Records for `nr_frames`, all zeroes, which cost memory only where they are used.
    pub(crate) fn new_records(nr_frames: u64) -> Option<Records> {
        let nr_records = usize::try_from(nr_frames).ok()?;
        let bytes = nr_records.checked_mul(size_of::<FrameRecord>())?;
        let first = place::reserve(bytes)?.cast::<FrameRecord>();
        // SAFETY:
        // 1. `reserve` gave that many bytes to nobody else, at the start of a page, for good.
        // 2. Every field of a record is an atomic integer, or a `ByteLock`, which is one; all zeroes
        //    is a value of each, and of the record the one that means never used.
        let records = unsafe { core::slice::from_raw_parts(first.as_ptr(), nr_records) };
        Some(Records(records))
    }

    #[cfg(all(feature = "std", unix, not(miri)))]
    pub(crate) fn back_with_file(&self, fd: std::os::fd::BorrowedFd<'_>) -> std::io::Result<()> {
        place::back_with_file(self.base, self.bytes(), fd)
    }

    /// Every byte zero, and no memory behind them; false where that cannot be done.
    pub(crate) fn back_with_zeroes(&self) -> bool {
        place::back_with_zeroes(self.base, self.bytes())
    }

    fn bytes(&self) -> usize {
        (self.nr_frames * PAGE_SIZE) as usize
    }

    /// The frame numbered `frame`, which is one of the arena's.
    #[inline]
    pub(crate) fn words(&self, frame: u64) -> Words<'_> {
        assert!(
            frame < self.nr_frames,
            "frame {frame:#x} is not of this arena"
        );
        // SAFETY:
        // 1. Checked: the frame is inside the run, and the run is page aligned.
        // 2. The memory stays mapped readable and writable for as long as `self` lives.
        // 3. Rust code reaches it as `AtomicU64` only; other processes are as other threads that
        //    use relaxed atomics.
        let words = unsafe {
            self.base
                .add(frame as usize * WORDS_PER_FRAME)
                .cast::<[AtomicU64; WORDS_PER_FRAME]>()
                .as_ref()
        };
        Words { words }
    }

    /// Copies out of one frame, from `offset` on.
    #[inline]
    pub(crate) fn read(&self, frame: u64, offset: usize, out: &mut [u8]) {
        let words = self.words(frame);
        assert!(
            offset + out.len() <= PAGE_SIZE as usize,
            "a read past the end of a frame"
        );
        if out.len() < RUN {
            return words.read_bytes(offset, out);
        }
        run::copy_out(words, offset, out);
    }

    /// Copies into one frame, from `offset` on.
    #[inline]
    pub(crate) fn write(&self, frame: u64, offset: usize, bytes: &[u8]) {
        let words = self.words(frame);
        assert!(
            offset + bytes.len() <= PAGE_SIZE as usize,
            "a write past the end of a frame"
        );
        if bytes.len() < RUN {
            return words.write_bytes(offset, bytes);
        }
        run::copy_in(words, offset, bytes);
    }

    /// Copies one frame onto another.
    #[inline]
    pub(crate) fn copy(&self, from: u64, to: u64) {
        run::copy_frame(self.words(from), self.words(to));
    }

    /// Clears a frame.
    #[inline]
    pub(crate) fn zero(&self, frame: u64) {
        run::zero_frame(self.words(frame));
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod run {
    use core::arch::asm;

    use super::{WORDS_PER_FRAME, Words};

    #[inline]
    pub(super) fn copy_out(words: Words<'_>, offset: usize, out: &mut [u8]) {
        let from = words.words.as_ptr().cast::<u8>();
        // SAFETY:
        // 1. The caller checked that `offset..offset + out.len()` is inside the frame.
        // 2. `out` is ours alone, and is no part of the arena: no `&mut [u8]` ever points there.
        // 3. The direction flag is clear at the start of any `asm!`.
        unsafe {
            asm!("rep movsb", inout("rcx") out.len() => _, inout("rsi") from.add(offset) => _,
                inout("rdi") out.as_mut_ptr() => _, options(nostack, preserves_flags));
        }
    }

    #[inline]
    pub(super) fn copy_in(words: Words<'_>, offset: usize, bytes: &[u8]) {
        let to = words.words.as_ptr().cast::<u8>().cast_mut();
        // SAFETY:
        // 1. The caller checked that `offset..offset + bytes.len()` is inside the frame.
        // 2. The frame is atomic words, so it may be written through a shared reference.
        // 3. The direction flag is clear at the start of any `asm!`.
        unsafe {
            asm!("rep movsb", inout("rcx") bytes.len() => _, inout("rsi") bytes.as_ptr() => _,
                inout("rdi") to.add(offset) => _, options(nostack, preserves_flags));
        }
    }

    #[inline]
    pub(super) fn copy_frame(from: Words<'_>, to: Words<'_>) {
        let (from, to) = (from.words.as_ptr(), to.words.as_ptr().cast_mut());
        // SAFETY:
        // 1. Both are whole frames, hence the same or apart; the same is copied onto itself.
        // 2. `to` is atomic words, so it may be written through a shared reference.
        // 3. The direction flag is clear at the start of any `asm!`.
        unsafe {
            asm!("rep movsq", inout("rcx") WORDS_PER_FRAME => _, inout("rsi") from => _,
                inout("rdi") to => _, options(nostack, preserves_flags));
        }
    }

    #[inline]
    pub(super) fn zero_frame(words: Words<'_>) {
        let to = words.words.as_ptr().cast_mut();
        // SAFETY:
        // 1. The frame is atomic words, so it may be written through a shared reference.
        // 2. The direction flag is clear at the start of any `asm!`.
        unsafe {
            asm!("rep stosq", inout("rcx") WORDS_PER_FRAME => _, inout("rdi") to => _,
                in("rax") 0u64, options(nostack, preserves_flags));
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
mod run {
    use sync::atomic::Ordering;

    use super::Words;

    pub(super) fn copy_out(words: Words<'_>, offset: usize, out: &mut [u8]) {
        words.read_bytes(offset, out);
    }

    pub(super) fn copy_in(words: Words<'_>, offset: usize, bytes: &[u8]) {
        words.write_bytes(offset, bytes);
    }

    pub(super) fn copy_frame(from: Words<'_>, to: Words<'_>) {
        for (from, to) in from.words.iter().zip(to.words) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    pub(super) fn zero_frame(words: Words<'_>) {
        for word in words.words {
            word.store(0, Ordering::Relaxed);
        }
    }
}

/// Where the run lies: addresses of our own, whose backing can be exchanged.
#[cfg(all(feature = "std", unix, not(miri)))]
mod place {
    use core::ptr::NonNull;
    use std::io;
    use std::os::fd::{AsRawFd, BorrowedFd};

    use sync::atomic::AtomicU64;

    const READ_WRITE: libc::c_int = libc::PROT_READ | libc::PROT_WRITE;
    const ZEROES: libc::c_int = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;

    pub(super) fn reserve(bytes: usize) -> Option<NonNull<AtomicU64>> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let base = unsafe { libc::mmap(core::ptr::null_mut(), bytes, READ_WRITE, ZEROES, -1, 0) };
        if base == libc::MAP_FAILED {
            return None;
        }
        without_huge_pages(base, bytes);
        NonNull::new(base.cast())
    }

    pub(super) fn back_with_file(
        base: NonNull<AtomicU64>,
        bytes: usize,
        fd: BorrowedFd<'_>,
    ) -> io::Result<()> {
        remap(
            base,
            bytes,
            libc::MAP_SHARED | libc::MAP_NORESERVE,
            fd.as_raw_fd(),
        )
    }

    pub(super) fn back_with_zeroes(base: NonNull<AtomicU64>, bytes: usize) -> bool {
        remap(base, bytes, ZEROES, -1).is_ok()
    }

    fn remap(base: NonNull<AtomicU64>, bytes: usize, flags: i32, fd: i32) -> io::Result<()> {
        let base = base.as_ptr().cast::<libc::c_void>();
        // SAFETY:
        // 1. The range is exactly one that `reserve` mapped for us and nobody else uses.
        // 2. References into it are to atomic words: the exchange is a change of their values.
        let mapped = unsafe { libc::mmap(base, bytes, READ_WRITE, flags | libc::MAP_FIXED, fd, 0) };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        without_huge_pages(base, bytes);
        Ok(())
    }

    /// A frame must be given back to the host alone; best effort.
    fn without_huge_pages(base: *mut libc::c_void, bytes: usize) {
        #[cfg(target_os = "linux")]
        // SAFETY: advice about a range that is mapped and ours; it changes no contents.
        unsafe {
            libc::madvise(base, bytes, libc::MADV_NOHUGEPAGE);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (base, bytes);
    }
}

/// Where the run lies: plain memory, kept for good.
#[cfg(not(all(feature = "std", unix, not(miri))))]
mod place {
    use core::alloc::Layout;
    use core::ptr::NonNull;

    use addr::PAGE_SIZE;
    use sync::atomic::AtomicU64;

    pub(super) fn reserve(bytes: usize) -> Option<NonNull<AtomicU64>> {
        let layout = Layout::from_size_align(bytes, PAGE_SIZE as usize).ok()?;
        if bytes == 0 {
            return None;
        }
        // SAFETY: the layout has a size.
        NonNull::new(unsafe { heap::alloc::alloc_zeroed(layout) }.cast())
    }

    pub(super) fn back_with_zeroes(_base: NonNull<AtomicU64>, _bytes: usize) -> bool {
        false
    }
}
