//! fork (Linux: `dup_mm`, `dup_mmap`).
//!
//! Both spaces are locked for writing. The child's areas are decided at once and committed; then, area
//! by area, the entries of private memory are copied and write-protected in the parent, or the pages
//! themselves are copied ([`ahead`]). One gather makes the parent's machine forget what it could write,
//! before the parent's lock is let go. When anything fails the child is torn down like any space whose
//! last user goes; the parent keeps write-protected entries, which cost it a fault each and no more.

mod ahead;
mod copy;

use alloc::sync::Arc;

use addr::{Errno, VirtRange, VmFlags};
use machine::{Mmu, MmuCaps};
use pgtable::Gather;
use vma::{ForkPlan, Forked, Inherit, MmapHeld, MmapWrite, Vma};

use crate::map::Promise;
use crate::mm::{Guarded, Mm, MmUser};
use crate::shortage::Stop;
use ahead::Ahead;
use copy::EntryCopy;

/// What a fork's child does not get from its parent.
#[derive(Clone, Debug)]
pub struct ForkConfig {
    /// Who caches the child's tables.
    pub mmu: Arc<dyn Mmu>,
    /// Up to so many pages that the parent writes to are copied at once instead of shared, for a
    /// machine on which a fault costs much more than a copy. Only where nobody writes to the parent's
    /// memory meanwhile: the copies are not made at one moment.
    pub nr_copied_max: u64,
}

impl ForkConfig {
    /// As Linux does it: everything is shared that is not pinned. `mmu` caches the child's tables.
    pub fn new(mmu: Arc<dyn Mmu>) -> Self {
        ForkConfig {
            mmu,
            nr_copied_max: 0,
        }
    }
}

impl Mm {
    /// `fork`: another space with the same memory. What either writes to private memory from now on
    /// the other does not see.
    ///
    /// # Errors
    /// ENOMEM when the promise of memory, or frames for tables and pinned pages, cannot be had.
    pub fn fork(&self, config: &ForkConfig) -> Result<MmUser, Errno> {
        self.with_frames(|| self.fork_once(config))
    }

    fn fork_once(&self, config: &ForkConfig) -> Result<MmUser, Stop> {
        let child = self.create_child(Arc::clone(&config.mmu))?;
        let mut parent_held = self.write();
        self.copy_into(&mut parent_held, &child, config.nr_copied_max)?;
        self.count_fork();
        Ok(child)
    }

    /// `dup_mmap`. On an error the child is as far as it came, and adds up.
    fn copy_into(
        &self,
        parent_held: &mut MmapWrite<'_, Guarded>,
        child: &Mm,
        nr_copied_max: u64,
    ) -> Result<(), Stop> {
        // Nobody else knows the child, so its lock is free.
        let mut child_held = child.mmap_lock().try_write().ok_or(Errno::EAGAIN)?;
        let plan = ForkPlan::decide(parent_held, &child_held, inherited)?;
        let promise = self.promise_for_child(&plan)?;
        for pair in plan.pairs() {
            child.account_new(pair.child.flags(), pair.child.nr_pages());
        }
        child.accounts().note_high_water();
        let pairs = plan.commit(&mut child_held);
        promise.keep();
        let ahead = Ahead::choose(self, parent_held, &pairs, nr_copied_max);
        self.copy_pages(child, &pairs, (parent_held, &child_held), ahead)?;
        child.rss().reset_high_water();
        Ok(())
    }

    /// What the child's areas promise, each charged by itself as the kernel does.
    fn promise_for_child(&self, plan: &ForkPlan) -> Result<Promise<'_>, Errno> {
        let mut promise = Promise::none(self);
        for pair in plan.pairs() {
            if pair.child.flags().contains(VmFlags::ACCOUNT) {
                promise.add(self, pair.child.nr_pages())?;
            }
        }
        Ok(promise)
    }

    /// `copy_page_range` for each area that needs it, and the parent's flush.
    fn copy_pages(
        &self,
        child: &Mm,
        pairs: &[Forked],
        held: (&MmapWrite<'_, Guarded>, &MmapWrite<'_, Guarded>),
        ahead: Option<Ahead>,
    ) -> Result<(), Stop> {
        let span = span_of(held.0);
        let Some(span) = span else { return Ok(()) };
        let mut gather = Gather::new(self.table(), self.mmu(), span);
        let mut copy = EntryCopy::new(self, child, held, ahead);
        let copied = pairs
            .iter()
            .filter(|pair| needs_copy(pair, child.mmu().caps()))
            .try_for_each(|pair| copy.area(pair, &mut gather));
        copy.finish();
        gather.finish();
        copied
    }
}

/// From the first area to the last.
fn span_of(held: &impl MmapHeld) -> Option<VirtRange> {
    let first = held.tree().iter().next()?.range.start();
    let last = held
        .tree()
        .find_prev(addr::VirtAddr::new(u64::MAX))?
        .range
        .end();
    VirtRange::new(first, last)
}

/// What the child gets of an area.
fn inherited(vma: &Vma) -> Inherit {
    let flags = vma.flags();
    if flags.contains(VmFlags::DONTCOPY) {
        return Inherit::Nothing;
    }
    // Locks are not inherited, nor are userfault registrations.
    let child = flags - VmFlags::LOCKED_MASK - VmFlags::UFFD;
    match flags.contains(VmFlags::WIPEONFORK) {
        true => Inherit::Wiped(child),
        false => Inherit::Copied(child),
    }
}

/// `vma_needs_copy`: shared pages are found again by faults; private ones are nowhere else.
///
/// A machine that is filled by software may hand its child what it has filled for the parent; the
/// child's tables must then have all of it, or what they do not know would never be forgotten.
fn needs_copy(pair: &Forked, machine: MmuCaps) -> bool {
    if pair.child.flags().contains(VmFlags::WIPEONFORK) {
        return false;
    }
    if machine.is_filled_by_software() {
        return true;
    }
    pair.child.flags().intersects(VmFlags::COPY_ON_FORK) || pair.parent.anon_chain().is_some()
}
