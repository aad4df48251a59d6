//! The duties of whatever caches our tables.

use core::fmt::Debug;

use addr::{PageSize, Pfn, Prot, VirtAddr, VirtRange};

use crate::{AccessedDirty, Flush, FlushKind, FlushScope, MmuCaps, TableUse};

/// One translation as a machine may hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Translation {
    /// The frame, or device page, the address leads to.
    pub pfn: Pfn,
    /// What may be done through it.
    pub prot: Prot,
}

/// The translation cache of one address space.
///
/// The core pushes with [`update_mmu_cache`](Mmu::update_mmu_cache), asks to forget with
/// [`flush_tlb`](Mmu::flush_tlb) and may exchange one page with [`replace`](Mmu::replace).
/// A machine may forget anything at any moment.
///
/// A flush never takes a lock of the core: it is called with no entry lock, rmap lock or folio
/// lock held, but the mmap lock or an area's lock may be held by the caller.
pub trait Mmu: Send + Sync + Debug {
    /// What the machine can do.
    fn caps(&self) -> MmuCaps;

    /// Entries of `range` went from non-present to present, or gained rights.
    ///
    /// Called under the entry lock: it may only take note, never block or call the host.
    fn update_mmu_cache(&self, range: VirtRange);

    /// Forgets what `flush` names. When it returns, no access in progress or to come uses the
    /// forgotten translations.
    fn flush_tlb(&self, flush: &Flush<'_>);

    /// Makes `new` the only translation of the page at `addr` that anyone uses from the moment
    /// this returns. A machine that refills on demand may simply forget the page.
    fn replace(&self, addr: VirtAddr, new: Translation) {
        let _refilled_on_demand = new;
        if let Some(range) = VirtRange::from_len(addr.align_down(), addr::PAGE_SIZE) {
            self.flush_tlb(&Flush {
                scope: FlushScope::Ranges(&[range]),
                kind: FlushKind::Forget,
            });
        }
    }
}

/// A space that nobody executes in: there is nothing to fill and nothing to forget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoMmu;

impl Mmu for NoMmu {
    fn caps(&self) -> MmuCaps {
        MmuCaps {
            tables: TableUse::Unused,
            accessed_dirty: AccessedDirty::SetByFaults,
            max_page: PageSize::Size1G,
        }
    }

    fn update_mmu_cache(&self, _range: VirtRange) {}

    fn flush_tlb(&self, _flush: &Flush<'_>) {}

    fn replace(&self, _addr: VirtAddr, _new: Translation) {}
}
