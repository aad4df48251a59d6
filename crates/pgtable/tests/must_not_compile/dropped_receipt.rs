//! A receipt may not be left lying.
#![deny(unused_must_use)]

use addr::NonPresent;
use frame::FolioLock;
use pgtable::{Changed, EntryLock};

struct RmapRead;
impl sync::Stable for RmapRead {}

fn forget(
    lock: &mut EntryLock<'_>,
    guard: &RmapRead,
    folio: &FolioLock,
) -> Result<(), Changed> {
    lock.replace(guard, folio, NonPresent::HwPoison { pfn: folio.pfn() })?;
    Ok(())
}

fn main() {}
