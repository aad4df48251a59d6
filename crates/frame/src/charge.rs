//! Who pays for frames: groups with a count and a limit (the counters of a memory control group).
//!
//! Each CPU pays for its most recent group a batch ahead, so that the common allocation only takes
//! from that stock. What a group *has* is what was paid less what the stocks still hold.

use core::num::NonZeroU32;

use sync::RwLock;
use sync::atomic::{AtomicU64, Ordering};
use sync::rank::Rank;

use crate::OutOfFrames;
use crate::store::Store;
use heap::vec::Vec;

/// How many pages a CPU pays ahead.
const BATCH: u64 = 32;

/// A stock with more than this gives the rest back.
const STOCK_MAX: u64 = 2 * BATCH;

/// A group of an arena.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct ChargeId(NonZeroU32);

impl ChargeId {
    /// Its number within the arena, from one on.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0.get()
    }

    pub(crate) const fn from_u32(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    pub(crate) const fn as_u32(charge: Option<Self>) -> u32 {
        match charge {
            Some(charge) => charge.number(),
            None => 0,
        }
    }

    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// What a group has and may have, in frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Charged {
    /// Frames charged to it now.
    pub nr_frames: u64,
    /// The most it may have, if there is a limit.
    pub limit: Option<u64>,
    /// How often an allocation met the limit.
    pub nr_refused: u64,
}

#[derive(Debug)]
struct ChargeGroup {
    nr_paid: AtomicU64,
    /// `u64::MAX` is no limit.
    limit: AtomicU64,
    nr_refused: AtomicU64,
}

impl ChargeGroup {
    fn pay(&self, nr_pages: u64) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let mut paid = self.nr_paid.load(Ordering::Relaxed);
        loop {
            if paid.saturating_add(nr_pages) > limit {
                return false;
            }
            let new = paid + nr_pages;
            match self.nr_paid.compare_exchange_weak(
                paid,
                new,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => paid = now,
            }
        }
    }

    fn give(&self, nr_pages: u64) {
        let before = self.nr_paid.fetch_sub(nr_pages, Ordering::Relaxed);
        debug_assert!(before >= nr_pages, "more given back than paid");
    }
}

/// The groups of an arena.
#[derive(Debug)]
pub(crate) struct Charges {
    groups: RwLock<Vec<ChargeGroup>>,
}

impl Charges {
    pub(crate) fn new() -> Self {
        Self {
            groups: RwLock::ranked(Rank::Charge, Vec::new()),
        }
    }

    fn with<R>(&self, charge: ChargeId, use_group: impl FnOnce(&ChargeGroup) -> R) -> Option<R> {
        let groups = self.groups.read();
        groups.get(charge.index()).map(use_group)
    }

    #[cfg(not(any(loom, shuttle)))]
    pub(crate) fn forget_all(&self) {
        self.groups.write().clear();
    }

    /// Takes back what a stock had too much of.
    pub(crate) fn give(&self, surplus: Surplus) {
        self.with(surplus.charge, |group| group.give(surplus.nr_pages));
    }
}

/// Pages that go from a stock back to their group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) struct Surplus {
    charge: ChargeId,
    nr_pages: u64,
}

/// Pages that a CPU has paid for ahead, all of one group.
#[derive(Debug)]
pub(crate) struct Stock {
    charge: Option<ChargeId>,
    nr_pages: u64,
}

impl Stock {
    pub(crate) const EMPTY: Self = Self {
        charge: None,
        nr_pages: 0,
    };

    /// Takes `nr_pages` of `charge`, if they are there.
    #[inline]
    pub(crate) fn take(&mut self, charge: ChargeId, nr_pages: u64) -> bool {
        if self.charge == Some(charge) && self.nr_pages >= nr_pages {
            self.nr_pages -= nr_pages;
            return true;
        }
        false
    }

    /// Puts `nr_pages` of `charge` in; what does not fit, or was of another group.
    #[inline]
    pub(crate) fn put(&mut self, charge: ChargeId, nr_pages: u64) -> Option<Surplus> {
        if self.charge != Some(charge) {
            let surplus = self.empty();
            self.charge = Some(charge);
            self.nr_pages = nr_pages;
            return surplus;
        }
        self.nr_pages += nr_pages;
        if self.nr_pages <= STOCK_MAX {
            return None;
        }
        let surplus = Surplus {
            charge,
            nr_pages: self.nr_pages - BATCH,
        };
        self.nr_pages = BATCH;
        Some(surplus)
    }

    pub(crate) fn empty(&mut self) -> Option<Surplus> {
        let nr_pages = core::mem::take(&mut self.nr_pages);
        self.charge
            .take()
            .filter(|_| nr_pages > 0)
            .map(|charge| Surplus { charge, nr_pages })
    }
}

impl Store {
    pub(crate) fn new_charge_group(&self, limit: Option<u64>) -> Option<ChargeId> {
        let mut groups = self.charges.groups.write();
        groups.push(ChargeGroup {
            nr_paid: AtomicU64::new(0),
            limit: AtomicU64::new(limit.unwrap_or(u64::MAX)),
            nr_refused: AtomicU64::new(0),
        });
        u32::try_from(groups.len())
            .ok()
            .and_then(ChargeId::from_u32)
    }

    pub(crate) fn set_charge_limit(&self, charge: ChargeId, limit: Option<u64>) {
        let limit = limit.unwrap_or(u64::MAX);
        self.charges
            .with(charge, |group| group.limit.store(limit, Ordering::Relaxed));
    }

    /// What `charge` has, exactly if nothing is allocated or freed meanwhile.
    pub(crate) fn charged(&self, charge: ChargeId) -> Option<Charged> {
        self.empty_stocks();
        self.charges.with(charge, |group| {
            let limit = group.limit.load(Ordering::Relaxed);
            Charged {
                nr_frames: group.nr_paid.load(Ordering::Relaxed),
                limit: (limit != u64::MAX).then_some(limit),
                nr_refused: group.nr_refused.load(Ordering::Relaxed),
            }
        })
    }

    pub(crate) fn empty_stocks(&self) {
        for cpu in &self.cpus {
            let mut cpu = cpu.lock();
            if let Some(surplus) = cpu.stock.empty() {
                self.charges.give(surplus);
            }
        }
    }

    /// Pays for one page out of this CPU's stock, or beyond it.
    pub(crate) fn charge(&self, charge: ChargeId) -> Result<(), OutOfFrames> {
        if self.this_cpu().stock.take(charge, 1) {
            return Ok(());
        }
        self.charge_slowly(charge, 1)
    }

    /// Pays for `nr_pages`, and some ahead if the limit allows.
    #[cold]
    pub(crate) fn charge_slowly(&self, charge: ChargeId, nr_pages: u64) -> Result<(), OutOfFrames> {
        let pay = |nr_pages| self.charges.with(charge, |group| group.pay(nr_pages)) == Some(true);
        if pay(nr_pages + BATCH) {
            self.uncharge(charge, BATCH);
            return Ok(());
        }
        if pay(nr_pages) {
            return Ok(());
        }
        self.empty_stocks();
        if pay(nr_pages) {
            return Ok(());
        }
        self.charges.with(charge, |group| {
            group.nr_refused.fetch_add(1, Ordering::Relaxed)
        });
        Err(OutOfFrames::Limit { charge })
    }

    /// Puts `nr_pages` of `charge` into this CPU's stock.
    pub(crate) fn uncharge(&self, charge: ChargeId, nr_pages: u64) {
        let mut cpu = self.this_cpu();
        if let Some(surplus) = cpu.stock.put(charge, nr_pages) {
            self.charges.give(surplus);
        }
    }
}
