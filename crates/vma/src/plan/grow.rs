//! A stack grows down (Linux: `expand_downwards`).

use super::pieces::{AnonFrom, build, cut, pgoff_at};
use super::rearrange::{OldLinks, Rearrangement};
use crate::area::Vma;
use crate::lock::{MmapHeld, MmapWrite};
use addr::{Errno, PAGE_SHIFT, VirtAddr, VirtRange, VmFlags};
use alloc::sync::Arc;

/// A growth, decided. The caller still accounts for it: limits and the commit charge.
#[derive(Debug)]
#[must_use = "nothing has grown before the commit"]
pub struct GrowPlan {
    change: Rearrangement,
    vma: Arc<Vma>,
    nr_grown: u64,
}

/// Why a stack does not grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GrowRefused {
    /// The area does not grow.
    NotGrowing,
    /// The address is below what a program may map.
    TooLow,
    /// Too close to the area below.
    GuardGap,
    /// The page offset would go below 0.
    Offset,
    /// One more area that may write to the file is refused.
    Object(Errno),
}

impl GrowRefused {
    /// What Linux's helper returns. In a fault every one of them is a SIGSEGV.
    pub fn errno(self) -> Errno {
        match self {
            Self::NotGrowing => Errno::EFAULT,
            Self::TooLow => Errno::EPERM,
            Self::GuardGap | Self::Offset => Errno::ENOMEM,
            Self::Object(errno) => errno,
        }
    }
}

impl GrowPlan {
    /// `vma` is to reach down to the page of `addr`. `lowest` is the lowest address that a program may
    /// map (Linux: `mmap_min_addr`).
    ///
    /// # Errors
    /// See [`GrowRefused`]; checked in Linux's order.
    pub fn decide<T>(
        held: &MmapWrite<'_, T>,
        vma: &Arc<Vma>,
        addr: VirtAddr,
        lowest: VirtAddr,
    ) -> Result<Self, GrowRefused> {
        if !vma.flags.contains(VmFlags::GROWSDOWN) {
            return Err(GrowRefused::NotGrowing);
        }
        let start = addr.align_down();
        if start < lowest {
            return Err(GrowRefused::TooLow);
        }
        check_guard_gap(held, vma, start)?;
        held.lock_vma(vma);
        let mut change = Rearrangement::begin(held);
        let range = VirtRange::new(start, vma.range.end())
            .filter(|range| range.start() < vma.range.start());
        let Some(range) = range else {
            return Ok(Self {
                change,
                vma: Arc::clone(vma),
                nr_grown: 0,
            });
        };
        let nr_grown = vma.range.start().offset_from(start) >> PAGE_SHIFT;
        if nr_grown > vma.pgoff.as_u64() {
            return Err(GrowRefused::Offset);
        }
        debug_assert_eq!(pgoff_at(vma, start).as_u64(), vma.pgoff.as_u64() - nr_grown);
        let grown = build(held, cut(vma, range), AnonFrom::of(vma)).map_err(GrowRefused::Object)?;
        change.swap(&[Arc::clone(vma)], alloc::vec![Arc::clone(&grown)]);
        Ok(Self {
            change,
            vma: grown,
            nr_grown,
        })
    }

    /// How many pages are added; 0 if the area reaches there already.
    pub fn nr_grown(&self) -> u64 {
        self.nr_grown
    }

    /// How large the area will be, in bytes: what RLIMIT_STACK is compared with.
    pub fn size_bytes(&self) -> u64 {
        self.vma.range.bytes()
    }

    /// The area's flags.
    pub fn flags(&self) -> VmFlags {
        self.vma.flags()
    }

    /// Makes it so; gives the area that reaches down to the address.
    pub fn commit<T>(self, held: &mut MmapWrite<'_, T>) -> Arc<Vma> {
        if !self.change.is_empty() {
            let _replaced = self.change.commit(held, OldLinks::Replaced);
        }
        self.vma
    }
}

/// An accessible area below that does not grow itself must stay a guard gap away.
fn check_guard_gap<T>(
    held: &MmapWrite<'_, T>,
    vma: &Arc<Vma>,
    start: VirtAddr,
) -> Result<(), GrowRefused> {
    let Some(prev) = held.tree().find_prev(vma.range.start()) else {
        return Ok(());
    };
    let exempt = prev.flags.contains(VmFlags::GROWSDOWN) || !prev.flags.is_accessible();
    let wanted = if exempt {
        0
    } else {
        held.rules().stack_guard_bytes
    };
    // Below the end of that area there is no distance to it at all.
    match start.checked_offset_from(prev.range.end()) {
        Some(gap) if gap >= wanted => Ok(()),
        _ => Err(GrowRefused::GuardGap),
    }
}
