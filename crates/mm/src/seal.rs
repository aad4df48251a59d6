//! mseal and remap_file_pages (Linux: `do_mseal`, `sys_remap_file_pages`).

use addr::{Errno, PAGE_SHIFT, PAGE_SIZE, PgOff, Prot, VirtAddr, VirtRange, VmFlags};
use vma::{Attributes, MmapHeld, MmapWrite, ModifyPlan};

use crate::advise::whole_pages;
use crate::map::{FileRights, MapFlags, MapRequest, ObjectTarget};
use crate::mm::{Guarded, Mm};

impl Mm {
    /// `mseal`: from now on the areas of the range can be neither unmapped nor moved nor reprotected.
    ///
    /// # Errors
    /// EINVAL for flags, an unaligned start and a range that wraps; ENOMEM for a hole, before anything
    /// is sealed, and when areas cannot be split.
    pub fn mseal(&self, addr: VirtAddr, len: u64, flags: u64) -> Result<(), Errno> {
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        let Some(range) = whole_pages(addr, len)? else {
            return Ok(());
        };
        let mut held = self.write();
        if !is_covered(&held, range) {
            return Err(Errno::ENOMEM);
        }
        let mut next = range.start();
        while let Some(left) = VirtRange::new(next, range.end()) {
            let vma = held.tree().find(next).cloned().ok_or(Errno::ENOMEM)?;
            let part = vma.range.intersect(&left).ok_or(Errno::ENOMEM)?;
            next = part.end();
            if vma.flags().contains(VmFlags::SEALED) {
                continue;
            }
            let to = Attributes::of(&vma).with_flags(vma.flags() | VmFlags::SEALED);
            match ModifyPlan::decide(&held, &vma, part, &to) {
                Ok(plan) => drop(plan.commit(&mut held)),
                Err(refused) => return Err(refused.settle(&mut held)),
            }
        }
        Ok(())
    }

    /// `remap_file_pages`, emulated as the kernel does: the same file is mapped over the range from
    /// another page on, with the rights of the area that is there.
    ///
    /// # Errors
    /// EINVAL for rights, an empty range or one that wraps, an offset that wraps, and a range that is
    /// not all of one shared file with one set of flags; those of mmap.
    pub fn remap_file_pages(
        &self,
        addr: VirtAddr,
        len: u64,
        prot: Prot,
        (pgoff, flags): (PgOff, MapFlags),
    ) -> Result<(), Errno> {
        let start = addr.align_down();
        let bytes = len & !(PAGE_SIZE - 1);
        let range = VirtRange::from_len(start, bytes).ok_or(Errno::EINVAL)?;
        if !prot.is_empty() || pgoff.checked_add(bytes >> PAGE_SHIFT).is_none() {
            return Err(Errno::EINVAL);
        }
        let mut held = self.write();
        let request = remapped(&held, range, pgoff, flags & MapFlags::NONBLOCK)?;
        let (range, populate) = self.map_locked(&mut held, &request)?;
        drop(held);
        if populate {
            self.populate_ignoring_errors(range);
        }
        Ok(())
    }
}

/// Whether every page of the range is in some area.
fn is_covered(held: &impl MmapHeld, range: VirtRange) -> bool {
    let mut next = range.start();
    for vma in held.tree().range(range) {
        if vma.range.start() > next {
            return false;
        }
        next = vma.range.end();
    }
    next >= range.end()
}

/// The mapping that stands for remapped file pages.
fn remapped(
    held: &MmapWrite<'_, Guarded>,
    range: VirtRange,
    pgoff: PgOff,
    flags: MapFlags,
) -> Result<MapRequest, Errno> {
    let first = held.tree().find(range.start()).ok_or(Errno::EINVAL)?;
    let area = first.flags();
    let file = first.file.clone().ok_or(Errno::EINVAL)?;
    let alike = held.tree().range(range).all(|vma| {
        vma.flags() == area
            && vma
                .file
                .as_ref()
                .is_some_and(|other| other.same_open_file(&file))
    });
    if !area.contains(VmFlags::SHARED) || !alike || !is_covered(held, range) {
        return Err(Errno::EINVAL);
    }
    let mut flags = flags | MapFlags::SHARED | MapFlags::FIXED | MapFlags::POPULATE;
    if area.contains(VmFlags::LOCKED) {
        flags |= MapFlags::LOCKED;
    }
    // What the area lost when it was made, the file does not allow.
    let mut rights = FileRights::READ_WRITE;
    if !area.contains(VmFlags::MAYEXEC) {
        rights |= FileRights::NO_EXEC;
    }
    if !area.contains(VmFlags::MAYWRITE) {
        rights |= FileRights::SEALED_WRITE;
    }
    let target = ObjectTarget {
        ops: first.ops().cloned(),
        file: Some(file),
        rights,
        max_bytes: None,
        flags: area & (VmFlags::SPECIAL | VmFlags::DONTDUMP),
        private_data: first.private_data.clone(),
        prepare: None,
    };
    let prot = Prot::from_vm_flags(area);
    let request = MapRequest::object(target, range.bytes(), prot, flags).from_page(pgoff);
    Ok(request.fixed_at(range.start()))
}
