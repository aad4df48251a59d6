//! Work that must wait, as a value.
//!
//! Linux sleeps in the middle of a fault and then has to wonder which of its locks it still holds.
//! Here the object that would sleep returns a [`PageRequest`] instead. It is `'static`, so nothing
//! borrowed under a lock can be inside it; whoever gets it has already let every lock go, and calls
//! [`PageRequest::perform`] on a thread that may block.
//!
//! What the work brings, [`Obtained`], is owned by the fault. Nobody can take it away, but it may
//! have gone stale: [`Revalidate`] says of which object, page and size it speaks, and the next
//! attempt compares under its locks before it uses it.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::any::Any;
use core::fmt;

use addr::PgOff;
use frame::{Folio, FreshFolio, OwnerId};

use crate::failure::FaultFailure;

/// What a request waits for. For reports and statistics; the work itself is in the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Waiting {
    /// Data read from a backing store.
    Read,
    /// A folio that someone else has locked.
    FolioLock,
    /// An answer promised by an embedder's [`Ticket`](crate::source::Ticket).
    Ticket,
    /// The present size of an object that others may resize.
    Size,
    /// A free frame.
    Frame,
    /// A frame for a page table.
    Table,
    /// A busy or migration entry.
    BusyEntry,
    /// Anything else, named.
    Other(&'static str),
}

impl Waiting {
    /// Whether a fault that waited for this counts as major (Linux: `VM_FAULT_MAJOR`).
    pub fn is_major(self) -> bool {
        matches!(self, Waiting::Read | Waiting::Ticket)
    }
}

/// Says when work that does not need a thread of its own can be performed without blocking.
pub trait Readiness: Send + Sync {
    /// Calls `wake` once, as soon as the work would not block; at once if that is now.
    fn when_ready(&self, wake: Box<dyn FnOnce() + Send>);
}

/// Work to be done with no lock held. Dropping it undone is always allowed.
#[must_use = "a request does nothing until it is performed"]
pub struct PageRequest {
    waiting: Waiting,
    work: Box<dyn FnOnce() -> Obtained + Send>,
    ready: Option<Arc<dyn Readiness>>,
}

impl PageRequest {
    /// A request that performs `work`.
    pub fn new(waiting: Waiting, work: impl FnOnce() -> Obtained + Send + 'static) -> Self {
        PageRequest {
            waiting,
            work: Box::new(work),
            ready: None,
        }
    }

    /// As [`PageRequest::new`], for work that someone else completes and announces.
    pub fn announced(
        waiting: Waiting,
        ready: Arc<dyn Readiness>,
        work: impl FnOnce() -> Obtained + Send + 'static,
    ) -> Self {
        PageRequest {
            waiting,
            work: Box::new(work),
            ready: Some(ready),
        }
    }

    /// Waits until nobody has `folio` locked, and keeps it alive meanwhile
    /// (Linux: `folio_wait_locked`).
    pub fn folio_unlocked(folio: Folio) -> Self {
        PageRequest::new(Waiting::FolioLock, move || {
            folio.wait_until_unlocked();
            Obtained::nothing()
        })
    }

    /// What it waits for.
    pub fn waiting(&self) -> Waiting {
        self.waiting
    }

    /// Does the work. May block for as long as the backing store takes: the caller holds no lock
    /// (debug builds look).
    #[track_caller]
    pub fn perform(self) -> Obtained {
        sync::rank::assert_none_held();
        (self.work)()
    }

    /// Gives the request back through `give` when performing it will not block, if somebody will
    /// announce that; otherwise at once. So an event loop spends no thread on a promised answer.
    pub fn when_ready(mut self, give: impl FnOnce(PageRequest) + Send + 'static) {
        match self.ready.take() {
            Some(ready) => ready.when_ready(Box::new(move || give(self))),
            None => give(self),
        }
    }
}

impl fmt::Debug for PageRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageRequest")
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

/// Of what a thing obtained without locks speaks; compared again before it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revalidate {
    /// The object (Linux: `folio->mapping`).
    pub mapping: OwnerId,
    /// The page of it (Linux: `folio->index`).
    pub index: PgOff,
    /// The object's size in bytes when it was obtained, if it has one.
    pub size_bytes: Option<u64>,
}

/// What a performed request brings to the next attempt.
#[derive(Debug)]
#[must_use = "what was obtained belongs to the next attempt"]
pub struct Obtained {
    /// The thing itself.
    pub brought: Brought,
    /// What must still be true for it to be used; `None` if nothing can have changed.
    pub revalidate: Option<Revalidate>,
}

/// The thing a request brought.
#[derive(Debug)]
#[non_exhaustive]
pub enum Brought {
    /// Only the knowledge that the wait is over.
    Nothing,
    /// A counted reference to a folio of an object, so that it cannot be evicted before the retry.
    Folio(Folio),
    /// A private frame filled with the page's data.
    Data(FreshFolio),
    /// A free frame.
    Frame(FreshFolio),
    /// A zeroed frame for a page table.
    Table(FreshFolio),
    /// The certainty that the page cannot be had.
    Failed(FaultFailure),
    /// Something only the object itself understands.
    Other(Box<dyn Any + Send>),
}

impl Obtained {
    /// The wait is over, nothing was brought.
    pub fn nothing() -> Self {
        Obtained {
            brought: Brought::Nothing,
            revalidate: None,
        }
    }

    /// Something that cannot go stale.
    pub fn of(brought: Brought) -> Self {
        Obtained {
            brought,
            revalidate: None,
        }
    }

    /// Something to be used only while `revalidate` still holds.
    pub fn provided(brought: Brought, revalidate: Revalidate) -> Self {
        Obtained {
            brought,
            revalidate: Some(revalidate),
        }
    }

    /// The page cannot be had.
    pub fn failed(failure: FaultFailure) -> Self {
        Obtained::of(Brought::Failed(failure))
    }

    /// Whether it speaks of page `index` of `mapping`, or of nothing in particular.
    pub fn speaks_of(&self, mapping: OwnerId, index: PgOff) -> bool {
        self.revalidate
            .is_none_or(|seen| seen.mapping == mapping && seen.index == index)
    }
}
