//! What the tests of this crate build on.

use crate::{
    Attributes, MapPlan, MapScope, MmapHeld, MmapLock, MmapWrite, ModifyPlan, NewArea, Placed,
    Refused, RemovePlan, Rules, Vma, VmaTree, anon_vma_prepare,
};
use addr::{Errno, PAGE_SIZE, Pfn, PgOff, VirtAddr, VirtRange, VmFlags};
use alloc::sync::{Arc, Weak};
use object::file::{FileObject, InodeId};
use object::rmap::{MappedEntry, Protected};
use object::{
    AreaChange, Callbacks, EvenCows, FileMappings, FlushDue, MappedFile, MappingSpace, RmapRead,
    VmOps,
};
use std::sync::Mutex;
use std::vec::Vec;

pub(crate) const RW: VmFlags = VmFlags::DATA_DEFAULT;
pub(crate) const RO: VmFlags = VmFlags::DATA_DEFAULT.difference(VmFlags::WRITE);

/// A space without page tables.
#[derive(Debug)]
pub(crate) struct NoTables;

impl MappingSpace for NoTables {
    fn zap_mapping(&self, _: VirtRange, _: EvenCows, _: &RmapRead<'_>) -> FlushDue {
        FlushDue::none()
    }

    fn write_protect(&self, _: VirtRange, _: &RmapRead<'_>) -> Protected {
        Protected {
            nr_cleaned: 0,
            flush: FlushDue::none(),
        }
    }

    fn visit(&self, _: VirtAddr, _: Pfn, _: &RmapRead<'_>) -> Option<MappedEntry> {
        None
    }
}

/// A file whose content nobody asks for.
#[derive(Debug)]
struct Blank;

impl FileObject for Blank {}

pub(crate) fn file() -> Arc<MappedFile> {
    let inode = InodeId {
        major: 8,
        minor: 1,
        ino: 7,
    };
    MappedFile::new(inode, "/blank", FileMappings::new(), Arc::new(Blank))
}

/// An object that writes down what it is told.
#[derive(Debug)]
pub(crate) struct Diary {
    callbacks: Callbacks,
    unsplittable_at: Option<VirtAddr>,
    heard: Mutex<Vec<(Heard, u64, u64)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Open,
    Close,
}

impl Diary {
    pub(crate) fn with(callbacks: Callbacks) -> Self {
        Self {
            callbacks,
            unsplittable_at: None,
            heard: Mutex::default(),
        }
    }

    /// The same, but a split at this page is refused.
    pub(crate) fn unsplittable_at(self, page: u64) -> Self {
        Self {
            unsplittable_at: Some(at(page)),
            ..self
        }
    }

    /// What was heard, with the pages it was about; then it forgets.
    pub(crate) fn take(&self) -> Vec<(Heard, u64, u64)> {
        core::mem::take(&mut *self.heard.lock().expect("no panic while it was held"))
    }

    fn hear(&self, what: Heard, change: &AreaChange<'_>) {
        let (start, end) = pages(change.area().range);
        self.heard
            .lock()
            .expect("no panic while it was held")
            .push((what, start, end));
    }
}

impl VmOps for Diary {
    fn callbacks(&self) -> Callbacks {
        self.callbacks
    }

    fn open(&self, change: &AreaChange<'_>) {
        self.hear(Heard::Open, change);
    }

    fn close(&self, change: &AreaChange<'_>) {
        self.hear(Heard::Close, change);
    }

    fn may_split(&self, change: &AreaChange<'_>, address: VirtAddr) -> Result<(), Errno> {
        assert!(change.area().range.start() < address && address < change.area().range.end());
        if self.unsplittable_at == Some(address) {
            Err(Errno::EINVAL)
        } else {
            Ok(())
        }
    }
}

pub(crate) fn at(page: u64) -> VirtAddr {
    VirtAddr::new(page * PAGE_SIZE)
}

pub(crate) fn span(start: u64, end: u64) -> VirtRange {
    VirtRange::new(at(start), at(end)).expect("not empty")
}

/// First page, and the page after the last.
pub(crate) fn pages(range: VirtRange) -> (u64, u64) {
    (range.start().page_number(), range.end().page_number())
}

/// An anonymous area as mmap makes it: offsets are those of its addresses.
pub(crate) fn anonymous(start: u64, end: u64, flags: VmFlags) -> NewArea {
    NewArea::anonymous(span(start, end), flags, PgOff::new(start))
}

/// An area of a file, which is mapped so that page 0 of it would be at `base`.
pub(crate) fn mapped(file: &Arc<MappedFile>, base: u64, (start, end): (u64, u64)) -> NewArea {
    let mut new = NewArea::anonymous(span(start, end), RO, PgOff::new(start - base));
    new.area.file = Some(Arc::clone(file));
    new.ops = Some(Arc::new(object_of_file()));
    new
}

fn object_of_file() -> Diary {
    Diary::with(Callbacks::FAULT)
}

/// An area of an object without a file.
pub(crate) fn told(diary: &Arc<Diary>, start: u64, end: u64) -> NewArea {
    let ops: Arc<dyn VmOps> = Arc::<Diary>::clone(diary);
    NewArea {
        ops: Some(ops),
        ..anonymous(start, end, RW)
    }
}

pub(crate) type Lock = MmapLock<()>;

pub(crate) fn space() -> Lock {
    space_with(Rules::default())
}

pub(crate) fn space_with(rules: Rules) -> Lock {
    let nobody: Weak<dyn MappingSpace> = Weak::<NoTables>::new();
    MmapLock::new((), rules, nobody)
}

/// The verbs, as short as tests want them.
pub(crate) trait Verbs {
    fn map(&self, new: NewArea) -> Placed;
    fn unmap(&self, start: u64, end: u64);
    fn protect(&self, start: u64, end: u64, flags: VmFlags) -> Result<(), Errno>;
    fn touch(&self, page: u64);
    fn layout(&self) -> Vec<(u64, u64)>;
    fn area_at(&self, page: u64) -> Arc<Vma>;
}

impl Verbs for Lock {
    fn map(&self, new: NewArea) -> Placed {
        let mut held = self.write();
        let plan = MapPlan::decide(&held, new, MapScope::Neighbours).expect("no file refuses");
        plan.commit(&mut held)
    }

    fn unmap(&self, start: u64, end: u64) {
        let mut held = self.write();
        let plan = RemovePlan::decide(&held, span(start, end)).expect("nothing refuses");
        let (_tables, unclosed) = plan.commit(&mut held).unlink_rmap();
        unclosed.close();
    }

    fn protect(&self, start: u64, end: u64, flags: VmFlags) -> Result<(), Errno> {
        let mut held = self.write();
        each_area(&mut held, span(start, end), |vma| {
            Attributes::of(vma).with_flags(flags)
        })
    }

    fn touch(&self, page: u64) {
        let held = self.read();
        let vma = held.tree().find(at(page)).expect("something is mapped");
        anon_vma_prepare(&held, vma);
    }

    fn layout(&self) -> Vec<(u64, u64)> {
        self.snapshot().iter().map(|vma| pages(vma.range)).collect()
    }

    fn area_at(&self, page: u64) -> Arc<Vma> {
        Arc::clone(self.snapshot().find(at(page)).expect("something is mapped"))
    }
}

/// Modifies every area in a range in turn, as the verbs of mm do.
pub(crate) fn each_area(
    held: &mut MmapWrite<'_, ()>,
    range: VirtRange,
    to: impl Fn(&Vma) -> Attributes,
) -> Result<(), Errno> {
    let mut from = range.start();
    while let Some(rest) = VirtRange::new(from, range.end()) {
        let Some(vma) = held.tree().find_intersection(rest).cloned() else {
            break;
        };
        let part = vma.range.intersect(&rest).expect("they overlap");
        from = part.end();
        if to(&vma).are_those_of(&vma) {
            continue;
        }
        match ModifyPlan::decide(held, &vma, part, &to(&vma)) {
            Ok(plan) => {
                let changed = plan.commit(held);
                assert!(changed.vma.range.contains_range(&part));
            }
            Err(refused) => return Err(settle(refused, held)),
        }
    }
    Ok(())
}

pub(crate) fn settle(refused: Refused, held: &mut MmapWrite<'_, ()>) -> Errno {
    refused.settle(held)
}

/// What must be true of any arrangement, whatever was done to it.
pub(crate) fn check_tree(tree: &VmaTree) {
    let areas: Vec<_> = tree.iter().collect();
    // inv: 14
    assert_eq!(areas.len(), tree.len());
    assert!(
        areas
            .windows(2)
            .all(|pair| pair[0].range.end() <= pair[1].range.start())
    );
    for vma in areas {
        // inv: 9
        assert!(vma.is_attached());
        // inv: 16
        assert!(vma.flags().access_within_may());
        assert!(!vma.flags().contains(VmFlags::SHARED) || vma.flags().contains(VmFlags::MAYSHARE));
        assert_eq!(vma.file.is_some(), vma.file_link().is_some());
    }
}
