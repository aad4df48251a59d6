//! Where a mapping goes (Linux: `get_unmapped_area`, `arch_get_unmapped_area_topdown`,
//! `arch_get_unmapped_area`).
//!
//! The search for huge pages (`thp_get_unmapped_area`) is not made: this is a kernel built without
//! them.

use addr::{Errno, PAGE_SIZE, VirtAddr, VirtRange};
use vma::{GapRequest, VmaTree};

use super::flags::MapFlags;
use crate::layout::{DEFAULT_MAP_WINDOW, Layout, Placement};
use crate::limits::{Limits, Sysctl};

const SZ_4G: u64 = 1 << 32;
const LOW_32BIT_START: u64 = 1 << 30;
const LOW_32BIT_END: u64 = 1 << 31;

/// What room is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// The address asked for; a hint unless the flags say fixed. 0 for no wish.
    pub(crate) addr: VirtAddr,
    /// The length: whole pages, not 0.
    pub(crate) bytes: u64,
    /// The flags of mmap.
    pub(crate) flags: MapFlags,
}

/// The space in which room is searched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room<'a> {
    pub(crate) tree: &'a VmaTree,
    pub(crate) layout: &'a Layout,
    pub(crate) sysctl: &'a Sysctl,
    pub(crate) limits: &'a Limits,
}

impl Room<'_> {
    /// Finds the room (`get_unmapped_area`). A fixed address is only checked: what is mapped there
    /// is the caller's business.
    pub(crate) fn find(&self, wanted: Wanted) -> Result<VirtRange, Errno> {
        let task_size = self.layout.task_size().as_u64();
        if wanted.bytes > task_size {
            return Err(Errno::ENOMEM);
        }
        let start = if wanted.flags.is_fixed() {
            wanted.addr
        } else {
            self.search(wanted).ok_or(Errno::ENOMEM)?
        };
        if start.as_u64() > task_size - wanted.bytes {
            return Err(Errno::ENOMEM);
        }
        let range = VirtRange::from_len(start, wanted.bytes).ok_or(Errno::EINVAL)?;
        if !self.limits.may_map_at(start, self.sysctl) {
            return Err(Errno::EPERM);
        }
        Ok(range)
    }

    fn search(&self, wanted: Wanted) -> Option<VirtAddr> {
        let low = wanted.flags.contains(MapFlags::LOW_32BIT);
        if low || self.layout.placement() == Placement::Legacy {
            return self.bottom_up(wanted);
        }
        self.top_down(wanted).or_else(|| self.bottom_up(wanted))
    }

    fn top_down(&self, wanted: Wanted) -> Option<VirtAddr> {
        let hint = wanted.addr.align_down();
        if wanted.addr != VirtAddr::ZERO && self.is_hint_valid(hint, wanted.bytes) {
            let range = VirtRange::from_len(hint, wanted.bytes)?;
            if self.tree.is_room(range, self.guard_bytes()) {
                return Some(hint);
            }
        }
        let low = if wanted.flags.contains(MapFlags::ABOVE_4G) {
            SZ_4G
        } else {
            PAGE_SIZE
        };
        let mut high = self.layout.mmap_base();
        if hint.as_u64() > DEFAULT_MAP_WINDOW {
            high = high.checked_add(self.layout.task_size().as_u64() - DEFAULT_MAP_WINDOW)?;
        }
        self.tree
            .highest_gap(&self.request(wanted, VirtAddr::new(low), high))
    }

    fn bottom_up(&self, wanted: Wanted) -> Option<VirtAddr> {
        let (low, high) = self.bottom_up_window(wanted);
        let last = high.as_u64().checked_sub(wanted.bytes)?;
        if wanted.addr != VirtAddr::ZERO {
            let hint = wanted.addr.align_up()?;
            let range = VirtRange::from_len(hint, wanted.bytes);
            let free = range.is_some_and(|range| self.tree.is_room(range, self.guard_bytes()));
            if last >= hint.as_u64() && free {
                return Some(hint);
            }
        }
        self.tree.lowest_gap(&self.request(wanted, low, high))
    }

    /// `find_start_end`.
    fn bottom_up_window(&self, wanted: Wanted) -> (VirtAddr, VirtAddr) {
        if wanted.flags.contains(MapFlags::LOW_32BIT) {
            return (VirtAddr::new(LOW_32BIT_START), VirtAddr::new(LOW_32BIT_END));
        }
        let high = match wanted.addr.as_u64() > DEFAULT_MAP_WINDOW {
            true => self.layout.task_size(),
            false => self.layout.map_window_end(),
        };
        (self.layout.mmap_legacy_base(), high)
    }

    /// `mmap_address_hint_valid`: a hint must not make a range cross the end of the 47-bit window.
    fn is_hint_valid(&self, hint: VirtAddr, bytes: u64) -> bool {
        if self.layout.task_size().as_u64() - bytes < hint.as_u64() {
            return false;
        }
        let above = hint.as_u64() > DEFAULT_MAP_WINDOW;
        above == (hint.as_u64() + bytes > DEFAULT_MAP_WINDOW)
    }

    fn request(&self, wanted: Wanted, low: VirtAddr, high: VirtAddr) -> GapRequest {
        GapRequest {
            stack_guard_bytes: self.guard_bytes(),
            ..GapRequest::new(wanted.bytes, low.max(lowest(self.sysctl)), high)
        }
    }

    fn guard_bytes(&self) -> u64 {
        self.sysctl.stack_guard_gap_pages * PAGE_SIZE
    }
}

/// A hint as `mmap` understands it (`round_hint_to_min`): rounded down to a page, and raised to the
/// lowest address a program is given. No wish stays no wish.
pub(crate) fn round_hint(hint: VirtAddr, sysctl: &Sysctl) -> VirtAddr {
    let hint = hint.align_down();
    if hint != VirtAddr::ZERO && hint.as_u64() < sysctl.mmap_min_addr {
        return lowest(sysctl);
    }
    hint
}

/// The lowest address that a program is given.
fn lowest(sysctl: &Sysctl) -> VirtAddr {
    VirtAddr::new(sysctl.mmap_min_addr.next_multiple_of(PAGE_SIZE))
}
