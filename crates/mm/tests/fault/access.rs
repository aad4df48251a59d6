//! From outside: reading, writing, pinning, populating.

use std::sync::Arc;

use addr::{Access, Errno, PAGE_SIZE, Prot, VirtAddr, VirtRange};
use frame::FolioFlags;
use mm::{Force, MapFlags, MapRequest, PinStep, Pinned, Pinning, Target};

use crate::file::{map_region, numbered};
use crate::space::{BASE, Host, RW, page, pfn_of};

// row: S18
#[test]
fn memory_is_read_and_written_across_pages() {
    let host = Host::new(512);
    let space = host.space();
    let range = space.anon(4, RW);
    let from = page(range, 1).checked_sub(3).unwrap();
    assert_eq!(
        space.mm.write_memory(from, b"across a page", Force::Plain),
        13
    );
    let mut bytes = [0; 13];
    assert_eq!(space.mm.read_memory(from, &mut bytes, Force::Plain), 13);
    assert_eq!(&bytes, b"across a page");
    // Untouched memory reads as zero, through the zero page.
    let mut bytes = [1; 8];
    assert_eq!(
        space
            .mm
            .read_memory(page(range, 3), &mut bytes, Force::Plain),
        8
    );
    assert_eq!(bytes, [0; 8]);
    assert_eq!(space.mm.stats().rss.anon, 2);
}

// row: S18
#[test]
fn an_access_stops_at_the_first_page_that_cannot_be_had() {
    let host = Host::new(512);
    let space = host.space();
    let range = space.anon(2, RW);
    let from = range.end().checked_sub(10).unwrap();
    let mut bytes = [0; 100];
    assert_eq!(space.mm.read_memory(from, &mut bytes, Force::Plain), 10);
    assert_eq!(space.mm.write_memory(from, &bytes, Force::Plain), 10);
    assert_eq!(
        space
            .mm
            .read_memory(VirtAddr::new(u64::MAX - 5), &mut bytes, Force::Plain),
        0
    );
}

// row: F06
#[test]
fn rights_bind_unless_forced() {
    let host = Host::new(512);
    let space = host.space();
    let range = space.anon(1, Prot::NONE);
    let mut byte = [9];
    assert_eq!(
        space.mm.read_memory(range.start(), &mut byte, Force::Plain),
        0
    );
    assert_eq!(space.mm.write_memory(range.start(), &[4], Force::Plain), 0);
    assert_eq!(space.mm.write_memory(range.start(), &[4], Force::Forced), 1);
    assert_eq!(
        space
            .mm
            .read_memory(range.start(), &mut byte, Force::Forced),
        1
    );
    assert_eq!(byte, [4]);
    assert!(space.run().load(range.start()).is_err());
}

// row: F06
#[test]
fn a_forced_access_grows_a_stack_and_a_plain_one_does_not() {
    let host = Host::new(512);
    let space = host.space();
    let request = MapRequest::anonymous(PAGE_SIZE, RW)
        .with(MapFlags::GROWSDOWN)
        .fixed_at(BASE);
    space.mm.mmap(&request).unwrap();
    let below = BASE.checked_sub(8).unwrap();
    assert_eq!(space.mm.write_memory(below, &[1], Force::Plain), 0);
    assert_eq!(space.mm.write_memory(below, &[1], Force::Forced), 1);
    assert_eq!(space.mm.stats().pages.stack, 2);
}

// row: F18 row: S19
#[test]
fn pinned_pages_are_copied_by_fork_and_stay_with_their_owner() {
    let host = Host::new(512);
    let parent = host.space();
    let range = parent.anon(2, RW);
    let mut program = parent.run();
    program.store(range.start(), 1).unwrap();
    let pins = parent.mm.pin_range(range, Access::Write);
    assert_eq!((pins.pages().len(), pins.stopped()), (2, None));
    assert!(parent.mm.flags().contains(mm::MmFlags::HAS_PINNED));
    let before = pfn_of(&parent.mm, range.start());
    assert_eq!(pins.pages()[0].target(), Target::Arena(before));
    let child = parent.fork();
    // inv: 43
    assert!(parent.entry(range.start()).is_writable());
    assert_ne!(pfn_of(&child.mm, range.start()), before);
    program.store(range.start(), 2).unwrap();
    assert_eq!(pfn_of(&parent.mm, range.start()), before);
    assert_eq!(child.run().load(range.start()).unwrap(), 1);
    drop(pins);
    assert!(!host.arena.record(before).unwrap().maybe_dma_pinned());
}

// row: F18
#[test]
fn a_pin_for_reading_makes_the_page_its_owners_alone() {
    let host = Host::new(512);
    let parent = host.space();
    let range = parent.anon(1, RW);
    let mut program = parent.run();
    program.store(range.start(), 1).unwrap();
    let child = parent.fork();
    let shared = pfn_of(&child.mm, range.start());
    let pins = child.mm.pin_range(range, Access::Read);
    let Pinned::Frame(_, pinned) = &pins.pages()[0] else {
        panic!("private memory")
    };
    // inv: 43
    assert_ne!(*pinned, shared);
    let record = host.arena.record(*pinned).unwrap();
    assert!(record.has(FolioFlags::ANON_EXCLUSIVE) && record.maybe_dma_pinned());
    // A write under the pin does not move the page.
    child.run().store(range.start(), 5).unwrap();
    assert_eq!(pfn_of(&child.mm, range.start()), *pinned);
    // A page shared by intent is pinned where it is, and untouched memory is the zero page.
    let fresh = host.space();
    let range = fresh.anon(1, RW);
    let pins = fresh.mm.pin_range(range, Access::Read);
    assert!(matches!(pins.pages()[0], Pinned::Zeroes(_)));
}

// row: F25
#[test]
fn pinning_never_waits_in_an_event_loop() {
    let host = Host::new(512);
    let space = host.space();
    let region = numbered(&host, 3);
    map_region(&space, &region, 3, MapFlags::SHARED);
    let range = VirtRange::from_len(BASE, 3 * PAGE_SIZE).unwrap();
    let mut pinning = Pinning::new(space.mm.shared(), range, Access::Read);
    let mut waits = 0;
    let pins = loop {
        match pinning.advance() {
            PinStep::Done(pins) => break pins,
            PinStep::Needs(rest, work) => {
                sync::rank::assert_none_held();
                waits += 1;
                pinning = rest;
                pinning.take_in(work.perform());
            }
        }
    };
    assert_eq!((pins.pages().len(), pins.stopped()), (3, None));
    assert!(waits <= 6);
}

// row: S19
#[test]
fn a_pin_stops_where_the_range_does() {
    let host = Host::new(512);
    let space = host.space();
    let range = space.anon(2, RW);
    let longer = VirtRange::from_len(range.start(), 4 * PAGE_SIZE).unwrap();
    let pins = space.mm.pin_range(longer, Access::Write);
    assert_eq!(
        (pins.bytes(), pins.stopped()),
        (2 * PAGE_SIZE, Some(Errno::EFAULT))
    );
}

// row: F06
#[test]
fn populate_faults_each_area_in_its_own_way() {
    let host = Host::new(512);
    let space = host.space();
    let range = space.anon(4, RW);
    space
        .mm
        .mprotect(page(range, 2), 2 * PAGE_SIZE, Prot::READ)
        .unwrap();
    space.mm.populate(range).unwrap();
    let stats = space.mm.stats();
    assert_eq!((stats.rss.anon, stats.faults.anon_zero), (2, 2));
    assert!(space.entry(page(range, 3)).is_special());
    space
        .mm
        .populate_for(
            VirtRange::new(range.start(), page(range, 2)).unwrap(),
            Access::Write,
        )
        .unwrap();
    let stop = space.mm.populate_for(range, Access::Write).unwrap_err();
    assert_eq!(
        (stop.at, stop.advice_errno()),
        (page(range, 2), Errno::EINVAL)
    );
    let hole = VirtRange::from_len(range.end(), PAGE_SIZE).unwrap();
    assert_eq!(
        space
            .mm
            .populate_for(hole, Access::Read)
            .unwrap_err()
            .advice_errno(),
        Errno::ENOMEM
    );
}

// row: F28
#[test]
fn a_space_is_shared_by_those_who_touch_it_from_outside() {
    let host = Host::new(512);
    let space = host.space();
    let range = space.anon(8, RW);
    let mm = Arc::clone(space.mm.shared());
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let mm = &mm;
            scope.spawn(move || {
                for n in 0..8 {
                    let at = page(range, n).checked_add(u64::from(thread)).unwrap();
                    assert_eq!(mm.write_memory(at, &[thread + 1], Force::Plain), 1);
                }
            });
        }
    });
    let mut bytes = [0; 4];
    for n in 0..8 {
        assert_eq!(mm.read_memory(page(range, n), &mut bytes, Force::Plain), 4);
        assert_eq!(bytes, [1, 2, 3, 4]);
    }
    assert_eq!(space.mm.stats().rss.anon, 8);
}

// row: V12 row: N03
#[test]
fn memory_without_pages_is_reached_through_its_object() {
    use object::context::{OutsideAccess, OutsideBytes};
    use object::ops::Accessed;
    use object::{Callbacks, VmOps};

    /// A register of a device: bytes that cannot be mapped.
    #[derive(Debug, Default)]
    struct Register(std::sync::Mutex<u8>);
    impl VmOps for Register {
        fn callbacks(&self) -> Callbacks {
            Callbacks::ACCESS
        }
        fn access(&self, _access: &mut OutsideAccess<'_>, bytes: OutsideBytes<'_>) -> Accessed {
            let mut register = self.0.lock().unwrap();
            match bytes {
                OutsideBytes::Read(bytes) => bytes.fill(*register),
                OutsideBytes::Write(bytes) => *register = bytes[0],
            }
            Accessed::Bytes(1)
        }
    }

    let host = Host::new(256);
    let space = host.space();
    let target = mm::ObjectTarget {
        flags: addr::VmFlags::IO | addr::VmFlags::PFNMAP,
        ..mm::ObjectTarget::new(Arc::new(Register::default()))
    };
    let request = MapRequest::object(target, PAGE_SIZE, RW, MapFlags::SHARED).fixed_at(BASE);
    space.mm.mmap(&request).unwrap();
    assert_eq!(space.mm.write_memory(BASE, &[9], Force::Forced), 1);
    let mut byte = [0];
    assert_eq!(space.mm.read_memory(BASE, &mut byte, Force::Forced), 1);
    assert_eq!(byte, [9]);
    assert!(space.run().load(BASE).is_err());
    // row: S18
    // The object answers those whom the area's rights do not bind, and nobody else.
    assert_eq!(space.mm.write_memory(BASE, &[7], Force::Plain), 0);
    assert_eq!(space.mm.read_memory(BASE, &mut byte, Force::Plain), 0);
    assert_eq!(space.mm.read_memory(BASE, &mut byte, Force::Forced), 1);
    assert_eq!(byte, [9]);
    // Mapped privately it is not written through to.
    let private = MapRequest {
        flags: MapFlags::PRIVATE | MapFlags::FIXED,
        ..request
    };
    space.mm.mmap(&private).unwrap();
    assert_eq!(space.mm.write_memory(BASE, &[7], Force::Forced), 0);
    assert_eq!(space.mm.read_memory(BASE, &mut byte, Force::Forced), 1);
    assert_eq!(byte, [9]);
}

// row: F18 row: S18 row: S12
// inv: 43 44 45
#[test]
fn a_write_from_outside_is_not_shared_with_a_child_born_meanwhile() {
    let host = Host::new(2048);
    let parent = host.space();
    let range = parent.anon(1, RW);
    let (at, mm) = (range.start(), Arc::clone(parent.mm.shared()));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0_u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                number += 1;
                let bytes = number.to_le_bytes();
                assert_eq!(mm.write_memory(at, &bytes, Force::Plain), 8);
                let mut back = [0; 8];
                mm.read_memory(at, &mut back, Force::Plain);
                assert_eq!(u64::from_le_bytes(back), number, "a write was lost");
            }
        });
        let mut program = parent.run();
        for _ in 0..100 {
            let child = parent.fork();
            program.store(at.checked_add(100).unwrap(), 1).unwrap();
            let mut reader = child.run();
            let seen = reader.load_word(at).unwrap();
            std::thread::yield_now();
            assert_eq!(reader.load_word(at).unwrap(), seen);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    // Whoever writes pins what it writes to, which fork asks about.
    assert!(parent.mm.flags().contains(mm::MmFlags::HAS_PINNED));
    assert_eq!(parent.mm.write_memory(at, &[0; 8], Force::Plain), 8);
    let record = host.arena.record(pfn_of(&parent.mm, at)).unwrap();
    assert!(record.has(FolioFlags::DIRTY) && !record.maybe_dma_pinned());
}
