//! Operations in the style of Linux 2.6.24, as an adapter onto [`VmOps::fault`].
//!
//! There `nopage(area, address, &type)` returned a page or one of two errors, and said by `type`
//! whether it had to wait. It could sleep, under the mmap lock; here it may not, so an old object
//! that needs to wait answers [`Page::Later`].

use core::fmt;

use addr::VirtAddr;
use frame::Folio;

use crate::area::Area;
use crate::context::{AreaChange, FaultContext};
use crate::failure::FaultFailure;
use crate::ops::{Callbacks, Supplied, VmOps};
use crate::request::PageRequest;

/// The answer of [`Nopage::nopage`].
#[derive(Debug)]
pub enum Page {
    /// A page, at once (`VM_FAULT_MINOR`).
    Minor(Folio),
    /// A page that had to be waited for (`VM_FAULT_MAJOR`).
    Major(Folio),
    /// Not without waiting. The old interface slept here.
    Later(PageRequest),
    /// Nothing there (`NOPAGE_SIGBUS`).
    Sigbus,
    /// No memory (`NOPAGE_OOM`).
    Oom,
}

/// The operations table of 2.6.24: `open`, `close` and `nopage`.
pub trait Nopage: Send + Sync + fmt::Debug {
    /// The page of `area` at `address`. *Held:* the mmap lock, for read.
    fn nopage(&self, area: &Area, address: VirtAddr) -> Page;

    /// As [`VmOps::open`].
    fn open(&self, area: &Area) {
        let _ = area;
    }

    /// As [`VmOps::close`].
    fn close(&self, area: &Area) {
        let _ = area;
    }
}

/// An old operations table where a new one is wanted. It has no `map_pages`, so its faults run under
/// the mmap lock as they always did.
#[derive(Debug)]
pub struct NopageOps<N>(pub N);

impl<N: Nopage> VmOps for NopageOps<N> {
    fn callbacks(&self) -> Callbacks {
        Callbacks::OPEN | Callbacks::CLOSE | Callbacks::FAULT
    }

    fn open(&self, change: &AreaChange<'_>) {
        self.0.open(change.area());
    }

    fn close(&self, change: &AreaChange<'_>) {
        self.0.close(change.area());
    }

    fn fault(&self, context: &mut FaultContext<'_>) -> Supplied {
        match self.0.nopage(context.area(), context.address()) {
            Page::Minor(folio) => locked(folio),
            Page::Major(folio) => {
                context.set_major();
                locked(folio)
            }
            Page::Later(request) => Supplied::Later(request),
            Page::Sigbus => Supplied::Error(FaultFailure::Bus),
            Page::Oom => Supplied::Error(FaultFailure::OutOfMemory),
        }
    }
}

/// The page as the core wants it. What an old driver hands out is its own to vouch for, and often in no
/// object at all.
fn locked(folio: Folio) -> Supplied {
    match folio.try_into_locked() {
        Ok(locked) => Supplied::Locked(locked),
        Err(folio) => Supplied::Later(PageRequest::folio_unlocked(folio)),
    }
}
