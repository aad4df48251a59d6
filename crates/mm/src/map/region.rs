//! A placed mapping is made (Linux: `__mmap_region`).

use alloc::sync::Arc;

use addr::{Errno, PAGE_SHIFT, PgOff, VirtRange, VmFlags};
use object::ObjectConfig;
use object::rmap::AdmitWriter;
use object::shmem::Shmem;
use object::{Area, InodeId};
use sync::atomic::{AtomicU64, Ordering};
use vma::{MapPlan, MapScope, MmapWrite, NewArea, RemovePlan, Vma};

use super::request::{MapDescription, MapTarget, ObjectTarget};
use crate::limits::{Commit, Privilege};
use crate::mm::{Guarded, Mm};
use crate::unmap::Charge;

/// Where a mapping goes and what it is.
#[derive(Debug)]
pub(crate) struct Region<'r> {
    pub(crate) range: VirtRange,
    pub(crate) flags: VmFlags,
    pub(crate) pgoff: PgOff,
    pub(crate) target: &'r MapTarget,
}

impl Region<'_> {
    /// `mapping_map_writable`: a file that nobody may write now takes no writer; one that takes it
    /// cannot be denied writers until the area is there and counts itself.
    fn admit_writer(&self) -> Result<Option<AdmitWriter>, Errno> {
        let MapTarget::Object(ObjectTarget {
            file: Some(file), ..
        }) = self.target
        else {
            return Ok(None);
        };
        match self.flags.contains(VmFlags::SHARED | VmFlags::MAYWRITE) {
            true => file.mappings().admit_writer().map(Some),
            false => Ok(None),
        }
    }
}

/// A promise of memory entered in the ledger; given back on drop unless an area takes it over.
#[derive(Debug)]
#[must_use = "dropping it gives the promise back"]
pub(crate) struct Promise<'m> {
    commit: &'m Commit,
    pages: u64,
}

impl<'m> Promise<'m> {
    /// Enters `pages` more.
    pub(crate) fn of(mm: &'m Mm, pages: u64) -> Result<Self, Errno> {
        mm.promise(pages)?;
        Ok(Promise {
            commit: mm.commit(),
            pages,
        })
    }

    /// Nothing promised.
    pub(crate) fn none(mm: &'m Mm) -> Self {
        Promise {
            commit: mm.commit(),
            pages: 0,
        }
    }

    /// Enters `pages` more beside what is promised already.
    pub(crate) fn add(&mut self, mm: &Mm, pages: u64) -> Result<(), Errno> {
        mm.promise(pages)?;
        self.pages += pages;
        Ok(())
    }

    /// Takes over what areas that are gone were promised.
    fn take_over(&mut self, pages: u64) {
        self.pages += pages;
    }

    /// An area with `VM_ACCOUNT` has it now.
    pub(crate) fn keep(mut self) {
        self.pages = 0;
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        self.commit.uncharge(self.pages);
    }
}

/// The promise of a shared-memory object: as long as areas have it.
#[derive(Debug)]
pub(crate) struct ObjectPromise {
    commit: Arc<Commit>,
    pages: u64,
}

impl Drop for ObjectPromise {
    fn drop(&mut self) {
        self.commit.uncharge(self.pages);
    }
}

/// `accountable_mapping`: private, writable, and not told to do without.
pub(crate) fn is_accountable(flags: VmFlags) -> bool {
    let of = VmFlags::NORESERVE | VmFlags::SHARED | VmFlags::WRITE;
    flags & of == VmFlags::WRITE
}

/// A number for the file behind shared anonymous memory, on the kernel's own mount (`shm_mnt`).
fn unused_inode() -> InodeId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    InodeId {
        major: 0,
        minor: 1,
        ino: NEXT.fetch_add(1, Ordering::Relaxed),
    }
}

impl Mm {
    /// `security_vm_enough_memory_mm`: enters `pages` more in the ledger, or ENOMEM. Nobody is refused
    /// nothing, not even when more is promised already than there is.
    pub(crate) fn promise(&self, pages: u64) -> Result<(), Errno> {
        if pages == 0 {
            return Ok(());
        }
        let total_vm = self.accounts().counts().total;
        self.commit().charge(pages, total_vm, Privilege::Ordinary)
    }

    /// Makes the region, over whatever is there.
    pub(crate) fn map_region(
        &self,
        held: &mut MmapWrite<'_, Guarded>,
        region: Region<'_>,
    ) -> Result<Arc<Vma>, Errno> {
        if self.flags().deny_write_exec(region.flags, region.flags) {
            return Err(Errno::EACCES);
        }
        let _writer = region.admit_writer()?;
        let Region {
            range,
            mut flags,
            pgoff,
            target,
        } = region;
        let plan = match RemovePlan::decide(held, range) {
            Ok(plan) => plan,
            Err(refused) => return Err(refused.settle(held)),
        };
        let mut promise = match self.afford(&plan, range, flags) {
            Ok(promise) => promise,
            Err(errno) => {
                plan.give_up(held);
                return Err(errno);
            }
        };
        if is_accountable(flags) {
            flags |= VmFlags::ACCOUNT;
        }
        self.clear_place(held, plan, flags, &mut promise);
        // From here on an error leaves the hole.
        let new = self.describe(MapDescription::new(range, pgoff, flags), target)?;
        let flags = new.area.flags;
        let placed = MapPlan::decide(held, new, MapScope::Neighbours)?.commit(held);
        promise.keep();
        self.account_new(flags, range.pages());
        Ok(placed.vma)
    }

    /// The limits, and the promise that a new mapping takes beside what it replaces.
    fn afford(
        &self,
        plan: &RemovePlan,
        range: VirtRange,
        flags: VmFlags,
    ) -> Result<Promise<'_>, Errno> {
        let more = range.pages() - plan.nr_pages();
        if !self.limits().may_expand(self.accounts(), flags, more) {
            return Err(Errno::ENOMEM);
        }
        match is_accountable(flags) {
            true => Promise::of(self, range.pages() - plan.nr_pages_with(VmFlags::ACCOUNT)),
            false => Ok(Promise::none(self)),
        }
    }

    /// Removes what a fixed mapping covers. What it was promised goes over to the new area, if that
    /// needs a promise.
    fn clear_place<'m>(
        &'m self,
        held: &mut MmapWrite<'_, Guarded>,
        plan: RemovePlan,
        flags: VmFlags,
        promise: &mut Promise<'m>,
    ) {
        if plan.is_empty() {
            return;
        }
        let taken = self.commit_removal(held, plan);
        if flags.contains(VmFlags::ACCOUNT) {
            promise.take_over(taken.nr_accounted());
            taken.clear(Charge::TakenOver);
        } else {
            taken.clear(Charge::GiveBack);
        }
    }

    /// The area to be made: the object has its say, and shared anonymous memory gets its object.
    fn describe(
        &self,
        mut described: MapDescription,
        target: &MapTarget,
    ) -> Result<NewArea, Errno> {
        if let MapTarget::Object(target) = target {
            described.file = target.file.clone();
            described.ops = target.ops.clone();
            described.private_data = target.private_data.clone();
            if let Some(prepare) = &target.prepare {
                prepare.prepare(&mut described)?;
            }
            // inv 25: the pages of an area are bare numbers, or some of them are; not both.
            let both = VmFlags::PFNMAP | VmFlags::MIXEDMAP;
            if described.flags.contains(both) {
                return Err(Errno::EINVAL);
            }
        }
        if described.ops.is_none() && described.flags.contains(VmFlags::SHARED) {
            self.give_shared_memory(&mut described)?;
        }
        if described.flags.intersects(VmFlags::SPECIAL) {
            described.flags -= VmFlags::LOCKED_MASK;
        }
        described.flags |= VmFlags::SOFTDIRTY;
        let area = Area {
            file: described.file.clone(),
            private_data: described.private_data.clone(),
            ..Area::new(described.range(), described.flags, described.pgoff)
        };
        Ok(NewArea {
            area,
            ops: described.ops,
        })
    }

    /// `shmem_zero_setup`: an object of its own, promised in full.
    fn give_shared_memory(&self, described: &mut MapDescription) -> Result<(), Errno> {
        let pages = described.range().pages();
        let promised = if described.flags.contains(VmFlags::NORESERVE) {
            0
        } else {
            pages
        };
        self.promise(promised)?;
        let promise = ObjectPromise {
            commit: Arc::clone(self.commit()),
            pages: promised,
        };
        let config = ObjectConfig::shared_anonymous(pages << PAGE_SHIFT, unused_inode());
        let memory = Shmem::new(self.arena(), config);
        described.file = Some(memory.open_file());
        described.ops = Some(memory);
        described.private_data = Some(Arc::new(promise));
        Ok(())
    }

    /// Enters the pages of a new mapping in the accounts.
    pub(crate) fn account_new(&self, flags: VmFlags, pages: u64) {
        self.accounts().account(flags, pages as i64);
        if flags.contains(VmFlags::LOCKED) {
            self.accounts().account_locked(pages as i64);
        }
    }
}
