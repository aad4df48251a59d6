//! The buddy allocator: free blocks of powers of two, split when smaller ones are wanted, merged
//! when both halves are free.
//!
//! Frames that were never used are not listed at all. They lie beyond the *frontier*, which moves
//! up a block at a time when nothing else is free: so an arena costs nothing to make, uses its
//! frames from the bottom up, and prefers those that have memory already.

use addr::Order;
use sync::atomic::Ordering;

use crate::record::FrameRecord;

/// The largest block: 4 MiB, as Linux has it.
pub(crate) const MAX_ORDER: u8 = 10;

const NR_ORDERS: usize = MAX_ORDER as usize + 1;

/// No frame.
pub(crate) const NIL: u32 = u32::MAX;

/// The free frames of a node. All of it, and the records of free blocks, under one lock.
#[derive(Debug)]
pub(crate) struct Buddy {
    lists: [FreeList; NR_ORDERS],
    /// Frames on the lists.
    nr_listed: u64,
    /// Frames from here on were never used.
    frontier: u32,
    end: u32,
    /// Counts calls to give memory back; blocks are stamped with it.
    pub(crate) clock: u32,
}

#[derive(Clone, Copy, Debug)]
struct FreeList {
    head: u32,
    nr_blocks: u32,
}

/// A block of free frames, taken out of its list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FreeBlock {
    pub(crate) head: u32,
    pub(crate) order: u8,
}

impl FreeBlock {
    pub(crate) const fn nr_frames(self) -> u32 {
        1 << self.order
    }
}

/// What a free block's record says in `private`: whether the host may have given it memory.
const MAYBE_TOUCHED: u64 = 1;

impl Buddy {
    /// Frames `first..end`, none ever used.
    pub(crate) const fn new(first: u32, end: u32) -> Self {
        Self {
            lists: [FreeList {
                head: NIL,
                nr_blocks: 0,
            }; NR_ORDERS],
            nr_listed: 0,
            frontier: first,
            end,
            clock: 0,
        }
    }

    /// How many frames are free.
    pub(crate) fn nr_free(&self) -> u64 {
        self.nr_listed + u64::from(self.end - self.frontier)
    }

    /// Frames below this were used at some time.
    pub(crate) fn frontier(&self) -> u32 {
        self.frontier
    }

    /// How many free blocks of each order are listed.
    pub(crate) fn nr_blocks(&self) -> [u32; NR_ORDERS] {
        self.lists.map(|list| list.nr_blocks)
    }

    /// A block of `order`, if one is free and `floor` frames stay free.
    pub(crate) fn take(
        &mut self,
        records: &[FrameRecord],
        order: Order,
        floor: u64,
    ) -> Option<u32> {
        let order = order.as_u8();
        if order > MAX_ORDER || self.nr_free() < floor + (1 << order) {
            return None;
        }
        loop {
            if let Some(found) = (order..=MAX_ORDER).find(|o| self.list(*o).head != NIL) {
                let head = self.list(found).head;
                return Some(self.split(records, FreeBlock { head, order: found }, order));
            }
            self.advance(records)?;
        }
    }

    /// Takes a listed block out and lists its upper halves, until what is left has `order`.
    fn split(&mut self, records: &[FrameRecord], block: FreeBlock, order: u8) -> u32 {
        let (touched, stamp) = self.unlink(records, block);
        let mut left = block.order;
        while left > order {
            left -= 1;
            self.link(
                records,
                FreeBlock {
                    head: block.head + (1 << left),
                    order: left,
                },
                touched,
            );
            record(records, block.head + (1 << left))
                .stamp
                .store(stamp, Ordering::Relaxed);
        }
        block.head
    }

    /// Moves the frontier over the largest aligned block that begins there.
    fn advance(&mut self, records: &[FrameRecord]) -> Option<()> {
        let room = self.end - self.frontier;
        if room == 0 {
            return None;
        }
        let order = self
            .frontier
            .trailing_zeros()
            .min(room.ilog2())
            .min(u32::from(MAX_ORDER));
        let block = FreeBlock {
            head: self.frontier,
            order: order as u8,
        };
        self.frontier += block.nr_frames();
        self.link(records, block, 0);
        Some(())
    }

    /// A used block of `order` becomes free, and one with its buddy if that is free as well.
    pub(crate) fn give(&mut self, records: &[FrameRecord], head: u32, order: Order) {
        let mut block = FreeBlock {
            head,
            order: order.as_u8(),
        };
        let mut touched = MAYBE_TOUCHED;
        let mut stamp = self.clock;
        while let Some(buddy) = self.free_buddy(records, block) {
            let (its_touched, its_stamp) = self.unlink(records, buddy);
            touched |= its_touched;
            // The idle half decides: a busy frame in it comes back soon enough.
            stamp = stamp.min(its_stamp);
            block = FreeBlock {
                head: block.head.min(buddy.head),
                order: block.order + 1,
            };
        }
        self.link(records, block, touched);
        record(records, block.head)
            .stamp
            .store(stamp, Ordering::Relaxed);
    }

    /// Lists a block again whose memory went back to the host.
    pub(crate) fn give_untouched(&mut self, records: &[FrameRecord], block: FreeBlock) {
        let mut block = block;
        let mut touched = 0;
        while let Some(buddy) = self.free_buddy(records, block) {
            touched |= self.unlink(records, buddy).0;
            block = FreeBlock {
                head: block.head.min(buddy.head),
                order: block.order + 1,
            };
        }
        self.link(records, block, touched);
        record(records, block.head)
            .stamp
            .store(self.clock, Ordering::Relaxed);
    }

    /// Takes out a block, of at most `max_frames`, that has memory and was idle before `clock`.
    pub(crate) fn take_idle(
        &mut self,
        records: &[FrameRecord],
        clock: u32,
        max_frames: u64,
    ) -> Option<FreeBlock> {
        for order in (0..=MAX_ORDER)
            .rev()
            .filter(|order| 1 << order <= max_frames)
        {
            let mut head = self.list(order).head;
            while head != NIL {
                let block = record(records, head);
                let idle = block.stamp.load(Ordering::Relaxed) < clock;
                if idle && block.private().load(Ordering::Relaxed) == MAYBE_TOUCHED {
                    let found = FreeBlock { head, order };
                    self.unlink(records, found);
                    return Some(found);
                }
                head = block.next.load(Ordering::Relaxed);
            }
        }
        None
    }

    fn free_buddy(&self, records: &[FrameRecord], block: FreeBlock) -> Option<FreeBlock> {
        if block.order == MAX_ORDER {
            return None;
        }
        let buddy = FreeBlock {
            head: block.head ^ block.nr_frames(),
            order: block.order,
        };
        let listed = buddy.head < self.frontier
            && record(records, buddy.head).list.load(Ordering::Relaxed) == block.order + 1;
        listed.then_some(buddy)
    }

    fn list(&self, order: u8) -> FreeList {
        self.lists[usize::from(order)]
    }

    fn link(&mut self, records: &[FrameRecord], block: FreeBlock, touched: u64) {
        self.nr_listed += u64::from(block.nr_frames());
        let list = &mut self.lists[usize::from(block.order)];
        let head = record(records, block.head);
        head.prev.store(NIL, Ordering::Relaxed);
        head.next.store(list.head, Ordering::Relaxed);
        head.list.store(block.order + 1, Ordering::Relaxed);
        head.private().store(touched, Ordering::Relaxed);
        if list.head != NIL {
            record(records, list.head)
                .prev
                .store(block.head, Ordering::Relaxed);
        }
        list.head = block.head;
        list.nr_blocks += 1;
    }

    /// Takes a listed block out; whether it may have memory, and since when it is idle.
    fn unlink(&mut self, records: &[FrameRecord], block: FreeBlock) -> (u64, u32) {
        self.nr_listed -= u64::from(block.nr_frames());
        let list = &mut self.lists[usize::from(block.order)];
        let head = record(records, block.head);
        let (prev, next) = (
            head.prev.load(Ordering::Relaxed),
            head.next.load(Ordering::Relaxed),
        );
        if prev == NIL {
            list.head = next;
        } else {
            record(records, prev).next.store(next, Ordering::Relaxed);
        }
        if next != NIL {
            record(records, next).prev.store(prev, Ordering::Relaxed);
        }
        list.nr_blocks -= 1;
        head.list.store(0, Ordering::Relaxed);
        (
            head.private().load(Ordering::Relaxed),
            head.stamp.load(Ordering::Relaxed),
        )
    }
}

fn record(records: &[FrameRecord], frame: u32) -> &FrameRecord {
    &records[frame as usize]
}
