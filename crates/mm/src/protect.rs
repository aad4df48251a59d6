//! mprotect and pkey_mprotect (Linux: `do_mprotect_pkey`, `mprotect_fixup`).
//!
//! Area by area, from the lowest: each is checked and changed before the next is looked at, so when
//! one refuses those below it stay changed. The machine is made to forget once, at the end.

mod entries;

use alloc::sync::Arc;
use alloc::vec::Vec;

use addr::{Errno, PAGE_SIZE, Prot, VirtAddr, VirtRange, VmFlags};
use object::{AreaChange, Callbacks};
use pgtable::Gather;
use vma::{Attributes, MmapHeld, MmapWrite, ModifyPlan, Vma};

use crate::mm::{Guarded, Mm};

const GROWS: Prot = Prot::GROWSDOWN.union(Prot::GROWSUP);
const VALID: Prot = Prot::READ
    .union(Prot::WRITE)
    .union(Prot::EXEC)
    .union(Prot::SEM);
/// The key of an area stays what it is.
const SAME_PKEY: i32 = -1;

impl Mm {
    /// `mprotect`.
    ///
    /// # Errors
    /// In the kernel's order; areas below one that refuses stay changed.
    pub fn mprotect(&self, addr: VirtAddr, len: u64, prot: Prot) -> Result<(), Errno> {
        self.pkey_mprotect(addr, len, prot, SAME_PKEY)
    }

    /// `pkey_mprotect`, on a CPU without protection keys: -1 is all there is.
    ///
    /// # Errors
    /// As [`Mm::mprotect`]; EINVAL for a key, as nobody was given one.
    pub fn pkey_mprotect(
        &self,
        addr: VirtAddr,
        len: u64,
        prot: Prot,
        pkey: i32,
    ) -> Result<(), Errno> {
        let grows = prot & GROWS;
        let prot = prot - GROWS;
        if grows == GROWS || !addr.is_page_aligned() {
            return Err(Errno::EINVAL);
        }
        if len == 0 {
            return Ok(());
        }
        let bytes = len
            .checked_next_multiple_of(PAGE_SIZE)
            .ok_or(Errno::ENOMEM)?;
        let range = VirtRange::from_len(addr, bytes).ok_or(Errno::ENOMEM)?;
        if !(prot - VALID).is_empty() {
            return Err(Errno::EINVAL);
        }
        let mut held = self.write();
        if pkey != SAME_PKEY {
            return Err(Errno::EINVAL);
        }
        let range = first_area(&held, range, grows)?;
        let mut pass = Pass {
            mm: self,
            prot,
            populate: Vec::new(),
        };
        let done = pass.over(&mut held, range);
        drop(held);
        for range in pass.populate {
            self.populate_ignoring_errors(range);
        }
        done
    }
}

/// The range to change: with GROWSDOWN it reaches down to the start of its first area.
fn first_area(
    held: &MmapWrite<'_, Guarded>,
    range: VirtRange,
    grows: Prot,
) -> Result<VirtRange, Errno> {
    let first = held.tree().find_intersection(range).ok_or(Errno::ENOMEM)?;
    if grows.contains(Prot::GROWSDOWN) {
        if !first.flags().contains(VmFlags::GROWSDOWN) {
            return Err(Errno::EINVAL);
        }
        return VirtRange::new(first.range.start(), range.end()).ok_or(Errno::EINVAL);
    }
    if first.range.start() > range.start() {
        return Err(Errno::ENOMEM);
    }
    // No area grows upwards on this architecture.
    if grows.contains(Prot::GROWSUP) {
        Err(Errno::EINVAL)
    } else {
        Ok(range)
    }
}

/// One call, over the areas of its range.
#[derive(Debug)]
struct Pass<'m> {
    mm: &'m Mm,
    prot: Prot,
    /// Locked private memory that became writable: its pages are copied now rather than later.
    populate: Vec<VirtRange>,
}

impl Pass<'_> {
    fn over(&mut self, held: &mut MmapWrite<'_, Guarded>, range: VirtRange) -> Result<(), Errno> {
        let mut gather = Gather::new(self.mm.table(), self.mm.mmu(), range);
        let mut next = range.start();
        while next < range.end() {
            let Some(vma) = held.tree().find(next).cloned() else {
                return Err(Errno::ENOMEM);
            };
            let end = vma.range.end().min(range.end());
            let part = VirtRange::new(next, end).ok_or(Errno::ENOMEM)?;
            let flags = self.new_flags(&vma, part)?;
            self.change(held, &vma, part, flags, &mut gather)?;
            next = end;
        }
        Ok(())
    }

    /// The flags that the part of an area will have, if it may and its object agrees.
    fn new_flags(&self, vma: &Arc<Vma>, part: VirtRange) -> Result<VmFlags, Errno> {
        let prot = match vma.flags().contains(VmFlags::MAYEXEC) {
            true => self.mm.flags().implied(self.prot),
            false => self.prot,
        };
        let flags = (vma.flags() - VmFlags::ACCESS) | prot.vm_flags();
        let denied = self.mm.flags().deny_write_exec(vma.flags(), flags);
        if !flags.access_within_may() || denied {
            return Err(Errno::EACCES);
        }
        if let Some(ops) = vma.ops()
            && ops.callbacks().contains(Callbacks::MPROTECT)
        {
            ops.mprotect(&AreaChange::new(vma), part, flags)?;
        }
        Ok(flags)
    }

    /// `mprotect_fixup`.
    fn change(
        &mut self,
        held: &mut MmapWrite<'_, Guarded>,
        vma: &Arc<Vma>,
        part: VirtRange,
        mut flags: VmFlags,
        gather: &mut Gather<'_>,
    ) -> Result<(), Errno> {
        let before = vma.flags();
        if before.contains(VmFlags::SEALED) {
            return Err(Errno::EPERM);
        }
        if flags == before {
            return Ok(());
        }
        let promise = self.promise_for(vma, part, &mut flags)?;
        let to = Attributes::of(vma).with_flags(flags);
        let plan = match ModifyPlan::decide(held, vma, part, &to) {
            Ok(plan) => plan,
            Err(refused) => return Err(refused.settle(held)),
        };
        let modified = plan.commit(held);
        promise.keep();
        self.mm.change_protection(&modified.vma, part, held, gather);
        self.account(before, flags, part);
        let locked_private = VmFlags::WRITE | VmFlags::SHARED | VmFlags::LOCKED;
        if before & locked_private == VmFlags::LOCKED && flags.contains(VmFlags::WRITE) {
            self.populate.push(part);
        }
        Ok(())
    }

    /// The limits and the promise that becoming writable takes; and whether a promise ends.
    fn promise_for(
        &self,
        vma: &Vma,
        part: VirtRange,
        flags: &mut VmFlags,
    ) -> Result<crate::map::Promise<'_>, Errno> {
        let before = vma.flags();
        let pages = part.pages();
        let none = crate::map::Promise::none(self.mm);
        if !flags.contains(VmFlags::WRITE) {
            let untouched = vma.is_anonymous() && vma.anon_chain().is_none();
            if before.contains(VmFlags::ACCOUNT) && untouched {
                *flags -= VmFlags::ACCOUNT;
            }
            return Ok(none);
        }
        let may = |flags| {
            self.mm
                .limits()
                .may_expand(self.mm.accounts(), flags, pages)
        };
        if !may(*flags) && may(before) {
            return Err(Errno::ENOMEM);
        }
        let promised = VmFlags::ACCOUNT
            | VmFlags::WRITE
            | VmFlags::HUGETLB
            | VmFlags::SHARED
            | VmFlags::NORESERVE;
        if before.intersects(promised) {
            return Ok(none);
        }
        let promise = crate::map::Promise::of(self.mm, pages)?;
        *flags |= VmFlags::ACCOUNT;
        Ok(promise)
    }

    fn account(&self, before: VmFlags, after: VmFlags, part: VirtRange) {
        let pages = part.pages();
        if before.contains(VmFlags::ACCOUNT) && !after.contains(VmFlags::ACCOUNT) {
            self.mm.commit().uncharge(pages);
        }
        self.mm.accounts().account(before, -(pages as i64));
        self.mm.accounts().account(after, pages as i64);
    }
}
