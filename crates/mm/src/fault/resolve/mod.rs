//! One file a case: what each fault needs before its entry can be written.
//!
//! Private memory is resolved while the tables are pinned, since nothing calls out. Everything that
//! may call an object or a machine is an [`Away`]: it holds the fault lock and no pin.

pub(crate) mod anon;
pub(crate) mod file;
pub(crate) mod cow;
pub(crate) mod swap;
pub(crate) mod numa;
pub(crate) mod huge;
pub(crate) mod device;
pub(crate) mod marker;

use super::case::{Case, HugeLeaf, MissingPage, Noted};
use super::outcome::{Done, Step};
use cow::{CopyPage, NotifyWrite, Wp};

/// A case whose resolver may call out. The fault lock is held, nothing is pinned.
#[derive(Debug)]
pub(crate) enum Away<'f> {
    Page(MissingPage<'f>),
    Noted(Noted<'f>),
    Copy(CopyPage<'f>),
    Notify(NotifyWrite<'f>),
    Huge(HugeLeaf<'f>),
}

/// A case, as far as it came while the tables were pinned.
#[derive(Debug)]
pub(crate) enum Resolved<'f> {
    Done(Done),
    Away(Away<'f>),
}

impl<'f> Case<'f, '_> {
    /// Resolves what calls nobody; hands back the rest, without the pin.
    #[inline]
    pub(crate) fn resolve_pinned(self) -> Step<Resolved<'f>> {
        Ok(Resolved::Away(match self {
            Case::MissingAnon(missing) => return missing.resolve().map(Resolved::Done),
            Case::Hinted(present) => return present.resolve_hint().map(Resolved::Done),
            Case::Present(present) => match present.resolve()? {
                Wp::Done(done) => return Ok(Resolved::Done(done)),
                Wp::Copy(copy) => Away::Copy(copy),
                Wp::Notify(notify) => Away::Notify(notify),
            },
            Case::MissingPage(missing) => Away::Page(missing),
            Case::Noted(noted) => Away::Noted(noted),
            Case::Huge(leaf) => Away::Huge(leaf),
        }))
    }
}

impl Away<'_> {
    /// Resolves the rest.
    pub(crate) fn resolve(self) -> Step<Done> {
        match self {
            Away::Page(missing) => missing.resolve(),
            Away::Noted(noted) => noted.resolve(),
            Away::Copy(copy) => copy.resolve(),
            Away::Notify(notify) => notify.resolve(),
            Away::Huge(leaf) => leaf.resolve(),
        }
    }
}
