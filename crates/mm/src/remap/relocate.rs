//! Memory moves (Linux: `mremap_to`, `move_vma`, `copy_vma`).
//!
//! Frames for tables are put aside before anything changes. The copy's area is made first, then the
//! tables it will need, then the entries move, then the object has its say, and only then the source
//! goes. A failure before that takes the copy away again.

use alloc::sync::Arc;
use core::cmp::Ordering;

use addr::{Errno, PAGE_SHIFT, VirtAddr, VirtRange, VmFlags};
use object::{AreaChange, Callbacks};
use vma::{MapPlan, MmapHeld, MmapWrite, ModifyPlan, Placed, Vma};

use super::Wish;
use super::entries::Tables;
use crate::map::{MapFlags, Promise, RemapFlags, Wanted};
use crate::mm::{Guarded, Mm};
use crate::shortage::Stop;
use crate::unmap::Charge;

/// A part of an area, and where it moves to.
#[derive(Debug)]
pub(super) struct Move {
    vma: Arc<Vma>,
    addr: VirtAddr,
    /// `None` where nothing moves: a shared mapping is only mapped once more.
    from: Option<VirtRange>,
    target: VirtRange,
    flags: RemapFlags,
}

impl Mm {
    /// `mremap_to`: to an address that the caller chose, or wished for.
    pub(super) fn remap_to(
        &self,
        held: &mut MmapWrite<'_, Guarded>,
        mut vma: Arc<Vma>,
        mut wish: Wish,
        tables: &mut Tables,
    ) -> Result<VirtAddr, Stop> {
        if wish.flags.contains(RemapFlags::FIXED) {
            let target = VirtRange::from_len(wish.new_addr, wish.new_bytes).ok_or(Errno::EINVAL)?;
            if let Some(taken) = self.take_out(held, target)? {
                taken.clear(Charge::GiveBack);
            }
            vma = held.tree().find(wish.addr).cloned().ok_or(Errno::EFAULT)?;
        }
        if wish.resize() == Ordering::Less {
            if let Some(tail) = wish.tail(self)?
                && let Some(taken) = self.take_out(held, tail)?
            {
                taken.clear(Charge::GiveBack);
            }
            wish.old_bytes = wish.new_bytes;
            vma = held.tree().find(wish.addr).cloned().ok_or(Errno::EFAULT)?;
        }
        let keeps = wish.flags.contains(RemapFlags::DONTUNMAP);
        let pages = wish.old_bytes >> PAGE_SHIFT;
        if keeps
            && !self
                .limits()
                .may_expand(self.accounts(), vma.flags(), pages)
        {
            return Err(Errno::ENOMEM.into());
        }
        self.relocate(held, &vma, wish, tables)
    }

    /// Finds the new place and moves there.
    pub(super) fn relocate(
        &self,
        held: &mut MmapWrite<'_, Guarded>,
        vma: &Arc<Vma>,
        wish: Wish,
        tables: &mut Tables,
    ) -> Result<VirtAddr, Stop> {
        let mut flags = MapFlags::empty();
        if wish.flags.contains(RemapFlags::FIXED) {
            flags |= MapFlags::FIXED;
        }
        let addr = if wish.names_address() {
            wish.new_addr
        } else {
            VirtAddr::ZERO
        };
        let target = self.room(held).find(Wanted {
            addr,
            bytes: wish.new_bytes,
            flags,
        })?;
        let moving = Move {
            vma: Arc::clone(vma),
            addr: wish.addr,
            from: VirtRange::from_len(wish.addr, wish.old_bytes),
            target,
            flags: wish.flags,
        };
        if !wish.flags.contains(RemapFlags::FIXED)
            && let Some(entries) = moving.entries()
        {
            *tables = self.put_tables_aside(held, entries)?;
        }
        self.move_area(held, moving, tables)?;
        Ok(target.start())
    }

    /// `move_vma`.
    fn move_area(
        &self,
        held: &mut MmapWrite<'_, Guarded>,
        moving: Move,
        tables: &mut Tables,
    ) -> Result<(), Errno> {
        if held.tree().len() >= held.rules().max_map_count.saturating_sub(3) {
            return Err(Errno::ENOMEM);
        }
        moving.may_split()?;
        let promise = Promise::of(self, moving.pages_to_promise())?;
        let plan = MapPlan::copy(held, &moving.vma, moving.addr, moving.target)?;
        let placed = plan.commit(held);
        if let Err(errno) = self.move_contents(held, &moving, &placed, tables) {
            self.take_copy_back(held, &moving, placed);
            return Err(errno);
        }
        promise.keep();
        match moving.flags.contains(RemapFlags::DONTUNMAP) {
            true => self.empty_source(held, &moving, &placed),
            false => self.unmap_source(held, &moving),
        }
        self.account_new(moving.vma.flags(), moving.target.pages());
        Ok(())
    }

    /// The entries move and the object agrees; or everything is where it was.
    fn move_contents(
        &self,
        held: &MmapWrite<'_, Guarded>,
        moving: &Move,
        placed: &Placed,
        tables: &mut Tables,
    ) -> Result<(), Errno> {
        let Some(from) = moving.from else {
            return moving.ask_object(placed);
        };
        self.make_tables(held, (from, moving.target.start()), tables)?;
        self.move_entries(held, moving, placed.need_rmap_locks)?;
        moving.ask_object(placed).inspect_err(|_| {
            // The tables at the old place are all still there, so moving back cannot fail.
            self.move_entries_back(held, moving);
        })
    }

    /// The copy's area goes again. What it was promised is only what the caller still holds.
    fn take_copy_back(&self, held: &mut MmapWrite<'_, Guarded>, moving: &Move, placed: Placed) {
        self.account_new(moving.vma.flags(), moving.target.pages());
        drop(placed);
        if let Ok(Some(taken)) = self.take_out(held, moving.target) {
            taken.clear(Charge::TakenOver);
        }
    }

    /// The source goes. Its promise went over to the copy.
    fn unmap_source(&self, held: &mut MmapWrite<'_, Guarded>, moving: &Move) {
        let Some(from) = moving.from else { return };
        match self.take_out(held, from) {
            Ok(Some(taken)) => taken.clear(Charge::TakenOver),
            Ok(None) => {}
            // Its object has changed its mind about a split: the source stays, and is promised again.
            Err(_) if moving.vma.flags().contains(VmFlags::ACCOUNT) => {
                let _at_least_tried = self.promise(from.pages());
            }
            Err(_) => {}
        }
    }

    /// `dontunmap_complete`: the source stays, empty and unlocked.
    fn empty_source(&self, held: &mut MmapWrite<'_, Guarded>, moving: &Move, placed: &Placed) {
        let merged = placed.vma.range.contains_range(&moving.vma.range);
        // Never touched, the source may have become one area with its copy: that is unlocked whole.
        let source = if merged { &placed.vma } else { &moving.vma };
        let flags = source.flags() - VmFlags::LOCKED_MASK;
        let plan = match moving.from == Some(source.range) {
            true => ModifyPlan::emptied(held, source, flags),
            false => ModifyPlan::reflagged(held, source, flags),
        };
        // The whole area changes, so nothing is split and nothing can refuse.
        if let Ok(plan) = plan {
            drop(plan.commit(held));
            if source.flags().contains(VmFlags::LOCKED) {
                self.accounts().account_locked(-(source.nr_pages() as i64));
            }
        }
    }
}

impl Move {
    /// Asks the object whether the area may be split where the part begins and ends.
    fn may_split(&self) -> Result<(), Errno> {
        let Some(ops) = self.vma.ops() else {
            return Ok(());
        };
        if !ops.callbacks().contains(Callbacks::MAY_SPLIT) {
            return Ok(());
        }
        let change = AreaChange::new(&self.vma);
        if self.vma.range.start() != self.addr {
            ops.may_split(&change, self.addr)?;
        }
        let end = self.from.map_or(self.addr, |from| from.end());
        if self.vma.range.end() != end {
            ops.may_split(&change, end)?;
        }
        Ok(())
    }

    /// What must be promised beside what the source is promised already.
    fn pages_to_promise(&self) -> u64 {
        if !self.vma.flags().contains(VmFlags::ACCOUNT) {
            return 0;
        }
        let moved = self.from.map_or(0, |from| from.pages());
        match self.flags.contains(RemapFlags::DONTUNMAP) {
            true => self.target.pages(),
            false => self.target.pages().saturating_sub(moved),
        }
    }

    fn ask_object(&self, placed: &Placed) -> Result<(), Errno> {
        match placed.vma.ops() {
            Some(ops) if ops.callbacks().contains(Callbacks::MREMAP) => {
                ops.mremap(&AreaChange::new(&placed.vma))
            }
            _ => Ok(()),
        }
    }
}

/// What moving entries needs to know of a move.
impl Move {
    pub(super) fn source(&self) -> &Vma {
        &self.vma
    }

    pub(super) fn entries(&self) -> Option<(VirtRange, VirtRange)> {
        let from = self.from?;
        let to = VirtRange::from_len(self.target.start(), from.bytes())?;
        Some((from, to))
    }
}
