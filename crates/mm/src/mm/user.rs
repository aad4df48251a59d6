//! Users of a space, and how the last one goes (Linux: `mmget`, `mmput`, `mmput_async`).

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::Deref;

use sync::atomic::Ordering;

use super::Mm;

/// A user of a space (`mm_users`): while one exists the memory stays. Cloning is `mmget`, dropping is
/// `mmput`; the last one tears the space down, on the thread that drops it.
#[derive(Debug)]
pub struct MmUser {
    mm: Arc<Mm>,
    put: Put,
}

/// Whether a user still counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Put {
    /// Yes: it is to be taken off when it goes.
    Owed,
    /// It was taken off already.
    Done,
}

/// The memory of a space that has no user any more; dropping it tears it down.
struct Teardown(Arc<Mm>);

impl Drop for Teardown {
    fn drop(&mut self) {
        self.0.last_user_gone();
    }
}

impl MmUser {
    /// A user that is in the count already.
    pub(super) fn counted(mm: Arc<Mm>) -> Self {
        MmUser { mm, put: Put::Owed }
    }

    /// `mmgrab`: keeps the structure, not the memory.
    pub fn grab(&self) -> Arc<Mm> {
        Arc::clone(&self.mm)
    }

    /// The space, as faults and accesses take it.
    pub fn shared(&self) -> &Arc<Mm> {
        &self.mm
    }

    /// `mmput_async`: like dropping, but if this was the last user the teardown is given to `later`.
    pub fn put_async(mut self, later: impl FnOnce(Box<dyn FnOnce() + Send>)) {
        self.put = Put::Done;
        if self.was_last() {
            let teardown = Teardown(Arc::clone(&self.mm));
            later(Box::new(move || drop(teardown)));
        }
    }

    /// Takes one user off; whether it was the last.
    fn was_last(&self) -> bool {
        // Release: what this user did is seen by the one that tears down; acquire: there, all of it.
        self.mm.users.0.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

impl Clone for MmUser {
    fn clone(&self) -> Self {
        // Relaxed: one user exists, so the count cannot be at zero.
        self.mm.users.0.fetch_add(1, Ordering::Relaxed);
        MmUser::counted(Arc::clone(&self.mm))
    }
}

impl Drop for MmUser {
    fn drop(&mut self) {
        if self.put == Put::Owed && self.was_last() {
            self.mm.last_user_gone();
        }
    }
}

impl Deref for MmUser {
    type Target = Mm;

    fn deref(&self) -> &Mm {
        &self.mm
    }
}
