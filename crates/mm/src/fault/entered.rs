//! Inside `handle_mm_fault`: what others are told while a fault is served.
//!
//! * *Held:* the fault lock. *Known:* the access is allowed. *May:* say so. *Next:* the walk.
//!
//! Linux names: `mem_cgroup_enter_user_fault`, `lru_gen_enter_fault`, and their ends. A group that runs
//! out of memory under a user's fault leaves it to the end of the fault to find a victim; a page that a
//! fault touches counts as recently used, unless its area is read once through. This build has
//! neither groups nor generations: what they would be told is decided, and nobody is told.

use addr::{FaultFlags, VmFlags};

use super::vma_locked::VmaLocked;

/// Who finds a victim when the group of the fault has no memory left (`current->in_user_fault`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    /// The fault, once it holds nothing.
    AtEndOfFault,
    /// Whoever charges: no user waits.
    AtOnce,
}

/// Whether the pages that a fault touches count as used (`vma_has_recency`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recency {
    /// They do.
    Counts,
    /// Each is used once, or in no order that foretells another use.
    Meaningless,
}

/// A fault that is being served. It is left exactly once, on each way out.
#[must_use = "a fault that is entered is left"]
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entered {
    victim: Victim,
    recency: Recency,
}

impl Entered {
    fn new(fault: FaultFlags, area: VmFlags) -> Self {
        Self {
            victim: if fault.contains(FaultFlags::USER) {
                Victim::AtEndOfFault
            } else {
                Victim::AtOnce
            },
            recency: if area.intersects(VmFlags::SEQ_READ | VmFlags::RAND_READ) {
                Recency::Meaningless
            } else {
                Recency::Counts
            },
        }
    }

    /// The fault is over, or has to wait and will be entered again (inv 74).
    #[inline]
    pub(super) fn leave(self) {
        let Entered { .. } = self;
    }
}

impl VmaLocked<'_> {
    /// Begins to serve it.
    #[inline]
    pub(super) fn enter(&self) -> Entered {
        Entered::new(self.request.flags, self.flags())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // row: F06
    // inv: 74
    #[test]
    fn a_users_fault_and_the_areas_advice_decide_what_is_told() {
        let told = |fault, area| {
            let entered = Entered::new(fault, area);
            let both = (entered.victim, entered.recency);
            entered.leave();
            both
        };
        let user = FaultFlags::DEFAULT | FaultFlags::USER;
        assert_eq!(
            told(user, VmFlags::READ),
            (Victim::AtEndOfFault, Recency::Counts)
        );
        assert_eq!(
            told(FaultFlags::DEFAULT, VmFlags::SEQ_READ),
            (Victim::AtOnce, Recency::Meaningless)
        );
        assert_eq!(
            told(user, VmFlags::RAND_READ),
            (Victim::AtEndOfFault, Recency::Meaningless)
        );
    }
}
