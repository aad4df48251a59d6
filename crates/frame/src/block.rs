//! Frames reserved next to each other.
//!
//! An area takes its frames from a block, so that neighbours in the program are neighbours in the
//! arena and a machine can map them with one call.

use heap::boxed::Box;
use heap::sync::Arc;
use sync::atomic::{AtomicU64, Ordering};

use addr::{Order, Pfn};

use crate::alloc::{end_life, pfn_of};
use crate::{AllocRequest, Arena, Contents, Depth, FreshFolio, OutOfFrames, Purpose};

const BITS: u64 = u64::BITS as u64;

/// An aligned run of reserved frames. Each is taken once; those that were not return to the arena
/// when the block is dropped.
#[derive(Debug)]
pub struct Block {
    arena: Arc<Arena>,
    head: u32,
    order: Order,
    taken: Box<[AtomicU64]>,
}

/// Why a frame could not be taken from a block.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum TakeError {
    /// It was taken before, or the block is not that large.
    #[error("frame {0} of the block is not there to be taken")]
    Taken(u64),
    /// Whoever should pay cannot.
    #[error(transparent)]
    OutOfFrames(#[from] OutOfFrames),
}

impl Arena {
    /// Reserves an aligned run of `order`; none if there is no such run.
    #[must_use]
    pub fn reserve(self: &Arc<Self>, order: Order) -> Option<Block> {
        let store = self.store();
        let floor = store.reserve_frames();
        let take = || store.node.lock_free().take(&store.records, order, floor);
        let head = take().or_else(|| {
            store.drain();
            take()
        })?;
        store
            .this_cpu()
            .count(Purpose::Block, order.nr_pages().cast_signed());
        let nr_words = order.nr_pages().div_ceil(BITS);
        Some(Block {
            arena: Arc::clone(self),
            head,
            order,
            taken: (0..nr_words).map(|_| AtomicU64::new(0)).collect(),
        })
    }
}

impl Block {
    /// Number of its first frame, taken or not.
    #[must_use]
    pub const fn pfn(&self) -> Pfn {
        pfn_of(self.head)
    }

    /// How many frames it reserved.
    #[must_use]
    pub const fn order(&self) -> Order {
        self.order
    }

    /// How many frames are still there to be taken.
    #[must_use]
    pub fn nr_left(&self) -> u64 {
        let taken: u32 = self
            .taken
            .iter()
            .map(|word| word.load(Ordering::Relaxed).count_ones())
            .sum();
        self.order.nr_pages() - u64::from(taken)
    }

    /// Takes frame number `nr` of the block, as a single frame. Of `request`, the order is not
    /// looked at.
    pub fn take(&self, nr: u64, request: AllocRequest) -> Result<FreshFolio, TakeError> {
        let bit = 1 << (nr % BITS);
        let word = self
            .taken
            .get((nr / BITS) as usize)
            .ok_or(TakeError::Taken(nr))?;
        if nr >= self.order.nr_pages() || word.load(Ordering::Relaxed) & bit != 0 {
            return Err(TakeError::Taken(nr));
        }
        let store = self.arena.store();
        if let Some(charge) = request.charge {
            store.charge(charge)?;
        }
        if word.fetch_or(bit, Ordering::AcqRel) & bit != 0 {
            if let Some(charge) = request.charge {
                store.uncharge(charge, 1);
            }
            return Err(TakeError::Taken(nr));
        }
        let mut cpu = store.this_cpu();
        cpu.count(Purpose::Block, -1);
        cpu.count(request.purpose, 1);
        drop(cpu);
        Ok(store.begin_life(self.head + nr as u32, &request.with_order(Order::ZERO)))
    }

    /// A request for frames of a block: with `contents`, for `purpose`.
    #[must_use]
    pub const fn request(contents: Contents, purpose: Purpose) -> AllocRequest {
        AllocRequest {
            order: Order::ZERO,
            contents,
            purpose,
            charge: None,
            depth: Depth::Normal,
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let store = self.arena.store();
        let mut nr_left = 0;
        let mut free = store.node.lock_free();
        for nr in 0..self.order.nr_pages() {
            let word = self.taken[(nr / BITS) as usize].load(Ordering::Acquire);
            if word & 1 << (nr % BITS) == 0 {
                let frame = self.head + nr as u32;
                end_untaken(store.record_of(frame));
                free.give(&store.records, frame, Order::ZERO);
                nr_left += 1;
            }
        }
        drop(free);
        store.this_cpu().count(Purpose::Block, -nr_left);
    }
}

/// A frame that nobody took: what the host knows of it has not changed.
fn end_untaken(record: &crate::FrameRecord) {
    if record.has(crate::FolioFlags::TOUCHED) {
        end_life(record);
    }
}
