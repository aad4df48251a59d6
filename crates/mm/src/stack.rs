//! A stack grows.
//!
//! Linux names: `expand_stack_locked`, `expand_downwards`, `acct_stack_growth`.

use alloc::sync::Arc;

use addr::{Errno, PAGE_SHIFT, VirtAddr, VmFlags};
use vma::{FaultLock, GrowPlan, MmapHeld, MmapWrite, Vma};

use crate::accounts::FaultEvent;
use crate::limits::{Privilege, Resource};
use crate::mm::{Guarded, Mm};

impl Mm {
    /// Grows the stack above `addr` down to it, unless another thread was first, and comes back with
    /// the mmap lock held for reading. The second half of `lock_mm_and_find_vma`.
    pub(crate) fn grow_stack(&self, addr: VirtAddr) -> Result<FaultLock<'_, Guarded>, Errno> {
        let mut held = self.write();
        let vma = held.tree().find_next(addr).cloned().ok_or(Errno::EFAULT)?;
        if vma.range.start() > addr {
            self.expand_downwards(&mut held, &vma, addr)?;
        }
        FaultLock::by_mmap(held.downgrade(), addr).map_err(|_| Errno::EFAULT)
    }

    /// `expand_downwards`: the area's own checks, then the limits, then the growth. Nothing has
    /// changed if it is refused.
    pub(crate) fn expand_downwards(
        &self,
        held: &mut MmapWrite<'_, Guarded>,
        vma: &Arc<Vma>,
        addr: VirtAddr,
    ) -> Result<(), Errno> {
        let lowest = VirtAddr::new(self.sysctl().mmap_min_addr);
        let decide = |held: &MmapWrite<'_, Guarded>| {
            GrowPlan::decide(held, vma, addr, lowest).map_err(vma::GrowRefused::errno)
        };
        let mut plan = decide(held)?;
        // Only a stack that may grow gets its place in the reverse map: with one it merges less.
        if vma.anon_chain().is_none() {
            drop(plan);
            vma::anon_vma_prepare(held, vma);
            plan = decide(held)?;
        }
        let (grown, flags) = (plan.nr_grown(), plan.flags());
        if grown == 0 {
            plan.commit(held);
            return Ok(());
        }
        self.charge_stack_growth(flags, plan.size_bytes(), grown)?;
        plan.commit(held);
        if flags.contains(VmFlags::LOCKED) {
            self.accounts().account_locked(grown as i64);
        }
        self.accounts().account(flags, grown as i64);
        self.rss().count_event(FaultEvent::StackGrowth, 1);
        Ok(())
    }

    /// `acct_stack_growth`: the limits in the kernel's order; the promise of memory comes last, for it
    /// alone has to be taken back.
    fn charge_stack_growth(
        &self,
        flags: VmFlags,
        size_bytes: u64,
        grown: u64,
    ) -> Result<(), Errno> {
        let accounts = self.accounts();
        let limits = self.limits();
        if !limits.may_expand(accounts, flags, grown)
            || size_bytes > limits.get(Resource::Stack).soft
            || !limits.may_lock_more(accounts, flags, grown << PAGE_SHIFT)
        {
            return Err(Errno::ENOMEM);
        }
        self.commit()
            .charge(grown, accounts.counts().total, Privilege::Ordinary)?;
        if !flags.contains(VmFlags::ACCOUNT) {
            // Checked like any growth, but an area that is not accounted gives nothing back at its
            // end, and so must owe nothing.
            self.commit().uncharge(grown);
        }
        Ok(())
    }
}
