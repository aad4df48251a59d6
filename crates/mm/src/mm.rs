//! The address space itself (`struct mm_struct`) and its two counts.
//!
//! An [`Arc<Mm>`] is Linux's `mm_count`: it keeps the structure. A [`MmUser`] is `mm_users`: it keeps
//! the memory. When the last user goes, the space is torn down; when the last `Arc` goes, it is freed.
//!
//! Fields are grouped by who guards them:
//!
//! | group | guarded by |
//! |---|---|
//! | tables, arena, machine, layout, policy, limits | fixed at creation, or words of their own |
//! | areas, `def_flags` | the mmap lock ([`Mm::read`], [`Mm::write`]) |
//! | `total_vm` family | written under the mmap write lock, read by anyone |
//! | resident pages, faults | written under an entry lock, on the writing CPU's lines |
//! | code, data, brk, stack, arguments, auxv, exe file | `arg_lock` ([`Mm::image`]) |
//! | users | an atomic on a line of its own |

mod flags;
mod user;

use alloc::sync::{Arc, Weak};
use core::fmt;

use addr::{Errno, PagingMode, VmFlags};
use frame::{Arena, ChargeId, OutOfFrames};
use machine::{Flush, Mmu};
use object::MappingSpace;
use object::device::DeviceSpace;
use pgtable::PageTable;
use sync::atomic::{AtomicU32, AtomicU64, Ordering};
use sync::{Mutex, MutexGuard};
use vma::{MmapLock, MmapRead, MmapWrite, Rules};

use crate::accounts::{AreaAccounts, Rss};
use crate::layout::{Image, Layout, LayoutConfig, Placement};
use crate::limits::{Commit, Limits, Sysctl};

pub use flags::MmFlags;
pub use user::MmUser;

/// How generous faults are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultPolicy {
    around_pages: u64,
    anon_around_pages: u64,
}

impl FaultPolicy {
    /// A read fault maps up to `around_pages` neighbours that its object has at hand
    /// (`fault_around_bytes`), a private write fault fills up to `anon_around_pages`. Both are rounded
    /// up to powers of two and cut to one table; 1 is the faulting page alone.
    pub fn new(around_pages: u64, anon_around_pages: u64) -> Self {
        let window = |pages: u64| pages.clamp(1, 512).next_power_of_two();
        FaultPolicy {
            around_pages: window(around_pages),
            anon_around_pages: window(anon_around_pages),
        }
    }

    /// Pages mapped around a read fault.
    pub fn around_pages(&self) -> u64 {
        self.around_pages
    }

    /// Pages filled around a private write fault, for machines on which a run of frames is cheaper
    /// than single ones.
    pub fn anon_around_pages(&self) -> u64 {
        self.anon_around_pages
    }
}

impl Default for FaultPolicy {
    /// Linux's: 64 KiB around a read, nothing around a write.
    fn default() -> Self {
        FaultPolicy::new(16, 1)
    }
}

/// What a space is made of.
#[derive(Debug)]
pub struct MmConfig {
    /// Where its frames come from.
    pub arena: Arc<Arena>,
    /// Who caches its tables.
    pub mmu: Arc<dyn Mmu>,
    /// How its addresses are laid out.
    pub layout: LayoutConfig,
    /// What it may have.
    pub limits: Limits,
    /// The ledger its promises are entered in.
    pub commit: Arc<Commit>,
    /// How generous its faults are.
    pub policy: FaultPolicy,
    /// Figures of the whole machine.
    pub sysctl: Sysctl,
    /// Who pays for its frames.
    pub charge: Option<ChargeId>,
    /// Where the device pages that may be mapped come from.
    pub devices: Arc<DeviceSpace>,
}

impl MmConfig {
    /// A kernel's defaults, with frames of `arena`, cached by `mmu`.
    pub fn new(arena: Arc<Arena>, mmu: Arc<dyn Mmu>) -> Self {
        let commit = Arc::new(Commit::guess(arena.nr_frames()));
        MmConfig {
            arena,
            mmu,
            layout: LayoutConfig::default(),
            limits: Limits::default(),
            commit,
            policy: FaultPolicy::default(),
            sysctl: Sysctl::default(),
            charge: None,
            devices: DeviceSpace::new(),
        }
    }
}

/// What the mmap lock guards beside the areas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// Added to the flags of every new area (`def_flags`; `mlockall(MCL_FUTURE)`).
    pub def_flags: VmFlags,
}

/// A field on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct OwnLine<T>(T);

/// An address space (`struct mm_struct`).
pub struct Mm {
    // Fixed at creation: read by every fault, written by none.
    table: PageTable,
    arena: Arc<Arena>,
    mmu: Arc<dyn Mmu>,
    layout: Layout,
    policy: FaultPolicy,
    charge: Option<ChargeId>,
    devices: Arc<DeviceSpace>,
    sysctl: Sysctl,
    commit: Arc<Commit>,
    this: Weak<Mm>,
    // Words that change rarely.
    flags: AtomicU64,
    limits: Limits,
    // The areas and their lock; shared by all who fault.
    mmap_lock: OwnLine<MmapLock<Guarded>>,
    // Written under the mmap write lock.
    accounts: OwnLine<AreaAccounts>,
    // Written by each CPU on lines of its own.
    rss: Rss,
    // Written when users come and go.
    users: OwnLine<AtomicU32>,
    // Written by fork.
    forks: AtomicU64,
    // `arg_lock` and what it guards.
    image: Mutex<Image>,
}

impl Mm {
    /// An empty space with one user (`mm_alloc`, `mm_init`). ENOMEM when there is no frame for its
    /// root table.
    pub fn create(config: MmConfig) -> Result<MmUser, Errno> {
        let gap_bytes = config.sysctl.stack_guard_gap_pages << addr::PAGE_SHIFT;
        let layout = Layout::new(config.layout, &config.limits, gap_bytes);
        let mut flags = MmFlags::DUMPABLE | MmFlags::DUMP_FILTER_DEFAULT;
        if layout.placement() == Placement::TopDown {
            flags |= MmFlags::TOPDOWN;
        }
        Self::init(config, layout, flags, Image::default()).map_err(|_| Errno::ENOMEM)
    }

    /// An empty space that is to become a child of this one (`dup_mm` before `dup_mmap`): what a
    /// child takes over beside memory is taken over, the rest begins anew.
    pub(crate) fn create_child(&self, mmu: Arc<dyn Mmu>) -> Result<MmUser, OutOfFrames> {
        let config = MmConfig {
            arena: Arc::clone(&self.arena),
            mmu,
            layout: LayoutConfig {
                mode: self.layout.mode(),
                placement: self.layout.placement(),
                mmap_base: Some(self.layout.mmap_base()),
                mmap_legacy_base: Some(self.layout.mmap_legacy_base()),
            },
            limits: self.limits.clone(),
            commit: Arc::clone(&self.commit),
            policy: self.policy,
            sysctl: self.sysctl,
            charge: self.charge,
            devices: Arc::clone(&self.devices),
        };
        let flags = self.flags().of_child();
        let image = self.image().clone();
        Self::init(config, self.layout, flags, image)
    }

    fn init(
        config: MmConfig,
        layout: Layout,
        flags: MmFlags,
        image: Image,
    ) -> Result<MmUser, OutOfFrames> {
        let table = new_table(&config.arena, layout.mode())?;
        let rules = Rules {
            max_map_count: config.sysctl.max_map_count,
            stack_guard_bytes: config.sysctl.stack_guard_gap_pages << addr::PAGE_SHIFT,
        };
        let guarded = Guarded {
            def_flags: VmFlags::empty(),
        };
        let mm = Arc::new_cyclic(|this: &Weak<Mm>| Mm {
            table,
            arena: config.arena,
            mmu: config.mmu,
            layout,
            policy: config.policy,
            charge: config.charge,
            devices: config.devices,
            sysctl: config.sysctl,
            commit: config.commit,
            this: Weak::clone(this),
            flags: AtomicU64::new(flags.bits()),
            limits: config.limits,
            mmap_lock: OwnLine(MmapLock::new(guarded, rules, this.clone())),
            accounts: OwnLine(AreaAccounts::default()),
            rss: Rss::new(),
            users: OwnLine(AtomicU32::new(1)),
            forks: AtomicU64::new(0),
            image: Mutex::new(image),
        });
        Ok(MmUser::counted(mm))
    }

    /// The page tables (`pgd`).
    #[inline]
    pub fn table(&self) -> &PageTable {
        &self.table
    }

    /// Where frames come from.
    #[inline]
    pub fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// Who caches the tables.
    #[inline]
    pub fn mmu(&self) -> &dyn Mmu {
        &*self.mmu
    }

    /// The same, to keep.
    pub fn mmu_shared(&self) -> &Arc<dyn Mmu> {
        &self.mmu
    }

    /// Makes the machine forget every translation (`flush_tlb_mm`).
    pub fn flush_space(&self) {
        self.mmu.flush_tlb(&Flush::space());
    }

    /// Bases and sizes.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// How generous faults are.
    #[inline]
    pub fn policy(&self) -> FaultPolicy {
        self.policy
    }

    /// Who pays for frames.
    #[inline]
    pub fn charge(&self) -> Option<ChargeId> {
        self.charge
    }

    /// Where its device pages come from.
    pub fn devices(&self) -> &Arc<DeviceSpace> {
        &self.devices
    }

    /// Figures of the whole machine.
    pub fn sysctl(&self) -> &Sysctl {
        &self.sysctl
    }

    /// The ledger of promises.
    pub fn commit(&self) -> &Arc<Commit> {
        &self.commit
    }

    /// What the space may have.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The mmap lock and the areas.
    #[inline]
    pub fn mmap_lock(&self) -> &MmapLock<Guarded> {
        &self.mmap_lock.0
    }

    /// Takes the mmap lock for reading (`mmap_read_lock`).
    pub fn read(&self) -> MmapRead<'_, Guarded> {
        self.mmap_lock.0.read()
    }

    /// Takes the mmap lock for writing (`mmap_write_lock`).
    pub fn write(&self) -> MmapWrite<'_, Guarded> {
        self.mmap_lock.0.write()
    }

    /// The `total_vm` family. Written only with the mmap write lock held.
    pub fn accounts(&self) -> &AreaAccounts {
        &self.accounts.0
    }

    /// Resident pages and faults.
    #[inline]
    pub fn rss(&self) -> &Rss {
        &self.rss
    }

    /// Takes `arg_lock`: what the program in the space says of itself.
    pub fn image(&self) -> MutexGuard<'_, Image> {
        self.image.lock()
    }

    /// `MMF_*`.
    #[inline]
    pub fn flags(&self) -> MmFlags {
        MmFlags::from_bits_retain(self.flags.load(Ordering::Acquire))
    }

    /// Sets some of `MMF_*`; says which were set before.
    pub fn set_flags(&self, flags: MmFlags) -> MmFlags {
        MmFlags::from_bits_retain(self.flags.fetch_or(flags.bits(), Ordering::AcqRel))
    }

    /// Clears some of `MMF_*`.
    pub fn clear_flags(&self, flags: MmFlags) {
        self.flags.fetch_and(!flags.bits(), Ordering::AcqRel);
    }

    /// Children made by fork.
    pub fn forks(&self) -> u64 {
        self.forks.load(Ordering::Relaxed)
    }

    /// Counts a child made by fork.
    pub(crate) fn count_fork(&self) {
        self.forks.fetch_add(1, Ordering::Relaxed);
    }

    /// A reference that keeps nothing.
    pub fn downgrade(&self) -> Weak<Mm> {
        Weak::clone(&self.this)
    }

    /// The same, as objects know it (what rmap stores).
    pub fn mapping_space(&self) -> Weak<dyn MappingSpace> {
        let this: Weak<Mm> = Weak::clone(&self.this);
        this
    }

    /// `mm_users` now.
    pub fn users(&self) -> u32 {
        self.users.0.load(Ordering::Relaxed)
    }

    /// `mmget_not_zero`: a user, if there still is one. A count of zero never rises again.
    pub fn get_not_zero(self: &Arc<Self>) -> Option<MmUser> {
        self.users
            .0
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |users| {
                (users != 0).then_some(users + 1)
            })
            .ok()?;
        Some(MmUser::counted(Arc::clone(self)))
    }

    /// `__mmput`: the last user has gone. In the kernel's order; what this build does not have yet is
    /// named where it would stand: uprobes, aio, KSM and khugepaged before the memory; the huge zero
    /// folio after it; the mmlist, binfmt, the multi-generational LRU and futexes after the file.
    fn last_user_gone(&self) {
        self.exit_mmap();
        self.image.lock().exe_file = None;
    }
}

/// A root table; a frame that is only waiting for those who can still see it is waited for.
fn new_table(arena: &Arc<Arena>, mode: PagingMode) -> Result<PageTable, OutOfFrames> {
    PageTable::new(Arc::clone(arena), mode).or_else(|_| {
        sync::barrier();
        PageTable::new(Arc::clone(arena), mode)
    })
}

impl Drop for Mm {
    /// `__mmdrop`, `check_mm`: nothing may be left to count.
    fn drop(&mut self) {
        for kind in crate::accounts::RSS_KINDS {
            debug_assert_eq!(
                self.rss.balance(kind),
                0,
                "inv 50: {kind:?} pages left in a dead space"
            );
        }
        debug_assert_eq!(self.table.bytes(), 0, "inv 28: tables left in a dead space");
    }
}

impl fmt::Debug for Mm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mm")
            .field("users", &self.users())
            .field("flags", &self.flags())
            .field("accounts", &self.accounts.0.counts())
            .field("rss", &self.rss.counts())
            .finish_non_exhaustive()
    }
}
