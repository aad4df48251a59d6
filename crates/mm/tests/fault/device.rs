//! Pages of host files, which are not in the arena.

use std::sync::Arc;

use addr::{PAGE_SIZE, SigCode};
use mm::{FaultKind, FileRights, MapFlags, MapRequest, ObjectTarget};
use object::device::{DaxFile, MemoryFile, is_device};
use object::{InodeId, VmOps};

use crate::space::{BASE, Host, RW, Space, pfn_of, read_at};

const INODE: InodeId = InodeId {
    major: 8,
    minor: 1,
    ino: 77,
};

struct Mapped {
    file: MemoryFile,
    dax: Arc<DaxFile>,
}

fn mapped(host: &Host, bytes: &[u8]) -> Mapped {
    let file = MemoryFile::holding(INODE, bytes);
    let dax = DaxFile::new(&host.devices, Arc::new(file.clone())).unwrap();
    Mapped { file, dax }
}

fn map(space: &Space<'_>, mapped: &Mapped, pages: u64, flags: MapFlags) {
    let ops: Arc<dyn VmOps> = Arc::clone(&mapped.dax) as _;
    let file = mapped.dax.open_file("/tmp/file");
    let target = ObjectTarget::new(ops).with_file(file, FileRights::READ_WRITE);
    let request = MapRequest::object(target, pages * PAGE_SIZE, RW, flags);
    space.mm.mmap(&request.fixed_at(BASE)).unwrap();
}

fn at(n: u64) -> addr::VirtAddr {
    BASE.checked_add(n * PAGE_SIZE).unwrap()
}

fn two_pages() -> Vec<u8> {
    let mut bytes = vec![1; PAGE_SIZE as usize];
    bytes.extend(vec![2; PAGE_SIZE as usize]);
    bytes
}

// row: F13
#[test]
fn a_read_maps_the_hosts_own_page() {
    let host = Host::new(256);
    let space = host.space();
    let file = mapped(&host, &two_pages());
    map(&space, &file, 2, MapFlags::PRIVATE);
    let mut program = space.run();
    assert_eq!(program.load(at(1)).unwrap(), 2);
    assert!(is_device(pfn_of(&space.mm, at(1))));
    let stats = space.mm.stats();
    assert!(stats.rss.file >= 1 && stats.rss.anon == 0);
}

// row: F14
#[test]
fn a_private_write_copies_the_hosts_page_whether_mapped_before_or_not() {
    let host = Host::new(256);
    let space = host.space();
    let file = mapped(&host, &two_pages());
    map(&space, &file, 2, MapFlags::PRIVATE);
    let mut program = space.run();
    // Page 0 is missing, page 1 is mapped for reading.
    assert_eq!(program.load(at(1)).unwrap(), 2);
    let before = space.mm.stats().rss;
    program.store(at(0), 9).unwrap();
    program.store(at(1), 9).unwrap();
    for (n, byte) in [(0, 1), (1, 2)] {
        assert_eq!(program.load(at(n)).unwrap(), 9);
        assert_eq!(program.load(at(n).checked_add(1).unwrap()).unwrap(), byte);
        assert!(!is_device(pfn_of(&space.mm, at(n))));
    }
    let stats = space.mm.stats();
    assert_eq!((stats.rss.anon, stats.faults.cow_copied), (2, 2));
    assert!(stats.rss.file < before.file + 1);
    // The host's file is as it was.
    let page = file.dax.pagemap();
    let mut byte = [0];
    page.copy_in(addr::PgOff::ZERO, 0, &mut byte).unwrap();
    assert_eq!(byte, [1]);
}

// row: F17 row: V11
#[test]
fn a_shared_write_is_noticed_and_reaches_the_file() {
    let host = Host::new(256);
    let space = host.space();
    let file = mapped(&host, &two_pages());
    map(&space, &file, 2, MapFlags::SHARED);
    let mut program = space.run();
    assert_eq!(program.load(at(0)).unwrap(), 1);
    // inv: 57
    assert!(!space.entry(at(0)).is_writable());
    assert!(!file.dax.pagemap().take_dirtied());
    program.store(at(0), 7).unwrap();
    assert!(file.dax.pagemap().take_dirtied());
    assert!(is_device(pfn_of(&space.mm, at(0))));
    let mut byte = [0];
    file.dax
        .pagemap()
        .copy_in(addr::PgOff::ZERO, 0, &mut byte)
        .unwrap();
    assert_eq!(byte, [7]);
    assert_eq!(space.mm.stats().faults.shared_write, 1);
}

// row: F13
#[test]
fn a_file_that_has_grown_is_asked_before_sigbus() {
    let host = Host::new(256);
    let space = host.space();
    let file = mapped(&host, &[1; 10]);
    map(&space, &file, 4, MapFlags::SHARED);
    let mut program = space.run();
    assert_eq!(
        program.load(at(1)).unwrap_err().si_code(),
        Some(SigCode::BusAdrErr)
    );
    file.file.set_size(3 * PAGE_SIZE);
    assert_eq!(program.load(at(1)).unwrap(), 0);
    assert_eq!(
        program.load(at(3)).unwrap_err().si_code(),
        Some(SigCode::BusAdrErr)
    );
}

// row: F05
#[test]
fn a_page_that_the_host_takes_away_is_sigbus_and_is_unmapped() {
    let host = Host::new(256);
    let space = host.space();
    let file = mapped(&host, &two_pages());
    map(&space, &file, 2, MapFlags::SHARED);
    let mut program = space.run();
    assert_eq!(program.load(at(1)).unwrap(), 2);
    // Somebody else truncates the file: our table still has the page.
    file.file.set_size(PAGE_SIZE);
    assert!(!space.entry(at(1)).is_none());
    assert_eq!(
        program.load(at(1)).unwrap_err().si_code(),
        Some(SigCode::BusAdrErr)
    );
    assert!(space.entry(at(1)).is_none());
    // inv: 50
    assert_eq!(program.load(at(0)).unwrap(), 1);
    drop(program);
    assert_eq!(space.mm.stats().rss.file, 1);
}

// row: F23
#[test]
fn reading_a_file_for_a_copy_counts_as_a_wait() {
    let host = Host::new(256);
    let space = host.space();
    let file = mapped(&host, &two_pages());
    map(&space, &file, 2, MapFlags::PRIVATE);
    let handled = space
        .mm
        .handle_fault(&crate::space::write_at(at(0)))
        .unwrap();
    assert_eq!(handled.kind, FaultKind::CowCopied);
    assert_eq!(handled.waited, mm::Waited::ForData);
    assert!(handled.attempts >= 2);
    let read = space.mm.handle_fault(&read_at(at(1))).unwrap();
    assert_eq!(read.waited, mm::Waited::ForNothing);
}
