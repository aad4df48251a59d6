//! The epoch where there is no host: one count of readers.
//!
//! Retired work waits in a list. Whoever finds the list non-empty takes it out, then looks at the
//! count: if nobody is pinned, everyone who could know what was retired is gone. Both the pin and
//! that look are read-modify-writes of one word, hence ordered: a reader that pins after the look
//! sees what was unlinked before it.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::Mutex;
use crate::atomic::{AtomicUsize, Ordering};

type Work = Box<dyn FnOnce() + Send>;

struct Domain {
    nr_pinned: AtomicUsize,
    nr_undone: AtomicUsize,
    retired: Mutex<Vec<Work>>,
}

impl Domain {
    crate::lock::const_unless_modelled! {
        pub(super) fn new() -> Self {
            Self {
                nr_pinned: AtomicUsize::new(0),
                nr_undone: AtomicUsize::new(0),
                retired: Mutex::new(Vec::new()),
            }
        }
    }

    fn collect(&self) {
        let taken = core::mem::take(&mut *self.retired.lock());
        if taken.is_empty() {
            return;
        }
        if self.nr_pinned.fetch_add(0, Ordering::AcqRel) != 0 {
            self.retired.lock().extend(taken);
            return;
        }
        for work in taken {
            work();
            self.nr_undone.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

#[cfg(not(any(loom, shuttle)))]
static DOMAIN: Domain = Domain::new();

#[cfg(loom)]
loom::lazy_static! {
    static ref DOMAIN: Domain = Domain::new();
}

#[cfg(shuttle)]
shuttle::lazy_static! {
    static ref DOMAIN: Domain = Domain::new();
}

pub(super) struct Guard;

impl Guard {
    #[inline]
    pub(super) fn new() -> Self {
        DOMAIN.nr_pinned.fetch_add(1, Ordering::AcqRel);
        Self
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if DOMAIN.nr_pinned.fetch_sub(1, Ordering::AcqRel) == 1
            && DOMAIN.nr_undone.load(Ordering::Relaxed) != 0
        {
            DOMAIN.collect();
        }
    }
}

pub(super) fn is_pinned() -> bool {
    false
}

pub(super) fn retire(work: Work) {
    DOMAIN.nr_undone.fetch_add(1, Ordering::AcqRel);
    DOMAIN.retired.lock().push(work);
}

pub(super) fn barrier() {
    while DOMAIN.nr_undone.load(Ordering::Acquire) != 0 {
        DOMAIN.collect();
        crate::relax();
    }
}
