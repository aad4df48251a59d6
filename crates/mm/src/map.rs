//! mmap (Linux: `do_mmap`, `__mmap_region`).
//!
//! Asked ([`MapRequest`]), checked ([`Wish`]), placed ([`Region`](region::Region)), made. Everything
//! up to the removal of what a fixed mapping covers may fail and changes nothing; from there on an
//! error leaves the hole.

mod flags;
mod place;
pub(crate) mod region;
mod request;

pub use flags::{Advice, LockAllFlags, LockFlags, MapFlags, MapKind, RemapFlags, SyncFlags};
pub use request::{
    FileRights, MapDescription, MapPrepare, MapRequest, MapTarget, ObjectTarget, PrivateData,
};

pub(crate) use place::{Room, Wanted};

use addr::{Errno, PAGE_SHIFT, PAGE_SIZE, PgOff, Prot, VirtAddr, VirtRange, VmFlags};
use vma::{MmapHeld, MmapWrite};

use crate::limits::Overcommit;
use crate::mm::{Guarded, Mm};
use place::round_hint;
pub(crate) use region::{Promise, Region};

impl Mm {
    /// `mmap`. The offset comes in pages: that it was whole pages is for the caller to see.
    ///
    /// # Errors
    /// Those of mmap, found in the kernel's order. After a fixed mapping has removed what it covers,
    /// an error of the object leaves a hole.
    pub fn mmap(&self, request: &MapRequest) -> Result<VirtAddr, Errno> {
        let mut held = self.write();
        let (range, populate) = self.map_locked(&mut held, request)?;
        drop(held);
        if populate {
            self.populate_ignoring_errors(range);
        }
        Ok(range.start())
    }

    /// `do_mmap`: where the mapping is, and whether its pages are to be faulted in once the lock is
    /// let go.
    pub(crate) fn map_locked(
        &self,
        held: &mut MmapWrite<'_, Guarded>,
        request: &MapRequest,
    ) -> Result<(VirtRange, bool), Errno> {
        let wish = Wish::of(self, request)?;
        let region = wish.place(self, held)?;
        let (range, flags) = (region.range, region.flags);
        self.map_region(held, region)?;
        Ok((range, wish.wants_populate(flags)))
    }

    /// Where room for a mapping would be found, and whether a fixed one may be there
    /// (`get_unmapped_area`).
    pub(crate) fn room<'a>(&'a self, held: &'a impl MmapHeld) -> Room<'a> {
        Room {
            tree: held.tree(),
            layout: self.layout(),
            sysctl: self.sysctl(),
            limits: self.limits(),
        }
    }

    /// Whether there are more areas than there may be: nothing new is mapped then.
    pub(crate) fn has_too_many_areas(&self, held: &impl MmapHeld) -> bool {
        held.tree().len() > held.rules().max_map_count
    }
}

/// A request whose own words make sense.
#[derive(Debug)]
struct Wish<'r> {
    request: &'r MapRequest,
    addr: VirtAddr,
    bytes: u64,
}

impl<'r> Wish<'r> {
    /// What can be said without looking at the space.
    fn of(mm: &Mm, request: &'r MapRequest) -> Result<Self, Errno> {
        // There is no pool of huge pages: no size of them is known, and no file has them.
        if request.flags.contains(MapFlags::HUGETLB) || request.len == 0 {
            return Err(Errno::EINVAL);
        }
        let addr = match request.flags.is_fixed() {
            true => request.addr,
            false => round_hint(request.addr, mm.sysctl()),
        };
        let bytes = request
            .len
            .checked_next_multiple_of(PAGE_SIZE)
            .ok_or(Errno::ENOMEM)?;
        request
            .pgoff
            .checked_add(bytes >> PAGE_SHIFT)
            .ok_or(Errno::EOVERFLOW)?;
        Ok(Wish {
            request,
            addr,
            bytes,
        })
    }

    /// Where it goes and what it becomes, in the kernel's order of checks.
    fn place(&self, mm: &Mm, held: &MmapWrite<'_, Guarded>) -> Result<Region<'r>, Errno> {
        if mm.has_too_many_areas(held) {
            return Err(Errno::ENOMEM);
        }
        let flags = self.flags(mm, held.def_flags);
        let wanted = Wanted {
            addr: self.addr,
            bytes: self.bytes,
            flags: self.request.flags,
        };
        let range = mm.room(held).find(wanted)?;
        let no_replace = self.request.flags.contains(MapFlags::FIXED_NOREPLACE);
        if no_replace && held.tree().find_intersection(range).is_some() {
            return Err(Errno::EEXIST);
        }
        if self.request.flags.contains(MapFlags::LOCKED) && !mm.limits().may_lock() {
            return Err(Errno::EPERM);
        }
        if !mm.limits().may_lock_more(mm.accounts(), flags, self.bytes) {
            return Err(Errno::EAGAIN);
        }
        let (mut flags, pgoff) = self.kind(range, flags)?;
        let never = matches!(mm.commit().config().mode, Overcommit::Never(_));
        if self.request.flags.contains(MapFlags::NORESERVE) && !never {
            flags |= VmFlags::NORESERVE;
        }
        Ok(Region {
            range,
            flags,
            pgoff,
            target: &self.request.target,
        })
    }

    /// `calc_vm_prot_bits`, `calc_vm_flag_bits`, and what every mapping gets.
    fn flags(&self, mm: &Mm, def_flags: VmFlags) -> VmFlags {
        let asked = self.request.flags;
        let no_exec = matches!(
            &self.request.target,
            MapTarget::Object(target) if target.rights.contains(FileRights::NO_EXEC)
        );
        let prot = match no_exec {
            true => self.request.prot,
            false => mm.flags().implied(self.request.prot),
        };
        let mut flags = prot.vm_flags() | VmFlags::MAY_ACCESS | def_flags;
        for (asks, gives) in [
            (MapFlags::GROWSDOWN, VmFlags::GROWSDOWN),
            (MapFlags::LOCKED, VmFlags::LOCKED),
            (MapFlags::SYNC, VmFlags::SYNC),
            (MapFlags::STACK, VmFlags::NOHUGEPAGE),
        ] {
            if asked.contains(asks) {
                flags |= gives;
            }
        }
        flags
    }

    /// What the type of mapping makes of the flags, and from which page it is.
    fn kind(&self, range: VirtRange, flags: VmFlags) -> Result<(VmFlags, PgOff), Errno> {
        match &self.request.target {
            MapTarget::Object(target) => Ok((self.of_object(target, flags)?, self.request.pgoff)),
            MapTarget::Anonymous => self.of_anonymous(range, flags),
        }
    }

    fn of_object(&self, target: &ObjectTarget, flags: VmFlags) -> Result<VmFlags, Errno> {
        let end = self.request.pgoff.checked_add(self.bytes >> PAGE_SHIFT);
        if !end.is_some_and(|end| target.reaches(end)) {
            return Err(Errno::EOVERFLOW);
        }
        let flags = match self.request.flags.kind() {
            MapKind::Shared => self.shared(target, flags)?,
            MapKind::SharedValidate => {
                self.validate_flags(target)?;
                self.shared(target, flags)?
            }
            MapKind::Private => flags,
            MapKind::Droppable | MapKind::Unknown => return Err(Errno::EINVAL),
        };
        unsealed(target, Self::readable(target, flags)?)
    }

    /// MAP_SHARED_VALIDATE refuses what MAP_SHARED ignores.
    fn validate_flags(&self, target: &ObjectTarget) -> Result<(), Errno> {
        let mut known = MapFlags::LEGACY;
        if target.rights.contains(FileRights::SYNC) {
            known |= MapFlags::SYNC;
        }
        match (self.request.flags - known).is_empty() {
            true => Ok(()),
            false => Err(Errno::EOPNOTSUPP),
        }
    }

    fn shared(&self, target: &ObjectTarget, flags: VmFlags) -> Result<VmFlags, Errno> {
        let rights = target.rights;
        if self.request.prot.contains(Prot::WRITE) {
            if !rights.contains(FileRights::WRITE) {
                return Err(Errno::EACCES);
            }
            if rights.contains(FileRights::SWAP_FILE) {
                return Err(Errno::ETXTBSY);
            }
        }
        if rights.contains(FileRights::APPEND_ONLY | FileRights::WRITE) {
            return Err(Errno::EACCES);
        }
        let mut flags = flags | VmFlags::SHARED | VmFlags::MAYSHARE;
        if !rights.contains(FileRights::WRITE) {
            flags -= VmFlags::MAYWRITE | VmFlags::SHARED;
        }
        // Of the flags that a plain shared mapping ignores, one has a bit of its own.
        if self.request.flags.kind() == MapKind::Shared {
            flags -= VmFlags::SYNC;
        }
        Ok(flags)
    }

    /// What both types of mapping ask of the file.
    fn readable(target: &ObjectTarget, mut flags: VmFlags) -> Result<VmFlags, Errno> {
        let rights = target.rights;
        if !rights.contains(FileRights::READ) {
            return Err(Errno::EACCES);
        }
        if rights.contains(FileRights::NO_EXEC) {
            if flags.contains(VmFlags::EXEC) {
                return Err(Errno::EPERM);
            }
            flags -= VmFlags::MAYEXEC;
        }
        if rights.contains(FileRights::NO_MMAP) {
            return Err(Errno::ENODEV);
        }
        if flags.contains(VmFlags::GROWSDOWN) {
            return Err(Errno::EINVAL);
        }
        Ok(flags | target.flags)
    }

    fn of_anonymous(&self, range: VirtRange, flags: VmFlags) -> Result<(VmFlags, PgOff), Errno> {
        let grows = flags.contains(VmFlags::GROWSDOWN);
        let pgoff = PgOff::of_anonymous(range.start());
        match self.request.flags.kind() {
            MapKind::Shared if grows => Err(Errno::EINVAL),
            MapKind::Shared => Ok((flags | VmFlags::SHARED | VmFlags::MAYSHARE, PgOff::ZERO)),
            MapKind::Droppable if grows || self.request.flags.contains(MapFlags::LOCKED) => {
                Err(Errno::EINVAL)
            }
            MapKind::Droppable => {
                let more = VmFlags::DROPPABLE
                    | VmFlags::NORESERVE
                    | VmFlags::WIPEONFORK
                    | VmFlags::DONTDUMP;
                Ok((flags | more, pgoff))
            }
            MapKind::Private => Ok((flags, pgoff)),
            MapKind::SharedValidate | MapKind::Unknown => Err(Errno::EINVAL),
        }
    }

    fn wants_populate(&self, flags: VmFlags) -> bool {
        let populate = self.request.flags & (MapFlags::POPULATE | MapFlags::NONBLOCK);
        flags.contains(VmFlags::LOCKED) || populate == MapFlags::POPULATE
    }
}

/// `memfd_check_seals_mmap`: a file sealed against writes is shared for reading only, now and later.
fn unsealed(target: &ObjectTarget, flags: VmFlags) -> Result<VmFlags, Errno> {
    let sealed = target.rights.contains(FileRights::SEALED_WRITE);
    if !sealed || !flags.contains(VmFlags::SHARED) {
        return Ok(flags);
    }
    match flags.contains(VmFlags::WRITE) {
        true => Err(Errno::EPERM),
        false => Ok(flags - VmFlags::MAYWRITE),
    }
}
