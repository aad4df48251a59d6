//! What objects are told of their areas, and what they may forbid.

use std::sync::Arc;
use std::sync::Mutex;

use addr::{Errno, PAGE_SIZE, Prot, VirtAddr, VirtRange, VmFlags};
use mm::{
    Advice, FileRights, MapDescription, MapFlags, MapPrepare, MapRequest, ObjectTarget, RemapFlags,
};
use object::{AreaChange, Callbacks, VmOps};

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
