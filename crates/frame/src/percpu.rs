//! What each CPU keeps for itself, so that the common allocation meets no other.

use sync::rank::Rank;
use sync::{Mutex, MutexGuard};

use crate::charge::Stock;
use crate::store::Store;
use crate::{Depth, Purpose};
use addr::Order;
use heap::vec::Vec;

/// Frames moved between a CPU and the node at a time.
pub(crate) const REFILL: usize = 32;

/// A CPU with more free frames than this gives some back.
const HIGH: usize = 192;

/// Folios collected before the LRU lists are touched.
pub(crate) const LRU_BATCH: usize = 31;

/// One CPU's part of the arena, on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Cpu {
    state: Mutex<CpuState>,
}

#[derive(Debug)]
pub(crate) struct CpuState {
    /// Free single frames; the last freed is the first taken, while it is warm.
    pub(crate) free: Vec<u32>,
    /// Folios to be put on an LRU list.
    pub(crate) to_link: FrameBatch,
    /// Folios without references that are still on an LRU list.
    to_unlink: FrameBatch,
    /// Frames in use by purpose: allocated here less freed here.
    counts: [i64; Purpose::ALL.len()],
    /// Charges paid in advance.
    pub(crate) stock: Stock,
}

/// A few frame numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameBatch {
    frames: [u32; LRU_BATCH],
    len: usize,
}

impl FrameBatch {
    pub(crate) const EMPTY: Self = Self {
        frames: [0; LRU_BATCH],
        len: 0,
    };

    pub(crate) fn as_slice(&self) -> &[u32] {
        &self.frames[..self.len]
    }

    /// Adds one; all of them, if that made it full.
    #[inline]
    fn push(&mut self, frame: u32) -> Option<Self> {
        self.frames[self.len] = frame;
        self.len += 1;
        (self.len == LRU_BATCH).then(|| self.take())
    }

    pub(crate) fn take(&mut self) -> Self {
        core::mem::replace(self, Self::EMPTY)
    }
}

impl Cpu {
    pub(crate) fn new() -> Self {
        let state = CpuState {
            free: Vec::with_capacity(HIGH + REFILL),
            to_link: FrameBatch::EMPTY,
            to_unlink: FrameBatch::EMPTY,
            counts: [0; Purpose::ALL.len()],
            stock: Stock::EMPTY,
        };
        Self {
            state: Mutex::ranked(Rank::Arena, state),
        }
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, CpuState> {
        self.state.lock()
    }
}

impl CpuState {
    #[inline]
    pub(crate) fn count(&mut self, purpose: Purpose, nr_frames: i64) {
        self.counts[purpose as usize] += nr_frames;
    }

    pub(crate) fn counts(&self) -> &[i64; Purpose::ALL.len()] {
        &self.counts
    }

    #[inline]
    pub(crate) fn is_overfull(&self) -> bool {
        self.free.len() > HIGH
    }

    #[inline]
    pub(crate) fn link_later(&mut self, frame: u32) -> Option<FrameBatch> {
        self.to_link.push(frame)
    }

    #[inline]
    pub(crate) fn unlink_later(&mut self, frame: u32) -> Option<FrameBatch> {
        self.to_unlink.push(frame)
    }

    pub(crate) fn take_to_unlink(&mut self) -> FrameBatch {
        self.to_unlink.take()
    }
}

impl Store {
    /// The part of the CPU that runs us.
    #[inline]
    pub(crate) fn this_cpu(&self) -> MutexGuard<'_, CpuState> {
        self.cpus[sync::cpu()].lock()
    }

    /// Moves free frames from the node to this CPU and takes one; the lowest numbers come out
    /// first, so that what is touched in a row lies in a row.
    #[cold]
    pub(crate) fn refill(&self, cpu: &mut CpuState, depth: Depth) -> Option<u32> {
        let floor = match depth {
            Depth::Normal => self.reserve_frames(),
            Depth::Reserve => 0,
        };
        let mut node = self.node.lock_free_nested();
        while cpu.free.len() < REFILL {
            let Some(frame) = node.take(&self.records, Order::ZERO, floor) else {
                break;
            };
            cpu.free.push(frame);
        }
        drop(node);
        cpu.free.reverse();
        cpu.free.pop()
    }

    /// Gives the coldest of this CPU's free frames back to the node.
    #[cold]
    pub(crate) fn shrink(&self, cpu: &mut CpuState) {
        let mut node = self.node.lock_free_nested();
        for frame in cpu.free.drain(..HIGH / 2) {
            node.give(&self.records, frame, Order::ZERO);
        }
    }

    /// Empties what the CPUs keep: batches are acted on, free frames go back to the node.
    pub(crate) fn drain(&self) {
        self.drain_lru();
        for cpu in &self.cpus {
            let mut cpu = cpu.lock();
            let mut node = self.node.lock_free_nested();
            for frame in cpu.free.drain(..) {
                node.give(&self.records, frame, Order::ZERO);
            }
        }
    }
}
