//! A part of an existing area gets other attributes (Linux: `vma_modify`, `vma_merge_existing_range`,
//! `split_vma`).
//!
//! | merges with | middle | prev | middle becomes | next |
//! |---|---|---|---|---|
//! | both | whole | to next.end | deleted | deleted |
//! | prev | whole | to middle.end | deleted | |
//! | prev | lower part | to e | from e | |
//! | next | whole | | deleted | from middle.start |
//! | next | upper part | | to s | from s |
//! | neither | any | | split at s, at e | |
//!
//! A middle that would be deleted but has a close hook merges with nobody; a next that has one is left
//! out, and prev takes middle alone.

use super::merge::{Candidate, Sides, may_vanish, spanning, sticky};
use super::pieces::{AnonFrom, Rests, between, build, cut, restyle};
use super::rearrange::{OldLinks, Rearrangement};
use super::refused::{PlanError, Refused};
use crate::area::{NewArea, Vma};
use crate::lock::{MmapHeld, MmapWrite};
use addr::{VirtAddr, VirtRange, VmFlags};
use alloc::sync::Arc;
use alloc::vec::Vec;
use object::{AreaChange, MemPolicy, UserfaultId};

/// What a modification can change.
#[derive(Clone, Debug)]
pub struct Attributes {
    /// The flags.
    pub flags: VmFlags,
    /// The name of anonymous memory.
    pub name: Option<Arc<str>>,
    /// The memory policy.
    pub policy: Option<Arc<MemPolicy>>,
    /// Who serves userfaults.
    pub userfault: Option<UserfaultId>,
}

impl Attributes {
    /// As the area has them.
    pub fn of(vma: &Vma) -> Self {
        Self {
            flags: vma.flags(),
            name: vma.name.clone(),
            policy: vma.policy.clone(),
            userfault: vma.userfault,
        }
    }

    /// With other flags.
    pub fn with_flags(self, flags: VmFlags) -> Self {
        Self { flags, ..self }
    }

    /// With another name.
    pub fn with_name(self, name: Option<Arc<str>>) -> Self {
        Self { name, ..self }
    }

    /// With another memory policy.
    pub fn with_policy(self, policy: Option<Arc<MemPolicy>>) -> Self {
        Self { policy, ..self }
    }

    /// With another server of userfaults.
    pub fn with_userfault(self, userfault: Option<UserfaultId>) -> Self {
        Self { userfault, ..self }
    }

    /// Whether the area has them already: then there is nothing to plan.
    pub fn are_those_of(&self, vma: &Vma) -> bool {
        self.flags == vma.flags()
            && self.name == vma.name
            && self.policy.as_deref() == vma.policy.as_deref()
            && self.userfault == vma.userfault
    }

    fn applied_to(&self, cut: NewArea) -> NewArea {
        let Self {
            flags,
            name,
            policy,
            userfault,
        } = self.clone();
        NewArea {
            area: object::Area {
                flags,
                name,
                policy,
                userfault,
                ..cut.area
            },
            ops: cut.ops,
        }
    }
}

/// A modification, decided.
#[derive(Debug)]
#[must_use = "nothing is changed before the commit"]
pub struct ModifyPlan {
    change: Rearrangement,
    before: Arc<Vma>,
    vma: Arc<Vma>,
}

/// A modification, in place.
#[derive(Debug)]
#[must_use = "entries still have the old rights"]
pub struct Modified {
    /// The area that has the range now; it may reach beyond it.
    pub vma: Arc<Vma>,
    /// The area that had it.
    pub before: Arc<Vma>,
}

/// A part of an area to be changed.
struct Target<'a> {
    middle: &'a Arc<Vma>,
    range: VirtRange,
    to: &'a Attributes,
}

impl ModifyPlan {
    /// The part `range` of `vma`, which lies in it, is to have the attributes `to`. It is split off even
    /// if it has them already; ask [`Attributes::are_those_of`] first, as Linux's verbs do.
    ///
    /// # Errors
    /// When a split is needed and refused. A seal is the caller's to look for.
    pub fn decide<T>(
        held: &MmapWrite<'_, T>,
        vma: &Arc<Vma>,
        range: VirtRange,
        to: &Attributes,
    ) -> Result<Self, Refused> {
        debug_assert!(vma.range.contains_range(&range));
        held.lock_vma(vma);
        let target = Target {
            middle: vma,
            range,
            to,
        };
        match target.merged(held)? {
            Some(plan) => Ok(plan),
            None => target.split(held),
        }
    }

    /// The whole of `vma` keeps its place but loses its private pages' place in the reverse map, and
    /// gets `flags`: what is left of the source of a move that does not unmap it.
    pub fn emptied<T>(
        held: &MmapWrite<'_, T>,
        vma: &Arc<Vma>,
        flags: VmFlags,
    ) -> Result<Self, Refused> {
        held.lock_vma(vma);
        let new = Attributes::of(vma)
            .with_flags(flags)
            .applied_to(cut(vma, vma.range));
        let heir = build(held, new, AnonFrom::Nothing)?;
        let mut change = Rearrangement::begin(held);
        change.swap(&[Arc::clone(vma)], alloc::vec![Arc::clone(&heir)]);
        Ok(Self {
            change,
            before: Arc::clone(vma),
            vma: heir,
        })
    }

    /// The whole of `vma` gets `flags` where it is, and merges with nobody: what a move that does not
    /// unmap leaves of an area that it took a part of (Linux: `dontunmap_complete`).
    pub fn reflagged<T>(
        held: &MmapWrite<'_, T>,
        vma: &Arc<Vma>,
        flags: VmFlags,
    ) -> Result<Self, Refused> {
        held.lock_vma(vma);
        let new = Attributes::of(vma)
            .with_flags(flags)
            .applied_to(cut(vma, vma.range));
        let heir = restyle(held, vma, new)?;
        let mut change = Rearrangement::begin(held);
        change.swap(&[Arc::clone(vma)], alloc::vec![Arc::clone(&heir)]);
        Ok(Self {
            change,
            before: Arc::clone(vma),
            vma: heir,
        })
    }

    /// The area that will have the range.
    pub fn vma(&self) -> &Arc<Vma> {
        &self.vma
    }

    /// Makes it so.
    pub fn commit<T>(self, held: &mut MmapWrite<'_, T>) -> Modified {
        let Self {
            change,
            before,
            vma,
        } = self;
        // All that was covered is covered by heirs.
        let _replaced = change.commit(held, OldLinks::Replaced);
        Modified { vma, before }
    }
}

impl Target<'_> {
    /// The plan that merges with a neighbour, if one will have the part.
    fn merged<T>(&self, held: &MmapWrite<'_, T>) -> Result<Option<ModifyPlan>, Refused> {
        let middle = self.middle;
        let tree = held.tree();
        let at_left = self.range.start() == middle.range.start();
        let at_right = self.range.end() == middle.range.end();
        let prev = if at_left {
            adjacent_below(tree.find_prev(self.range.start()), self.range)
        } else {
            None
        };
        let next = if at_right {
            tree.find(self.range.end()).cloned()
        } else {
            None
        };
        prev.iter().chain(&next).for_each(|vma| held.lock_vma(vma));
        let changed = self.to.applied_to(cut(middle, self.range));
        let candidate = Candidate {
            area: &changed.area,
            ops: changed.ops.as_ref(),
            anon: middle.anon_chain().map(|chain| &**chain),
        };
        let sides = candidate.sides(prev.as_deref(), next.as_deref());
        let whole = at_left && at_right;
        if sides == Sides::Neither || (whole && !may_vanish(middle)) {
            return Ok(None);
        }
        match (sides, prev, next) {
            (Sides::Both, Some(prev), Some(next)) if may_vanish(&next) => {
                self.join(held, prev, next)
            }
            (Sides::Both | Sides::Prev, Some(prev), _) => self.give_to(held, prev),
            (Sides::Next, _, Some(next)) => self.give_to(held, next),
            _ => return Ok(None),
        }
        .map(Some)
    }

    fn join<T>(
        &self,
        held: &MmapWrite<'_, T>,
        prev: Arc<Vma>,
        next: Arc<Vma>,
    ) -> Result<ModifyPlan, Refused> {
        let middle = self.middle;
        let mut whole = cut(&prev, spanning(prev.range, next.range));
        whole.area.flags |= sticky([&**middle, &*next]) | (self.to.flags & VmFlags::STICKY);
        let anon = AnonFrom::first([prev.anon_chain(), next.anon_chain(), middle.anon_chain()]);
        let heir = build(held, whole, anon)?;
        let gone = [prev, Arc::clone(middle), next];
        Ok(self.plan(held, &gone, alloc::vec![Arc::clone(&heir)], heir))
    }

    /// The neighbour grows over the part; what is left of the middle is on its other side.
    fn give_to<T>(
        &self,
        held: &MmapWrite<'_, T>,
        neighbour: Arc<Vma>,
    ) -> Result<ModifyPlan, Refused> {
        let middle = self.middle;
        let is_below = neighbour.range.end() == self.range.start();
        let (span, rest) = match is_below {
            true => (
                spanning(neighbour.range, self.range),
                between(self.range.end(), middle.range.end()),
            ),
            false => (
                spanning(self.range, neighbour.range),
                between(middle.range.start(), self.range.start()),
            ),
        };
        let mut whole = cut(&neighbour, span);
        whole.area.flags |= self.to.flags & VmFlags::STICKY;
        let anon = AnonFrom::first([neighbour.anon_chain(), middle.anon_chain()]);
        let heir = build(held, whole, anon)?;
        let mut gone = [neighbour, Arc::clone(middle)];
        let mut born = alloc::vec![Arc::clone(&heir)];
        if let Some(rest) = rest {
            born.push(build(held, cut(middle, rest), AnonFrom::of(middle))?);
        }
        if !is_below {
            gone.reverse();
            born.reverse();
        }
        Ok(self.plan(held, &gone, born, heir))
    }

    fn plan<T>(
        &self,
        held: &MmapWrite<'_, T>,
        gone: &[Arc<Vma>],
        born: Vec<Arc<Vma>>,
        heir: Arc<Vma>,
    ) -> ModifyPlan {
        let mut change = Rearrangement::begin(held);
        change.swap(gone, born);
        ModifyPlan {
            change,
            before: Arc::clone(self.middle),
            vma: heir,
        }
    }

    /// The plan that splits off what is outside the part, if anything is.
    fn split<T>(&self, held: &MmapWrite<'_, T>) -> Result<ModifyPlan, Refused> {
        let middle = self.middle;
        let cuts = Cuts {
            vma: middle,
            range: self.range,
        };
        cuts.check(held)?;
        let changed = self.to.applied_to(cut(middle, self.range));
        let heir = if self.range == middle.range {
            restyle(held, middle, changed)?
        } else {
            build(held, changed, AnonFrom::of(middle))?
        };
        let Rests { below, above } = cuts.outside(held)?;
        let mut change = Rearrangement::begin(held);
        let born = below.iter().chain([&heir]).chain(&above).cloned().collect();
        change.swap(&[Arc::clone(middle)], born);
        below
            .iter()
            .chain(&above)
            .for_each(|part| change.open(part));
        Ok(ModifyPlan {
            change,
            before: Arc::clone(middle),
            vma: heir,
        })
    }
}

/// The cuts that take `range` out of `vma` by `split_vma`, which looks at the number of areas.
struct Cuts<'a> {
    vma: &'a Arc<Vma>,
    range: VirtRange,
}

impl Cuts<'_> {
    /// Whether all splits may be made.
    fn check<T>(&self, held: &MmapWrite<'_, T>) -> Result<(), Refused> {
        let full = |already: usize| held.tree().len() + already >= held.rules().max_map_count;
        let start = Some(self.range.start()).filter(|start| *start > self.vma.range.start());
        let end = Some(self.range.end()).filter(|end| *end < self.vma.range.end());
        if let Some(start) = start {
            if full(0) {
                return Err(PlanError::TooManyAreas.into());
            }
            may_split(self.vma, start)?;
        }
        let Some(end) = end else { return Ok(()) };
        let refused = if full(usize::from(start.is_some())) {
            Err(PlanError::TooManyAreas)
        } else {
            self.may_split_rest(end)
        };
        match (refused, start) {
            (Ok(()), _) => Ok(()),
            (Err(why), None) => Err(why.into()),
            (Err(why), Some(start)) => Err(Refused::after(
                why,
                Some(halves(held, self.vma, start, NewHalf::Below)?),
            )),
        }
    }

    /// The second split is asked of what the first one left.
    fn may_split_rest(&self, end: VirtAddr) -> Result<(), PlanError> {
        let rest = spanning(self.range, self.vma.range);
        may_split_area(&cut(self.vma, rest), end)
    }

    /// The parts of the area below and above the range.
    fn outside<T>(&self, held: &MmapWrite<'_, T>) -> Result<Rests, Refused> {
        let below = between(self.vma.range.start(), self.range.start());
        let above = between(self.range.end(), self.vma.range.end());
        let part = |range| build(held, cut(self.vma, range), AnonFrom::of(self.vma));
        Ok(Rests {
            below: below.map(part).transpose()?,
            above: above.map(part).transpose()?,
        })
    }
}

/// Asks the object whether its area may be split.
pub(super) fn may_split(vma: &Vma, at: VirtAddr) -> Result<(), PlanError> {
    may_split_area(
        &NewArea {
            area: object::Area::clone(vma),
            ops: vma.ops().cloned(),
        },
        at,
    )
}

/// The same of an area that is only planned.
pub(super) fn may_split_area(part: &NewArea, at: VirtAddr) -> Result<(), PlanError> {
    let Some(ops) = &part.ops else { return Ok(()) };
    if !ops.callbacks().contains(object::Callbacks::MAY_SPLIT) {
        return Ok(());
    }
    Ok(ops.may_split(&AreaChange::new(&part.area), at)?)
}

/// Which half of a split is the new area, and so opened (Linux: `new_below` of `__split_vma`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum NewHalf {
    Below,
    Above,
}

/// One split of `vma`. Nothing, where it would leave a half empty.
pub(super) fn halves<T>(
    held: &MmapWrite<'_, T>,
    vma: &Arc<Vma>,
    at: VirtAddr,
    new: NewHalf,
) -> Result<Rearrangement, PlanError> {
    let mut change = Rearrangement::begin(held);
    let Some((low, high)) = vma.range.split_at(at) else {
        return Ok(change);
    };
    let low = build(held, cut(vma, low), AnonFrom::of(vma))?;
    let high = build(held, cut(vma, high), AnonFrom::of(vma))?;
    change.open(if new == NewHalf::Below { &low } else { &high });
    change.swap(&[Arc::clone(vma)], alloc::vec![low, high]);
    Ok(change)
}

fn adjacent_below(prev: Option<&Arc<Vma>>, range: VirtRange) -> Option<Arc<Vma>> {
    prev.filter(|prev| prev.range.end() == range.start())
        .cloned()
}
