//! What an entry says that is neither empty nor present.

use crate::Pfn;

bitflags::bitflags! {
    /// What a marker entry records about a page that is not there (`pte_marker`).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Markers: u8 {
        /// The page was write-protected by userfaultfd when it was unmapped.
        const UFFD_WP = 1 << 0;
        /// Access gives SIGBUS.
        const POISONED = 1 << 1;
        /// A guard page of `MADV_GUARD_INSTALL`: access gives SIGSEGV.
        const GUARD = 1 << 2;
    }
}

/// What a page was when its migration began, and what it becomes again after.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MigrationKind {
    /// Shared, read-only.
    Read,
    /// Anonymous, exclusive, read-only.
    ReadExclusive,
    /// Writable.
    Write,
}

/// A non-present entry, decoded (`swp_entry_t` and its software types). Its bits belong to the
/// page table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NonPresent {
    /// The contents are in a swap slot. Holds one swap count.
    Swap {
        /// Number of the swap device.
        device: u8,
        /// Slot on it.
        offset: u64,
        /// The page was anonymous-exclusive when it was unmapped.
        exclusive: bool,
    },
    /// The folio is being moved; wait for it. Holds nothing: the folio lock of the migrator keeps
    /// the frame.
    Migration {
        /// The frame it is moved from.
        pfn: Pfn,
        /// What to restore.
        kind: MigrationKind,
    },
    /// The page is in memory that this CPU cannot address. Holds one reference and one mapcount.
    DevicePrivate {
        /// Frame of the device.
        pfn: Pfn,
        /// Whether it becomes writable when it comes back.
        writable: bool,
    },
    /// A device has an ordinary page for itself. Holds one reference and one mapcount.
    DeviceExclusive {
        /// The ordinary frame.
        pfn: Pfn,
    },
    /// The frame is broken. Holds nothing.
    HwPoison {
        /// The broken frame.
        pfn: Pfn,
    },
    /// Facts about a page that is not there.
    Marker(Markers),
    /// The entry is being replaced with its lock dropped (break before make); wait for it.
    /// Recto's own: Linux flushes by interrupt and needs no such state.
    Busy,
}

impl NonPresent {
    /// Swap devices that an entry can name (`MAX_SWAPFILES`): 32 types, less those of Linux's
    /// device, migration, hwpoison and marker entries.
    pub const MAX_SWAP_DEVICES: u8 = 24;

    /// The frame it names, if it names one.
    #[must_use]
    pub const fn pfn(&self) -> Option<Pfn> {
        match *self {
            Self::Migration { pfn, .. }
            | Self::DevicePrivate { pfn, .. }
            | Self::DeviceExclusive { pfn }
            | Self::HwPoison { pfn } => Some(pfn),
            Self::Swap { .. } | Self::Marker(_) | Self::Busy => None,
        }
    }

    /// Whether it holds a reference and a mapcount of its frame, as a present entry does.
    #[must_use]
    pub const fn holds_folio(&self) -> bool {
        matches!(
            self,
            Self::DevicePrivate { .. } | Self::DeviceExclusive { .. }
        )
    }

    /// Whether a fault on it waits rather than resolves.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Migration { .. } | Self::Busy)
    }
}
