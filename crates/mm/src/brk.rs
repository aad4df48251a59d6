//! brk (Linux: `sys_brk`, `do_brk_flags`).
//!
//! The answer is where the heap ends now: the address asked for, or, if anything forbade it, where it
//! ended before. Programs tell success from failure by that alone.

use addr::{Errno, PAGE_SHIFT, PAGE_SIZE, PgOff, Prot, VirtAddr, VirtRange, VmFlags};
use vma::{MapPlan, MapScope, MmapHeld, MmapWrite, NewArea};

use crate::limits::Resource;
use crate::map::{MapFlags, Promise, Wanted};
use crate::mm::{Guarded, Mm};
use crate::unmap::{Charge, TakenOut};

/// How the heap changed.
#[derive(Debug)]
enum Moved<'m> {
    /// Within its last page.
    InPage,
    /// These areas go.
    Shrunk(TakenOut<'m>),
    /// This range is new.
    Grown { range: VirtRange, flags: VmFlags },
}

/// What brk looks at of the program in the space.
#[derive(Clone, Copy, Debug)]
struct Heap {
    start: VirtAddr,
    end: VirtAddr,
    /// How large the initialised data is, which counts towards the same limit.
    data_bytes: u64,
}

impl Mm {
    /// `brk`: asks for the heap to end at `end`; where it ends now.
    pub fn brk(&self, end: VirtAddr) -> VirtAddr {
        let mut held = self.write();
        let before = self.heap();
        let Ok(moved) = self.move_brk(&mut held, before, end) else {
            return before.end;
        };
        self.image().brk = end;
        match moved {
            Moved::InPage => {}
            Moved::Shrunk(taken) => {
                let _held = held.downgrade();
                taken.clear(Charge::GiveBack);
            }
            Moved::Grown { range, flags } => {
                drop(held);
                if flags.contains(VmFlags::LOCKED) {
                    self.populate_ignoring_errors(range);
                }
            }
        }
        end
    }

    fn heap(&self) -> Heap {
        let image = self.image();
        let data_bytes = image
            .end_data
            .as_u64()
            .saturating_sub(image.start_data.as_u64());
        Heap {
            start: image.start_brk,
            end: image.brk,
            data_bytes,
        }
    }

    /// The error is no errno that anybody sees: it only says that the heap stays.
    fn move_brk(
        &self,
        held: &mut MmapWrite<'_, Guarded>,
        heap: Heap,
        end: VirtAddr,
    ) -> Result<Moved<'_>, Errno> {
        if end < heap.start {
            return Err(Errno::EINVAL);
        }
        let limit = self.limits().get(Resource::Data).soft;
        if end.offset_from(heap.start).saturating_add(heap.data_bytes) > limit {
            return Err(Errno::ENOMEM);
        }
        let new = end.align_up().ok_or(Errno::ENOMEM)?;
        let old = heap.end.align_up().ok_or(Errno::ENOMEM)?;
        if new == old {
            return Ok(Moved::InPage);
        }
        if let Some(gone) = VirtRange::new(new, old) {
            return self.shrink_heap(held, gone);
        }
        let range = VirtRange::new(old, new).ok_or(Errno::ENOMEM)?;
        self.grow_heap(held, range)
    }

    fn shrink_heap(
        &self,
        held: &mut MmapWrite<'_, Guarded>,
        gone: VirtRange,
    ) -> Result<Moved<'_>, Errno> {
        let taken = self.take_out(held, gone)?.ok_or(Errno::EINVAL)?;
        Ok(Moved::Shrunk(taken))
    }

    fn grow_heap(
        &self,
        held: &mut MmapWrite<'_, Guarded>,
        range: VirtRange,
    ) -> Result<Moved<'_>, Errno> {
        let wanted = Wanted {
            addr: range.start(),
            bytes: range.bytes(),
            flags: MapFlags::FIXED,
        };
        self.room(held).find(wanted)?;
        if !self
            .limits()
            .may_lock_more(self.accounts(), held.def_flags, range.bytes())
        {
            return Err(Errno::EAGAIN);
        }
        let guarded = VirtRange::from_len(range.start(), range.bytes() + PAGE_SIZE);
        let guard_bytes = self.sysctl().stack_guard_gap_pages << PAGE_SHIFT;
        if !guarded.is_some_and(|guarded| held.tree().is_room(guarded, guard_bytes)) {
            return Err(Errno::ENOMEM);
        }
        let flags = self.map_heap(held, range)?;
        Ok(Moved::Grown { range, flags })
    }

    /// `do_brk_flags`: more heap at the end of what there is, or the first of it.
    fn map_heap(
        &self,
        held: &mut MmapWrite<'_, Guarded>,
        range: VirtRange,
    ) -> Result<VmFlags, Errno> {
        let implied = self.flags().implied(Prot::READ).vm_flags();
        let flags = VmFlags::DATA_DEFAULT | implied | VmFlags::ACCOUNT | held.def_flags;
        if !self
            .limits()
            .may_expand(self.accounts(), flags, range.pages())
            || self.has_too_many_areas(held)
        {
            return Err(Errno::ENOMEM);
        }
        let promise = Promise::of(self, range.pages())?;
        let pgoff = PgOff::of_anonymous(range.start());
        let new = NewArea::anonymous(range, flags | VmFlags::SOFTDIRTY, pgoff);
        let _placed = MapPlan::decide(held, new, MapScope::PrevOnly)?.commit(held);
        promise.keep();
        self.account_new(flags, range.pages());
        Ok(flags)
    }
}
