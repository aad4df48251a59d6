//! Giving tables back.

use addr::{ENTRIES_PER_TABLE, Level, VirtAddr, VirtRange};
use sync::{Detached, Pin, Stable};

use crate::table::{Nesting, Place, Walked};
use crate::{Entry, Gather, PageTable};

/// Between its neighbours: which tables belong to nobody else.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    range: VirtRange,
    floor: VirtAddr,
    ceiling: Option<VirtAddr>,
}

impl Bounds {
    fn allows(&self, table: VirtRange) -> bool {
        self.floor <= table.start() && self.ceiling.is_none_or(|ceiling| table.end() <= ceiling)
    }
}

impl PageTable {
    /// Frees the tables of a range that is out of the tree and of every reverse map, and whose
    /// entries have been zapped (Linux: `free_pgtables`, `free_pgd_range`).
    ///
    /// A table goes only if all that it covers lies between the end of the area before, the floor,
    /// and the start of the area behind, the ceiling: none is taken from a neighbour. The frames
    /// pass to `gather`, which retires them to the epoch after its flush.
    pub fn free_tables(&self, detached: impl Detached, gather: &mut Gather<'_>) {
        let bounds = Bounds {
            range: detached.range(),
            floor: detached.floor(),
            ceiling: detached.ceiling(),
        };
        let _pin = sync::pin();
        self.free_below(self.top(), bounds, gather);
    }

    /// Frees the lowest table of `addr` if it holds no entry (Linux: `try_to_free_pte`), and says
    /// whether it did. Its parent's lock and its own are taken meanwhile.
    pub fn free_if_empty(
        &self,
        addr: VirtAddr,
        _proof: &impl Stable,
        gather: &mut Gather<'_>,
    ) -> bool {
        let pin = sync::pin();
        let Walked::Found(child) = self.walk(addr, &pin) else {
            return false;
        };
        if child.level != Level::Pte {
            return false;
        }
        let Some(parent) = self.parent_of(child, addr, &pin) else {
            return false;
        };
        self.unlink(parent, child, addr, Emptiness::Checked, gather)
    }

    /// Frees what may go below the table at `place`.
    fn free_below(&self, place: Place, bounds: Bounds, gather: &mut Gather<'_>) {
        let mut next = Some(bounds.range.start());
        while let Some(addr) = next.filter(|addr| *addr < bounds.range.end()) {
            next = place.level.next_entry(addr);
            let Some(child) = Self::below(place, self.load(place, addr)) else {
                continue;
            };
            let Some(covered) = covered_by(child, addr) else {
                continue;
            };
            let Some(range) = bounds.range.intersect(&covered) else {
                continue;
            };
            if child.level != Level::Pte {
                self.free_below(child, Bounds { range, ..bounds }, gather);
            }
            if bounds.allows(covered) {
                let emptiness = match child.level {
                    Level::Pte => Emptiness::Known,
                    Level::Pmd | Level::Pud | Level::P4d | Level::Pgd => Emptiness::Checked,
                };
                self.unlink(place, child, addr, emptiness, gather);
            }
        }
    }

    /// Unhooks `child` from `parent` under both locks, if it is still there.
    fn unlink(
        &self,
        parent: Place,
        child: Place,
        addr: VirtAddr,
        emptiness: Emptiness,
        gather: &mut Gather<'_>,
    ) -> bool {
        let Some(span) = covered_by(child, addr) else {
            return false;
        };
        let Some(_parent_guard) = self.guard(parent, Nesting::First) else {
            return false;
        };
        // Above the PMD level parent and child share one lock.
        let _child_guard = match child.level {
            Level::Pte | Level::Pmd => self.guard(child, Nesting::Second),
            Level::Pud | Level::P4d | Level::Pgd => None,
        };
        let still_there = self.load(parent, addr).table_pfn() == Some(child.table);
        let empty = match emptiness {
            Emptiness::Known => {
                debug_assert!(
                    !still_there || self.is_empty_table(child),
                    "freed while in use"
                );
                true
            }
            Emptiness::Checked => self.is_empty_table(child),
        };
        if !still_there || !empty {
            return false;
        }
        self.words(parent.table)
            .store(parent.level.index_of(addr), Entry::NONE.bits());
        self.discount_table(child.level);
        gather.hold_table(child.table, span);
        true
    }

    fn is_empty_table(&self, place: Place) -> bool {
        let words = self.words(place.table);
        (0..ENTRIES_PER_TABLE).all(|index| words.load(index) == 0)
    }

    /// The place of the entry that points to the table of `child`.
    fn parent_of(&self, child: Place, addr: VirtAddr, _pin: &Pin) -> Option<Place> {
        let mut place = self.top();
        while place.level > child.level {
            let next = Self::below(place, self.load(place, addr))?;
            if next.table == child.table {
                return Some(place);
            }
            place = next;
        }
        None
    }
}

/// Whether a table to be unlinked is empty.
#[derive(Clone, Copy, Debug)]
enum Emptiness {
    /// By the proof that the range is detached and zapped.
    Known,
    /// To be found out under the locks.
    Checked,
}

/// All that the table of `place` covers around `addr`.
fn covered_by(place: Place, addr: VirtAddr) -> Option<VirtRange> {
    let bytes = place.level.table_bytes();
    VirtRange::from_len(addr.align_down_to(bytes), bytes)
}
