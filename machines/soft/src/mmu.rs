//! One space's side of the machine.

use std::fmt;
use std::sync::Arc;

use addr::{PageSize, VirtRange};
use machine::{AccessedDirty, Flush, FlushScope, Mmu, MmuCaps, TableUse};
use sync::atomic::{AtomicU64, Ordering};

use crate::SoftMachine;
use crate::tlb::SpaceId;

/// The TLBs of one space (Linux: `mm->context` with `mm_cpumask`).
pub struct SoftMmu {
    machine: Arc<SoftMachine>,
    id: SpaceId,
    /// The CPUs that may remember something of this space. Bits are only added: a TLB is tagged,
    /// so a CPU that has gone on to another space still remembers this one.
    cpus: AtomicU64,
}

impl SoftMmu {
    pub(crate) const fn new(machine: Arc<SoftMachine>, id: SpaceId) -> Self {
        Self {
            machine,
            id,
            cpus: AtomicU64::new(0),
        }
    }

    pub(crate) const fn id(&self) -> SpaceId {
        self.id
    }

    pub(crate) const fn machine(&self) -> &Arc<SoftMachine> {
        &self.machine
    }

    /// CPU `number` is about to use this space. Its first walk comes after this, so either the
    /// walk sees the entries that a flush was about, or that flush sees the CPU.
    pub(crate) fn enter(&self, number: usize) {
        self.cpus.fetch_or(1 << number, Ordering::AcqRel);
    }
}

impl Mmu for SoftMmu {
    fn caps(&self) -> MmuCaps {
        MmuCaps {
            tables: TableUse::Walked,
            accessed_dirty: AccessedDirty::SetByMachine,
            max_page: PageSize::Size1G,
        }
    }

    /// Nothing: a miss walks the tables.
    fn update_mmu_cache(&self, _range: VirtRange) {}

    fn flush_tlb(&self, flush: &Flush<'_>) {
        // A write of the mask, so that it is ordered with `enter` on either side.
        let cpus = self.cpus.fetch_or(0, Ordering::AcqRel);
        for number in (0..u64::BITS as usize).filter(|number| cpus & (1 << number) != 0) {
            let mut tlb = self.machine.tlb(number).interrupt();
            tlb.stats.flushes += 1;
            match flush.scope {
                FlushScope::Space => tlb.flush_space(self.id, flush.kind),
                FlushScope::Ranges(ranges) => {
                    for range in ranges {
                        tlb.flush_range(self.id, *range, flush.kind);
                    }
                }
            }
        }
    }
}

impl fmt::Debug for SoftMmu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoftMmu")
            .field("id", &self.id)
            .field("cpus", &self.cpus)
            .finish_non_exhaustive()
    }
}
