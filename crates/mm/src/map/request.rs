//! What mmap is asked for.

use alloc::sync::Arc;
use core::any::Any;
use core::fmt;

use addr::{Errno, PgOff, Prot, VirtAddr, VirtRange, VmFlags};
use object::{MappedFile, VmOps};

use super::flags::MapFlags;

/// A call of mmap. Addresses and lengths are the program's own words; nothing is checked yet.
#[derive(Clone, Debug)]
pub struct MapRequest {
    /// Where, or where about.
    pub addr: VirtAddr,
    /// How many bytes.
    pub len: u64,
    /// What may be done with it.
    pub prot: Prot,
    /// How.
    pub flags: MapFlags,
    /// What is mapped.
    pub target: MapTarget,
    /// From which page of it.
    pub pgoff: PgOff,
}

impl MapRequest {
    /// Private zeroed memory, anywhere.
    pub fn anonymous(len: u64, prot: Prot) -> Self {
        MapRequest {
            addr: VirtAddr::ZERO,
            len,
            prot,
            flags: MapFlags::PRIVATE | MapFlags::ANONYMOUS,
            target: MapTarget::Anonymous,
            pgoff: PgOff::ZERO,
        }
    }

    /// An object, from its first page, anywhere.
    pub fn object(target: ObjectTarget, len: u64, prot: Prot, flags: MapFlags) -> Self {
        let target = MapTarget::Object(target);
        MapRequest {
            addr: VirtAddr::ZERO,
            len,
            prot,
            flags,
            target,
            pgoff: PgOff::ZERO,
        }
    }

    /// The same at exactly `addr`, over whatever is there (`MAP_FIXED`).
    #[must_use]
    pub fn fixed_at(mut self, addr: VirtAddr) -> Self {
        self.addr = addr;
        self.flags |= MapFlags::FIXED;
        self
    }

    /// The same near `addr`, if there is room.
    #[must_use]
    pub fn near(mut self, addr: VirtAddr) -> Self {
        self.addr = addr;
        self
    }

    /// The same with more flags.
    #[must_use]
    pub fn with(mut self, flags: MapFlags) -> Self {
        self.flags |= flags;
        self
    }

    /// The same from page `pgoff` of the object.
    #[must_use]
    pub fn from_page(mut self, pgoff: PgOff) -> Self {
        self.pgoff = pgoff;
        self
    }
}

/// What mmap maps.
#[derive(Clone, Debug)]
pub enum MapTarget {
    /// Zeroed memory: private, or, with a shared type, a shared-memory object made for it.
    Anonymous,
    /// An object: a file, a device, an embedder's own.
    Object(ObjectTarget),
}

bitflags::bitflags! {
    /// What the open file allows, and properties of its object that decide about mappings.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct FileRights: u32 {
        /// Opened for reading (`FMODE_READ`)
        const READ = 1 << 0;
        /// Opened for writing (`FMODE_WRITE`)
        const WRITE = 1 << 1;
        /// Append only (`IS_APPEND`)
        const APPEND_ONLY = 1 << 2;
        /// On a file system mounted `noexec`
        const NO_EXEC = 1 << 3;
        /// Has no way to be mapped: a directory, a pipe (no `mmap` hook)
        const NO_MMAP = 1 << 4;
        /// Supports `MAP_SYNC` (`FOP_MMAP_SYNC`)
        const SYNC = 1 << 5;
        /// In use as swap
        const SWAP_FILE = 1 << 6;
        /// Sealed against writing (`F_SEAL_WRITE`, `F_SEAL_FUTURE_WRITE`)
        const SEALED_WRITE = 1 << 7;
    }
}

impl FileRights {
    /// Opened for reading and writing.
    pub const READ_WRITE: Self = Self::READ.union(Self::WRITE);
}

/// An object to map.
#[derive(Clone)]
pub struct ObjectTarget {
    /// Its operations; `None` makes anonymous memory of it, as `/dev/zero` does privately.
    pub ops: Option<Arc<dyn VmOps>>,
    /// The open file, if there is one.
    pub file: Option<Arc<MappedFile>>,
    /// What the open file allows.
    pub rights: FileRights,
    /// The end of the largest offset that can be mapped, in bytes (`file_mmap_size_max`), if that is to
    /// be another than what the file says.
    pub max_bytes: Option<u64>,
    /// Flags that its areas get besides, such as `IO | PFNMAP` for a device.
    pub flags: VmFlags,
    /// What it keeps per area.
    pub private_data: Option<Arc<dyn Any + Send + Sync>>,
    /// Its say in the mapping (`mmap_prepare`).
    pub prepare: Option<Arc<dyn MapPrepare>>,
}

impl ObjectTarget {
    /// An object with these operations, without a file, open for everything.
    pub fn new(ops: Arc<dyn VmOps>) -> Self {
        ObjectTarget {
            ops: Some(ops),
            file: None,
            rights: FileRights::READ_WRITE,
            max_bytes: None,
            flags: VmFlags::NONE,
            private_data: None,
            prepare: None,
        }
    }

    /// The same, mapped through an open file.
    #[must_use]
    pub fn with_file(mut self, file: Arc<MappedFile>, rights: FileRights) -> Self {
        self.file = Some(file);
        self.rights = rights;
        self
    }
}

impl ObjectTarget {
    /// `file_mmap_ok`: whether pages up to `end` can be named by offsets.
    pub(crate) fn reaches(&self, end: PgOff) -> bool {
        let of_file = self.file.as_ref().map(|file| file.object().max_bytes());
        let max = self.max_bytes.or(of_file).unwrap_or(u64::MAX);
        end.bytes().is_some_and(|end| end <= max)
    }
}

impl fmt::Debug for ObjectTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectTarget")
            .field("ops", &self.ops)
            .field("file", &self.file)
            .field("rights", &self.rights)
            .field("flags", &self.flags)
            .finish_non_exhaustive()
    }
}

/// An area about to be made, as its object may still change it (Linux: `struct vm_area_desc`).
#[derive(Clone, Debug)]
pub struct MapDescription {
    range: VirtRange,
    /// From which page of the object.
    pub pgoff: PgOff,
    /// Flags of the area.
    pub flags: VmFlags,
    /// The open file.
    pub file: Option<Arc<MappedFile>>,
    /// The operations.
    pub ops: Option<Arc<dyn VmOps>>,
    /// What the object keeps per area.
    pub private_data: Option<PrivateData>,
}

/// What an object keeps per area (Linux: `vm_private_data`).
pub type PrivateData = Arc<dyn Any + Send + Sync>;

impl MapDescription {
    /// The addresses; they are settled.
    pub fn range(&self) -> VirtRange {
        self.range
    }

    pub(crate) fn new(range: VirtRange, pgoff: PgOff, flags: VmFlags) -> Self {
        MapDescription {
            range,
            pgoff,
            flags,
            file: None,
            ops: None,
            private_data: None,
        }
    }
}

/// The say of an object in a mapping of it (Linux: `f_op->mmap_prepare`).
///
/// *Held:* the mmap lock for write. What was mapped there is gone already, so an error leaves a hole
/// where a fixed mapping was to be. *May not:* wait, or ask the address space for anything.
pub trait MapPrepare: Send + Sync + fmt::Debug {
    /// Looks at the area to be made and may change it, or refuse.
    fn prepare(&self, description: &mut MapDescription) -> Result<(), Errno>;
}
