//! Why a plan was not made, and what stays behind.

use super::rearrange::{OldLinks, Rearrangement};
use crate::lock::MmapWrite;
use addr::Errno;
use alloc::boxed::Box;
use core::fmt;

/// Why a plan was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PlanError {
    /// A split would make too many areas (Linux: `max_map_count`).
    TooManyAreas,
    /// An area in the range is sealed.
    Sealed,
    /// No neighbour can take the range, and nothing else will do (growth in place).
    NoMerge,
    /// The object refuses: `may_split`, or one more writer of its file.
    Object(Errno),
}

impl PlanError {
    /// What the call returns.
    pub fn errno(self) -> Errno {
        match self {
            Self::TooManyAreas | Self::NoMerge => Errno::ENOMEM,
            Self::Sealed => Errno::EPERM,
            Self::Object(errno) => errno,
        }
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyAreas => f.write_str("too many areas"),
            Self::Sealed => f.write_str("the area is sealed"),
            Self::NoMerge => f.write_str("no neighbour can take the range"),
            Self::Object(errno) => write!(f, "the object refuses: {errno}"),
        }
    }
}

impl core::error::Error for PlanError {}

impl From<Errno> for PlanError {
    fn from(errno: Errno) -> Self {
        Self::Object(errno)
    }
}

/// A plan was not made. Linux splits as it goes, and leaves a first split in place when the second is
/// refused; [`settle`](Self::settle) does what Linux would have done up to there.
#[derive(Debug)]
#[must_use = "settle it: an earlier split may have to stay"]
pub struct Refused {
    why: PlanError,
    kept: Option<Box<Rearrangement>>,
}

impl Refused {
    pub(crate) fn after(why: PlanError, kept: Option<Rearrangement>) -> Self {
        Self {
            why,
            kept: kept.map(Box::new),
        }
    }

    /// Why.
    pub fn why(&self) -> PlanError {
        self.why
    }

    /// Whether a split stays behind.
    pub fn keeps_split(&self) -> bool {
        self.kept.is_some()
    }

    /// Leaves the areas as Linux would, and gives the call's error.
    pub fn settle<T>(self, held: &mut MmapWrite<'_, T>) -> Errno {
        if let Some(kept) = self.kept {
            // The areas replaced here were whole; what is replaced has its heirs' links.
            let _split = kept.commit(held, OldLinks::Replaced);
        }
        self.why.errno()
    }
}

impl From<PlanError> for Refused {
    fn from(why: PlanError) -> Self {
        Self { why, kept: None }
    }
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self::from(PlanError::from(errno))
    }
}
