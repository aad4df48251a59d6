//! Verbs that run short of frames.
//!
//! A verb needs frames for tables, and fork for copies of pinned pages. When there is none it lets go of
//! every lock, waits until what was unlinked is free, and is performed once more; only then memory is
//! called exhausted. A fault does the same by a [request](object::PageRequest).

use addr::Errno;
use frame::OutOfFrames;

use crate::mm::Mm;

/// Why a verb stopped. Of a verb that ran short nothing is done that could not be done again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It is refused.
    Refused(Errno),
    /// There was no frame for it.
    Short,
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Stop::Refused(errno)
    }
}

impl From<OutOfFrames> for Stop {
    fn from(_: OutOfFrames) -> Self {
        Stop::Short
    }
}

impl From<Stop> for Errno {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Refused(errno) => errno,
            Stop::Short => Errno::ENOMEM,
        }
    }
}

impl Mm {
    /// Performs `verb`; once more, when frames ran short, after some have become free. Nothing is held.
    pub(crate) fn with_frames<T>(
        &self,
        mut verb: impl FnMut() -> Result<T, Stop>,
    ) -> Result<T, Errno> {
        let mut done = verb();
        if matches!(done, Err(Stop::Short)) {
            self.make_frames_free();
            done = verb();
        }
        done.map_err(Errno::from)
    }

    /// Drops what the space said may be dropped, and waits until what was unlinked is free: nobody
    /// pinned can see it any more.
    pub(crate) fn make_frames_free(&self) {
        self.drop_droppable();
        sync::barrier();
    }
}
