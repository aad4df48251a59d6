//! Memory is faulted in without anybody touching it.
//!
//! Linux names: `populate_vma_page_range`, `__mm_populate`, `faultin_page_range`.

use addr::{Access, Errno, PAGE_SIZE, VirtAddr, VirtRange, VmFlags};

use crate::access::Force;
use crate::fault::{Cause, FaultError};
use crate::mm::Mm;
use crate::reach::{Hold, Reach, Unreached, Want};

/// Where populating stopped, and why.
#[derive(Clone, Debug)]
pub struct PopulateStop {
    /// The first page that is not there.
    pub at: VirtAddr,
    /// Why not.
    pub why: PopulateRefusal,
}

/// Why a page was not populated.
#[derive(Clone, Debug)]
pub enum PopulateRefusal {
    /// No area.
    NoArea,
    /// An area that cannot be populated, or does not allow the access.
    Refused,
    /// The fault failed.
    Fault(FaultError),
}

impl PopulateStop {
    /// What mlock reports, before it makes another number of it (`__mm_populate`).
    pub fn errno(&self) -> Errno {
        match &self.why {
            PopulateRefusal::Fault(error) => error.errno(),
            PopulateRefusal::NoArea => Errno::ENOMEM,
            PopulateRefusal::Refused => Errno::EFAULT,
        }
    }

    /// What MADV_POPULATE_READ and _WRITE report (`madvise_populate`).
    pub fn advice_errno(&self) -> Errno {
        match &self.why {
            PopulateRefusal::Fault(error) => match error.cause {
                Cause::OutOfMemory => Errno::ENOMEM,
                Cause::HwPoison { .. } => Errno::EHWPOISON,
                _ => Errno::EFAULT,
            },
            PopulateRefusal::NoArea => Errno::ENOMEM,
            PopulateRefusal::Refused => Errno::EINVAL,
        }
    }
}

impl Mm {
    /// `mm_populate`: [`Mm::populate`] for calls that succeed whether or not all of it can be had.
    pub(crate) fn populate_ignoring_errors(&self, range: VirtRange) {
        let mut at = range.start();
        while let Some(rest) = VirtRange::new(at, range.end()) {
            match self.populate(rest) {
                Ok(()) => return,
                // An area whose page cannot be had is left, and the next one tried.
                Err(stop) => {
                    let tree = self.mmap_lock().snapshot();
                    at = tree
                        .find(stop.at)
                        .map_or(range.end(), |vma| vma.range.end());
                }
            }
        }
    }

    /// [`Mm::populate`] for mlock, which reports the first error.
    pub(crate) fn populate_until_error(&self, range: VirtRange) -> Result<(), Errno> {
        self.populate(range).map_err(|stop| stop.errno())
    }

    /// [`Mm::populate_for`], with the errors of madvise.
    pub(crate) fn populate_for_advice(
        &self,
        range: VirtRange,
        access: Access,
    ) -> Result<(), Errno> {
        self.populate_for(range, access)
            .map_err(|stop| stop.advice_errno())
    }

    /// `__mm_populate`: faults in the pages of `range`, area by area, the way each area is best
    /// populated: private writable memory as if written, the rest as if read. Holes and areas without
    /// folios are skipped. Stops at the first page that cannot be had.
    pub fn populate(&self, range: VirtRange) -> Result<(), PopulateStop> {
        let mut at = range.start();
        while at < range.end() {
            let tree = self.mmap_lock().snapshot();
            let Some(vma) = tree
                .find_next(at)
                .filter(|vma| vma.range.start() < range.end())
            else {
                return Ok(());
            };
            let end = vma.range.end().min(range.end());
            let start = at.max(vma.range.start());
            at = end;
            let flags = vma.flags();
            if flags.intersects(VmFlags::IO | VmFlags::PFNMAP | VmFlags::LOCKONFAULT) {
                continue;
            }
            let Some(part) = VirtRange::new(start, end) else {
                continue;
            };
            let private_write = flags.contains(VmFlags::WRITE) && !flags.contains(VmFlags::SHARED);
            let access = if private_write {
                Access::Write
            } else {
                Access::Read
            };
            let force = if flags.is_accessible() {
                Force::Forced
            } else {
                Force::Plain
            };
            self.fault_in(
                part,
                Want {
                    access,
                    force,
                    hold: Hold::Mapped,
                },
            )?;
        }
        Ok(())
    }

    /// `faultin_page_range`: faults in every page of `range` for `access`, as MADV_POPULATE_READ and
    /// MADV_POPULATE_WRITE do. A hole or an area that does not allow it ends it.
    pub fn populate_for(&self, range: VirtRange, access: Access) -> Result<(), PopulateStop> {
        self.fault_in(
            range,
            Want {
                access,
                force: Force::Plain,
                hold: Hold::Mapped,
            },
        )
    }

    fn fault_in(&self, range: VirtRange, want: Want) -> Result<(), PopulateStop> {
        let mut at = range.start();
        while at < range.end() {
            if let Err(end) = Reach::new(at, want).wait(self) {
                let why = match end {
                    Unreached::Fault(error) => PopulateRefusal::Fault(error),
                    Unreached::NoArea => PopulateRefusal::NoArea,
                    Unreached::Refused | Unreached::Needs(_) => PopulateRefusal::Refused,
                };
                return Err(PopulateStop { at, why });
            }
            at = at.saturating_add(PAGE_SIZE);
        }
        Ok(())
    }
}
