//! Files opened anew for keepers to read.
//!
//! What a keeper has open of a file that a program only reads is no opening of the program's: it holds
//! no locks, and is no writer. All keepers that have the same file open share one.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use object::InodeId;
use object::device::HostFile;

use crate::sys::descriptor::{self, with_descriptor};

/// So many are shared at most: each takes one of the descriptors that Recto may have.
const NR_SHARED_MAX: usize = 512;

/// What keepers have open to read.
#[derive(Debug, Default)]
pub(crate) struct Readers(Mutex<HashMap<InodeId, Weak<OwnedFd>>>);

impl Readers {
    /// Lends a descriptor of a file that can only be read, or one of the file's own if there is no
    /// other. What comes along is kept for as long as a keeper has it; `None` when the file has no
    /// descriptor.
    pub(crate) fn lend<T>(
        &self,
        file: &dyn HostFile,
        act: impl FnOnce(BorrowedFd<'_>) -> T,
    ) -> Option<(T, Option<Arc<OwnedFd>>)> {
        if let Some(shared) = self.shared(file.inode()) {
            return Some((act(shared.as_fd()), Some(shared)));
        }
        with_descriptor(file, |own| {
            let Ok(reader) = descriptor::reopen_to_read(own) else {
                return (act(own), None);
            };
            let reader = Arc::new(reader);
            (act(reader.as_fd()), self.share(file.inode(), reader))
        })
    }

    fn shared(&self, inode: InodeId) -> Option<Arc<OwnedFd>> {
        let shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shared.get(&inode).and_then(Weak::upgrade)
    }

    fn share(&self, inode: InodeId, reader: Arc<OwnedFd>) -> Option<Arc<OwnedFd>> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.len() >= NR_SHARED_MAX {
            shared.retain(|_, known| known.strong_count() > 0);
        }
        let has_room = shared.len() < NR_SHARED_MAX;
        has_room.then(|| {
            shared.insert(inode, Arc::downgrade(&reader));
            reader
        })
    }
}
