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
