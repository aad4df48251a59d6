//! The file that an area maps (Linux: what a memory manager needs of `struct file`).

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use addr::{Errno, PgOff};

use crate::request::{Brought, Obtained, PageRequest, Waiting};
use crate::rmap::FileMappings;
use crate::unique;

/// One open file. Two areas of the same inode opened twice have different ones, and do not merge
/// (Linux compares `vm_file` pointers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(u64);

impl FileId {
    /// One that was never used before.
    pub fn unique() -> Self {
        FileId(unique::number())
    }
}

/// Which file, however often it is opened: device and inode number, as `/proc/PID/maps` prints them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InodeId {
    /// Major number of the device.
    pub major: u32,
    /// Minor number of the device.
    pub minor: u32,
    /// Inode number.
    pub ino: u64,
}

/// The end of the largest offset that an ordinary file can have (`MAX_LFS_FILESIZE`).
pub const MAX_LFS_FILESIZE: u64 = i64::MAX as u64;

/// Which resident-memory counter a mapped page of an object goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RssKind {
    /// `MM_FILEPAGES`
    File,
    /// `MM_SHMEMPAGES`
    Shmem,
}

/// A yes or no about an object that has a name, so that no caller reads a bare `true`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Writeback {
    /// Dirty pages are written somewhere, so a first write must be noticed.
    Yes,
    /// The memory is the only copy.
    No,
}

/// Who may learn which pages of a file are in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Residency {
    /// The caller owns the file or may write it: tell the truth.
    Visible,
    /// Anybody else is told that everything is resident (a side channel closed in Linux 5.1).
    Hidden,
}

/// Work of a file verb, to be done with no lock held.
#[must_use = "a file verb is not done before its work is performed"]
pub struct FileWork(Box<dyn FnOnce() -> Result<(), Errno> + Send>);

impl FileWork {
    /// Work that `work` does.
    pub fn new(work: impl FnOnce() -> Result<(), Errno> + Send + 'static) -> Self {
        FileWork(Box::new(work))
    }

    /// Does it. May block.
    pub fn perform(self) -> Result<(), Errno> {
        (self.0)()
    }

    /// The same work as a request; its result comes back as `Brought::Other`, and
    /// [`FileWork::result`] reads it.
    pub fn into_request(self) -> PageRequest {
        PageRequest::new(Waiting::Other("file"), move || {
            Obtained::of(Brought::Other(Box::new(self.perform())))
        })
    }

    /// What a performed [`FileWork::into_request`] brought.
    pub fn result(obtained: Obtained) -> Option<Result<(), Errno>> {
        match obtained.brought {
            Brought::Other(any) => any
                .downcast::<Result<(), Errno>>()
                .ok()
                .map(|result| *result),
            _ => None,
        }
    }
}

impl fmt::Debug for FileWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileWork")
    }
}

/// How far a file verb came.
#[derive(Debug)]
#[must_use = "a file verb may not be done"]
pub enum FileStep {
    /// Done.
    Done,
    /// The rest needs this work, with no lock held, and is done after it.
    Work(FileWork),
}

impl FileStep {
    /// Does what is left. May block: no lock may be held.
    ///
    /// # Errors
    /// What the file answers.
    pub fn complete(self) -> Result<(), Errno> {
        match self {
            FileStep::Done => Ok(()),
            FileStep::Work(work) => work.perform(),
        }
    }
}

/// What memory calls ask of a file beside its pages (Linux: parts of `file_operations` and
/// `address_space_operations`). Called with at most the mmap lock held for read; nothing here waits.
pub trait FileObject: Send + Sync + fmt::Debug {
    /// What it is called by now, for a file that can be called something else later.
    fn path(&self) -> Option<Vec<u8>> {
        None
    }

    /// The counter its mapped pages go to.
    fn rss_kind(&self) -> RssKind {
        RssKind::File
    }

    /// Its size in bytes as last known, if it has one.
    fn size_bytes(&self) -> Option<u64> {
        None
    }

    /// The end of the largest offset that can be mapped, in bytes (`file_mmap_size_max`): of a regular
    /// file [`MAX_LFS_FILESIZE`], whatever its file system can store; of a device what the word holds.
    fn max_bytes(&self) -> u64 {
        u64::MAX
    }

    /// Whether dirty pages are written back (Linux: `mapping_can_writeback`).
    fn writeback(&self) -> Writeback {
        Writeback::No
    }

    /// Whether page `pgoff` is in memory, for mincore.
    fn is_resident(&self, pgoff: PgOff) -> bool {
        let _ = pgoff;
        false
    }

    /// Whether mincore may tell the truth about it.
    fn residency(&self) -> Residency {
        Residency::Visible
    }

    /// Removes the pages `[first, last]` and what they hold (MADV_REMOVE: a punched hole).
    fn punch_hole(self: Arc<Self>, first: PgOff, last: PgOff) -> Result<FileStep, Errno> {
        let _ = (first, last);
        Err(Errno::EOPNOTSUPP)
    }

    /// Makes the pages `[first, last]` durable (msync with MS_SYNC).
    fn sync(self: Arc<Self>, first: PgOff, last: PgOff) -> Result<FileStep, Errno> {
        let _ = (first, last);
        Ok(FileStep::Done)
    }

    /// The pages `[first, last]` will be used soon (MADV_WILLNEED).
    fn will_need(self: Arc<Self>, first: PgOff, last: PgOff) -> Option<PageRequest> {
        let _ = (first, last);
        None
    }
}

/// An open file as areas hold it (Linux: `vma->vm_file`).
#[derive(Debug)]
pub struct MappedFile {
    id: FileId,
    inode: InodeId,
    path: Arc<str>,
    mappings: Arc<FileMappings>,
    object: Arc<dyn FileObject>,
}

impl MappedFile {
    /// A new open file of `object`, whose areas are kept in `mappings`.
    pub fn new(
        inode: InodeId,
        path: impl Into<Arc<str>>,
        mappings: Arc<FileMappings>,
        object: Arc<dyn FileObject>,
    ) -> Arc<Self> {
        Arc::new(MappedFile {
            id: FileId::unique(),
            inode,
            path: path.into(),
            mappings,
            object,
        })
    }

    /// Which open file.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// Which file.
    pub fn inode(&self) -> InodeId {
        self.inode
    }

    /// What `/proc/PID/maps` prints.
    pub fn path(&self) -> Cow<'_, [u8]> {
        match self.object.path() {
            Some(path) => Cow::Owned(path),
            None => Cow::Borrowed(self.path.as_bytes()),
        }
    }

    /// All areas that map the file, by whichever open file (Linux: `f_mapping->i_mmap`).
    pub fn mappings(&self) -> &Arc<FileMappings> {
        &self.mappings
    }

    /// What can be asked of it.
    pub fn object(&self) -> &Arc<dyn FileObject> {
        &self.object
    }

    /// The same open file: the test for merging areas (Linux: equal `vm_file`).
    pub fn same_open_file(&self, other: &MappedFile) -> bool {
        self.id == other.id
    }

    /// The same file, perhaps opened twice: the test for coherence.
    pub fn same_inode(&self, other: &MappedFile) -> bool {
        self.inode == other.inode && Arc::ptr_eq(&self.mappings, &other.mappings)
    }
}

/// Whether two optional files allow their areas to merge.
pub fn same_open_file(a: Option<&Arc<MappedFile>>, b: Option<&Arc<MappedFile>>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => a.same_open_file(b),
        _ => false,
    }
}
