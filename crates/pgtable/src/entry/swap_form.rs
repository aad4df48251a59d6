//! The swap form: how an entry that is neither empty nor a mapping is written.
//!
//! Type in bits 59 to 63, offset inverted in bits 9 to 58, soft-dirty, uffd-wp and exclusive in
//! bits 1 to 3. Bits 0 and 8 are clear, so neither the hardware nor [`Entry::is_present`] takes it
//! for a mapping. Twenty-four types are swap devices; the others stand above them in Linux's order.
//!
//! [`Entry::is_present`]: super::Entry::is_present

use addr::{Markers, MigrationKind, NonPresent, Pfn};

pub(super) const SOFT_DIRTY: u64 = 1 << 1;
pub(super) const UFFD_WP: u64 = 1 << 2;
const EXCLUSIVE: u64 = 1 << 3;

const OFFSET_SHIFT: u32 = 9;
const OFFSET_BITS: u32 = 50;
const OFFSET_MASK: u64 = (1 << OFFSET_BITS) - 1;
const TYPE_SHIFT: u32 = 59;

const HWPOISON: u64 = 24;
const MIGRATION_READ: u64 = 25;
const MIGRATION_READ_EXCLUSIVE: u64 = 26;
const MIGRATION_WRITE: u64 = 27;
const DEVICE_WRITE: u64 = 28;
const DEVICE_READ: u64 = 29;
const DEVICE_EXCLUSIVE: u64 = 30;
const MARKER: u64 = 31;

/// In a marker's offset, above every marker bit: a busy entry, its ticket above that.
const BUSY: u64 = 1 << 8;
const TICKET_SHIFT: u32 = 9;

pub(super) fn encode(what: NonPresent) -> u64 {
    match what {
        NonPresent::Swap {
            device,
            offset,
            exclusive,
        } => {
            debug_assert!(device < NonPresent::MAX_SWAP_DEVICES && offset <= OFFSET_MASK);
            let exclusive = if exclusive { EXCLUSIVE } else { 0 };
            word(
                u64::from(device.min(NonPresent::MAX_SWAP_DEVICES - 1)),
                offset,
            ) | exclusive
        }
        NonPresent::HwPoison { pfn } => word(HWPOISON, pfn.as_u64()),
        NonPresent::Migration { pfn, kind } => word(migration_type(kind), pfn.as_u64()),
        NonPresent::DevicePrivate {
            pfn,
            writable: true,
        } => word(DEVICE_WRITE, pfn.as_u64()),
        NonPresent::DevicePrivate {
            pfn,
            writable: false,
        } => word(DEVICE_READ, pfn.as_u64()),
        NonPresent::DeviceExclusive { pfn } => word(DEVICE_EXCLUSIVE, pfn.as_u64()),
        NonPresent::Marker(markers) => word(MARKER, u64::from(markers.bits()) & (BUSY - 1)),
        NonPresent::Busy => busy(0),
    }
}

pub(super) fn decode(bits: u64) -> NonPresent {
    let offset = (!bits >> OFFSET_SHIFT) & OFFSET_MASK;
    let pfn = Pfn::new(offset);
    match bits >> TYPE_SHIFT {
        HWPOISON => NonPresent::HwPoison { pfn },
        MIGRATION_READ => NonPresent::Migration {
            pfn,
            kind: MigrationKind::Read,
        },
        MIGRATION_READ_EXCLUSIVE => NonPresent::Migration {
            pfn,
            kind: MigrationKind::ReadExclusive,
        },
        MIGRATION_WRITE => NonPresent::Migration {
            pfn,
            kind: MigrationKind::Write,
        },
        DEVICE_WRITE => NonPresent::DevicePrivate {
            pfn,
            writable: true,
        },
        DEVICE_READ => NonPresent::DevicePrivate {
            pfn,
            writable: false,
        },
        DEVICE_EXCLUSIVE => NonPresent::DeviceExclusive { pfn },
        MARKER if offset & BUSY != 0 => NonPresent::Busy,
        MARKER => NonPresent::Marker(Markers::from_bits_truncate((offset & 0xff) as u8)),
        device => NonPresent::Swap {
            device: device as u8,
            offset,
            exclusive: bits & EXCLUSIVE != 0,
        },
    }
}

/// A busy entry with the low bits of `ticket`.
pub(super) const fn busy(ticket: u64) -> u64 {
    word(MARKER, BUSY | (ticket << TICKET_SHIFT))
}

const fn migration_type(kind: MigrationKind) -> u64 {
    match kind {
        MigrationKind::Read => MIGRATION_READ,
        MigrationKind::ReadExclusive => MIGRATION_READ_EXCLUSIVE,
        MigrationKind::Write => MIGRATION_WRITE,
    }
}

const fn word(kind: u64, offset: u64) -> u64 {
    (kind << TYPE_SHIFT) | ((!offset & OFFSET_MASK) << OFFSET_SHIFT)
}
