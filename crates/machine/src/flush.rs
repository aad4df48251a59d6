//! A request to forget translations.

use addr::{VirtAddr, VirtRange};

/// What must no longer be done through the translations named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlushKind {
    /// Nothing: they are gone, or their rights or targets changed.
    Forget,
    /// Writing: they may still be read through.
    WriteProtect,
}

/// Which translations a flush is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushScope<'a> {
    /// Those of these ranges, sorted and disjoint.
    Ranges(&'a [VirtRange]),
    /// All of the space.
    Space,
}

/// A request to forget (Linux: `struct flush_tlb_info`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flush<'a> {
    /// Which translations.
    pub scope: FlushScope<'a>,
    /// What must no longer be done through them.
    pub kind: FlushKind,
}

impl<'a> Flush<'a> {
    /// Forget every translation of the space (`flush_tlb_mm`).
    #[must_use]
    pub const fn space() -> Self {
        Self {
            scope: FlushScope::Space,
            kind: FlushKind::Forget,
        }
    }

    /// Forget the translations of `ranges` (`flush_tlb_range`).
    #[must_use]
    pub const fn ranges(ranges: &'a [VirtRange]) -> Self {
        Self {
            scope: FlushScope::Ranges(ranges),
            kind: FlushKind::Forget,
        }
    }

    /// Stop writing through the translations of `ranges`.
    #[must_use]
    pub const fn write_protect(ranges: &'a [VirtRange]) -> Self {
        Self {
            scope: FlushScope::Ranges(ranges),
            kind: FlushKind::WriteProtect,
        }
    }

    /// Whether a translation of the page at `addr` is meant.
    #[must_use]
    pub fn covers(&self, addr: VirtAddr) -> bool {
        match self.scope {
            FlushScope::Space => true,
            FlushScope::Ranges(ranges) => ranges.iter().any(|range| range.contains(addr)),
        }
    }
}
