//! A new range (Linux: `vma_merge_new_range`, `vma_merge_extend`, `copy_vma`): by itself, or as a part
//! of the areas beside it.
//!
//! | prev takes it | next takes it | result |
//! |---|---|---|
//! | yes | no | prev is extended |
//! | no | yes | next is extended downwards |
//! | yes | yes | prev is extended over both; over the range alone if next has a close hook |
//! | no | no | a new area |

use super::merge::{Candidate, Sides, may_vanish, spanning, sticky};
use super::pieces::{AnonFrom, build, cut, pgoff_at};
use super::rearrange::{OldLinks, Rearrangement};
use super::refused::{PlanError, Refused};
use crate::area::{NewArea, Vma};
use crate::lock::{MmapHeld, MmapWrite};
use addr::{Errno, PAGE_SHIFT, PgOff, VirtAddr, VirtRange};
use alloc::sync::Arc;
use object::Area;

/// Which neighbours may take the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MapScope {
    /// Either (mmap, mremap).
    Neighbours,
    /// The one below only (brk; Linux: `just_expand`).
    PrevOnly,
}

/// What becomes of the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Placement {
    /// A new area.
    Alone,
    /// The area below reaches over it.
    ExtendsPrev,
    /// The area above reaches down over it.
    ExtendsNext,
    /// The area below reaches over it and the area above, which is gone.
    JoinsBoth,
}

/// Whether moving page tables into the copy must hold the rmap locks: a walk meets the target before
/// the source, and so could miss a page that moves (Linux: `need_rmap_locks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NeedRmapLocks {
    /// It must.
    Yes,
    /// A walk meets the source first.
    No,
}

/// A new range, decided.
#[derive(Debug)]
#[must_use = "nothing is mapped before the commit"]
pub struct MapPlan {
    change: Rearrangement,
    vma: Arc<Vma>,
    placement: Placement,
    need_rmap_locks: NeedRmapLocks,
}

/// A new range, in place.
#[derive(Debug)]
#[must_use = "the pages must be accounted"]
pub struct Placed {
    /// The area that has the range now.
    pub vma: Arc<Vma>,
    /// How it came to have it.
    pub placement: Placement,
    /// For a copy: what moving the page tables needs.
    pub need_rmap_locks: NeedRmapLocks,
}

/// What the range is made from.
struct Source<'a> {
    anon: AnonFrom<'a>,
    open: Open,
}

/// Whether `open` is called for a new area: not for a first mapping, for a copy it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Yes,
    No,
}

impl MapPlan {
    /// A range that nothing covers, for mmap and brk.
    ///
    /// # Errors
    /// What the file says to one more area that may write to it.
    pub fn decide<T>(
        held: &MmapWrite<'_, T>,
        new: NewArea,
        scope: MapScope,
    ) -> Result<Self, Errno> {
        let source = Source {
            anon: AnonFrom::Nothing,
            open: Open::No,
        };
        Self::place(held, new, scope, source)
    }

    /// `bytes` more at the end of `vma`, where nothing is (growth in place; Linux:
    /// `vma_merge_extend`).
    ///
    /// # Errors
    /// `NoMerge` when the area cannot be extended.
    pub fn extend<T>(
        held: &MmapWrite<'_, T>,
        vma: &Arc<Vma>,
        bytes: u64,
    ) -> Result<Self, PlanError> {
        let range = VirtRange::from_len(vma.range.end(), bytes).ok_or(PlanError::NoMerge)?;
        held.lock_vma(vma);
        let source = Source {
            anon: AnonFrom::of(vma),
            open: Open::No,
        };
        let plan = Self::place(held, cut(vma, range), MapScope::Neighbours, source)?;
        match plan.placement {
            Placement::ExtendsPrev | Placement::JoinsBoth => Ok(plan),
            Placement::Alone | Placement::ExtendsNext => Err(PlanError::NoMerge),
        }
    }

    /// A copy at `target`, where nothing is, of the part of `vma` that begins at `from` (mremap;
    /// Linux: `copy_vma`). An anonymous area without private pages gets offsets that suit its new
    /// place; any other keeps them. The source may become part of the copy's area: look it up again
    /// after the commit.
    ///
    /// # Errors
    /// What the file says to one more area that may write to it.
    pub fn copy<T>(
        held: &MmapWrite<'_, T>,
        vma: &Arc<Vma>,
        from: VirtAddr,
        target: VirtRange,
    ) -> Result<Self, Errno> {
        held.lock_vma(vma);
        let unfaulted = vma.is_anonymous() && vma.anon_chain().is_none();
        let pgoff = match unfaulted {
            true => PgOff::new(target.start().as_u64() >> PAGE_SHIFT),
            false => pgoff_at(vma, from),
        };
        let mut new = cut(vma, target);
        new.area.pgoff = pgoff;
        let source = Source {
            anon: AnonFrom::of(vma),
            open: Open::Yes,
        };
        let mut plan = Self::place(held, new, MapScope::Neighbours, source)?;
        let merged = plan.placement != Placement::Alone;
        if merged && plan.vma.pgoff.as_u64() <= vma.pgoff.as_u64() {
            plan.need_rmap_locks = NeedRmapLocks::Yes;
        }
        Ok(plan)
    }

    /// What becomes of the range.
    pub fn placement(&self) -> Placement {
        self.placement
    }

    /// Makes it so.
    pub fn commit<T>(self, held: &mut MmapWrite<'_, T>) -> Placed {
        let Self {
            change,
            vma,
            placement,
            need_rmap_locks,
        } = self;
        // The areas that were extended or joined are wholly inside the new one.
        let _replaced = change.commit(held, OldLinks::Replaced);
        Placed {
            vma,
            placement,
            need_rmap_locks,
        }
    }

    fn place<T>(
        held: &MmapWrite<'_, T>,
        new: NewArea,
        scope: MapScope,
        source: Source<'_>,
    ) -> Result<Self, Errno> {
        let range = new.area.range;
        debug_assert!(held.tree().find_intersection(range).is_none());
        let prev = held
            .tree()
            .find_prev(range.start())
            .filter(|prev| prev.range.end() == range.start());
        let next = match scope {
            MapScope::Neighbours => held.tree().find(range.end()),
            MapScope::PrevOnly => None,
        };
        let (prev, next) = (prev.cloned(), next.cloned());
        // What the decision reads of them must stay true until the commit.
        prev.iter().chain(&next).for_each(|vma| held.lock_vma(vma));
        let anon = match source.anon {
            AnonFrom::Nothing => None,
            AnonFrom::Chain(chain) => Some(chain),
        };
        let candidate = Candidate {
            area: &new.area,
            ops: new.ops.as_ref(),
            anon,
        };
        let sides = candidate.sides(prev.as_deref(), next.as_deref());
        match (sides, prev, next) {
            (Sides::Both, Some(prev), Some(next)) if may_vanish(&next) => {
                Self::join(held, new, [prev, next], source)
            }
            (Sides::Both | Sides::Prev, Some(prev), _) => {
                let whole = cut(&prev, spanning(prev.range, range));
                Self::extended(
                    held,
                    (whole, prev),
                    &new.area,
                    source,
                    Placement::ExtendsPrev,
                )
            }
            (Sides::Next, _, Some(next)) => {
                let whole = cut(&next, spanning(range, next.range));
                Self::extended(
                    held,
                    (whole, next),
                    &new.area,
                    source,
                    Placement::ExtendsNext,
                )
            }
            _ => Self::alone(held, new, source),
        }
    }

    fn alone<T>(held: &MmapWrite<'_, T>, new: NewArea, source: Source<'_>) -> Result<Self, Errno> {
        let vma = build(held, new, source.anon)?;
        let mut change = Rearrangement::begin(held);
        change.swap(&[], alloc::vec![Arc::clone(&vma)]);
        if source.open == Open::Yes {
            change.open(&vma);
        }
        Ok(Self::of(change, vma, Placement::Alone))
    }

    /// `neighbour` becomes `whole`, which covers the new range too.
    fn extended<T>(
        held: &MmapWrite<'_, T>,
        (mut whole, neighbour): (NewArea, Arc<Vma>),
        new: &Area,
        source: Source<'_>,
        placement: Placement,
    ) -> Result<Self, Errno> {
        whole.area.flags |= new.flags & addr::VmFlags::STICKY;
        let anon = neighbour
            .anon_chain()
            .map_or(source.anon, |chain| AnonFrom::Chain(chain));
        let vma = build(held, whole, anon)?;
        let mut change = Rearrangement::begin(held);
        change.swap(&[neighbour], alloc::vec![Arc::clone(&vma)]);
        Ok(Self::of(change, vma, placement))
    }

    fn join<T>(
        held: &MmapWrite<'_, T>,
        new: NewArea,
        [prev, next]: [Arc<Vma>; 2],
        source: Source<'_>,
    ) -> Result<Self, Errno> {
        let mut whole = cut(&prev, spanning(prev.range, next.range));
        whole.area.flags |= (new.area.flags & addr::VmFlags::STICKY) | sticky([&*next]);
        let anon = match AnonFrom::first([prev.anon_chain(), next.anon_chain()]) {
            AnonFrom::Nothing => source.anon,
            known => known,
        };
        let vma = build(held, whole, anon)?;
        let mut change = Rearrangement::begin(held);
        change.swap(&[prev, next], alloc::vec![Arc::clone(&vma)]);
        Ok(Self::of(change, vma, Placement::JoinsBoth))
    }

    fn of(change: Rearrangement, vma: Arc<Vma>, placement: Placement) -> Self {
        Self {
            change,
            vma,
            placement,
            need_rmap_locks: NeedRmapLocks::No,
        }
    }
}

impl From<PlanError> for Errno {
    fn from(why: PlanError) -> Self {
        why.errno()
    }
}

impl Refused {
    /// The call's error, of a plan that leaves nothing behind.
    pub fn errno(&self) -> Errno {
        self.why().errno()
    }
}
