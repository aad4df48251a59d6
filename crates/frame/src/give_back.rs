//! Memory of idle free frames goes back to the host.

use sync::atomic::Ordering;

use crate::Arena;
use crate::buddy::FreeBlock;
use crate::record::FolioFlags;

impl Arena {
    /// Gives the memory of up to `max_frames` idle free frames back to the host; how many had any.
    ///
    /// Idle is what was free already at the call before, so whoever calls this once a second gives
    /// back what was free for a second. An arena that is plain memory has no way to: it gives
    /// nothing.
    pub fn give_back(&self, max_frames: u64) -> u64 {
        let store = self.store();
        let clock = {
            let mut free = store.node.lock_free();
            free.clock += 1;
            free.clock - 1
        };
        let mut nr_left = max_frames;
        let mut nr_given = 0;
        while let Some(block) = {
            let mut free = store.node.lock_free();
            free.take_idle(&store.records, clock, nr_left)
        } {
            let punched = self.punch(u64::from(block.head), u64::from(block.nr_frames()));
            if punched {
                nr_given += self.forget_touches(block);
                nr_left -= u64::from(block.nr_frames());
                store.node.lock_free().give_untouched(&store.records, block);
            } else {
                let order = addr::Order::new(block.order).unwrap_or_default();
                store
                    .node
                    .lock_free()
                    .give(&store.records, block.head, order);
                break;
            }
        }
        store.nr_given_back.fetch_add(nr_given, Ordering::Relaxed);
        nr_given
    }

    fn forget_touches(&self, block: FreeBlock) -> u64 {
        let frames = block.head..block.head + block.nr_frames();
        frames
            .filter(|frame| {
                let record = self.store().record_of(*frame);
                record
                    .clear(FolioFlags::TOUCHED)
                    .contains(FolioFlags::TOUCHED)
            })
            .count() as u64
    }
}
