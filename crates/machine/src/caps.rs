//! What a machine can do, stated as properties rather than discovered by `cfg`.

use addr::PageSize;

/// How a machine comes by its translations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TableUse {
    /// It walks our tables on a miss, as x86 hardware does: nothing has to be pushed.
    Walked,
    /// It is filled by software after each install, as MIPS is: `update_mmu_cache` is its refill.
    FilledBySoftware,
    /// It never looks at our tables at all.
    Unused,
}

/// Who records that a page was touched or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessedDirty {
    /// The machine sets the bits in our entries itself, at any moment.
    SetByMachine,
    /// Only faults set them: an entry that must report its first write is filled read-only.
    SetByFaults,
}

/// The properties of one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MmuCaps {
    /// How the machine comes by its translations.
    pub tables: TableUse,
    /// Who sets the accessed and dirty bits.
    pub accessed_dirty: AccessedDirty,
    /// The largest leaf the machine understands.
    pub max_page: PageSize,
}

impl MmuCaps {
    /// Whether the machine walks our tables itself.
    #[must_use]
    pub const fn walks_tables(&self) -> bool {
        matches!(self.tables, TableUse::Walked)
    }

    /// Whether an installed entry must be pushed before the machine can use it.
    #[must_use]
    pub const fn is_filled_by_software(&self) -> bool {
        matches!(self.tables, TableUse::FilledBySoftware)
    }

    /// Whether the machine sets accessed and dirty bits in our entries.
    #[must_use]
    pub const fn sets_accessed_dirty(&self) -> bool {
        matches!(self.accessed_dirty, AccessedDirty::SetByMachine)
    }
}
