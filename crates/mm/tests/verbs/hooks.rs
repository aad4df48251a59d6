//! What objects are told of their areas, and what they may forbid.

use std::sync::Arc;
use std::sync::Mutex;

use addr::{Errno, PAGE_SIZE, PgOff, Prot, VirtAddr, VirtRange, VmFlags};
use mm::{
    Advice, FileRights, MapDescription, MapFlags, MapPrepare, MapRequest, ObjectTarget, RemapFlags,
};
use object::rmap::{DenyWrite, FileMappings};
use object::shmem::Shmem;
use object::{AreaChange, Callbacks, MappedFile, VmOps};

use crate::kit::{BASE, Space, World, at, bytes};

const RW: Prot = Prot::READ.union(Prot::WRITE);

/// Writes down what it is told; forbids what it is told to.
#[derive(Debug, Default)]
struct Diary {
    lines: Mutex<Vec<String>>,
    forbids: Mutex<Vec<(&'static str, Errno)>>,
}

fn pages(range: VirtRange) -> (u64, u64) {
    let page = |addr: VirtAddr| addr.as_u64().wrapping_sub(BASE) / PAGE_SIZE;
    (page(range.start()), page(range.end()))
}

impl Diary {
    fn write(&self, what: &str, area: &object::Area) {
        let (from, to) = pages(area.range);
        self.lines
            .lock()
            .unwrap()
            .push(format!("{what} {from}..{to} @{}", area.pgoff.as_u64()));
    }

    fn ask(&self, what: &'static str) -> Result<(), Errno> {
        match self
            .forbids
            .lock()
            .unwrap()
            .iter()
            .find(|(which, _)| *which == what)
        {
            Some((_, errno)) => Err(*errno),
            None => Ok(()),
        }
    }

    fn forbid(&self, what: &'static str, errno: Errno) {
        self.forbids.lock().unwrap().push((what, errno));
    }

    fn allow_all(&self) {
        self.forbids.lock().unwrap().clear();
    }

    fn read(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap())
    }
}

#[derive(Debug)]
struct Ops(Arc<Diary>);

impl VmOps for Ops {
    fn callbacks(&self) -> Callbacks {
        Callbacks::OPEN
            | Callbacks::CLOSE
            | Callbacks::MAY_SPLIT
            | Callbacks::MREMAP
            | Callbacks::MPROTECT
    }

    fn open(&self, change: &AreaChange<'_>) {
        self.0.write("open", change.area());
    }

    fn close(&self, change: &AreaChange<'_>) {
        self.0.write("close", change.area());
    }

    fn may_split(&self, _change: &AreaChange<'_>, _addr: VirtAddr) -> Result<(), Errno> {
        self.0.ask("split")
    }

    fn mremap(&self, change: &AreaChange<'_>) -> Result<(), Errno> {
        self.0.write("mremap", change.area());
        self.0.ask("mremap")
    }

    fn mprotect(
        &self,
        change: &AreaChange<'_>,
        range: VirtRange,
        _flags: VmFlags,
    ) -> Result<(), Errno> {
        self.0.write("mprotect", change.area());
        let _ = range;
        self.0.ask("mprotect")
    }
}

impl MapPrepare for Diary {
    fn prepare(&self, description: &mut MapDescription) -> Result<(), Errno> {
        self.lines
            .lock()
            .unwrap()
            .push(format!("prepare @{}", description.pgoff.as_u64()));
        self.ask("prepare")
    }
}

fn map_object(space: &Space, diary: &Arc<Diary>, page: u64, nr: u64) -> Result<VirtAddr, Errno> {
    let mut target = ObjectTarget::new(Arc::new(Ops(Arc::clone(diary))));
    target.prepare = Some(Arc::clone(diary) as Arc<dyn MapPrepare>);
    let request = MapRequest::object(target, bytes(nr), RW, MapFlags::SHARED);
    space.mm.mmap(&request.fixed_at(at(page)))
}

// row: V01 V02
// inv: 23
#[test]
fn every_open_has_its_close() {
    let mut world = World::new(64);
    let diary = Arc::new(Diary::default());
    let space = world.first();
    map_object(space, &diary, 0, 8).unwrap();
    assert_eq!(diary.read(), ["prepare @0"]);
    space.unmap(3, 2).unwrap();
    assert_eq!(
        diary.read(),
        ["open 0..3 @0", "open 5..8 @5", "close 3..5 @3"]
    );
    let child = space.fork().unwrap();
    assert_eq!(diary.read(), ["open 0..3 @0", "open 5..8 @5"]);
    drop(child);
    assert_eq!(diary.read(), ["close 0..3 @0", "close 5..8 @5"]);
    space.map_private(0, 8);
    assert_eq!(diary.read(), ["close 0..3 @0", "close 5..8 @5"]);
    world.check();
    world.end();
}

// row: V04 S04
#[test]
fn a_move_tells_the_object_and_can_be_refused() {
    let mut world = World::new(64);
    let diary = Arc::new(Diary::default());
    let space = world.first();
    map_object(space, &diary, 0, 4).unwrap();
    diary.read();
    let fixed = RemapFlags::MAYMOVE | RemapFlags::FIXED;
    space.remap(0, (4, 4), fixed, 20).unwrap();
    assert_eq!(
        diary.read(),
        ["open 20..24 @0", "mremap 20..24 @0", "close 0..4 @0"]
    );
    diary.forbid("mremap", Errno::ENXIO);
    assert_eq!(space.remap(20, (4, 4), fixed, 0), Err(Errno::ENXIO));
    assert_eq!(
        diary.read(),
        ["open 0..4 @0", "mremap 0..4 @0", "close 0..4 @0"]
    );
    assert_eq!(space.areas(), [(20, 4, "rw-s".into())]);
    // Growing in place says nothing; the tail of a shrink is unmapped like any other memory.
    diary.allow_all();
    space.remap(20, (4, 6), RemapFlags::empty(), 0).unwrap();
    assert!(diary.read().is_empty());
    space.remap(20, (6, 2), RemapFlags::empty(), 0).unwrap();
    assert_eq!(diary.read(), ["open 20..22 @0", "close 22..26 @2"]);
    world.check();
    world.end();
}

// row: V03
// inv: 19
#[test]
fn a_split_can_be_refused() {
    let mut world = World::new(64);
    let diary = Arc::new(Diary::default());
    let space = world.first();
    map_object(space, &diary, 0, 4).unwrap();
    diary.forbid("split", Errno::EINVAL);
    let fixed = RemapFlags::MAYMOVE | RemapFlags::FIXED;
    assert_eq!(space.unmap(1, 1), Err(Errno::EINVAL));
    assert_eq!(space.protect(1, 1, Prot::READ), Err(Errno::EINVAL));
    assert_eq!(space.remap(1, (1, 1), fixed, 20), Err(Errno::EINVAL));
    assert_eq!(
        space.mm.madvise(at(1), bytes(1), Advice::DontFork),
        Err(Errno::EINVAL)
    );
    assert_eq!(space.map(1, 1, RW, MapFlags::PRIVATE), Err(Errno::EINVAL));
    assert_eq!(space.areas(), [(0, 4, "rw-s".into())]);
    assert_eq!(space.unmap(0, 4), Ok(()));
    world.check();
    world.end();
}

// row: V05 S03
// inv: 19
#[test]
fn a_protection_can_be_refused() {
    let mut world = World::new(64);
    let diary = Arc::new(Diary::default());
    let space = world.first();
    space.map_private(0, 2);
    map_object(space, &diary, 2, 2).unwrap();
    diary.forbid("mprotect", Errno::EROFS);
    assert_eq!(space.protect(0, 4, Prot::READ), Err(Errno::EROFS));
    // What lies below stays changed.
    assert_eq!(
        space.areas(),
        [(0, 2, "r--p".into()), (2, 2, "rw-s".into())]
    );
    world.check();
    world.end();
}

// row: S01
// inv: 19 23
#[test]
fn a_mapping_that_its_object_refuses_leaves_the_hole() {
    let mut world = World::new(64);
    let diary = Arc::new(Diary::default());
    let space = world.first();
    space.map_private(0, 4);
    space.write(at(1), 1).unwrap();
    diary.forbid("prepare", Errno::ENODEV);
    assert_eq!(map_object(space, &diary, 1, 2), Err(Errno::ENODEV));
    assert_eq!(
        space.areas(),
        [(0, 1, "rw-p".into()), (3, 1, "rw-p".into())]
    );
    assert_eq!(diary.read(), ["prepare @0"]);
    world.check();
    world.end();
}

const READ: FileRights = FileRights::READ;
const WRITE: FileRights = FileRights::WRITE;

/// Maps two pages of a file with these rights; the flags of the area.
fn map_file(
    space: &Space,
    rights: FileRights,
    prot: Prot,
    flags: MapFlags,
) -> Result<VmFlags, Errno> {
    let mut target = ObjectTarget::new(Arc::new(Ops(Arc::default())));
    target.rights = rights;
    target.max_bytes = Some(bytes(8));
    let request = MapRequest::object(target, bytes(2), prot, flags);
    space.mm.mmap(&request.fixed_at(at(0)))?;
    Ok(space.tree().find(at(0)).unwrap().flags())
}

// row: S01 A05 A08
#[test]
fn what_the_file_does_not_allow_is_refused() {
    let world = World::new(64);
    let map = |rights, prot, flags| map_file(world.first(), rights, prot, flags);
    let (shared, private) = (MapFlags::SHARED, MapFlags::PRIVATE);
    assert_eq!(map(WRITE, Prot::READ, private), Err(Errno::EACCES));
    assert_eq!(map(READ, RW, shared), Err(Errno::EACCES));
    let swap = READ | WRITE | FileRights::SWAP_FILE;
    assert_eq!(map(swap, RW, shared), Err(Errno::ETXTBSY));
    let append = READ | WRITE | FileRights::APPEND_ONLY;
    assert_eq!(map(append, Prot::READ, shared), Err(Errno::EACCES));
    assert_eq!(
        map(READ | FileRights::NO_EXEC, Prot::EXEC, private),
        Err(Errno::EPERM)
    );
    assert_eq!(
        map(READ | FileRights::NO_MMAP, Prot::READ, private),
        Err(Errno::ENODEV)
    );
    assert_eq!(
        map(READ, Prot::READ, private | MapFlags::GROWSDOWN),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        map(READ, Prot::READ, MapFlags::DROPPABLE),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        map(READ, Prot::READ, private | MapFlags::HUGETLB),
        Err(Errno::EINVAL)
    );
    let sync = MapFlags::SHARED_VALIDATE | MapFlags::SYNC;
    assert_eq!(map(READ, Prot::READ, sync), Err(Errno::EOPNOTSUPP));
    let synced = map(READ | FileRights::SYNC, Prot::READ, sync).unwrap();
    assert!(synced.contains(VmFlags::SYNC));
    let sealed = READ | WRITE | FileRights::SEALED_WRITE;
    assert_eq!(map(sealed, RW, shared), Err(Errno::EPERM));
    // Seals are asked about last.
    let sealed_too = |more| map(sealed | more, RW, shared);
    assert_eq!(sealed_too(FileRights::NO_MMAP), Err(Errno::ENODEV));
    let grows = shared | MapFlags::GROWSDOWN;
    assert_eq!(map(sealed, RW, grows), Err(Errno::EINVAL));
    let unreadable = WRITE | FileRights::SEALED_WRITE;
    assert_eq!(map(unreadable, RW, shared), Err(Errno::EACCES));
    // They say nothing of private mappings, and those shared for reading stay so.
    let mine = map(sealed, RW, private).unwrap();
    assert!(mine.contains(VmFlags::WRITE | VmFlags::MAYWRITE));
    let read_only = map(sealed, Prot::READ, shared).unwrap();
    assert!(!read_only.contains(VmFlags::MAYWRITE));
    world.end();
}

// row: S01 S03 A05
#[test]
fn what_the_file_does_not_allow_cannot_be_had_later() {
    let world = World::new(64);
    let space = world.first();
    // Shared, but not writable by anyone who has the file open for reading only.
    let flags = map_file(space, READ, Prot::READ, MapFlags::SHARED).unwrap();
    assert!(flags.contains(VmFlags::MAYSHARE));
    assert!(!flags.intersects(VmFlags::SHARED | VmFlags::MAYWRITE));
    assert_eq!(space.protect(0, 1, RW), Err(Errno::EACCES));
    let no_exec = READ | FileRights::NO_EXEC;
    map_file(space, no_exec, Prot::READ, MapFlags::PRIVATE).unwrap();
    assert_eq!(space.protect(0, 1, Prot::EXEC), Err(Errno::EACCES));
    world.end();
}

/// A shared-memory file of four pages, mapped shared at the start of the window; the areas' file.
fn map_shmem(
    space: &Space,
    rights: FileRights,
    change: impl FnOnce(&mut ObjectTarget),
) -> Result<Arc<MappedFile>, Errno> {
    let memory = Shmem::anonymous(space.mm.arena(), bytes(4));
    let file = memory.open_file();
    let mut target = ObjectTarget::new(memory).with_file(Arc::clone(&file), rights);
    change(&mut target);
    let prot = match rights.contains(WRITE) {
        true => RW,
        false => Prot::READ,
    };
    let request = MapRequest::object(target, bytes(4), prot, MapFlags::SHARED);
    space.mm.mmap(&request.fixed_at(at(0)))?;
    Ok(file)
}

/// Denies everyone to write to a file while it is being mapped.
#[derive(Debug, Default)]
struct Denier(
    Mutex<Vec<Result<DenyWrite, Errno>>>,
    Mutex<Option<Arc<FileMappings>>>,
);

impl MapPrepare for Denier {
    fn prepare(&self, description: &mut MapDescription) -> Result<(), Errno> {
        let file = description.file.as_ref().unwrap();
        self.0.lock().unwrap().push(file.mappings().deny_write());
        *self.1.lock().unwrap() = Some(Arc::clone(file.mappings()));
        Ok(())
    }
}

// row: S01 A03
// inv: 19 23
#[test]
fn a_file_that_may_not_be_written_is_found_before_the_hole_is_made() {
    let mut world = World::new(64);
    let space = world.first();
    space.map_private(0, 4);
    space.write(at(1), 7).unwrap();
    // Denied before: nothing is unmapped.
    let memory = Shmem::anonymous(space.mm.arena(), bytes(4));
    let file = memory.open_file();
    let denial = file.mappings().deny_write().unwrap();
    let target = ObjectTarget::new(memory).with_file(Arc::clone(&file), READ | WRITE);
    let request = MapRequest::object(target, bytes(4), RW, MapFlags::SHARED).fixed_at(at(0));
    assert_eq!(space.mm.mmap(&request), Err(Errno::EPERM));
    assert_eq!(space.areas(), [(0, 4, "rw-p".into())]);
    assert_eq!(space.read(at(1)).unwrap(), 7);
    drop(denial);
    // Admitted, it cannot be denied until the area counts itself.
    let denier = Arc::new(Denier::default());
    let prepare = Arc::clone(&denier);
    map_shmem(space, READ | WRITE, |target| target.prepare = Some(prepare)).unwrap();
    assert_eq!(space.areas(), [(0, 4, "rw-s".into())]);
    let said = denier.0.lock().unwrap().pop().unwrap();
    assert_eq!(said.map(drop), Err(Errno::EBUSY));
    let mappings = denier.1.lock().unwrap().take().unwrap();
    assert_eq!(mappings.nr_writable(), 1);
    space.unmap(0, 4).unwrap();
    assert!(mappings.deny_write().is_ok());
    world.check();
    world.end();
}

// row: S11 A05
#[test]
fn remapped_file_pages_have_the_rights_they_had() {
    let world = World::new(64);
    let space = world.first();
    let special = VmFlags::MIXEDMAP | VmFlags::DONTEXPAND | VmFlags::DONTDUMP;
    map_shmem(space, READ | WRITE | FileRights::NO_EXEC, |target| {
        target.flags = special;
    })
    .unwrap();
    let before = space.tree().find(at(0)).unwrap().flags();
    let place = (PgOff::new(3), MapFlags::empty());
    space
        .mm
        .remap_file_pages(at(0), bytes(1), Prot::NONE, place)
        .unwrap();
    let vma = space.tree().find(at(0)).unwrap().clone();
    assert_eq!((vma.pgoff, vma.nr_pages()), (PgOff::new(3), 1));
    assert_eq!(vma.flags(), before);
    drop(vma);
    assert!(before.contains(special) && !before.contains(VmFlags::MAYEXEC));
    assert_eq!(space.protect(0, 1, Prot::EXEC), Err(Errno::EACCES));
    // A file has no more pages than it can have (`file_mmap_ok`), whoever asks.
    let far = |first| {
        let place = (PgOff::new(first), MapFlags::empty());
        space
            .mm
            .remap_file_pages(at(0), bytes(1), Prot::NONE, place)
    };
    assert_eq!(far(0x7_ffff_ffff_ffff), Err(Errno::EOVERFLOW));
    assert_eq!(far(u64::MAX - 1), Err(Errno::EOVERFLOW));
    assert_eq!(far(u64::MAX), Err(Errno::EINVAL));
    assert_eq!(space.tree().find(at(0)).unwrap().pgoff, PgOff::new(3));
    assert_eq!(far(0x7_ffff_ffff_fffe), Ok(()));
    // A file sealed against writes stays so.
    space.unmap(0, 4).unwrap();
    let memory = Shmem::anonymous(space.mm.arena(), bytes(4));
    let file = memory.open_file();
    let sealed = READ | WRITE | FileRights::SEALED_WRITE;
    let target = ObjectTarget::new(memory).with_file(file, sealed);
    let request = MapRequest::object(target, bytes(4), Prot::READ, MapFlags::SHARED);
    space.mm.mmap(&request.fixed_at(at(0))).unwrap();
    space
        .mm
        .remap_file_pages(at(0), bytes(1), Prot::NONE, place)
        .unwrap();
    assert_eq!(space.protect(0, 1, RW), Err(Errno::EACCES));
    world.end();
}
