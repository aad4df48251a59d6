//! The entry is a marker: no memory, but something to remember.
//!
//! * *Held:* the fault lock. *Known:* which marks it has. *May:* answer, or go on as if the entry were
//!   empty. *Next:* the end, or the missing page's file.
//!
//! Linux names: `handle_pte_marker`, `pte_marker_handle_uffd_wp`.

use addr::{Level, Markers, VmFlags};

use crate::fault::case::Noted;
use crate::fault::outcome::{Cause, Done, Exit, Step};
use crate::fault::pte_locked::PteLocked;

impl Noted<'_> {
    /// `handle_pte_marker`: the marks in the kernel's order of precedence.
    pub(crate) fn marker(self, markers: Markers) -> Step<Done> {
        self.locked
            .request
            .note("handle_pte_marker", "a marker: what does it remember?");
        if markers.is_empty() {
            return Err(Exit::Fail(Cause::Bus));
        }
        if markers.contains(Markers::POISONED) {
            return Err(Exit::Fail(Cause::HwPoison { level: Level::Pte }));
        }
        if markers.contains(Markers::GUARD) {
            return Err(Exit::Fail(Cause::Refused));
        }
        if !self.locked.flags().contains(VmFlags::UFFD_WP) {
            // Nobody is registered any more: the mark means nothing, and the access is tried again.
            PteLocked::find(self.locked, self.snapshot)?.drop_note();
            return Err(Exit::SPURIOUS);
        }
        // This build has no userfaultfd, so no area can be registered.
        Err(Exit::Fail(Cause::Bus))
    }
}
