//! Host files as programs map them: device memory in the sense of DAX, known by the descriptors
//! that the programs opened.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::{Arc, Weak};

use addr::{Errno, PAGE_SIZE, PgOff};
use mm::{FileRights, ObjectTarget};
use object::device::{DaxFile, DeviceSpace, HostFile, HostRights};
use object::file::Residency;
use object::rmap::EvenCows;
use object::{InodeId, MappedFile, VmOps};

use crate::sys::{HostError, Tid, descriptor};
use crate::zero::Zeroes;

fn errno(error: HostError) -> Errno {
    Errno::from_raw(error.raw()).unwrap_or(Errno::EIO)
}

/// The end of the largest offset in a regular file.
const MAX_BYTES: u64 = i64::MAX as u64;

/// An open host file.
#[derive(Debug)]
pub(crate) struct OpenFile {
    file: File,
    inode: InodeId,
    rights: HostRights,
}

impl HostFile for OpenFile {
    fn inode(&self) -> InodeId {
        self.inode
    }

    fn rights(&self) -> HostRights {
        self.rights
    }

    fn path(&self) -> Option<Vec<u8>> {
        descriptor::path(self.file.as_fd())
    }

    fn size_bytes(&self) -> Result<u64, Errno> {
        self.file
            .metadata()
            .map(|meta| meta.len())
            .map_err(|error| errno(error.into()))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        self.file
            .read_at(buf, offset)
            .map_err(|error| errno(error.into()))
    }

    fn read_at_hand(&self, offset: u64, buf: &mut [u8]) -> Option<usize> {
        descriptor::read_at_hand(self.file.as_fd(), offset, buf).ok()
    }

    fn read_last_page(&self, pgoff: PgOff, page: &mut [u8]) {
        if let Some(offset) = pgoff.bytes() {
            descriptor::read_mapped(self.file.as_fd(), offset, page);
        }
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
        self.file
            .write_at(bytes, offset)
            .map_err(|error| errno(error.into()))
    }

    fn descriptor(&self) -> Option<i32> {
        Some(self.file.as_raw_fd())
    }

    fn is_resident(&self, pgoff: PgOff) -> bool {
        let Some(offset) = pgoff.bytes() else {
            return false;
        };
        let fd = self.file.as_fd();
        descriptor::is_cached(fd, offset, PAGE_SIZE).unwrap_or_else(|_| {
            let mut byte = [0u8];
            descriptor::read_at_hand(fd, offset, &mut byte).is_ok()
        })
    }

    fn residency(&self) -> Residency {
        // The host refuses to tell who neither owns the file nor may write it.
        match descriptor::is_cached(self.file.as_fd(), 0, PAGE_SIZE) {
            Err(error) if error.raw() == libc::EPERM => Residency::Hidden,
            _ => Residency::Visible,
        }
    }

    fn punch_hole(&self, offset: u64, len: u64) -> Result<(), Errno> {
        descriptor::punch_hole(self.file.as_fd(), offset, len).map_err(errno)
    }

    fn sync_range(&self, _offset: u64, _len: u64) -> Result<(), Errno> {
        self.file.sync_data().map_err(|error| errno(error.into()))
    }
}

/// A file ready to be mapped.
#[derive(Clone, Debug)]
pub(crate) struct Mappable {
    open: Arc<OpenFile>,
    dax: Arc<DaxFile>,
    mapped: Arc<MappedFile>,
    rights: FileRights,
}

impl Mappable {
    /// The open file.
    pub(crate) fn open(&self) -> &OpenFile {
        &self.open
    }

    /// What mmap is asked to map.
    pub(crate) fn target(&self) -> ObjectTarget {
        let ops: Arc<dyn VmOps> = Arc::clone(&self.dax) as Arc<dyn VmOps>;
        ObjectTarget {
            max_bytes: Some(MAX_BYTES),
            ..ObjectTarget::new(ops).with_file(Arc::clone(&self.mapped), self.rights)
        }
    }
}

/// Why a descriptor cannot be mapped as a file.
#[derive(Clone, Debug)]
pub(crate) enum Unmappable {
    /// mmap fails with this errno.
    Refused(Errno),
    /// What it is to a mapping all the same: `/dev/zero`, which makes anonymous memory, or what has no
    /// way to be mapped, which is refused after all that is wrong with the call itself.
    Other(Box<ObjectTarget>),
}

/// Who has opened a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opener {
    /// Recto, to read it: it holds no locks, and any program may map it.
    Recto,
    /// A program.
    Program,
}

struct Known {
    opener: Opener,
    mapped: Weak<MappedFile>,
    file: Weak<OpenFile>,
    dax: Weak<DaxFile>,
}

/// The files that programs have mapped.
pub(crate) struct Files {
    devices: Arc<DeviceSpace>,
    known: HashMap<InodeId, Vec<Known>>,
    /// So many are known when those that are mapped no more are dropped.
    sweep_at: usize,
    zeroes: Zeroes,
    /// A handle on the task whose descriptor was taken last: it often maps another file next.
    task: Option<(Tid, OwnedFd)>,
}

/// Fewer known files are never looked through for those that are mapped no more.
const NR_KNOWN_MIN: usize = 256;

impl core::fmt::Debug for Files {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Files")
            .field("known", &self.known.len())
            .finish_non_exhaustive()
    }
}

impl Files {
    /// No files yet.
    pub(crate) fn new(devices: &Arc<DeviceSpace>) -> Self {
        Self {
            devices: Arc::clone(devices),
            known: HashMap::new(),
            sweep_at: NR_KNOWN_MIN,
            zeroes: Zeroes::default(),
            task: None,
        }
    }

    /// A duplicate of descriptor `number` of a thread.
    pub(crate) fn take(&mut self, tid: Tid, number: i32) -> Result<OwnedFd, HostError> {
        if self.task.as_ref().is_none_or(|(known, _)| *known != tid) {
            self.task = Some((tid, descriptor::open_task(tid)?));
        }
        let (_, task) = self.task.as_ref().ok_or(HostError::new(libc::EBADF))?;
        descriptor::take(task.as_fd(), number)
    }

    /// A thread has ended, or has another number: its own may be another's from now on.
    pub(crate) fn forget_task(&mut self, tid: Tid) {
        self.task.take_if(|(known, _)| *known == tid);
    }

    /// The file behind a descriptor, ready to be mapped.
    pub(crate) fn mappable(
        &mut self,
        descriptor: OwnedFd,
        opener: Opener,
    ) -> Result<Mappable, Unmappable> {
        let file = File::from(descriptor);
        let meta = file
            .metadata()
            .map_err(|_| Unmappable::Refused(Errno::EBADF))?;
        let flags =
            descriptor::open_flags(file.as_fd()).map_err(|e| Unmappable::Refused(errno(e)))?;
        if flags & libc::O_PATH != 0 {
            return Err(Unmappable::Refused(Errno::EBADF));
        }
        let inode = inode_of(&meta);
        let rights = rights_of(&file, flags);
        if is_zero(&meta) {
            let target = self.zeroes.target(file, inode, rights);
            return Err(Unmappable::Other(Box::new(target)));
        }
        if !meta.is_file() || !rights.contains(FileRights::READ) {
            return Err(no_mapping(&meta, rights));
        }
        if let Some(known) = self.find_open(inode, &file, rights) {
            return Ok(known);
        }
        if !self.is_mapped(inode) {
            // Some regular files have no mapping: those of /proc and /sys.
            descriptor::probe_mapping(file.as_fd()).map_err(|error| match errno(error) {
                Errno::ENODEV => no_mapping(&meta, rights),
                errno => Unmappable::Refused(errno),
            })?;
        }
        let host_rights = match flags & libc::O_ACCMODE {
            libc::O_RDWR => HostRights::ReadWrite,
            _ => HostRights::Read,
        };
        let open = Arc::new(OpenFile {
            file,
            inode,
            rights: host_rights,
        });
        let host: Arc<dyn HostFile> = Arc::clone(&open) as Arc<dyn HostFile>;
        let dax = DaxFile::new(&self.devices, host).map_err(Unmappable::Refused)?;
        // What it is called, it tells itself.
        let mapped = dax.open_file("");
        let mappable = Mappable {
            open,
            dax,
            mapped,
            rights,
        };
        self.remember(inode, &mappable, opener);
        Ok(mappable)
    }

    /// A file that Recto has opened before and that is mapped still, if it is called `name` now.
    pub(crate) fn opened_before(&self, inode: InodeId, name: &str) -> Option<Mappable> {
        let mut same = self.known.get(&inode)?.iter();
        same.find_map(|known| {
            let open = known.file.upgrade()?;
            let is_wanted = known.opener == Opener::Recto
                && open.path().is_some_and(|path| path == name.as_bytes());
            is_wanted.then_some(())?;
            let file = open.file.as_fd();
            Some(Mappable {
                rights: rights_of(&open.file, descriptor::open_flags(file).ok()?),
                dax: known.dax.upgrade()?,
                mapped: known.mapped.upgrade()?,
                open,
            })
        })
    }

    /// Whether something of the file is mapped.
    fn is_mapped(&self, inode: InodeId) -> bool {
        let known = self.known.get(&inode).into_iter().flatten();
        known
            .into_iter()
            .any(|known| known.mapped.strong_count() > 0)
    }

    /// The same open file, if it is mapped already: areas of it may merge. What was opened last is
    /// what a program maps next.
    fn find_open(&self, inode: InodeId, file: &File, rights: FileRights) -> Option<Mappable> {
        self.known.get(&inode)?.iter().rev().find_map(|known| {
            let open = known.file.upgrade()?;
            if !descriptor::is_same_open_file(open.file.as_fd(), file.as_fd()) {
                return None;
            }
            Some(Mappable {
                dax: known.dax.upgrade()?,
                mapped: known.mapped.upgrade()?,
                open,
                // Seals may have come since.
                rights,
            })
        })
    }

    /// A descriptor of a mapped file, to read it.
    pub(crate) fn opened(&self, inode: InodeId) -> Option<File> {
        let known = self.known.get(&inode)?.iter();
        let open = known.filter_map(|known| known.file.upgrade()).next()?;
        open.file.try_clone().ok()
    }

    fn remember(&mut self, inode: InodeId, mappable: &Mappable, opener: Opener) {
        if self.known.len() >= self.sweep_at {
            self.known
                .retain(|_, same| same.iter().any(|known| known.mapped.strong_count() > 0));
            self.sweep_at = (2 * self.known.len()).max(NR_KNOWN_MIN);
        }
        let same = self.known.entry(inode).or_default();
        same.retain(|known| known.mapped.strong_count() > 0);
        same.push(Known {
            opener,
            mapped: Arc::downgrade(&mappable.mapped),
            file: Arc::downgrade(&mappable.open),
            dax: Arc::downgrade(&mappable.dax),
        });
    }

    /// A program has given a file the length `bytes`; by now it may have another.
    pub(crate) fn note_resized(&self, descriptor: OwnedFd, bytes: u64) {
        let Ok(meta) = File::from(descriptor).metadata() else {
            return;
        };
        if let Some(pagemap) = self.devices.find(inode_of(&meta)) {
            pagemap.resized(bytes);
            pagemap.resized(meta.len());
        }
    }

    /// A program has moved what a file holds from `offset` on, to elsewhere in the file.
    pub(crate) fn note_shifted(&self, descriptor: OwnedFd, offset: u64) {
        let file = File::from(descriptor);
        // XFS leaves private copies where they are.
        if descriptor::filesystem_kind(file.as_fd()) == Ok(libc::XFS_SUPER_MAGIC) {
            return;
        }
        let Ok(meta) = file.metadata() else {
            return;
        };
        if let Some(pagemap) = self.devices.find(inode_of(&meta)) {
            let first = PgOff::containing(offset);
            pagemap.mappings().unmap(first, None, EvenCows::Yes);
            pagemap.resized(meta.len());
        }
    }

    /// A program has given some file another length.
    pub(crate) fn look_at_lengths(&self) {
        let mapped = self.known.keys();
        for pagemap in mapped.filter_map(|inode| self.devices.find(*inode)) {
            let _unchanged = pagemap.refresh_size();
        }
    }
}

/// Which file it is.
pub(crate) fn inode_of(meta: &std::fs::Metadata) -> InodeId {
    InodeId {
        major: libc::major(meta.dev()),
        minor: libc::minor(meta.dev()),
        ino: meta.ino(),
    }
}

fn is_zero(meta: &std::fs::Metadata) -> bool {
    const ZERO: u64 = libc::makedev(1, 5);
    meta.mode() & libc::S_IFMT == libc::S_IFCHR && meta.rdev() == ZERO
}

/// A file without a way to be mapped (Linux: no `mmap` hook).
fn no_mapping(meta: &std::fs::Metadata, rights: FileRights) -> Unmappable {
    Unmappable::Other(Box::new(ObjectTarget {
        ops: None,
        file: None,
        rights: rights | FileRights::NO_MMAP,
        max_bytes: meta.is_file().then_some(MAX_BYTES),
        flags: addr::VmFlags::NONE,
        private_data: None,
        prepare: None,
    }))
}

fn rights_of(file: &File, flags: i32) -> FileRights {
    let mut rights = match flags & libc::O_ACCMODE {
        libc::O_RDWR => FileRights::READ_WRITE,
        libc::O_WRONLY => FileRights::WRITE,
        _ => FileRights::READ,
    };
    let file = file.as_fd();
    if rights == FileRights::READ_WRITE {
        rights.set(FileRights::APPEND_ONLY, descriptor::is_append_only(file));
        rights.set(FileRights::SWAP_FILE, descriptor::is_swapped_to(file));
    }
    let seals = descriptor::seals(file);
    let against_writes = libc::F_SEAL_WRITE | libc::F_SEAL_FUTURE_WRITE;
    rights.set(FileRights::SEALED_WRITE, seals & against_writes != 0);
    rights.set(FileRights::NO_EXEC, descriptor::is_on_noexec_mount(file));
    rights
}
