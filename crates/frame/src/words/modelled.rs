//! Frames made of a model checker's atomics.

use std::sync::OnceLock;

use super::{PAGE_SIZE, WORD, WORDS_PER_FRAME, Words};
use crate::record::FrameRecord;
use sync::atomic::{AtomicU64, Ordering};

type Frame = Box<[AtomicU64; WORDS_PER_FRAME]>;

/// The records of an arena.
pub(crate) type Records = Box<[FrameRecord]>;

/// A run of frames made of the model checker's atomics, each frame when it is first looked at.
#[derive(Debug)]
pub(crate) struct Memory {
    frames: Box<[OnceLock<Frame>]>,
}

impl Memory {
    pub(crate) fn new(nr_frames: u64) -> Option<Self> {
        Some(Self {
            frames: (0..nr_frames).map(|_| OnceLock::new()).collect(),
        })
    }

    pub(crate) fn new_records(nr_frames: u64) -> Option<Records> {
        Some((0..nr_frames).map(|_| FrameRecord::new()).collect())
    }

    pub(crate) fn words(&self, frame: u64) -> Words<'_> {
        let make = || Box::new(core::array::from_fn(|_| AtomicU64::new(0)));
        Words {
            words: self.frames[frame as usize].get_or_init(make),
        }
    }

    pub(crate) fn read(&self, frame: u64, offset: usize, out: &mut [u8]) {
        assert!(
            offset + out.len() <= PAGE_SIZE as usize,
            "a read past the end of a frame"
        );
        self.words(frame).read_bytes(offset, out);
    }

    pub(crate) fn write(&self, frame: u64, offset: usize, bytes: &[u8]) {
        assert!(
            offset + bytes.len() <= PAGE_SIZE as usize,
            "a write past the end of a frame"
        );
        self.words(frame).write_bytes(offset, bytes);
    }

    pub(crate) fn copy(&self, from: u64, to: u64) {
        let (from, to) = (self.words(from), self.words(to));
        for index in 0..PAGE_SIZE as usize / WORD {
            to.words[index].store(from.words[index].load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    pub(crate) fn zero(&self, frame: u64) {
        self.words(frame)
            .words
            .iter()
            .for_each(|word| word.store(0, Ordering::Relaxed));
    }
}
