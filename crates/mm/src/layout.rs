//! Where things are: the bases of the address search, the program's own ranges, brk and the stack.
//!
//! Linux names: `arch_pick_mmap_layout`, `mmap_base`, `mmap_legacy_base`, `STACK_TOP`, `arg_lock` and
//! what it guards (`start_code` … `env_end`, `saved_auxv`), `mm_exe_file`.
//! Randomness is zero: every base is the one of a kernel with `randomize_va_space = 0`.

use alloc::sync::Arc;
use alloc::vec::Vec;

use addr::{PAGE_SIZE, PagingMode, VirtAddr, VirtRange};

use crate::limits::{Limits, Resource};

/// End of the address space that a program sees unless it asks for more: 47 bits less one page,
/// with four levels and with five (`DEFAULT_MAP_WINDOW`).
pub const DEFAULT_MAP_WINDOW: u64 = (1 << 47) - PAGE_SIZE;
/// End of the space of 32-bit calls (`IA32_PAGE_OFFSET`).
pub const COMPAT_TASK_SIZE: u64 = 0xffff_e000;
/// What `setup_arg_pages` adds below the arguments, limit permitting.
pub const STACK_EXPAND_BYTES: u64 = 128 << 10;

const GAP_MIN_BYTES: u64 = 128 << 20;

/// From which end free addresses are searched (`MMF_TOPDOWN` or not).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Placement {
    /// Downwards from `mmap_base`.
    #[default]
    TopDown,
    /// Upwards from `mmap_legacy_base`: the ADDR_COMPAT_LAYOUT personality, or
    /// `vm.legacy_va_layout`.
    Legacy,
}

/// What decides the layout of a space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayoutConfig {
    /// Four or five levels of tables.
    pub mode: PagingMode,
    /// From which end to search.
    pub placement: Placement,
    /// Where the downward search begins, when a kernel has chosen it already (an image that is
    /// adopted from a host process); by default it follows from the stack limit.
    pub mmap_base: Option<VirtAddr>,
    /// Likewise where the upward search begins; by default at a third of the window.
    pub mmap_legacy_base: Option<VirtAddr>,
}

impl Default for LayoutConfig {
    fn default() -> Self {
        LayoutConfig {
            mode: PagingMode::FourLevel,
            placement: Placement::TopDown,
            mmap_base: None,
            mmap_legacy_base: None,
        }
    }
}

/// The bases of one space; fixed from creation (exec) on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    mode: PagingMode,
    placement: Placement,
    mmap_base: VirtAddr,
    mmap_legacy_base: VirtAddr,
    mmap_compat_base: VirtAddr,
    mmap_compat_legacy_base: VirtAddr,
}

impl Layout {
    /// `arch_pick_mmap_layout`: the bases that follow from the stack limit. However large a stack may
    /// become, it is left five sixths of the window at most.
    pub fn new(config: LayoutConfig, limits: &Limits, guard_gap_bytes: u64) -> Self {
        let stack = limits.get(Resource::Stack).soft;
        let base = |task_size| VirtAddr::new(top_down_base(task_size, stack, guard_gap_bytes));
        let legacy = |task_size| VirtAddr::new(legacy_base(task_size));
        Layout {
            mode: config.mode,
            placement: config.placement,
            mmap_base: config.mmap_base.unwrap_or_else(|| base(DEFAULT_MAP_WINDOW)),
            mmap_legacy_base: config
                .mmap_legacy_base
                .unwrap_or_else(|| legacy(DEFAULT_MAP_WINDOW)),
            mmap_compat_base: base(COMPAT_TASK_SIZE),
            mmap_compat_legacy_base: legacy(COMPAT_TASK_SIZE),
        }
    }

    /// Four or five levels.
    pub fn mode(&self) -> PagingMode {
        self.mode
    }

    /// From which end free addresses are searched.
    pub fn placement(&self) -> Placement {
        self.placement
    }

    /// `task_size`: the first address that is no user address, whatever a program asks for.
    pub fn task_size(&self) -> VirtAddr {
        self.mode.task_size()
    }

    /// The end of the window searched when no hint lies above it.
    pub fn map_window_end(&self) -> VirtAddr {
        VirtAddr::new(DEFAULT_MAP_WINDOW)
    }

    /// `mmap_base`: where the downward search begins.
    pub fn mmap_base(&self) -> VirtAddr {
        self.mmap_base
    }

    /// `mmap_legacy_base`: where the upward search begins.
    pub fn mmap_legacy_base(&self) -> VirtAddr {
        self.mmap_legacy_base
    }

    /// `mmap_compat_base`, for 32-bit calls.
    pub fn mmap_compat_base(&self) -> VirtAddr {
        self.mmap_compat_base
    }

    /// `mmap_compat_legacy_base`, for 32-bit calls.
    pub fn mmap_compat_legacy_base(&self) -> VirtAddr {
        self.mmap_compat_legacy_base
    }

    /// `STACK_TOP`: the end of the main stack.
    pub fn stack_top(&self) -> VirtAddr {
        VirtAddr::new(DEFAULT_MAP_WINDOW)
    }

    /// The range a fresh main stack covers once `arg_bytes` of strings and vectors lie at its top:
    /// those pages and 128 KiB more, as far as the stack limit goes (`setup_arg_pages`).
    pub fn initial_stack(&self, arg_bytes: u64, limits: &Limits) -> Option<VirtRange> {
        let top = self.stack_top();
        let pages = arg_bytes.max(1).checked_next_multiple_of(PAGE_SIZE)?;
        let limit = limits.get(Resource::Stack).soft & !(PAGE_SIZE - 1);
        let bytes = pages.checked_add(STACK_EXPAND_BYTES)?.min(limit.max(pages));
        let start = top.as_u64().checked_sub(bytes)?;
        VirtRange::new(VirtAddr::new(start), top)
    }
}

fn top_down_base(task_size: u64, stack_limit: u64, guard_gap_bytes: u64) -> u64 {
    let gap_max = task_size / 6 * 5;
    let gap = stack_limit
        .saturating_add(guard_gap_bytes)
        .clamp(GAP_MIN_BYTES, gap_max);
    (task_size - gap).next_multiple_of(PAGE_SIZE)
}

fn legacy_base(task_size: u64) -> u64 {
    (task_size / 3).next_multiple_of(PAGE_SIZE)
}

/// The program in a space: what `arg_lock` guards. Informational but for the two brk fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// First byte of code.
    pub start_code: VirtAddr,
    /// End of code.
    pub end_code: VirtAddr,
    /// First byte of initialised data.
    pub start_data: VirtAddr,
    /// End of initialised data.
    pub end_data: VirtAddr,
    /// Where the heap begins.
    pub start_brk: VirtAddr,
    /// Where it ends now, to the byte.
    pub brk: VirtAddr,
    /// The stack pointer the program began with.
    pub start_stack: VirtAddr,
    /// First byte of the argument strings.
    pub arg_start: VirtAddr,
    /// End of the argument strings.
    pub arg_end: VirtAddr,
    /// First byte of the environment strings.
    pub env_start: VirtAddr,
    /// End of the environment strings.
    pub env_end: VirtAddr,
    /// The auxiliary vector as given to the program (`saved_auxv`): pairs of type and value.
    pub auxv: Vec<(u64, u64)>,
    /// The file that is executed (`exe_file`), by the name it was opened under.
    pub exe_file: Option<Arc<str>>,
}
