//! How an object whose pages are frames of the arena is made.

use alloc::sync::Arc;

use frame::ChargeId;

use crate::file::InodeId;

/// How an object is made: shared memory, or a region that a source serves.
#[derive(Clone, Debug)]
pub struct ObjectConfig {
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Who pays for its pages; by default whoever touches one first.
    pub charge: Option<ChargeId>,
    /// How many pages it may hold at once, by default any number; more is out of memory for whoever
    /// asks.
    pub limit_pages: Option<u64>,
    /// Which file it is, for `/proc/PID/maps`.
    pub inode: InodeId,
    /// What `/proc/PID/maps` prints, unless it has another name.
    pub path: Arc<str>,
}

impl ObjectConfig {
    /// `size_bytes` without limit, printed as `path`, of no file system.
    pub fn new(size_bytes: u64, path: impl Into<Arc<str>>) -> Self {
        ObjectConfig {
            size_bytes,
            charge: None,
            limit_pages: None,
            inode: InodeId {
                major: 0,
                minor: 0,
                ino: 0,
            },
            path: path.into(),
        }
    }

    /// As MAP_SHARED|MAP_ANONYMOUS makes it. The kernel prints it as `/dev/zero (deleted)`.
    pub fn shared_anonymous(size_bytes: u64, inode: InodeId) -> Self {
        ObjectConfig {
            inode,
            ..ObjectConfig::new(size_bytes, "/dev/zero (deleted)")
        }
    }
}
