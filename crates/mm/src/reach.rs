//! One page of a space, reached from outside: looked up, faulted in if it must be, and held.
//!
//! Linux names: `__get_user_pages`, `follow_page_pte`, `faultin_page`, `check_vma_flags`,
//! `gup_must_unshare`, `can_follow_write_pte`.
//!
//! Like a fault, an attempt waits for nothing but locks: what has to be waited for is handed back.

use addr::{Access, Errno, FaultFlags, Pfn, VirtAddr, VmFlags};
use frame::{Folio, FolioFlags, FolioPin};
use object::{Obtained, PageRequest};
use pgtable::{Entry, EntryFlags};
use vma::{FaultLock, Vma};

use crate::access::Force;
use crate::fault::{FaultError, FaultRequest, Pending, try_until_it_waits};
use crate::mm::{Guarded, Mm, MmFlags};

/// What is wanted of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Want {
    /// To do what.
    pub(crate) access: Access,
    /// Whether the area's rights bind.
    pub(crate) force: Force,
    /// How it is to be held.
    pub(crate) hold: Hold,
}

/// How a page is held once it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Not at all: it only has to be mapped (populate).
    Mapped,
    /// By a reference (`FOLL_GET`).
    Reference,
    /// So that it stays mapped where it is (`FOLL_PIN`).
    Pin,
}

/// A page that was reached.
#[derive(Debug)]
pub(crate) enum Reached {
    /// It is mapped; nobody asked to hold it.
    Mapped,
    /// A folio, held; and which of its frames.
    Folio(
        #[expect(dead_code, reason = "held, not looked at")] Folio,
        Pfn,
    ),
    /// A folio, pinned; and which of its frames.
    Pinned(FolioPin, Pfn),
    /// The zero page.
    Zeroes,
    /// Device memory.
    Device(Pfn),
}

/// Why a page was not reached, so far.
#[derive(Debug)]
pub(crate) enum Unreached {
    /// Perform this with nothing held, hand over what it obtained, try again.
    Needs(PageRequest),
    /// No area there.
    NoArea,
    /// The area does not allow it.
    Refused,
    /// The fault failed.
    Fault(FaultError),
}

impl Unreached {
    /// What a call reports.
    pub(crate) fn errno(&self) -> Errno {
        match self {
            Unreached::Fault(error) => error.errno(),
            Unreached::Needs(_) => Errno::EAGAIN,
            Unreached::NoArea | Unreached::Refused => Errno::EFAULT,
        }
    }
}

/// A page being reached; owns what it keeps between attempts.
#[derive(Debug)]
pub(crate) struct Reach {
    addr: VirtAddr,
    want: Want,
    fault: Option<FaultRequest>,
}

/// What a look at the tables came to.
enum Look {
    Got(Reached),
    /// Fault it in this way, then look again.
    Fault(FaultFlags),
}

impl Reach {
    /// The page at `addr`.
    pub(crate) fn new(addr: VirtAddr, want: Want) -> Self {
        Reach {
            addr,
            want,
            fault: None,
        }
    }

    /// Takes in what a request obtained.
    pub(crate) fn take_in(&mut self, obtained: Obtained) {
        if let Some(fault) = &mut self.fault {
            fault.take_in(obtained);
        }
    }

    /// Looks, faults, looks again, until the page is held or something must be waited for.
    pub(crate) fn attempt(&mut self, mm: &Mm) -> Result<Reached, Unreached> {
        loop {
            if self.fault.is_none() {
                match self.look(mm)? {
                    Look::Got(reached) => return Ok(reached),
                    Look::Fault(flags) => {
                        self.fault = Some(FaultRequest::of_access(self.addr, flags));
                    }
                }
            }
            let Some(fault) = &mut self.fault else {
                continue;
            };
            match try_until_it_waits(mm, fault) {
                Ok(_) => self.fault = None,
                Err(Pending::Failed(error)) => return Err(Unreached::Fault(error)),
                Err(Pending::Needs(work)) => return Err(Unreached::Needs(work)),
            }
        }
    }

    /// As [`Reach::attempt`], waiting where it must.
    pub(crate) fn wait(mut self, mm: &Mm) -> Result<Reached, Unreached> {
        loop {
            sync::rank::assert_none_held();
            match self.attempt(mm) {
                Err(Unreached::Needs(work)) => self.take_in(work.perform()),
                end => return end,
            }
        }
    }

    fn look(&self, mm: &Mm) -> Result<Look, Unreached> {
        let lock = match mm.mmap_lock().lock_vma_under_rcu(self.addr) {
            Ok(area) => FaultLock::by_vma(area),
            Err(_) => FaultLock::by_mmap(mm.read(), self.addr).map_err(|_| Unreached::NoArea)?,
        };
        check_area(lock.vma(), self.want)?;
        Ok(self.follow(mm, &lock))
    }

    /// `follow_page_pte`: the entry under its lock, and whether it will do.
    fn follow(&self, mm: &Mm, lock: &FaultLock<'_, Guarded>) -> Look {
        let write = match self.want.access {
            Access::Write => FaultFlags::WRITE,
            Access::Read | Access::Execute => FaultFlags::empty(),
        };
        let fault = |how: FaultFlags| Look::Fault(FaultFlags::DEFAULT | FaultFlags::REMOTE | how);
        let pin = sync::pin();
        let entry = mm
            .table()
            .slot(self.addr, &pin)
            .and_then(|slot| slot.lock());
        let Some(entry) = entry else {
            return fault(write);
        };
        let now = entry.read();
        let Some(leaf) = now.mapping() else {
            return fault(write);
        };
        let hinted = now.is_prot_none() && lock.vma().flags().is_accessible();
        if hinted && self.want.force == Force::Plain {
            return fault(write);
        }
        let folio = match leaf.flags.contains(EntryFlags::SPECIAL) {
            true => None,
            false => mm.arena().try_get(leaf.pfn),
        };
        if self.want.access == Access::Write
            && !now.is_writable()
            && !self.may_force(lock.vma(), now, folio.as_ref())
        {
            return fault(write);
        }
        let Some(folio) = folio else {
            return Look::Got(without_folio(leaf.pfn, now));
        };
        if self.must_unshare(&folio) {
            return fault(FaultFlags::UNSHARE);
        }
        Look::Got(match self.want.hold {
            Hold::Mapped => Reached::Mapped,
            Hold::Reference => Reached::Folio(folio, leaf.pfn),
            Hold::Pin => {
                mm.set_flags(MmFlags::HAS_PINNED);
                Reached::Pinned(folio.pin(), leaf.pfn)
            }
        })
    }

    /// `can_follow_write_pte`: a forced write goes through a read-only entry if the page is private
    /// and this space's alone.
    fn may_force(&self, vma: &Vma, entry: Entry, folio: Option<&Folio>) -> bool {
        let flags = vma.flags();
        self.want.force == Force::Forced
            && !flags.intersects(VmFlags::SHARED | VmFlags::MAYSHARE | VmFlags::WRITE)
            && flags.contains(VmFlags::MAYWRITE)
            && !entry.is_uffd_wp()
            && folio.is_some_and(|folio| folio.is_anon() && folio.has(FolioFlags::ANON_EXCLUSIVE))
    }

    /// `gup_must_unshare`: a page pinned for reading must be this space's alone, or a later write
    /// would copy it away from under the pin.
    fn must_unshare(&self, folio: &Folio) -> bool {
        self.want.hold == Hold::Pin
            && self.want.access != Access::Write
            && folio.is_anon()
            && !folio.has(FolioFlags::ANON_EXCLUSIVE)
    }
}

fn without_folio(pfn: Pfn, entry: Entry) -> Reached {
    if entry.is_special() {
        Reached::Zeroes
    } else {
        Reached::Device(pfn)
    }
}

/// `check_vma_flags`.
fn check_area(vma: &Vma, want: Want) -> Result<(), Unreached> {
    let flags = vma.flags();
    if flags.intersects(VmFlags::IO | VmFlags::PFNMAP) {
        return Err(Unreached::Refused);
    }
    let forced = want.force == Force::Forced;
    let allowed = match want.access {
        Access::Write if flags.contains(VmFlags::WRITE) => true,
        Access::Write => forced && flags.is_cow_mapping(),
        Access::Read | Access::Execute if flags.contains(VmFlags::READ) => true,
        Access::Read | Access::Execute => forced && flags.contains(VmFlags::MAYREAD),
    };
    if allowed {
        Ok(())
    } else {
        Err(Unreached::Refused)
    }
}
