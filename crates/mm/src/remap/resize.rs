//! Memory shrinks or grows where it is (Linux: `mremap_at`).

use alloc::sync::Arc;

use addr::{Errno, PAGE_SHIFT, VirtAddr, VirtRange, VmFlags};
use vma::{MapPlan, MmapHeld, MmapWrite, Vma};

use super::entries::Tables;
use super::{Remapped, Wish};
use crate::map::{MapFlags, Promise, RemapFlags, Wanted};
use crate::mm::{Guarded, Mm};
use crate::shortage::Stop;

impl Mm {
    /// The tail goes; it may reach over several areas.
    pub(super) fn shrink_in_place(
        &self,
        held: &mut MmapWrite<'_, Guarded>,
        wish: Wish,
    ) -> Result<Remapped<'_>, Errno> {
        let taken = match wish.tail(self)? {
            Some(tail) => self.take_out(held, tail)?,
            None => None,
        };
        Ok(match taken {
            Some(taken) => Remapped::Shrunk(wish.addr, taken),
            None => Remapped::At(wish.addr),
        })
    }

    /// `expand_vma`: in place if that can be, else elsewhere if that may be.
    pub(super) fn grow(
        &self,
        held: &mut MmapWrite<'_, Guarded>,
        vma: &Arc<Vma>,
        wish: Wish,
    ) -> Result<VirtAddr, Stop> {
        if self.has_room_behind(held, vma, wish) {
            self.extend(held, vma, wish.new_bytes - wish.old_bytes)?;
            return Ok(wish.addr);
        }
        if !wish.flags.contains(RemapFlags::MAYMOVE) {
            return Err(Errno::ENOMEM.into());
        }
        self.relocate(held, vma, wish, &mut Tables::none())
    }

    /// `vrm_can_expand_in_place`: the range ends where its area does, and what is behind is free and
    /// permitted.
    fn has_room_behind(&self, held: &MmapWrite<'_, Guarded>, vma: &Arc<Vma>, wish: Wish) -> bool {
        if wish.old_bytes != vma.range.end().offset_from(wish.addr) {
            return false;
        }
        let more = VirtRange::from_len(vma.range.end(), wish.new_bytes - wish.old_bytes);
        let Some(more) = more else { return false };
        let whole = Wanted {
            addr: vma.range.start(),
            bytes: more.end().offset_from(vma.range.start()),
            flags: MapFlags::FIXED,
        };
        held.tree().find_intersection(more).is_none() && self.room(held).find(whole).is_ok()
    }

    /// `expand_vma_in_place`.
    fn extend(
        &self,
        held: &mut MmapWrite<'_, Guarded>,
        vma: &Arc<Vma>,
        bytes: u64,
    ) -> Result<(), Errno> {
        let pages = bytes >> PAGE_SHIFT;
        let promised = if vma.flags().contains(VmFlags::ACCOUNT) {
            pages
        } else {
            0
        };
        let promise = Promise::of(self, promised)?;
        let placed = MapPlan::extend(held, vma, bytes)?.commit(held);
        promise.keep();
        self.account_new(placed.vma.flags(), pages);
        Ok(())
    }
}

impl Wish {
    /// What a shrink unmaps.
    pub(super) fn tail(&self, mm: &Mm) -> Result<Option<VirtRange>, Errno> {
        let Some(bytes) = self.old_bytes.checked_sub(self.new_bytes) else {
            return Ok(None);
        };
        if bytes == 0 {
            return Ok(None);
        }
        let start = self.addr.checked_add(self.new_bytes).ok_or(Errno::EINVAL)?;
        let task_size = mm.layout().task_size();
        if start > task_size || bytes > task_size.offset_from(start) {
            return Err(Errno::EINVAL);
        }
        Ok(VirtRange::from_len(start, bytes))
    }
}
