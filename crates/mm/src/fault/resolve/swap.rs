//! Something else than a mapping stands in the entry.
//!
//! * *Held:* the fault lock. *Known:* the entry was a note when it was looked at.
//! * *May:* wait for what ends by itself, by asking to; never in place.
//! * *Next:* the file of that kind of note.
//!
//! Linux name: `do_swap_page`. This build has no swap devices, no migration and no device-private
//! memory: their entries are routed as the kernel routes them, and answered as by a kernel built
//! without them.

use addr::{Level, NonPresent, Pfn};
use object::{Obtained, PageRequest, Waiting};

use crate::fault::case::Noted;
use crate::fault::outcome::{Cause, Done, Exit, Step};

impl Noted<'_> {
    /// The first part of `do_swap_page`: which kind of note it is.
    pub(crate) fn resolve(self) -> Step<Done> {
        self.locked
            .request
            .note("do_swap_page", "the entry is a note, not a mapping");
        match self.note {
            NonPresent::Busy => Err(self.wait_for_busy()),
            NonPresent::Migration { pfn, .. } => Err(self.wait_for_migration(pfn)),
            NonPresent::Marker(markers) => self.marker(markers),
            NonPresent::HwPoison { .. } => Err(Exit::Fail(Cause::HwPoison { level: Level::Pte })),
            NonPresent::DevicePrivate { .. } => self.device_private(),
            NonPresent::DeviceExclusive { .. } => Err(Exit::Fail(Cause::Bus)),
            // `get_swap_device`: the device is not there (any more). The kernel returns and lets the
            // access fault for ever; a space without devices never holds such an entry.
            NonPresent::Swap { .. } => Err(Exit::Fail(Cause::Bus)),
        }
    }

    /// `migration_entry_wait`: the entry stands only while whoever moves the page has it locked.
    fn wait_for_migration(self, from: Pfn) -> Exit {
        self.locked
            .request
            .note("migration_entry_wait", "the page is being moved: wait");
        match self.locked.mm.arena().try_get(from) {
            Some(folio) => Exit::Wait(PageRequest::folio_unlocked(folio)),
            // It has moved meanwhile.
            None => Exit::SPURIOUS,
        }
    }

    /// The same for a page that is being replaced: whoever put the entry there takes it away again in
    /// bounded time.
    fn wait_for_busy(self) -> Exit {
        self.locked
            .request
            .note("wait_while_busy", "somebody replaces the page: wait");
        let space = self.locked.mm.downgrade();
        let (page, seen) = (self.locked.page(), self.snapshot);
        Exit::Wait(PageRequest::new(Waiting::BusyEntry, move || {
            if let Some(mm) = space.upgrade() {
                mm.table().wait_while_busy(page, seen);
            }
            Obtained::nothing()
        }))
    }
}
