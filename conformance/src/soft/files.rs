//! Descriptors: what a kernel's file layer holds for a process.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use recto::file::OpenFile;
use recto::mm::Force;
use recto::object::ObjectConfig;
use recto::object::device::{DaxFile, HostRights};
use recto::object::file::FileObject;
use recto::object::shmem::Shmem;
use recto::object::{FileMappings, InodeId, MappedFile};
use recto::soft::{Computer, Process};
use recto::{Errno, FileRights, MapFlags, MapRequest, ObjectTarget, Prot, VirtAddr, VmFlags};

/// The open files of a process, by number. A fork shares what is behind the numbers.
#[derive(Debug, Clone)]
pub(super) struct Descriptors {
    computer: Arc<Computer>,
    open: BTreeMap<u64, Arc<Opened>>,
}

/// What a descriptor stands for.
#[derive(Debug)]
pub(super) struct Opened {
    kind: Kind,
    mapped: Arc<MappedFile>,
    rights: FileRights,
}

#[derive(Debug)]
enum Kind {
    /// A file of the host, mapped where it is.
    File {
        file: Arc<OpenFile>,
        dax: Arc<DaxFile>,
    },
    /// A memory file, and a space of the kernel's own in which all of it is mapped.
    Memory { shmem: Arc<Shmem>, kernel: Process },
    /// `/dev/zero`.
    Zero,
}

/// Where a kernel's own space has a memory file, and how much of it.
const VIEW: VirtAddr = VirtAddr::new(1 << 40);
const VIEW_BYTES: u64 = 1 << 30;

/// `/dev/zero` as areas know it: nothing can be asked of it.
#[derive(Debug)]
struct ZeroDevice;

impl FileObject for ZeroDevice {}

impl Descriptors {
    pub(super) fn new(computer: &Arc<Computer>) -> Self {
        Self {
            computer: Arc::clone(computer),
            open: BTreeMap::new(),
        }
    }

    pub(super) fn get(&self, number: u64) -> Result<&Arc<Opened>, Errno> {
        self.open.get(&(number & 0xffff_ffff)).ok_or(Errno::EBADF)
    }

    /// open(2), of files that exist.
    pub(super) fn open(&mut self, path: &str, flags: u64) -> Result<u64, Errno> {
        let rights = match flags & 3 {
            0 => FileRights::READ,
            1 => FileRights::WRITE,
            _ => FileRights::READ_WRITE,
        };
        let opened = if path == "/dev/zero" {
            let inode = InodeId {
                major: 0,
                minor: 5,
                ino: 4,
            };
            let mapped = MappedFile::new(inode, path, FileMappings::new(), Arc::new(ZeroDevice));
            Opened {
                kind: Kind::Zero,
                mapped,
                rights,
            }
        } else {
            self.host_file(path, rights)?
        };
        Ok(self.number(opened))
    }

    /// memfd_create(2).
    pub(super) fn memory(&mut self, name: &str) -> Result<u64, Errno> {
        let inode = InodeId {
            major: 0,
            minor: 1,
            ino: 1000 + self.open.len() as u64,
        };
        let path = Arc::from(format!("/memfd:{name} (deleted)"));
        let config = ObjectConfig {
            path,
            ..ObjectConfig::shared_anonymous(0, inode)
        };
        let shmem = Shmem::new(self.computer.arena(), config);
        let kernel = Process::start(&self.computer)?;
        let mapped = shmem.open_file();
        let target = ObjectTarget::new(Arc::clone(&shmem) as _)
            .with_file(Arc::clone(&mapped), FileRights::READ_WRITE);
        let prot = Prot::READ | Prot::WRITE;
        let request = MapRequest::object(target, VIEW_BYTES, prot, MapFlags::SHARED);
        kernel.mm().mmap(&request.fixed_at(VIEW))?;
        let kind = Kind::Memory { shmem, kernel };
        Ok(self.number(Opened {
            kind,
            mapped,
            rights: FileRights::READ_WRITE,
        }))
    }

    fn number(&mut self, opened: Opened) -> u64 {
        let number = (3..)
            .find(|number| !self.open.contains_key(number))
            .unwrap_or(u64::MAX);
        self.open.insert(number, Arc::new(opened));
        number
    }

    /// A file that is open for writing only is opened for both: its mappings are refused by its
    /// rights, and copies of its pages could not be read otherwise.
    fn host_file(&self, path: &str, rights: FileRights) -> Result<Opened, Errno> {
        let writes = rights.contains(FileRights::WRITE);
        let failed = |error: std::io::Error| {
            error
                .raw_os_error()
                .and_then(Errno::from_raw)
                .unwrap_or(Errno::EIO)
        };
        let file = OpenOptions::new()
            .read(true)
            .write(writes)
            .open(path)
            .map_err(failed)?;
        let host = if writes {
            HostRights::ReadWrite
        } else {
            HostRights::Read
        };
        let file = Arc::new(OpenFile::new(file, host).map_err(failed)?);
        let dax = DaxFile::new(self.computer.devices(), Arc::clone(&file) as _)?;
        let mapped = dax.open_file(path);
        Ok(Opened {
            kind: Kind::File { file, dax },
            mapped,
            rights,
        })
    }

    pub(super) fn close(&mut self, number: u64) -> Result<(), Errno> {
        self.open.remove(&number).map(drop).ok_or(Errno::EBADF)
    }
}

impl Opened {
    /// What mmap maps of it.
    pub(super) fn target(&self) -> ObjectTarget {
        let ops = match &self.kind {
            Kind::Zero => None,
            Kind::File { dax, .. } => Some(Arc::clone(dax) as _),
            Kind::Memory { shmem, .. } => Some(Arc::clone(shmem) as _),
        };
        ObjectTarget {
            ops,
            file: Some(Arc::clone(&self.mapped)),
            rights: self.rights,
            max_bytes: None,
            flags: VmFlags::NONE,
            private_data: None,
            prepare: None,
        }
    }

    fn file(&self, needed: FileRights) -> Result<(&OpenFile, &DaxFile), Errno> {
        match &self.kind {
            Kind::File { file, dax } if self.rights.contains(needed) => Ok((file, dax)),
            _ => Err(Errno::EBADF),
        }
    }

    pub(super) fn truncate(&self, bytes: u64) -> Result<(), Errno> {
        if let Kind::Memory { shmem, .. } = &self.kind {
            shmem.resize(bytes);
            return Ok(());
        }
        let (file, dax) = self.file(FileRights::WRITE).map_err(|_| Errno::EINVAL)?;
        file.file().set_len(bytes).map_err(|_| Errno::EINVAL)?;
        dax.pagemap().resized(bytes);
        Ok(())
    }

    pub(super) fn read(&self, bytes: &mut [u8], offset: u64) -> Result<usize, Errno> {
        if let Kind::Memory { shmem, kernel } = &self.kind {
            let left = shmem.cache().size_bytes().saturating_sub(offset);
            let len = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let at = VIEW.saturating_add(offset);
            return Ok(kernel.mm().read_memory(at, &mut bytes[..len], Force::Plain));
        }
        let (file, _) = self.file(FileRights::READ)?;
        let mut done = 0;
        while done < bytes.len() {
            match file
                .file()
                .read_at(&mut bytes[done..], offset + done as u64)
            {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(_) => return Err(Errno::EIO),
            }
        }
        Ok(done)
    }

    pub(super) fn write(&self, bytes: &[u8], offset: u64) -> Result<usize, Errno> {
        if let Kind::Memory { shmem, kernel } = &self.kind {
            let end = offset.saturating_add(bytes.len() as u64);
            if end > shmem.cache().size_bytes() {
                shmem.resize(end);
            }
            return Ok(kernel
                .mm()
                .write_memory(VIEW.saturating_add(offset), bytes, Force::Plain));
        }
        let (file, dax) = self.file(FileRights::WRITE)?;
        file.file()
            .write_all_at(bytes, offset)
            .map_err(|_| Errno::EIO)?;
        dax.pagemap().refresh_size()?;
        Ok(bytes.len())
    }
}
