//! What memory calls ask of files: to make durable, to make a hole, to have at hand.

use std::sync::{Arc, Mutex};

use addr::{Errno, PAGE_SIZE, PgOff, Prot};
use mm::{Advice, FileRights, MapFlags, MapRequest, ObjectTarget, SyncFlags};
use object::file::{FileStep, FileWork};
use object::ops::NoOps;
use object::rmap::FileMappings;
use object::{FileObject, InodeId, MappedFile, Obtained, PageRequest, Waiting};

use crate::kit::{Space, World, at, bytes};

const RW: Prot = Prot::READ.union(Prot::WRITE);

/// A file that notes what it is asked, and with what still locked; some pages it cannot keep.
#[derive(Debug, Default)]
struct Noting {
    lines: Mutex<Vec<String>>,
}

impl Noting {
    fn note(&self, what: &str, first: PgOff, last: PgOff) {
        let line = format!("{what} {}..={}", first.as_u64(), last.as_u64());
        self.lines.lock().unwrap().push(line);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap())
    }
}

impl FileObject for Noting {
    fn punch_hole(self: Arc<Self>, first: PgOff, last: PgOff) -> Result<FileStep, Errno> {
        self.note("hole", first, last);
        Ok(FileStep::Done)
    }

    fn sync(self: Arc<Self>, first: PgOff, last: PgOff) -> Result<FileStep, Errno> {
        Ok(FileStep::Work(FileWork::new(move || {
            // It may take as long as a disk takes, and so nothing is held.
            sync::rank::assert_none_held();
            self.note("sync", first, last);
            match first.as_u64() {
                20.. => Err(Errno::EIO),
                _ => Ok(()),
            }
        })))
    }

    fn will_need(self: Arc<Self>, first: PgOff, last: PgOff) -> Option<PageRequest> {
        Some(PageRequest::new(Waiting::Read, move || {
            self.note("need", first, last);
            Obtained::nothing()
        }))
    }
}

/// Maps `pages` pages of a file at `page`, from its page `from` on.
fn map(space: &Space, file: &Arc<MappedFile>, (page, pages): (u64, u64), from: u64) {
    let target =
        ObjectTarget::new(Arc::new(NoOps)).with_file(Arc::clone(file), FileRights::READ_WRITE);
    let request = MapRequest::object(target, bytes(pages), RW, MapFlags::SHARED)
        .from_page(PgOff::new(from))
        .fixed_at(at(page));
    space.mm.mmap(&request).unwrap();
}

fn file(noting: &Arc<Noting>) -> Arc<MappedFile> {
    let inode = InodeId {
        major: 8,
        minor: 1,
        ino: 5,
    };
    let object = Arc::clone(noting) as Arc<dyn FileObject>;
    MappedFile::new(inode, "/tmp/noting", FileMappings::new(), object)
}

// row: S08
#[test]
fn msync_reaches_each_file_with_its_pages_and_holds_nothing() {
    let world = World::new(64);
    let space = world.first();
    let noting = Arc::new(Noting::default());
    let file = file(&noting);
    map(space, &file, (0, 4), 7);
    map(space, &file, (6, 2), 1);
    map(space, &file, (10, 1), 20);
    let sync = |page, pages, flags| space.mm.msync(at(page), bytes(pages), flags);
    assert_eq!(sync(1, 2, SyncFlags::SYNC), Ok(()));
    assert_eq!(noting.take(), ["sync 8..=9"]);
    // A hole is passed over and told of at the end.
    assert_eq!(sync(3, 4, SyncFlags::SYNC), Err(Errno::ENOMEM));
    assert_eq!(noting.take(), ["sync 10..=10", "sync 1..=1"]);
    // The file's error ends it.
    assert_eq!(sync(10, 2, SyncFlags::SYNC), Err(Errno::EIO));
    assert_eq!(noting.take(), ["sync 20..=20"]);
    // Neither of these writes anything; nor is private memory anybody's file.
    assert_eq!(sync(0, 4, SyncFlags::ASYNC), Ok(()));
    assert_eq!(sync(0, 4, SyncFlags::INVALIDATE), Ok(()));
    space.map_private(20, 1);
    assert_eq!(sync(20, 1, SyncFlags::SYNC), Ok(()));
    assert!(noting.take().is_empty());
}

// row: S06
#[test]
fn advice_reaches_each_file_with_its_pages() {
    let world = World::new(64);
    let space = world.first();
    let noting = Arc::new(Noting::default());
    map(space, &file(&noting), (0, 4), 7);
    let advise = |page, pages, advice| space.mm.madvise(at(page), bytes(pages), advice);
    assert_eq!(advise(1, 2, Advice::Remove), Ok(()));
    assert_eq!(advise(2, 2, Advice::WillNeed), Ok(()));
    assert_eq!(noting.take(), ["hole 8..=9", "need 9..=10"]);
    space.mm.mlock(at(0), PAGE_SIZE).unwrap_err();
    assert_eq!(advise(0, 1, Advice::Remove), Err(Errno::EINVAL));
    assert!(noting.take().is_empty());
}
