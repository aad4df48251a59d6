//! Waiting for a replacement under way.

use addr::VirtAddr;

use crate::{Entry, PageTable};

impl PageTable {
    /// Waits until the entry of `addr` is no longer the busy entry `seen`; at once if `seen` is
    /// not busy. To be called with nothing held.
    ///
    /// A busy entry ends in bounded time: its maker holds no lock that it would have to wait for.
    pub fn wait_while_busy(&self, addr: VirtAddr, seen: Entry) {
        if seen.is_busy() {
            self.busy.wait_until(|| {
                let pin = sync::pin();
                self.slot(addr, &pin)
                    .is_none_or(|slot| slot.snapshot() != seen)
            });
        }
    }
}
