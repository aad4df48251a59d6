//! Replacements under way: waiting for one, and overtaking one.

use alloc::vec::Vec;

use addr::VirtAddr;
use sync::Mutex;
use sync::atomic::{AtomicU32, Ordering};
use sync::rank::Rank;

use crate::{Entry, PageTable};

/// Busy entries that were zapped before their makers came back to them. Almost always none.
#[derive(Debug)]
pub(crate) struct Overtaken {
    nr: AtomicU32,
    entries: Mutex<Vec<Entry>>,
}

impl Overtaken {
    pub(crate) fn new() -> Self {
        Self {
            nr: AtomicU32::new(0),
            entries: Mutex::ranked(Rank::Registry, Vec::new()),
        }
    }

    /// Under the entry lock, so that the maker, who locks it next, sees the count.
    pub(crate) fn add(&self, busy: Entry) {
        self.entries.lock().push(busy);
        self.nr.fetch_add(1, Ordering::Release);
    }

    fn contains(&self, busy: Entry) -> bool {
        self.entries.lock().contains(&busy)
    }

    fn remove(&self, busy: Entry) -> bool {
        if self.nr.load(Ordering::Acquire) == 0 {
            return false;
        }
        let mut entries = self.entries.lock();
        let Some(index) = entries.iter().position(|entry| *entry == busy) else {
            return false;
        };
        entries.swap_remove(index);
        self.nr.fetch_sub(1, Ordering::Relaxed);
        true
    }
}

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

    /// Waits until the maker of the zapped busy entry has taken back what it gave to machines. It
    /// needs no lock of the core for that but entry locks.
    pub(crate) fn wait_until_given_up(&self, busy: Entry) {
        self.busy.wait_until(|| !self.overtaken.contains(busy));
    }

    /// The replacement that `placeholder` stood for is over, one way or the other.
    pub(crate) fn given_up(&self, placeholder: Entry) {
        if self.overtaken.remove(placeholder) {
            self.busy.wake_all();
        }
    }
}
