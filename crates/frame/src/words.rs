//! The arena's memory, and the only ways in and out of it.
//!
//! Programs under us map these frames and write them at any moment, so no Rust reference to plain
//! data ever points into them. There are two ways in:
//! * [`Words`]: a frame as 512 atomic words. All single accesses go this way, so that no two Rust
//!   accesses to the same bytes differ in size.
//! * Whole runs, moved by one string instruction in an `asm!` block. To the compiler that is what
//!   a foreign function is: it may have changed the memory it was given, and nothing is assumed of
//!   what was read. Against other threads and processes each byte is as a relaxed atomic; x86 moves
//!   bytes whole. Other architectures, and Miri, move runs word by word through [`Words`].

use addr::PAGE_SIZE;
use sync::atomic::{AtomicU64, Ordering};

#[cfg(not(any(loom, shuttle)))]
#[path = "words/mapped.rs"]
mod chosen;

#[cfg(any(loom, shuttle))]
#[path = "words/modelled.rs"]
mod chosen;

#[cfg(all(feature = "std", target_os = "linux", not(any(miri, loom, shuttle))))]
#[path = "words/memfd.rs"]
mod memfd;

pub(crate) use chosen::{Memory, Records};
#[cfg(all(feature = "std", target_os = "linux", not(any(miri, loom, shuttle))))]
pub(crate) use memfd::MemoryFile;

const WORD: usize = size_of::<u64>();
const WORDS_PER_FRAME: usize = PAGE_SIZE as usize / WORD;

/// A frame as atomic words.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    words: &'a [AtomicU64; WORDS_PER_FRAME],
}

impl<'a> Words<'a> {
    /// How many words a frame has.
    pub const LEN: usize = WORDS_PER_FRAME;

    /// The word at `index`, which is below [`LEN`](Self::LEN).
    #[must_use]
    #[inline]
    pub fn word(&self, index: usize) -> &'a AtomicU64 {
        &self.words[index]
    }

    /// Loads the word at `index`; sees what was stored before the value it returns.
    #[must_use]
    #[inline]
    pub fn load(&self, index: usize) -> u64 {
        self.words[index].load(Ordering::Acquire)
    }

    /// Stores `value` at `index`; whoever loads it sees what was stored before.
    #[inline]
    pub fn store(&self, index: usize, value: u64) {
        self.words[index].store(value, Ordering::Release);
    }

    /// Puts `value` at `index`; what was there.
    #[inline]
    pub fn swap(&self, index: usize, value: u64) -> u64 {
        self.words[index].swap(value, Ordering::AcqRel)
    }

    /// Puts `new` at `index` if `current` is there; what is there instead, if not.
    #[inline]
    pub fn compare_exchange(&self, index: usize, current: u64, new: u64) -> Result<u64, u64> {
        self.words[index].compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire)
    }

    /// Sets the bits of `mask` at `index`; what was there.
    #[inline]
    pub fn fetch_or(&self, index: usize, mask: u64) -> u64 {
        self.words[index].fetch_or(mask, Ordering::AcqRel)
    }

    /// Keeps only the bits of `mask` at `index`; what was there.
    #[inline]
    pub fn fetch_and(&self, index: usize, mask: u64) -> u64 {
        self.words[index].fetch_and(mask, Ordering::AcqRel)
    }

    /// Copies bytes out, from `offset` on. Both fit the frame.
    fn read_bytes(&self, offset: usize, out: &mut [u8]) {
        let mut at = offset;
        let mut rest = out;
        while !rest.is_empty() {
            let within = at % WORD;
            let (now, later) = rest.split_at_mut(rest.len().min(WORD - within));
            let word = self.words[at / WORD].load(Ordering::Relaxed).to_ne_bytes();
            now.copy_from_slice(&word[within..within + now.len()]);
            at += now.len();
            rest = later;
        }
    }

    /// Copies bytes in, from `offset` on. Both fit the frame. Bytes beside them that change
    /// meanwhile keep their change.
    fn write_bytes(&self, offset: usize, bytes: &[u8]) {
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let within = at % WORD;
            let (now, later) = rest.split_at(rest.len().min(WORD - within));
            self.write_within_word(at / WORD, within, now);
            at += now.len();
            rest = later;
        }
    }

    fn write_within_word(&self, index: usize, within: usize, bytes: &[u8]) {
        let cell = &self.words[index];
        if let Ok(whole) = <[u8; WORD]>::try_from(bytes) {
            cell.store(u64::from_ne_bytes(whole), Ordering::Relaxed);
            return;
        }
        let mut current = cell.load(Ordering::Relaxed);
        loop {
            let mut word = current.to_ne_bytes();
            word[within..within + bytes.len()].copy_from_slice(bytes);
            let new = u64::from_ne_bytes(word);
            match cell.compare_exchange_weak(current, new, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => current = now,
            }
        }
    }
}
