use addr::PagingMode;
use machine::Translation;

use super::*;
use crate::Changed;

// inv: 31
// inv: 33
#[test]
fn a_copy_on_write_breaks_before_it_makes() {
    let table = table(&arena(64), PagingMode::FourLevel);
    let mmu = Recorder::default();
    let old = map(&table, at(0x1000), readable());
    let seen = peek(&table, at(0x1000));
    let new = mapped_frame(table.arena());

    let stale = locked_or_alloc(&table, at(0x1000))
        .make_busy(&Mmap, seen)
        .expect("unchanged");
    assert!(peek(&table, at(0x1000)).is_busy());
    let placeholder = stale.placeholder();
    let flushed = stale.replace_with(
        &mmu,
        Translation {
            pfn: new,
            prot: addr::Prot::WRITE,
        },
    );
    assert_eq!(mmu.take().len(), 1);

    let mut entry = locked_or_alloc(&table, at(0x1000));
    entry
        .install_over(&Mmap, placeholder, Entry::leaf(new, writable()))
        .expect("ours");
    drop(entry);
    let folio = flushed.into_folio().expect("the entry held it");
    assert_eq!((folio.pfn(), folio.map_count()), (old, 1));
    unmapped(&table, folio);
    empty(&table, &mmu);
}

// row: F30
#[test]
fn a_copy_is_given_up_when_its_placeholder_was_zapped_or_is_anothers() {
    let table = table(&arena(64), PagingMode::FourLevel);
    let mmu = Recorder::default();
    map(&table, at(0x1000), readable());
    let seen = peek(&table, at(0x1000));
    let first = locked_or_alloc(&table, at(0x1000))
        .make_busy(&Mmap, seen)
        .expect("unchanged");
    let ours = first.placeholder();
    zap(&table, &mmu, pages(0x1000, 1));

    let copy = Entry::leaf(Pfn::new(3), writable());
    let mut entry = locked_or_alloc(&table, at(0x1000));
    assert_eq!(
        entry.install_over(&Mmap, ours, copy),
        Err(Changed(Entry::NONE))
    );
    drop(entry);

    map(&table, at(0x1000), readable());
    let seen = peek(&table, at(0x1000));
    let second = locked_or_alloc(&table, at(0x1000))
        .make_busy(&Mmap, seen)
        .expect("unchanged");
    let theirs = second.placeholder();
    assert!(ours.is_busy() && theirs.is_busy() && ours != theirs);
    let mut entry = locked_or_alloc(&table, at(0x1000));
    assert_eq!(entry.install_over(&Mmap, ours, copy), Err(Changed(theirs)));
    drop(entry);
    for stale in [first, second] {
        unmapped(
            &table,
            stale.flush(&mmu).into_folio().expect("the entry held it"),
        );
    }
    empty(&table, &mmu);
}

// inv: 32
#[test]
fn a_zap_that_overtakes_a_copy_flushes_what_the_copy_replaces() {
    let table = table(&arena(64), PagingMode::FourLevel);
    let mmu = Recorder::default();
    map(&table, at(0x1000), readable());
    let seen = peek(&table, at(0x1000));
    let stale = locked_or_alloc(&table, at(0x1000))
        .make_busy(&Mmap, seen)
        .expect("unchanged");
    // The maker has told the machine nothing yet.
    zap(&table, &mmu, pages(0x1000, 1));
    assert_eq!(
        mmu.take(),
        [(Some(vec![pages(0x1000, 1)]), FlushKind::Forget)]
    );
    unmapped(
        &table,
        stale.flush(&mmu).into_folio().expect("the entry held it"),
    );
    empty(&table, &mmu);
}

#[test]
fn accessed_and_dirty_are_no_change_to_a_copy() {
    let table = table(&arena(64), PagingMode::FourLevel);
    let mmu = Recorder::default();
    map(&table, at(0x1000), writable());
    let seen = peek(&table, at(0x1000));
    let mut entry = locked_or_alloc(&table, at(0x1000));
    let _ = entry.grant(&Mmap, EntryFlags::ACCESSED | EntryFlags::DIRTY);
    let stale = entry
        .make_busy(&Mmap, seen)
        .expect("only the hardware touched it");
    assert!(stale.old().is_dirty());
    drop(entry);
    unmapped(
        &table,
        stale.flush(&mmu).into_folio().expect("the entry held it"),
    );
    empty(&table, &mmu);
}

#[test]
fn a_fault_that_meets_a_busy_entry_waits_for_its_end() {
    let table = table(&arena(64), PagingMode::FourLevel);
    let mmu = Recorder::default();
    map(&table, at(0x1000), readable());
    let seen = peek(&table, at(0x1000));
    table.wait_while_busy(at(0x1000), seen);
    let stale = locked_or_alloc(&table, at(0x1000))
        .make_busy(&Mmap, seen)
        .expect("unchanged");
    let busy = stale.placeholder();
    std::thread::scope(|threads| {
        threads.spawn(|| table.wait_while_busy(at(0x1000), busy));
        std::thread::sleep(std::time::Duration::from_millis(5));
        let mut entry = locked_or_alloc(&table, at(0x1000));
        entry
            .install_over(
                &Mmap,
                busy,
                Entry::leaf(Pfn::new(1), readable() | EntryFlags::SPECIAL),
            )
            .expect("ours");
    });
    unmapped(
        &table,
        stale.flush(&mmu).into_folio().expect("the entry held it"),
    );
    empty(&table, &mmu);
}

/// A machine that is filled by software, and remembers what it was given.
#[derive(Debug, Default)]
struct Filled {
    given: Mutex<Option<Translation>>,
}

impl Mmu for Filled {
    fn caps(&self) -> MmuCaps {
        MmuCaps {
            tables: TableUse::FilledBySoftware,
            accessed_dirty: AccessedDirty::SetByFaults,
            max_page: addr::PageSize::Size4K,
        }
    }
    fn update_mmu_cache(&self, _range: VirtRange) {}
    fn flush_tlb(&self, _flush: &Flush<'_>) {
        *self.given.lock() = None;
    }
    fn replace(&self, _addr: VirtAddr, new: Translation) {
        *self.given.lock() = Some(new);
    }
}

// inv: 32
#[test]
fn a_zap_that_overtakes_a_copy_waits_until_the_machine_has_forgotten_it() {
    let table = table(&arena(64), PagingMode::FourLevel);
    let mmu = Filled::default();
    map(&table, at(0x1000), readable());
    let seen = peek(&table, at(0x1000));
    let stale = locked_or_alloc(&table, at(0x1000))
        .make_busy(&Mmap, seen)
        .expect("unchanged");
    let (new, zapped) = (mapped_frame(table.arena()), std::sync::Barrier::new(2));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let mut gather = Gather::new(&table, &mmu, pages(0x1000, 1));
            let _ = locked_or_alloc(&table, at(0x1000)).clear(&Mmap, &mut gather);
            zapped.wait();
            gather.finish();
            assert_eq!(*mmu.given.lock(), None, "the zap returned too soon");
        });
        zapped.wait();
        let placeholder = stale.placeholder();
        let flushed = stale.replace_with(
            &mmu,
            Translation {
                pfn: new,
                prot: addr::Prot::WRITE,
            },
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
        let refused = locked_or_alloc(&table, at(0x1000)).install_over(
            &Mmap,
            placeholder,
            Entry::leaf(new, writable()),
        );
        assert_eq!(refused, Err(Changed(Entry::NONE)));
        mmu.flush_tlb(&Flush::space());
        unmapped(&table, table.arena().folio_of_entry(new));
        unmapped(&table, flushed.into_folio().expect("the entry held it"));
    });
    empty(&table, &mmu);
}
