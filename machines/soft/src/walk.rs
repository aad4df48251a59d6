//! The walk of the hardware.

use addr::{Access, Level, PAGE_SHIFT, PagingMode, Pfn, VirtAddr};
use frame::Arena;
use machine::{ErrorCode, FaultInfo, Mode};
use pgtable::{Entry, EntryFlags};

/// What a walk is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) addr: VirtAddr,
    pub(crate) access: Access,
    /// The register of protection-key rights.
    pub(crate) pkru: u32,
}

/// A tree as the CPU's registers name it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Root {
    pub(crate) table: Pfn,
    pub(crate) mode: PagingMode,
}

/// Rights that every level of a walk must grant.
const GRANTED: EntryFlags = EntryFlags::WRITABLE.union(EntryFlags::USER);

/// Walks to the frame of `wanted.addr`, setting accessed and, for a write, dirty in the leaf.
///
/// Returns the frame of the very page and the rights of the walk. The tables met are kept from
/// being reused by a pin.
pub(crate) fn walk(
    arena: &Arena,
    root: Root,
    wanted: Wanted,
) -> Result<(Pfn, EntryFlags), FaultInfo> {
    let _pin = sync::pin();
    loop {
        if let Some(done) = try_walk(arena, root, wanted)? {
            return Ok(done);
        }
    }
}

/// One walk; `None` when an entry changed under it.
fn try_walk(
    arena: &Arena,
    root: Root,
    wanted: Wanted,
) -> Result<Option<(Pfn, EntryFlags)>, FaultInfo> {
    let mut level = root.mode.top_level();
    let mut table = root.table;
    let mut rights = GRANTED;
    loop {
        if arena.record(table).is_none() {
            return Err(wanted.fault(ErrorCode::PROT | ErrorCode::RSVD));
        }
        let words = arena.words(table);
        let index = level.index_of(wanted.addr);
        let entry = Entry::from_bits(words.load(index));
        if !entry.is_hardware_present() {
            return Err(wanted.fault(ErrorCode::empty()));
        }
        let flags = entry.flags();
        rights = (rights & (flags | !GRANTED)) | (flags & EntryFlags::NO_EXECUTE);
        if let (Some(below), Some(next)) = (level.below(), entry.table_pfn()) {
            (level, table) = (below, next);
            continue;
        }
        rights |= flags & EntryFlags::PKEY;
        wanted.check(rights)?;
        let touched = touched_by(wanted.access);
        if !flags.contains(touched) {
            let marked = entry.bits() | touched.bits();
            if words.compare_exchange(index, entry.bits(), marked).is_err() {
                return Ok(None);
            }
        }
        let dirty = (flags | touched) & EntryFlags::DIRTY;
        return Ok(Some((page_of(entry, level, wanted.addr), rights | dirty)));
    }
}

/// The bits an access leaves in the leaf.
fn touched_by(access: Access) -> EntryFlags {
    match access {
        Access::Write => EntryFlags::ACCESSED | EntryFlags::DIRTY,
        Access::Read | Access::Execute => EntryFlags::ACCESSED,
    }
}

/// The frame of the page at `addr` within the leaf.
fn page_of(entry: Entry, level: Level, addr: VirtAddr) -> Pfn {
    let first = entry.mapping().map_or(0, |leaf| leaf.pfn.as_u64());
    Pfn::new(first + ((addr.as_u64() & (level.bytes() - 1)) >> PAGE_SHIFT))
}

impl Wanted {
    /// Whether a user access may use a translation with these rights.
    ///
    /// A write also needs the dirty bit to be set already, when `flags` come from a TLB; a walk
    /// sets it on the way.
    pub(crate) fn check(&self, flags: EntryFlags) -> Result<(), FaultInfo> {
        let allowed = flags.contains(EntryFlags::USER)
            && match self.access {
                Access::Read => true,
                Access::Write => flags.contains(EntryFlags::WRITABLE),
                Access::Execute => !flags.contains(EntryFlags::NO_EXECUTE),
            };
        if !allowed {
            return Err(self.fault(ErrorCode::PROT));
        }
        if self.key_forbids(flags.pkey()) {
            return Err(self.fault(ErrorCode::PROT | ErrorCode::PK));
        }
        Ok(())
    }

    /// Two bits a key: no access, no writing. Fetches do not ask.
    fn key_forbids(&self, key: u8) -> bool {
        let rights = self.pkru >> (2 * u32::from(key));
        match self.access {
            Access::Read => rights & 0b01 != 0,
            Access::Write => rights & 0b11 != 0,
            Access::Execute => false,
        }
    }

    fn fault(&self, why: ErrorCode) -> FaultInfo {
        let missing = FaultInfo::missing(self.addr, self.access, Mode::User);
        FaultInfo {
            error_code: missing.error_code | why,
            ..missing
        }
    }
}
