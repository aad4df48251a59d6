use std::sync::Arc;

use addr::{Access, Errno, PAGE_SIZE, Pfn, PgOff, VmFlags};

use super::*;
use crate::area::Area;
use crate::context::{AroundPage, AroundSink, FaultPage, MapAround, Noticed, Offered};
use crate::failure::FaultFailure;
use crate::file::{InodeId, Residency, Writeback};
use crate::ops::{Notified, Supplied, VmOps};
use crate::rmap::Sharing;
use crate::testing::{FakeEntry, FakeSpace, arena, notify, range, serve, serve_in};

const BASE: u64 = 0x40_0000;
const TIB: u64 = 1 << 40;

fn inode(ino: u64) -> InodeId {
    InodeId {
        major: 8,
        minor: 1,
        ino,
    }
}

fn host(file: &MemoryFile) -> Arc<dyn HostFile> {
    Arc::new(file.clone())
}

fn dax(space: &Arc<DeviceSpace>, file: &MemoryFile) -> Arc<DaxFile> {
    DaxFile::new(space, host(file)).unwrap()
}

fn area(flags: VmFlags, pages: u64) -> Area {
    Area::new(
        range(BASE, pages),
        VmFlags::READ | VmFlags::MAYWRITE | flags,
        PgOff::ZERO,
    )
}

fn shared(pages: u64) -> Area {
    area(VmFlags::SHARED | VmFlags::WRITE, pages)
}

fn private(pages: u64) -> Area {
    area(VmFlags::WRITE, pages)
}

fn device(supplied: (Supplied, usize)) -> Pfn {
    match supplied.0 {
        Supplied::Device(pfn) => pfn,
        other => panic!("{other:?}"),
    }
}

// row: Z04
// row: Z07
#[test]
fn a_sparse_tebibyte_costs_what_is_touched() {
    let space = DeviceSpace::new();
    let file = dax(&space, &MemoryFile::new(inode(1), TIB));
    assert_eq!(space.nr_chunks(), 0);
    let last = PgOff::new(TIB / PAGE_SIZE - 1);
    let pfn = file.pagemap().pfn(last).unwrap();
    assert!(is_device(pfn) && pfn.as_u64() >= FIRST_DEVICE_PFN);
    assert_eq!(space.nr_chunks(), 1);
    let page = space.page(pfn).unwrap();
    assert_eq!(page.pgoff, last);
    assert!(Arc::ptr_eq(&page.pagemap, file.pagemap()));
    assert_eq!(file.pagemap().pfn(last), Ok(pfn));
    assert_eq!(file.pagemap().known_pfn(PgOff::ZERO), None);
    assert_eq!(page.pagemap.memory_type(), MemoryType::FsDax);
    assert!(
        space
            .page(Pfn::new(FIRST_DEVICE_PFN + CHUNK_PAGES))
            .is_none()
    );
    assert!(space.page(Pfn::new(5)).is_none());
}

// row: Z07
#[test]
fn a_pagemap_is_one_per_inode_and_its_numbers_come_back() {
    let space = DeviceSpace::new();
    let content = MemoryFile::new(inode(1), 2 * PAGE_SIZE);
    let (one, two) = (
        dax(&space, &content),
        dax(&space, &content.reopen(HostRights::Read)),
    );
    assert!(Arc::ptr_eq(one.pagemap(), two.pagemap()));
    let pfn = one.pagemap().pfn(PgOff::ZERO).unwrap();
    drop(one);
    assert!(space.page(pfn).is_some(), "the other has it open");
    drop(two);
    assert!(space.page(pfn).is_none());
    assert!(space.find(inode(1)).is_none());
    assert_eq!(space.nr_chunks(), 0);
    let other = dax(&space, &MemoryFile::new(inode(2), PAGE_SIZE));
    assert_eq!(
        other.pagemap().pfn(PgOff::ZERO),
        Ok(pfn),
        "a number is used again"
    );
}

#[test]
fn a_descriptor_with_the_least_rights_is_preferred() {
    let space = DeviceSpace::new();
    let content = MemoryFile::new(inode(1), PAGE_SIZE);
    let reader = dax(&space, &content.reopen(HostRights::Read));
    assert!(reader.pagemap().file(HostRights::ReadWrite).is_none());
    let writer = dax(&space, &content);
    let rights = |wanted| reader.pagemap().file(wanted).map(|file| file.rights());
    assert_eq!(rights(HostRights::Read), Some(HostRights::Read));
    assert_eq!(rights(HostRights::ReadWrite), Some(HostRights::ReadWrite));
    let pagemap = Arc::clone(reader.pagemap());
    drop(reader);
    assert_eq!(
        pagemap.file(HostRights::Read).unwrap().rights(),
        HostRights::ReadWrite
    );
    drop(writer);
    assert_eq!(pagemap.refresh_size(), Err(Errno::EBADF));
}

// row: V06
// inv: 59
#[test]
fn reads_and_shared_writes_get_the_page_itself() {
    let space = DeviceSpace::new();
    let file = dax(&space, &MemoryFile::new(inode(1), 4 * PAGE_SIZE));
    let pfn = device(serve(&*file, &private(4), 2, Access::Read));
    assert_eq!(device(serve(&*file, &shared(4), 2, Access::Read)), pfn);
    assert!(!file.pagemap().take_dirtied());
    assert_eq!(device(serve(&*file, &shared(4), 2, Access::Write)), pfn);
    assert!(file.pagemap().take_dirtied());
    let (copy, _) = serve(&*file, &private(4), 2, Access::Write);
    assert!(matches!(copy, Supplied::Data(_)));
    assert!(
        !file.pagemap().take_dirtied(),
        "a private write is no write to the file"
    );
}

// row: V11
// inv: 57
#[test]
fn a_page_read_first_is_noticed_when_written() {
    let space = DeviceSpace::new();
    let content = MemoryFile::new(inode(1), PAGE_SIZE);
    let file = dax(&space, &content);
    let pfn = device(serve(&*file, &shared(2), 0, Access::Read));
    assert!(matches!(
        notify(&*file, &shared(2), 0, Noticed::Device(pfn)),
        Notified::Allow
    ));
    assert!(file.pagemap().take_dirtied());
    let beyond = notify(&*file, &shared(2), 1, Noticed::Device(pfn));
    assert!(matches!(beyond, Notified::Error(FaultFailure::Bus)));
}

// row: V06
#[test]
fn a_private_copy_is_read_without_locks_and_ends_in_zeroes() {
    let space = DeviceSpace::new();
    let file = dax(&space, &MemoryFile::holding(inode(1), b"hello"));
    let arena = arena(16);
    let before = arena.usage().nr_free;
    let (supplied, nr_waits) = serve_in(&arena, &*file, &private(1), 0, Access::Write);
    assert_eq!(nr_waits, 1, "the disk is waited for outside");
    let Supplied::Data(page) = supplied else {
        panic!()
    };
    let mut bytes = [9; 8];
    page.read(0, &mut bytes);
    assert_eq!(&bytes, b"hello\0\0\0");
    drop(page);
    assert_eq!(arena.usage().nr_free, before);
}

// row: V06
// inv: 55
#[test]
fn the_host_is_asked_before_a_page_is_beyond_the_end() {
    let space = DeviceSpace::new();
    let content = MemoryFile::new(inode(1), PAGE_SIZE);
    let file = dax(&space, &content);
    let (supplied, nr_waits) = serve(&*file, &shared(4), 1, Access::Read);
    assert!(matches!(supplied, Supplied::Error(FaultFailure::Bus)));
    assert_eq!(nr_waits, 1);
    content.set_size(2 * PAGE_SIZE);
    device(serve(&*file, &shared(4), 1, Access::Read));
    // A private copy of a page that was cut off meanwhile.
    content.set_size(10);
    let (supplied, _) = serve(&*file, &private(4), 1, Access::Write);
    assert!(matches!(supplied, Supplied::Error(FaultFailure::Bus)));
    assert_eq!(file.pagemap().size_bytes(), 10);
}

// inv: 56
#[test]
fn a_shorter_file_is_unmapped_with_its_private_copies() {
    let space = DeviceSpace::new();
    let content = MemoryFile::new(inode(1), 4 * PAGE_SIZE);
    let file = dax(&space, &content);
    let mm = FakeSpace::new();
    let mapped = file.open_file("/tmp/file");
    let _link = mapped
        .mappings()
        .link(mm.mapping(BASE, 4, 0), Sharing::ReadOnly)
        .unwrap();
    for page in 0..4 {
        let entry = FakeEntry {
            pfn: Pfn::new(page),
            writable: true,
            private: page == 3,
        };
        mm.map_entry(BASE + page * PAGE_SIZE, entry);
    }
    content.set_size(PAGE_SIZE + 1);
    assert_eq!(file.pagemap().refresh_size(), Ok(PAGE_SIZE + 1));
    let left: std::vec::Vec<_> = (0..4)
        .map(|page| mm.mapped(BASE + page * PAGE_SIZE).is_some())
        .collect();
    assert_eq!(left, [true, true, false, false]);
    file.pagemap().resized(0);
    assert!(mm.mapped(BASE).is_none());
}

#[derive(Default)]
struct Sink(std::vec::Vec<(u64, Pfn)>);

impl AroundSink for Sink {
    fn is_empty(&self, _address: addr::VirtAddr) -> bool {
        true
    }

    fn install(&mut self, address: addr::VirtAddr, page: AroundPage<'_>) -> Offered {
        let AroundPage::Device(pfn) = page else {
            panic!("no folio here")
        };
        self.0.push(((address.as_u64() - BASE) / PAGE_SIZE, pfn));
        Offered::Mapped
    }
}

// row: V08
// inv: 61
#[test]
fn neighbours_are_mapped_up_to_the_end_of_the_file() {
    let space = DeviceSpace::new();
    let file = dax(&space, &MemoryFile::new(inode(1), 3 * PAGE_SIZE));
    let area = private(8);
    let window = (PgOff::ZERO, PgOff::new(7));
    let mut sink = Sink::default();
    let mut around = MapAround::new(&area, area.range.start(), window, &mut sink);
    assert_eq!(
        file.map_pages(&mut around),
        FaultPage::Missing,
        "no numbers are given here"
    );
    let pfn = device(serve(&*file, &area, 1, Access::Read));
    let mut around = MapAround::new(&area, area.range.start(), window, &mut sink);
    assert_eq!(file.map_pages(&mut around), FaultPage::Mapped);
    let base = pfn.as_u64() - 1;
    let expected: std::vec::Vec<_> = (0..3).map(|page| (page, Pfn::new(base + page))).collect();
    assert_eq!(sink.0, expected);
}

#[test]
fn machines_that_map_nothing_copy() {
    let space = DeviceSpace::new();
    let content = MemoryFile::holding(inode(1), b"0123456789");
    let file = dax(&space, &content);
    let pagemap = file.pagemap();
    let mut bytes = [1; 6];
    pagemap.copy_in(PgOff::ZERO, 6, &mut bytes).unwrap();
    assert_eq!(&bytes, b"6789\0\0");
    pagemap.copy_out(PgOff::ZERO, 8, b"abcdef").unwrap();
    assert_eq!(
        content.size_bytes(),
        Ok(10),
        "a store does not make the file longer"
    );
    pagemap.copy_in(PgOff::ZERO, 6, &mut bytes).unwrap();
    assert_eq!(&bytes, b"67ab\0\0");
    assert_eq!(
        pagemap.copy_in(PgOff::new(1), 0, &mut bytes),
        Err(Errno::EFAULT)
    );
    assert_eq!(
        pagemap.copy_out(PgOff::new(1), 0, &bytes),
        Err(Errno::EFAULT)
    );
    let reader = dax(
        &space,
        &MemoryFile::holding(inode(2), b"x").reopen(HostRights::Read),
    );
    assert_eq!(
        reader.pagemap().copy_out(PgOff::ZERO, 0, b"y"),
        Err(Errno::EBADF)
    );
}

#[test]
fn a_copy_that_finds_the_page_gone_unmaps_nothing_itself() {
    let space = DeviceSpace::new();
    let content = MemoryFile::new(inode(1), 2 * PAGE_SIZE);
    let file = dax(&space, &content);
    let mm = FakeSpace::new();
    let mapping = mm.mapping(BASE, 2, 0);
    let _link = file
        .pagemap()
        .mappings()
        .link(mapping, Sharing::Writable)
        .unwrap();
    mm.map(BASE + PAGE_SIZE, Pfn::new(FIRST_DEVICE_PFN + 1));
    content.set_size(PAGE_SIZE);
    let page = PgOff::new(1);
    assert_eq!(
        file.pagemap().copy_in(page, 0, &mut [0; 4]),
        Err(Errno::EFAULT)
    );
    assert_eq!(
        file.pagemap().copy_out(page, 0, &[0; 4]),
        Err(Errno::EFAULT)
    );
    assert!(mm.mapped(BASE + PAGE_SIZE).is_some());
    assert_eq!(file.pagemap().refresh_size(), Ok(PAGE_SIZE));
    assert!(mm.mapped(BASE + PAGE_SIZE).is_none());
}

#[test]
fn memory_calls_reach_the_host_file() {
    let space = DeviceSpace::new();
    let content = MemoryFile::new(inode(1), 4 * PAGE_SIZE);
    content.write_at(PAGE_SIZE, b"data").unwrap();
    let file = dax(&space, &content);
    let mapped = file.open_file("/tmp/file");
    let object = mapped.object();
    assert_eq!(object.writeback(), Writeback::Yes);
    assert_eq!(object.residency(), Residency::Visible);
    assert!(object.is_resident(PgOff::new(1)) && !object.is_resident(PgOff::new(2)));
    assert!(!object.is_resident(PgOff::new(9)));
    let sync = Arc::clone(object).sync(PgOff::ZERO, PgOff::new(1)).unwrap();
    assert_eq!(sync.complete(), Ok(()));
    let punch = Arc::clone(object)
        .punch_hole(PgOff::new(1), PgOff::new(1))
        .unwrap();
    assert_eq!(punch.complete(), Ok(()));
    let mut bytes = [1; 4];
    content.read_at(PAGE_SIZE, &mut bytes).unwrap();
    assert_eq!(bytes, [0; 4]);
    let absurd = Arc::clone(object).punch_hole(PgOff::new(u64::MAX - 1), PgOff::new(u64::MAX));
    assert_eq!(absurd.unwrap_err(), Errno::EINVAL);
}

#[test]
fn an_old_answer_about_the_size_does_not_overwrite_a_newer() {
    let space = DeviceSpace::new();
    let content = MemoryFile::new(inode(1), PAGE_SIZE);
    let file = dax(&space, &content);
    let pagemap = file.pagemap();
    pagemap.resized(5 * PAGE_SIZE);
    pagemap.learn_size(PAGE_SIZE, 0);
    assert_eq!(pagemap.size_bytes(), 5 * PAGE_SIZE);
}
