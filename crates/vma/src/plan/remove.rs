//! Areas go (Linux: `vms_gather_munmap_vmas`, `vms_complete_munmap_vmas`, `exit_mmap`).

use super::merge::spanning;
use super::modify::{NewHalf, halves, may_split, may_split_area};
use super::pieces::{AnonFrom, Rests, between, build, cut};
use super::rearrange::{OldLinks, Rearrangement};
use super::refused::{PlanError, Refused};
use crate::area::{NewArea, Vma};
use crate::lock::{MmapHeld, MmapWrite};
use addr::{Errno, VirtAddr, VirtRange, VmFlags};
use alloc::sync::Arc;
use alloc::vec::Vec;
use object::{Area, AreaChange, Callbacks, VmOps};
use sync::{Detached, Stable};

/// A removal, decided.
#[derive(Debug)]
#[must_use = "nothing is removed before the commit"]
pub struct RemovePlan {
    change: Rearrangement,
    areas: Vec<RemovedArea>,
    bounds: Bounds,
}

/// An area, or the part of one, that goes.
#[derive(Debug)]
pub struct RemovedArea {
    part: NewArea,
    vma: Arc<Vma>,
}

impl RemovedArea {
    /// What goes: the area as if it had been split first.
    pub fn area(&self) -> &Area {
        &self.part.area
    }

    /// Its addresses.
    pub fn range(&self) -> VirtRange {
        self.part.area.range
    }

    /// Its flags.
    pub fn flags(&self) -> VmFlags {
        self.part.area.flags
    }

    /// Its operations; `None` is anonymous memory.
    pub fn ops(&self) -> Option<&Arc<dyn VmOps>> {
        self.part.ops.as_ref()
    }

    /// The area that it was or was a part of. It is detached.
    pub fn vma(&self) -> &Arc<Vma> {
        &self.vma
    }
}

impl RemovePlan {
    /// All that is mapped in `range`; the areas at its ends are split.
    ///
    /// # Errors
    /// A sealed area; a split that the object refuses; the two splits of one area when there are as
    /// many areas as may be (one split is always allowed, so that memory can be given back).
    pub fn decide<T>(held: &MmapWrite<'_, T>, range: VirtRange) -> Result<Self, Refused> {
        let victims: Vec<_> = held.tree().range(range).cloned().collect();
        victims.iter().for_each(|vma| held.lock_vma(vma));
        let ends = Ends {
            range,
            victims: &victims,
        };
        ends.check(held)?;
        let mut change = Rearrangement::begin(held);
        let Rests { below, above } = ends.survivors(held)?;
        change.swap(&victims, below.iter().chain(&above).cloned().collect());
        below
            .iter()
            .chain(&above)
            .for_each(|part| change.open(part));
        let bounds = Bounds::around(held, range);
        let areas = victims
            .into_iter()
            .filter_map(|vma| RemovedArea::cut_from(vma, range))
            .collect();
        Ok(Self {
            change,
            areas,
            bounds,
        })
    }

    /// Everything, sealed or not: the space ends (Linux: `exit_mmap`).
    pub fn everything<T>(held: &MmapWrite<'_, T>) -> Self {
        let victims: Vec<_> = held.tree().iter().cloned().collect();
        let mut change = Rearrangement::begin(held);
        victims.iter().for_each(|vma| held.lock_vma(vma));
        change.swap(&victims, Vec::new());
        let areas = victims
            .into_iter()
            .map(|vma| RemovedArea {
                part: cut(&vma, vma.range),
                vma,
            })
            .collect();
        Self {
            change,
            areas,
            bounds: Bounds {
                floor: VirtAddr::ZERO,
                ceiling: None,
            },
        }
    }

    /// What will go, in order.
    pub fn areas(&self) -> &[RemovedArea] {
        &self.areas
    }

    /// Whether nothing is mapped there.
    pub fn is_empty(&self) -> bool {
        self.areas.is_empty()
    }

    /// How many pages will go.
    pub fn nr_pages(&self) -> u64 {
        self.areas.iter().map(|part| part.range().pages()).sum()
    }

    /// How many of them are in areas with all of `flags` (LOCKED for `locked_vm`, ACCOUNT for what is
    /// charged).
    pub fn nr_pages_with(&self, flags: VmFlags) -> u64 {
        let having = self
            .areas
            .iter()
            .filter(|part| part.flags().contains(flags));
        having.map(|part| part.range().pages()).sum()
    }

    /// Removes nothing after all, but leaves the areas at the ends split, as Linux does when a later check
    /// of the call fails.
    pub fn abandon<T>(self, held: &mut MmapWrite<'_, T>) {
        let (Some(first), Some(last)) = (self.areas.first(), self.areas.last()) else {
            return;
        };
        let ends = [
            (first.range().start(), NewHalf::Below),
            (last.range().end(), NewHalf::Above),
        ];
        drop(self.change);
        for (at, new) in ends {
            let whole = held
                .tree()
                .find(at)
                .filter(|vma| vma.range.start() < at)
                .cloned();
            let split = whole.map(|vma| halves(held, &vma, at, new));
            // An object that refuses one more writer of its file keeps its area whole.
            if let Some(Ok(split)) = split {
                let _whole = split.commit(held, OldLinks::Replaced);
            }
        }
    }

    /// Gives the plan up where Linux has split the areas at its ends already: they stay split (Linux:
    /// `vms_abort_munmap_vmas`).
    pub fn give_up<T>(self, held: &mut MmapWrite<'_, T>) {
        let Self { change, areas, .. } = self;
        drop(change);
        let mut split = Rearrangement::begin(held);
        let last = areas.last().filter(|_| areas.len() > 1);
        for part in areas.first().into_iter().chain(last) {
            // A piece that its file refuses is not split off: the area stays as it is.
            let Ok(pieces) = part.pieces(held) else {
                continue;
            };
            if pieces.len() > 1 {
                pieces.iter().skip(1).for_each(|piece| split.open(piece));
                split.swap(core::slice::from_ref(&part.vma), pieces);
            }
        }
        if !split.is_empty() {
            let _whole = split.commit(held, OldLinks::Replaced);
        }
    }

    /// Makes it so. The areas are out of the tree, their entries are still in the page tables.
    pub fn commit<T>(self, held: &mut MmapWrite<'_, T>) -> Removed {
        let Self {
            change,
            areas,
            bounds,
        } = self;
        if !change.is_empty() {
            let _detached = change.commit(held, OldLinks::Kept);
        }
        Removed { areas, bounds }
    }
}

/// Areas out of the tree, whose entries are still in the page tables and can still be found through
/// the reverse map. No fault can reach them, so the ranges are stable.
#[derive(Debug)]
#[must_use = "the entries are still there: zap them, then unlink"]
pub struct Removed {
    areas: Vec<RemovedArea>,
    bounds: Bounds,
}

/// Where page tables may be freed around what goes.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    floor: VirtAddr,
    ceiling: Option<VirtAddr>,
}

impl Stable for Removed {}

impl Removed {
    /// What went, in order.
    pub fn areas(&self) -> &[RemovedArea] {
        &self.areas
    }

    /// The entries are zapped: takes the areas out of the reverse map (Linux: `unlink_anon_vmas`,
    /// `unlink_file_vma`). Nobody finds their page tables after this, so they may be freed; what is
    /// left is to close the areas. `None` for the tables of nothing.
    pub fn unlink_rmap(self) -> (Option<Unlinked>, Unclosed) {
        let Self { areas, bounds } = self;
        for part in &areas {
            if let Some(chain) = part.vma.anon_chain() {
                chain.unlink();
            }
            if let Some(link) = part.vma.file_link() {
                link.unlink();
            }
        }
        let unlinked = match (areas.first(), areas.last()) {
            (Some(first), Some(last)) => Some(Unlinked {
                range: spanning(first.range(), last.range()),
                bounds,
            }),
            _ => None,
        };
        (unlinked, Unclosed { areas })
    }
}

/// A range that nobody finds any more: its page tables may be freed.
#[derive(Debug)]
#[must_use = "the page tables are still there"]
pub struct Unlinked {
    range: VirtRange,
    bounds: Bounds,
}

impl Detached for Unlinked {
    fn range(&self) -> VirtRange {
        self.range
    }

    fn floor(&self) -> VirtAddr {
        self.bounds.floor
    }

    fn ceiling(&self) -> Option<VirtAddr> {
        self.bounds.ceiling
    }
}

/// Areas that are gone and whose objects have not been told.
#[derive(Debug)]
#[must_use = "close them: their objects have not been told"]
pub struct Unclosed {
    areas: Vec<RemovedArea>,
}

impl Unclosed {
    /// What went, in order.
    pub fn areas(&self) -> &[RemovedArea] {
        &self.areas
    }

    /// Tells the objects, once each (Linux: `vm_ops->close`), and lets go of the areas.
    pub fn close(self) {
        for part in &self.areas {
            let Some(ops) = part.ops() else { continue };
            if ops.callbacks().contains(Callbacks::CLOSE) {
                ops.close(&AreaChange::new(part.area()));
            }
        }
    }
}

impl RemovedArea {
    /// The area, cut where the removal begins and ends.
    fn pieces<T>(&self, held: &MmapWrite<'_, T>) -> Result<Vec<Arc<Vma>>, Errno> {
        let (whole, part) = (self.vma.range, self.range());
        let below = between(whole.start(), part.start());
        let above = between(part.end(), whole.end());
        let ranges = below.into_iter().chain([part]).chain(above);
        ranges
            .map(|range| build(held, cut(&self.vma, range), AnonFrom::of(&self.vma)))
            .collect()
    }

    fn cut_from(vma: Arc<Vma>, range: VirtRange) -> Option<Self> {
        let part = cut(&vma, vma.range.intersect(&range)?);
        Some(Self { part, vma })
    }
}

/// The splits at the two ends of a removal.
struct Ends<'a> {
    range: VirtRange,
    victims: &'a [Arc<Vma>],
}

impl Ends<'_> {
    /// Whether all may go, in the order in which Linux finds out.
    fn check<T>(&self, held: &MmapWrite<'_, T>) -> Result<(), Refused> {
        let Some(first) = self.victims.first() else {
            return Ok(());
        };
        let cut_below = first.range.start() < self.range.start();
        if cut_below {
            let twice = self.range.end() < first.range.end();
            if twice && held.tree().len() >= held.rules().max_map_count {
                return Err(PlanError::TooManyAreas.into());
            }
            if is_sealed(first) {
                return Err(PlanError::Sealed.into());
            }
            may_split(first, self.range.start())?;
        }
        match self.check_rest() {
            Ok(()) => Ok(()),
            Err(why) if cut_below => Err(Refused::after(
                why,
                Some(halves(held, first, self.range.start(), NewHalf::Below)?),
            )),
            Err(why) => Err(why.into()),
        }
    }

    fn check_rest(&self) -> Result<(), PlanError> {
        for vma in self.victims {
            if is_sealed(vma) {
                return Err(PlanError::Sealed);
            }
            if vma.range.end() > self.range.end() {
                let start = vma.range.start().max(self.range.start());
                let Some(rest) = between(start, vma.range.end()) else {
                    continue;
                };
                may_split_area(&cut(vma, rest), self.range.end())?;
            }
        }
        Ok(())
    }

    /// What is left of the areas at the ends.
    fn survivors<T>(&self, held: &MmapWrite<'_, T>) -> Result<Rests, Refused> {
        let below = self.victims.first().and_then(|first| {
            between(first.range.start(), self.range.start()).map(|range| (first, range))
        });
        let above = self.victims.last().and_then(|last| {
            between(self.range.end(), last.range.end()).map(|range| (last, range))
        });
        let part =
            |(vma, range): (&Arc<Vma>, VirtRange)| build(held, cut(vma, range), AnonFrom::of(vma));
        Ok(Rests {
            below: below.map(part).transpose()?,
            above: above.map(part).transpose()?,
        })
    }
}

fn is_sealed(vma: &Vma) -> bool {
    vma.flags().contains(VmFlags::SEALED)
}

impl Bounds {
    /// Up to the areas that stay.
    fn around<T>(held: &MmapWrite<'_, T>, range: VirtRange) -> Self {
        let below = held.tree().find_prev(range.start());
        let above = held.tree().find_next(range.end());
        Self {
            floor: below.map_or(VirtAddr::ZERO, |prev| prev.range.end().min(range.start())),
            ceiling: above.map(|next| next.range.start().max(range.end())),
        }
    }
}
