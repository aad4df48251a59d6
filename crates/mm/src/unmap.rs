//! munmap (Linux: `do_vmi_align_munmap`, `vms_complete_munmap_vmas`).
//!
//! Three steps, each a type. A plan ([`RemovePlan`]) may be refused and changes nothing. Committed
//! and accounted it is [`TakenOut`]: out of the tree, entries still there. [`TakenOut::clear`] zaps
//! them, frees tables, makes the machine forget, tells the objects, and cannot fail; it needs no
//! more than the mmap lock for reading.

use addr::{Errno, PAGE_SIZE, VirtAddr, VirtRange, VmFlags};
use object::EvenCows;
use pgtable::Gather;
use vma::{MmapWrite, RemovePlan, Removed};

use crate::mm::{Guarded, Mm};
use crate::zap::{MarkerFate, Memory, Zap};

impl Mm {
    /// `munmap`: what is mapped in `[addr, addr + len)` goes. Nothing there is no error.
    ///
    /// # Errors
    /// EINVAL for a range that is no user range or empty; ENOMEM when two splits would make too many
    /// areas; EPERM for a sealed area. Splits made before a refusal stay.
    pub fn munmap(&self, addr: VirtAddr, len: u64) -> Result<(), Errno> {
        let range = self.unmap_range(addr, len)?;
        let mut held = self.write();
        if let Some(taken) = self.take_out(&mut held, range)? {
            let _held = held.downgrade();
            taken.clear(Charge::GiveBack);
        }
        Ok(())
    }

    /// The checks of `do_vmi_munmap`, in its order.
    fn unmap_range(&self, addr: VirtAddr, len: u64) -> Result<VirtRange, Errno> {
        let task_size = self.layout().task_size();
        if !addr.is_page_aligned() || addr > task_size || len > task_size.offset_from(addr) {
            return Err(Errno::EINVAL);
        }
        let bytes = len.next_multiple_of(PAGE_SIZE);
        VirtRange::from_len(addr, bytes).ok_or(Errno::EINVAL)
    }

    /// Takes what is mapped in `range` out of the tree; `None` when nothing is.
    ///
    /// # Errors
    /// As the plan's; a split that Linux would have kept is kept.
    pub(crate) fn take_out(
        &self,
        held: &mut MmapWrite<'_, Guarded>,
        range: VirtRange,
    ) -> Result<Option<TakenOut<'_>>, Errno> {
        let plan = match RemovePlan::decide(held, range) {
            Ok(plan) => plan,
            Err(refused) => return Err(refused.settle(held)),
        };
        Ok((!plan.is_empty()).then(|| self.commit_removal(held, plan)))
    }

    /// Commits a removal and takes its pages off the accounts.
    pub(crate) fn commit_removal(
        &self,
        held: &mut MmapWrite<'_, Guarded>,
        plan: RemovePlan,
    ) -> TakenOut<'_> {
        let nr_accounted = plan.nr_pages_with(VmFlags::ACCOUNT);
        let nr_locked = plan.nr_pages_with(VmFlags::LOCKED);
        for part in plan.areas() {
            self.accounts()
                .account(part.flags(), -(part.range().pages() as i64));
        }
        self.accounts().account_locked(-(nr_locked as i64));
        TakenOut {
            mm: self,
            removed: plan.commit(held),
            nr_accounted,
        }
    }
}

/// What becomes of the promise of memory for areas that go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charge {
    /// It is given back.
    GiveBack,
    /// Another area has taken it over.
    TakenOver,
}

/// Areas out of the tree, whose entries are still in the page tables.
#[derive(Debug)]
#[must_use = "the entries are still there: clear them"]
pub(crate) struct TakenOut<'m> {
    mm: &'m Mm,
    removed: Removed,
    nr_accounted: u64,
}

impl TakenOut<'_> {
    /// Pages whose promise is held by the areas that go.
    pub(crate) fn nr_accounted(&self) -> u64 {
        self.nr_accounted
    }

    /// Zaps the entries, frees the tables that nobody else needs, makes the machine forget, and
    /// tells the objects. Needs the mmap lock at least for reading, unless nobody else has the space.
    pub(crate) fn clear(self, charge: Charge) {
        let TakenOut {
            mm,
            removed,
            nr_accounted,
        } = self;
        if let Some(gather) = gather_for(mm, &removed) {
            mm.clear_removed(removed, gather);
        }
        if charge == Charge::GiveBack {
            mm.commit().uncharge(nr_accounted);
        }
    }

    /// As [`TakenOut::clear`], for the end of the whole space.
    pub(crate) fn clear_space(self) {
        let TakenOut {
            mm,
            removed,
            nr_accounted,
        } = self;
        let gather = Gather::of_space(mm.table(), mm.mmu());
        mm.clear_removed(removed, gather);
        mm.commit().uncharge(nr_accounted);
    }
}

/// A gather over all that was removed; `None` when nothing was.
fn gather_for<'m>(mm: &'m Mm, removed: &Removed) -> Option<Gather<'m>> {
    let (first, last) = (removed.areas().first()?, removed.areas().last()?);
    let span = VirtRange::new(first.range().start(), last.range().end())?;
    Some(Gather::new(mm.table(), mm.mmu(), span))
}

impl Mm {
    fn clear_removed(&self, removed: Removed, mut gather: Gather<'_>) {
        for part in removed.areas() {
            let memory = Memory::of(part.ops());
            let zap = Zap {
                cows: EvenCows::Yes,
                markers: MarkerFate::Dropped,
                memory,
            };
            self.zap(part.range(), &removed, &mut gather, zap);
        }
        let (unlinked, unclosed) = removed.unlink_rmap();
        if let Some(unlinked) = unlinked {
            self.table().free_tables(unlinked, &mut gather);
        }
        gather.finish();
        unclosed.close();
    }
}
