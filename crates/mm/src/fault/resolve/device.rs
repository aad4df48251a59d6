//! Memory that is not in the arena.
//!
//! * *Held:* the fault lock. *Known:* a device page's number. *May:* ask for its bytes, by a request.
//! * *Next:* [`PteLocked`](crate::fault::pte_locked::PteLocked).
//!
//! A page of a mapped host file is the host's own (FS_DAX). Loads and stores go to it directly; only a
//! private write needs its bytes, and reading them may wait for the host. So the bytes are asked for:
//! the next attempt finds them in its hands, and installs them if the entry still is what it was.
//!
//! Linux names: `dax_iomap_cow_copy`, `do_swap_page` for device-private entries.

use alloc::sync::Arc;

use addr::Pfn;
use frame::{Contents, FreshFolio};
use machine::FaultInfo;
use object::{EvenCows, FaultFailure, Obtained, PageRequest, Waiting};

use super::file::Ready;
use crate::fault::Fault;
use crate::fault::case::Noted;
use crate::fault::outcome::{Cause, Done, Exit, Step};
use crate::fault::vma_locked::VmaLocked;
use crate::mm::Mm;

impl VmaLocked<'_> {
    /// A private copy of the device page that is mapped here. Its object is asked for it as if the
    /// page were missing: the first time it hands back a request to read it, then it has the data.
    pub(crate) fn copy_of_device(&mut self) -> Step<FreshFolio> {
        self.may_ask_object()?;
        let prepared = self.alloc_private(Contents::Uninit)?;
        match self.ask_for_copy(prepared)? {
            (Ready::Private(copy), _) => Ok(copy),
            (Ready::Zeroes, Some(mut copy)) => {
                copy.zero();
                Ok(copy)
            }
            (Ready::Page(folio, pfn), Some(mut copy)) => {
                copy.copy_from(pfn);
                drop(folio);
                Ok(copy)
            }
            _ => Err(FaultFailure::Bus.into()),
        }
    }
}

impl Noted<'_> {
    /// `pgmap->ops->migrate_to_ram`: there is no device that keeps pages of its own in this build.
    pub(crate) fn device_private(self) -> Step<Done> {
        self.locked.request.note("migrate_to_ram", "no such device");
        Err(Exit::Fail(Cause::Bus))
    }
}

impl Fault {
    /// A fault on a page that the tables hold present but whose device has taken it away, such as a
    /// page of a host file that someone else has truncated ([`machine::Trap::Lost`]).
    ///
    /// The request asks the device what is still there and unmaps what is not; then the fault goes its
    /// usual way, and the size check decides. The caller performs the request, hands over what it
    /// obtained, and attempts.
    pub fn of_lost_page(mm: &Arc<Mm>, info: &FaultInfo, pfn: Pfn) -> (Self, PageRequest) {
        let devices = Arc::clone(mm.devices());
        let request = PageRequest::new(Waiting::Size, move || {
            if let Some(page) = devices.page(pfn) {
                // An error leaves the size as it was known; the page is unmapped all the same.
                let _ = page.pagemap.refresh_size();
                page.pagemap
                    .mappings()
                    .unmap(page.pgoff, Some(page.pgoff), EvenCows::No);
            }
            Obtained::nothing()
        });
        (Fault::new(mm, info), request)
    }
}

impl Mm {
    /// Serves a fault on a page that its device has taken away, waiting where it must.
    #[cfg(not(feature = "no-mmu"))]
    pub fn handle_lost_page(
        &self,
        info: &FaultInfo,
        pfn: Pfn,
    ) -> Result<crate::Handled, crate::FaultError> {
        if let Some(mm) = self.downgrade().upgrade() {
            let (_, request) = Fault::of_lost_page(&mm, info, pfn);
            let _nothing = request.perform();
        }
        self.handle_fault(info)
    }
}
