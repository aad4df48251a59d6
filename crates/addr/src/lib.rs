//! Numbers with meaning: virtual addresses, frames, file offsets, flags, errno.
//!
//! Everything above speaks in these types. None of them owns anything, waits or allocates, and no
//! arithmetic wraps: an operation that may leave its domain returns an [`Option`].
//!
//! | Linux | here |
//! |---|---|
//! | `unsigned long addr` | [`VirtAddr`], [`VirtRange`] |
//! | `pfn`, `pgoff_t`, `order` | [`Pfn`], [`PgOff`], [`Order`] |
//! | `VM_*`, `PROT_*` | [`VmFlags`], [`Prot`] |
//! | `FAULT_FLAG_*`, `vm_fault_t` | [`FaultFlags`], [`FaultResult`] |
//! | `swp_entry_t`, `softleaf_t` | [`NonPresent`] |
//! | `PTE` .. `PGD`, `PAGE_OFFSET_BASE` and so on | [`Level`], [`PagingMode`] |
//! | `-EINVAL` | [`Errno`] |

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod address;
mod errno;
mod fault;
mod level;
mod non_present;
mod page;
mod prot;
mod signal;
mod vm_flags;

#[cfg(test)]
mod tests;

pub use address::{PageAddrs, VirtAddr, VirtRange};
pub use errno::Errno;
pub use fault::{Access, FaultFlags, FaultResult, HwpoisonAs, IllegalFaultFlags};
pub use level::{ENTRIES_PER_TABLE, Level, PagingMode};
pub use non_present::{Markers, MigrationKind, NonPresent};
pub use page::{Order, PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, PageSize, Pfn, PgOff};
pub use prot::Prot;
pub use signal::{SigCode, Signal};
pub use vm_flags::{VmClass, VmFlags};
