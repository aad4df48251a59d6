//! An embedder's own region: memory that a closure, an archive or an object store serves.
//!
//! Implement [`Source`], or wrap a closure in [`from_fn`], and map a [`SourceRegion`]. For each page
//! that is missing the source is asked once, whoever faults on it, and answers what a page can be:
//!
//! | answer | the page becomes |
//! |---|---|
//! | [`Fetched::Zeroes`] | zeroes |
//! | [`Fetched::Data`] | these bytes |
//! | [`Fetched::Base`] | what the region below has, until it is written: a clone on write |
//! | [`Fetched::Later`] | whatever a [`Completer`] says, from any thread, at any later time |
//! | [`Fetched::Work`] | whatever a piece of blocking work returns |
//! | [`Fetched::Retry`] | asked for again |
//! | [`Fetched::Fail`] | nothing: the access fails, and the error comes out as it went in |
//!
//! The source supplies data and hears of writes. Frames, their owner, who pays, limits, rights and
//! reclaim stay with the core.

mod ticket;
mod region;
mod ops;
#[cfg(test)]
mod tests;

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use addr::{Errno, PgOff};

use crate::context::OutsideBytes;
use crate::failure::SourceError;

pub use region::{NoBase, RegionStats, SourceRegion};
pub use ticket::{Abandoned, Completer, Ticket, promise};

/// What serves the pages of a region. Called with an area locked, so no method may wait; answer
/// `Later` or `Work` instead.
pub trait Source: Send + Sync {
    /// What page `page` holds. Asked once while a page is missing, not once per fault.
    fn fetch(&self, page: PgOff) -> Fetched;

    /// Page `page` of a shared mapping is about to be written for the first time. Not called for
    /// private mappings, whose writes the region never sees.
    fn before_write(&self, page: PgOff) -> Permit {
        let _ = page;
        Permit::Granted
    }

    /// Somebody outside reads or writes at a byte offset. `None` leaves it to the core, which goes
    /// through the region's pages.
    fn access(&self, offset: u64, bytes: OutsideBytes<'_>) -> Option<Result<usize, Errno>> {
        let _ = (offset, bytes);
        None
    }

    /// What `/proc/PID/maps` prints.
    fn name(&self) -> Option<Cow<'static, str>> {
        None
    }
}

/// A source that is a closure from page number to content.
pub fn from_fn<F>(fetch: F) -> impl Source
where
    F: Fn(PgOff) -> Fetched + Send + Sync,
{
    FromFn(fetch)
}

/// A source that is a closure which may block: it is called with no lock held.
pub fn blocking<F>(fetch: F) -> impl Source
where
    F: Fn(PgOff) -> Delivery + Send + Sync + 'static,
{
    let fetch = alloc::sync::Arc::new(fetch);
    from_fn(move |page| {
        let fetch = alloc::sync::Arc::clone(&fetch);
        Fetched::Work(Box::new(move || fetch(page)))
    })
}

struct FromFn<F>(F);

impl<F> Source for FromFn<F>
where
    F: Fn(PgOff) -> Fetched + Send + Sync,
{
    fn fetch(&self, page: PgOff) -> Fetched {
        (self.0)(page)
    }
}

/// A source's answer for a missing page.
pub enum Fetched {
    /// All zeroes.
    Zeroes,
    /// These bytes; a short page ends in zeroes, bytes beyond a page are ignored.
    Data(Vec<u8>),
    /// What the region below has there; it is shared until it is written.
    Base,
    /// Promised: the fault waits, holding nothing, until the [`Completer`] is used, or dropped, which
    /// fails it.
    Later(Ticket<Delivery>),
    /// To be done with no lock held, by whoever faulted.
    Work(Box<dyn FnOnce() -> Delivery + Send>),
    /// Not now: ask again.
    Retry,
    /// Never.
    Fail(SourceError),
}

impl Fetched {
    /// A failure with an error of the source's own type.
    pub fn fail(error: impl core::error::Error + Send + Sync + 'static) -> Self {
        Fetched::Fail(alloc::sync::Arc::new(error))
    }
}

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fetched::Zeroes => "Zeroes",
            Fetched::Data(_) => "Data",
            Fetched::Base => "Base",
            Fetched::Later(_) => "Later",
            Fetched::Work(_) => "Work",
            Fetched::Retry => "Retry",
            Fetched::Fail(_) => "Fail",
        })
    }
}

/// What a promise, or a piece of work, delivers for a page.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// All zeroes.
    Zeroes,
    /// These bytes.
    Data(Vec<u8>),
    /// Not now: ask the source again.
    Retry,
    /// Never.
    Fail(SourceError),
}

impl Delivery {
    /// A failure with an error of the source's own type.
    pub fn fail(error: impl core::error::Error + Send + Sync + 'static) -> Self {
        Delivery::Fail(alloc::sync::Arc::new(error))
    }
}

/// A source's word on a first write.
#[derive(Debug)]
pub enum Permit {
    /// Write.
    Granted,
    /// Promised: the write waits for the answer.
    Later(Ticket<Result<(), SourceError>>),
    /// No: the write fails.
    Refused(SourceError),
}

impl Permit {
    /// A refusal with an error of the source's own type.
    pub fn refuse(error: impl core::error::Error + Send + Sync + 'static) -> Self {
        Permit::Refused(alloc::sync::Arc::new(error))
    }
}
