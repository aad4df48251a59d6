//! Where the frames are.

use sync::atomic::Ordering;

use crate::store::Store;
use crate::{Arena, Purpose};

/// Every frame of an arena, counted once. Exact whenever nothing is allocated or freed meanwhile:
/// free frames are counted where they lie, frames in use where they were allocated, and
/// [`is_balanced`](Self::is_balanced) says that the two agree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usage {
    /// Frames of the arena.
    pub nr_total: u64,
    /// Frames that nobody uses.
    pub nr_free: u64,
    /// Of those, frames that were never used.
    pub nr_never_used: u64,
    /// The zero page.
    pub nr_zero: u64,
    /// Frames given back to the host since the arena was made.
    pub nr_given_back: u64,
    by_purpose: [u64; Purpose::ALL.len()],
}

impl Usage {
    /// Frames in use for `purpose`.
    #[must_use]
    pub const fn of(&self, purpose: Purpose) -> u64 {
        self.by_purpose[purpose as usize]
    }

    /// Frames in use.
    #[must_use]
    pub fn nr_in_use(&self) -> u64 {
        self.by_purpose.iter().sum()
    }

    /// Whether free, used and zero frames are all there are.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.nr_free + self.nr_in_use() + self.nr_zero == self.nr_total
    }
}

impl Store {
    pub(crate) fn usage(&self) -> Usage {
        self.drain_lru();
        let mut counts = [0i64; Purpose::ALL.len()];
        let mut nr_free = 0;
        for cpu in &self.cpus {
            let cpu = cpu.lock();
            nr_free += cpu.free.len() as u64;
            counts
                .iter_mut()
                .zip(cpu.counts())
                .for_each(|(sum, count)| *sum += count);
        }
        let node = self.node.lock_free();
        Usage {
            nr_total: u64::from(self.nr_frames()),
            nr_free: nr_free + node.nr_free(),
            nr_never_used: u64::from(self.nr_frames() - node.frontier()),
            nr_zero: 1,
            nr_given_back: self.nr_given_back.load(Ordering::Relaxed),
            // Freed before counted as allocated, while others are at work: as if not yet freed.
            by_purpose: counts.map(|count| u64::try_from(count).unwrap_or(0)),
        }
    }
}

impl Arena {
    /// Where the frames are now.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.store().usage()
    }

    /// How many frames are free, not counting what each CPU keeps for itself. Cheap.
    #[must_use]
    pub fn nr_free_about(&self) -> u64 {
        self.store().node.lock_free().nr_free()
    }

    /// How many free blocks of each order are listed (`/proc/buddyinfo`), after emptying what the
    /// CPUs keep. Frames never used are not listed.
    #[must_use]
    pub fn free_blocks(&self) -> [u32; 11] {
        self.store().drain();
        self.store().node.lock_free().nr_blocks()
    }
}
