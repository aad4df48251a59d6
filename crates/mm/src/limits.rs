//! What an address space may have: resource limits, the commit ledger, and a few sysctls.
//!
//! Linux names: `may_expand_vm`, `mlock_future_ok`, `__vm_enough_memory`, `acct_stack_growth`.
//! Limits belong to a process and may change while it runs (`prlimit`), so each is a word of its own,
//! read without a lock. [`RLIM_INFINITY`] is the kernel's own value for "none".

use addr::{Errno, PAGE_SHIFT, VirtAddr, VmClass, VmFlags};
use sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::accounts::AreaAccounts;

/// No limit.
pub const RLIM_INFINITY: u64 = u64::MAX;

/// A resource limit of the memory family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `RLIMIT_AS`: bytes of address space.
    AddressSpace,
    /// `RLIMIT_DATA`: bytes of private writable memory.
    Data,
    /// `RLIMIT_STACK`: bytes of the stack area.
    Stack,
    /// `RLIMIT_MEMLOCK`: bytes of locked memory.
    Memlock,
}

/// Soft and hard value of one limit, in bytes (`struct rlimit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rlimit {
    /// What is enforced.
    pub soft: u64,
    /// How far the soft value may be raised.
    pub hard: u64,
}

impl Rlimit {
    /// No limit at all.
    pub const UNLIMITED: Rlimit = Rlimit {
        soft: RLIM_INFINITY,
        hard: RLIM_INFINITY,
    };

    /// The same value for soft and hard.
    pub const fn both(bytes: u64) -> Self {
        Rlimit {
            soft: bytes,
            hard: bytes,
        }
    }
}

#[derive(Debug)]
struct LimitWords {
    soft: AtomicU64,
    hard: AtomicU64,
}

impl LimitWords {
    fn new(limit: Rlimit) -> Self {
        LimitWords {
            soft: AtomicU64::new(limit.soft),
            hard: AtomicU64::new(limit.hard),
        }
    }
}

/// How much a process may lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockRight {
    /// What `RLIMIT_MEMLOCK` allows.
    Limited,
    /// As much as it likes (`CAP_IPC_LOCK`).
    Any,
}

/// How low a process may map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LowRight {
    /// From `vm.mmap_min_addr` on.
    Limited,
    /// At 0 too (`CAP_SYS_RAWIO`).
    Any,
}

/// The limits of one process, and the capabilities that lift some.
#[derive(Debug)]
pub struct Limits {
    words: [LimitWords; 4],
    may_lock_any: AtomicBool,
    may_map_low: AtomicBool,
}

impl Limits {
    /// A kernel's defaults: 8 MiB of stack, 8 MiB locked, the rest unlimited.
    pub fn new() -> Self {
        Limits {
            words: [
                LimitWords::new(Rlimit::UNLIMITED),
                LimitWords::new(Rlimit::UNLIMITED),
                LimitWords::new(Rlimit {
                    soft: 8 << 20,
                    hard: RLIM_INFINITY,
                }),
                LimitWords::new(Rlimit::both(8 << 20)),
            ],
            may_lock_any: AtomicBool::new(false),
            may_map_low: AtomicBool::new(false),
        }
    }

    /// The same limits with one of them set.
    #[must_use]
    pub fn with(self, resource: Resource, limit: Rlimit) -> Self {
        self.set(resource, limit);
        self
    }

    /// `prlimit`: sets one limit.
    pub fn set(&self, resource: Resource, limit: Rlimit) {
        let words = &self.words[resource as usize];
        words.soft.store(limit.soft, Relaxed);
        words.hard.store(limit.hard, Relaxed);
    }

    /// One limit.
    pub fn get(&self, resource: Resource) -> Rlimit {
        let words = &self.words[resource as usize];
        Rlimit {
            soft: words.soft.load(Relaxed),
            hard: words.hard.load(Relaxed),
        }
    }

    /// Gives or takes `CAP_IPC_LOCK`.
    pub fn set_lock_right(&self, right: LockRight) {
        self.may_lock_any.store(right == LockRight::Any, Relaxed);
    }

    /// Whether `RLIMIT_MEMLOCK` does not bind (`CAP_IPC_LOCK`).
    pub fn may_lock_any(&self) -> bool {
        self.may_lock_any.load(Relaxed)
    }

    /// Gives or takes `CAP_SYS_RAWIO`.
    pub fn set_low_right(&self, right: LowRight) {
        self.may_map_low.store(right == LowRight::Any, Relaxed);
    }

    /// `cap_mmap_addr`: whether a mapping may begin at `addr`.
    pub fn may_map_at(&self, addr: VirtAddr, sysctl: &Sysctl) -> bool {
        addr.as_u64() >= sysctl.dac_mmap_min_addr || self.may_map_low.load(Relaxed)
    }

    /// `can_do_mlock`: whether locking is allowed at all.
    pub fn may_lock(&self) -> bool {
        self.get(Resource::Memlock).soft != 0 || self.may_lock_any()
    }

    /// `may_expand_vm`: whether `pages` more of an area with `flags` stay within `RLIMIT_AS` and
    /// `RLIMIT_DATA`. A data limit whose soft value is zero binds by its hard value only, which keeps
    /// old programs that set it to zero running.
    pub fn may_expand(&self, accounts: &AreaAccounts, flags: VmFlags, pages: u64) -> bool {
        let counts = accounts.counts();
        let fits = |have: u64, limit: u64| {
            have.checked_add(pages)
                .is_some_and(|sum| sum <= limit >> PAGE_SHIFT)
        };
        if !fits(counts.total, self.get(Resource::AddressSpace).soft) {
            return false;
        }
        if flags.class() != Some(VmClass::Data) {
            return true;
        }
        let data = self.get(Resource::Data);
        fits(counts.data, data.soft) || (data.soft == 0 && fits(counts.data, data.hard))
    }

    /// `mlock_future_ok`: whether `bytes` more may be locked by an area with `flags`.
    pub fn may_lock_more(&self, accounts: &AreaAccounts, flags: VmFlags, bytes: u64) -> bool {
        if !flags.contains(VmFlags::LOCKED) || self.may_lock_any() {
            return true;
        }
        let limit = self.get(Resource::Memlock).soft >> PAGE_SHIFT;
        accounts.counts().locked.saturating_add(bytes >> PAGE_SHIFT) <= limit
    }
}

impl Clone for Limits {
    fn clone(&self) -> Self {
        let copy = Limits::new();
        for resource in [
            Resource::AddressSpace,
            Resource::Data,
            Resource::Stack,
            Resource::Memlock,
        ] {
            copy.set(resource, self.get(resource));
        }
        copy.may_lock_any.store(self.may_lock_any(), Relaxed);
        let may_map_low = self.may_map_low.load(Relaxed);
        copy.may_map_low.store(may_map_low, Relaxed);
        copy
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}

/// `vm.overcommit_memory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overcommit {
    /// 0: refuse only what alone exceeds RAM and swap.
    Guess,
    /// 1: refuse nothing.
    Always,
    /// 2: the sum stays below a limit.
    Never(CommitLimit),
}

/// How the limit of [`Overcommit::Never`] is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitLimit {
    /// `vm.overcommit_ratio`: so many percent of RAM, plus swap.
    RatioPercent(u64),
    /// `vm.overcommit_kbytes`, plus swap.
    Kbytes(u64),
}

/// What the machine has, for the commit ledger; in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitConfig {
    /// The mode.
    pub mode: Overcommit,
    /// Pages of memory, huge-page pools left out.
    pub ram_pages: u64,
    /// Pages of swap.
    pub swap_pages: u64,
    /// `vm.admin_reserve_kbytes`, in pages: kept from those without `CAP_SYS_ADMIN`.
    pub admin_reserve_pages: u64,
    /// `vm.user_reserve_kbytes`, in pages.
    pub user_reserve_pages: u64,
}

/// Who asks for memory: decides whether the admin reserve binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// Anyone.
    Ordinary,
    /// `CAP_SYS_ADMIN`.
    Admin,
}

/// The commit ledger (`vm_committed_as`): promised pages of all address spaces that share it.
#[derive(Debug)]
pub struct Commit {
    config: CommitConfig,
    // A signed number in two's complement.
    committed: AtomicU64,
}

impl Commit {
    /// A ledger with nothing promised.
    pub fn new(config: CommitConfig) -> Self {
        Commit {
            config,
            committed: AtomicU64::new(0),
        }
    }

    /// A ledger in the kernel's default mode for `ram_pages` of memory and no swap.
    pub fn guess(ram_pages: u64) -> Self {
        Commit::new(CommitConfig {
            mode: Overcommit::Guess,
            ram_pages,
            swap_pages: 0,
            admin_reserve_pages: 0,
            user_reserve_pages: 0,
        })
    }

    /// Pages promised now.
    pub fn committed(&self) -> i64 {
        self.committed.load(Relaxed) as i64
    }

    /// The figures it was made with.
    pub fn config(&self) -> &CommitConfig {
        &self.config
    }

    /// `__vm_enough_memory`: promises `pages` to a space that has `total_vm` pages of areas, or
    /// refuses with ENOMEM and promises nothing.
    pub fn charge(&self, pages: u64, total_vm: u64, who: Privilege) -> Result<(), Errno> {
        if i64::try_from(pages).is_err() {
            return Err(Errno::ENOMEM);
        }
        let committed = self.committed.fetch_add(pages, Relaxed).wrapping_add(pages) as i64;
        let enough = match self.config.mode {
            Overcommit::Always => true,
            Overcommit::Guess => pages <= self.config.ram_pages + self.config.swap_pages,
            Overcommit::Never(limit) => committed < self.allowed(limit, total_vm, who),
        };
        if !enough {
            self.committed.fetch_sub(pages, Relaxed);
            return Err(Errno::ENOMEM);
        }
        Ok(())
    }

    /// `vm_unacct_memory`: takes a promise back.
    pub fn uncharge(&self, pages: u64) {
        self.committed.fetch_sub(pages, Relaxed);
    }

    fn allowed(&self, limit: CommitLimit, total_vm: u64, who: Privilege) -> i64 {
        let base = match limit {
            CommitLimit::RatioPercent(percent) => self.config.ram_pages * percent / 100,
            CommitLimit::Kbytes(kbytes) => kbytes >> (PAGE_SHIFT - 10),
        };
        let mut allowed = base + self.config.swap_pages;
        if who == Privilege::Ordinary {
            allowed = allowed.saturating_sub(self.config.admin_reserve_pages);
        }
        let reserve = (total_vm / 32).min(self.config.user_reserve_pages);
        i64::try_from(allowed.saturating_sub(reserve)).unwrap_or(i64::MAX)
    }
}

/// Sysctls and boot options of the memory manager; the kernel's defaults unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// `vm.max_map_count`.
    pub max_map_count: usize,
    /// `stack_guard_gap=`, in pages.
    pub stack_guard_gap_pages: u64,
    /// `mmap_min_addr`, in bytes: what hints are raised to, and where the search for room and the
    /// growth of stacks end.
    pub mmap_min_addr: u64,
    /// `dac_mmap_min_addr`, which `vm.mmap_min_addr` sets, in bytes: whoever names a lower address
    /// needs `CAP_SYS_RAWIO`. A kernel built for security modules may have more in `mmap_min_addr`.
    pub dac_mmap_min_addr: u64,
}

impl Default for Sysctl {
    fn default() -> Self {
        Sysctl {
            max_map_count: 65_530,
            stack_guard_gap_pages: 256,
            mmap_min_addr: 65_536,
            dac_mmap_min_addr: 65_536,
        }
    }
}
