//! A region as its areas and memory calls see it.

use alloc::borrow::Cow;
use alloc::boxed::Box;

use addr::{Errno, PAGE_SIZE, PgOff};
use frame::FolioLock;

use super::Permit;
use super::region::{Counters, SourceRegion};
use super::ticket::abandoned;
use crate::context::{
    AreaChange, AreaPeek, FaultContext, FaultPage, Intent, MapAround, Noticed, OutsideAccess,
    OutsideBytes, WriteNotice,
};
use crate::failure::FaultFailure;
use crate::file::FileObject;
use crate::ops::{Accessed, Callbacks, Notified, Supplied, VmOps};
use crate::request::{Brought, Obtained, PageRequest, Waiting};

impl VmOps for SourceRegion {
    fn callbacks(&self) -> Callbacks {
        Callbacks::OPEN
            | Callbacks::CLOSE
            | Callbacks::FAULT
            | Callbacks::MAP_PAGES
            | Callbacks::PAGE_MKWRITE
            | Callbacks::ACCESS
            | Callbacks::NAME
    }

    fn open(&self, _change: &AreaChange<'_>) {
        Counters::count(&self.counters.opened);
    }

    fn close(&self, _change: &AreaChange<'_>) {
        Counters::count(&self.counters.closed);
    }

    fn fault(&self, context: &mut FaultContext<'_>) -> Supplied {
        let (pgoff, charge) = (context.pgoff(), context.charge());
        if let Some(failure) = self.failure(context.take_obtained(), pgoff) {
            return Supplied::Error(failure);
        }
        let page = match context.intent() {
            // A shared write is noticed by page_mkwrite, which the core calls next; but it must
            // already be this region's own page.
            Intent::Share => self.get_for_write(pgoff, charge),
            Intent::Read | Intent::Copy => self.get(pgoff, charge),
        };
        match page {
            Ok(locked) => Supplied::Locked(locked),
            Err(supplied) => supplied,
        }
    }

    fn map_pages(&self, around: &mut MapAround<'_>) -> FaultPage {
        self.cache.map_pages(around);
        if let Some(base) = &self.base {
            base.map_below(around, &|pgoff| {
                pgoff < self.cache.end() && self.cache.is_absent(pgoff)
            });
        }
        around.fault_page()
    }

    fn page_mkwrite(&self, notice: &mut WriteNotice<'_>) -> Notified {
        let pgoff = notice.pgoff();
        let brought = notice.take_obtained_of(self.cache.id(), pgoff);
        if let Err(refusal) = self.ask_permit(pgoff, brought) {
            return refusal.into_notified();
        }
        let Noticed::Folio(folio) = notice.page() else {
            return Notified::NoPage;
        };
        let Some(locked) = folio.try_lock() else {
            return Notified::Later(PageRequest::folio_unlocked(folio.clone()));
        };
        if self.cache.owns(&locked, pgoff) {
            self.cache.mark_dirty(&locked);
            return Notified::Locked(locked);
        }
        drop(locked);
        // It is the base's page, or has left: have this region's own made, and fault again.
        match self.get_for_write(pgoff, None) {
            Ok(_) | Err(Supplied::NoPage) => Notified::NoPage,
            Err(Supplied::Later(request)) => Notified::Later(request),
            Err(Supplied::Error(failure)) => Notified::Error(failure),
            Err(_) => Notified::NoPage,
        }
    }

    fn access(&self, access: &mut OutsideAccess<'_>, mut bytes: OutsideBytes<'_>) -> Accessed {
        let offset = access.offset_bytes();
        if matches!(bytes, OutsideBytes::Write(_)) && !access.may_write() {
            return Accessed::Error(Errno::EINVAL);
        }
        if let Some(result) = self.source.access(offset, bytes.reborrow()) {
            return match result {
                Ok(nr_bytes) => Accessed::Bytes(nr_bytes),
                Err(errno) => Accessed::Error(errno),
            };
        }
        let pgoff = PgOff::containing(offset);
        let page = match bytes {
            OutsideBytes::Read(_) => match self.failure(access.take_obtained(), pgoff) {
                Some(failure) => Err(Supplied::Error(failure)),
                None => self.get(pgoff, None),
            },
            OutsideBytes::Write(_) => {
                let brought = access.take_obtained().map(|obtained| obtained.brought);
                self.ask_permit(pgoff, brought)
                    .map_err(Refusal::into_supplied)
                    .and_then(|()| self.get_for_write(pgoff, None))
            }
        };
        match page {
            Ok(locked) => Accessed::Bytes(self.copy(&locked, offset, bytes)),
            Err(Supplied::Later(request)) => Accessed::Later(request),
            Err(_) => Accessed::Error(Errno::EFAULT),
        }
    }

    fn name(&self, _peek: &AreaPeek<'_>) -> Option<Cow<'static, str>> {
        self.source.name()
    }
}

impl SourceRegion {
    /// Moves bytes between a caller and one page, up to the page's end; says how many.
    fn copy(&self, page: &FolioLock, offset: u64, bytes: OutsideBytes<'_>) -> usize {
        let at = offset % PAGE_SIZE;
        let room = (PAGE_SIZE - at) as usize;
        match bytes {
            OutsideBytes::Read(buf) => {
                let nr = buf.len().min(room);
                page.read(at, &mut buf[..nr]);
                nr
            }
            OutsideBytes::Write(data) => {
                let nr = data.len().min(room);
                page.write(at, &data[..nr]);
                self.cache.mark_dirty(page);
                nr
            }
        }
    }
}

impl FileObject for SourceRegion {
    fn size_bytes(&self) -> Option<u64> {
        Some(self.cache.size_bytes())
    }

    fn is_resident(&self, pgoff: PgOff) -> bool {
        self.cache.is_resident(pgoff)
            || self
                .base
                .as_ref()
                .is_some_and(|base| base.is_resident(pgoff))
    }
}

impl SourceRegion {
    /// Maps what this region has for one laid over it, where that has nothing of its own. It is
    /// asked under the lock of the page that would be mapped, as in `get`.
    fn map_below(&self, around: &mut MapAround<'_>, left_to_us: &dyn Fn(PgOff) -> bool) {
        let (mut pgoff, last) = (around.first(), around.last());
        while pgoff <= last {
            if around.wants(pgoff) && left_to_us(pgoff) {
                self.cache.offer(around, pgoff, left_to_us);
            }
            let Some(next) = pgoff.checked_add(1) else {
                break;
            };
            pgoff = next;
        }
        if let Some(base) = &self.base {
            base.map_below(around, &|pgoff| {
                left_to_us(pgoff) && pgoff < self.cache.end() && self.cache.is_absent(pgoff)
            });
        }
    }

    /// Asks the source whether a page may be written, unless `brought` says that it has agreed.
    fn ask_permit(&self, pgoff: PgOff, brought: Option<Brought>) -> Result<(), Refusal> {
        match brought {
            Some(Brought::Failed(failure)) => return Err(Refusal::Failed(failure)),
            Some(Brought::Other(any)) if any.is::<Granted>() => return Ok(()),
            _ => {}
        }
        Counters::count(&self.counters.notices);
        match self.source.before_write(pgoff) {
            Permit::Granted => Ok(()),
            Permit::Refused(error) => Err(Refusal::Failed(FaultFailure::Source(error))),
            Permit::Later(ticket) => {
                let seen = self.cache.revalidate(pgoff);
                let request = PageRequest::announced(
                    Waiting::Ticket,
                    ticket.readiness(),
                    move || match ticket.wait() {
                        None => Obtained::provided(Brought::Failed(abandoned()), seen),
                        Some(Ok(())) => {
                            let granted = Brought::Other(Box::new(Granted));
                            Obtained::provided(granted, seen)
                        }
                        Some(Err(error)) => {
                            let failed = Brought::Failed(FaultFailure::Source(error));
                            Obtained::provided(failed, seen)
                        }
                    },
                );
                Err(Refusal::Later(request))
            }
        }
    }
}

/// Why a write may not go ahead now.
enum Refusal {
    Failed(FaultFailure),
    Later(PageRequest),
}

impl Refusal {
    fn into_supplied(self) -> Supplied {
        match self {
            Refusal::Failed(failure) => Supplied::Error(failure),
            Refusal::Later(request) => Supplied::Later(request),
        }
    }

    fn into_notified(self) -> Notified {
        match self {
            Refusal::Failed(failure) => Notified::Error(failure),
            Refusal::Later(request) => Notified::Later(request),
        }
    }
}

/// The source's consent, carried from a performed request to the next attempt.
struct Granted;
