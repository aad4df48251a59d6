//! The rights that entries of an area get by default (Linux: `vm_page_prot`), which follow from its
//! flags and its object.

use addr::{Prot, VmFlags};
use alloc::sync::Arc;
use object::file::Writeback;
use object::{Area, VmOps};

/// Hardware rights and protection key of a fresh entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageProt {
    access: Prot,
    pkey: u8,
}

impl PageProt {
    /// The rights of `area`'s entries. A private writable area gets no write bit: the first write
    /// must fault, to copy or to take over the page. A shared one gets it, unless somebody wants to
    /// be told of first writes.
    pub(crate) fn of(area: &Area, flags: VmFlags, ops: Option<&Arc<dyn VmOps>>) -> Self {
        let mut access = Prot::from_vm_flags(flags);
        if !flags.contains(VmFlags::SHARED) || wants_write_notify(area, flags, ops) {
            access.remove(Prot::WRITE);
        }
        Self {
            access,
            pkey: flags.pkey(),
        }
    }

    /// What an entry may allow. Empty: present for us, absent for the CPU (PROT_NONE).
    pub fn access(self) -> Prot {
        self.access
    }

    /// The protection key.
    pub fn pkey(self) -> u8 {
        self.pkey
    }
}

/// Whether first writes through a shared area must be noticed (Linux: `vma_wants_writenotify`). Soft-
/// dirty tracking is not built; a driver cannot change rights behind our back.
pub fn wants_write_notify(area: &Area, flags: VmFlags, ops: Option<&Arc<dyn VmOps>>) -> bool {
    if !flags.contains(VmFlags::WRITE | VmFlags::SHARED) {
        return false;
    }
    if ops.is_some_and(|ops| ops.callbacks().want_write_notice()) {
        return true;
    }
    if flags.contains(VmFlags::UFFD_WP) {
        return true;
    }
    !flags.contains(VmFlags::PFNMAP) && writes_back(area)
}

/// Whether the file's pages are written back, and so must be known when dirty.
fn writes_back(area: &Area) -> bool {
    area.file
        .as_ref()
        .is_some_and(|file| file.object().writeback() == Writeback::Yes)
}
