//! `/dev/zero`: mapped privately, anonymous memory that keeps the name of its file; shared for writing,
//! memory of its own that the space makes.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::{Arc, Weak};

use mm::{FileRights, ObjectTarget};
use object::{FileMappings, FileObject, InodeId, MappedFile};

use crate::sys::descriptor;

/// The device as areas know it: nothing can be asked of it but its name.
#[derive(Debug)]
struct Device {
    file: File,
}

impl FileObject for Device {
    fn path(&self) -> Option<Vec<u8>> {
        descriptor::path(self.file.as_fd())
    }
}

#[derive(Debug)]
struct Known {
    device: Weak<Device>,
    mapped: Weak<MappedFile>,
}

/// Open files of `/dev/zero` that programs have mapped.
#[derive(Debug, Default)]
pub(crate) struct Zeroes {
    known: Vec<Known>,
}

impl Zeroes {
    /// What a mapping of the open file is asked to map.
    pub(crate) fn target(
        &mut self,
        file: File,
        inode: InodeId,
        rights: FileRights,
    ) -> ObjectTarget {
        let mapped = self
            .find_open(&file)
            .unwrap_or_else(|| self.remember(file, inode));
        ObjectTarget {
            ops: None,
            file: Some(mapped),
            rights,
            max_bytes: None,
            flags: addr::VmFlags::NONE,
            private_data: None,
            prepare: None,
        }
    }

    /// The same open file, if it is mapped already: areas of it may merge.
    fn find_open(&self, file: &File) -> Option<Arc<MappedFile>> {
        self.known.iter().find_map(|known| {
            let device = known.device.upgrade()?;
            descriptor::is_same_open_file(device.file.as_fd(), file.as_fd())
                .then(|| known.mapped.upgrade())?
        })
    }

    fn remember(&mut self, file: File, inode: InodeId) -> Arc<MappedFile> {
        let device = Arc::new(Device { file });
        let object: Arc<dyn FileObject> = Arc::clone(&device) as Arc<dyn FileObject>;
        let mapped = MappedFile::new(inode, "", FileMappings::new(), object);
        self.known.retain(|known| known.mapped.strong_count() > 0);
        self.known.push(Known {
            device: Arc::downgrade(&device),
            mapped: Arc::downgrade(&mapped),
        });
        mapped
    }
}
