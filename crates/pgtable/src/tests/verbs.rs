use addr::{Markers, NonPresent, PagingMode};

use super::*;
use crate::{Changed, Grant, Occupied, OutsideTable, State};

fn one_page(flags: EntryFlags) -> (PageTable, Recorder, Pfn) {
    let table = table(&arena(64), PagingMode::FourLevel);
    let pfn = map(&table, at(0x1000), flags);
    (table, Recorder::default(), pfn)
}

fn lock(table: &PageTable, addr: u64) -> EntryLock<'_> {
    locked_or_alloc(table, at(addr))
}

// row: F23
// inv: 27
#[test]
fn an_install_backs_out_of_what_changed() {
    let (table, mmu, pfn) = one_page(readable());
    let there = Entry::leaf(pfn, readable());
    let other = Entry::leaf(Pfn::new(1), readable());
    assert_eq!(
        lock(&table, 0x1000).install(&Mmap, other),
        Err(Occupied(there))
    );
    assert_eq!(
        lock(&table, 0x1000).recheck(Entry::NONE),
        Err(Changed(there))
    );
    assert_eq!(lock(&table, 0x1000).recheck(there), Ok(()));
    assert_eq!(
        lock(&table, 0x1000).install_over(&Mmap, there, other),
        Err(Changed(there))
    );
    assert_eq!(peek(&table, at(0x1000)), there);
    empty(&table, &mmu);
}

#[test]
fn a_marker_is_consumed_by_what_is_installed_over_it() {
    let (table, mmu, _) = one_page(readable());
    let marker = Entry::non_present(NonPresent::Marker(Markers::UFFD_WP));
    let stale = Entry::non_present(NonPresent::Marker(Markers::GUARD));
    let page = Entry::leaf(mapped_frame(table.arena()), readable());
    let mut entry = lock(&table, 0x2000);
    assert_eq!(entry.install(&Mmap, marker), Ok(()));
    assert_eq!(entry.install_over(&Mmap, stale, page), Err(Changed(marker)));
    assert_eq!(entry.install_over(&Mmap, marker, page), Ok(()));
    drop(entry);
    empty(&table, &mmu);
}

// inv: 34
#[test]
fn granting_needs_no_flush_and_knows_a_spurious_fault() {
    let (table, mmu, _) = one_page(readable());
    let touched = EntryFlags::ACCESSED | EntryFlags::DIRTY | EntryFlags::WRITABLE;
    let mut entry = lock(&table, 0x1000);
    assert_eq!(entry.grant(&Mmap, touched), Grant::Changed);
    assert_eq!(entry.grant(&Mmap, touched), Grant::AlreadyThere);
    assert!(entry.read().is_writable() && entry.read().is_dirty());
    // What is not grantable is not granted.
    assert_eq!(entry.grant(&Mmap, EntryFlags::SPECIAL), Grant::AlreadyThere);
    entry.seek(at(0x3000)).expect("the same table");
    assert_eq!(entry.grant(&Mmap, touched), Grant::NotPresent);
    drop(entry);
    assert_eq!(mmu.take(), []);
    empty(&table, &mmu);
}

// inv: 36
#[test]
fn a_userfault_protected_entry_is_not_made_writable() {
    let (table, mmu, _) = one_page(writable());
    let mut gather = Gather::new(&table, &mmu, pages(0x1000, 1));
    let mut entry = lock(&table, 0x1000);
    assert!(entry.uffd_write_protect(&Rmap, &mut gather).is_writable());
    assert_eq!(
        entry.grant(&Mmap, EntryFlags::WRITABLE),
        Grant::AlreadyThere
    );
    assert!(!entry.read().is_writable());
    entry.uffd_write_unprotect(&Rmap);
    assert_eq!(entry.grant(&Mmap, EntryFlags::WRITABLE), Grant::Changed);
    drop(entry);
    gather.finish();
    assert_eq!(
        mmu.take(),
        [(Some(vec![pages(0x1000, 1)]), FlushKind::WriteProtect)]
    );
    empty(&table, &mmu);
}

#[test]
fn protection_flushes_exactly_what_lost_rights() {
    let open = EntryFlags::PRESENT | EntryFlags::USER | EntryFlags::WRITABLE;
    let closed = EntryFlags::PROT_NONE;
    let no_write = open - EntryFlags::WRITABLE;
    let cases = [
        (open, open, None),
        (no_write, open, None),
        (open, no_write, Some(FlushKind::WriteProtect)),
        (open, open | EntryFlags::NO_EXECUTE, Some(FlushKind::Forget)),
        (open | EntryFlags::NO_EXECUTE, open, None),
        (open, open.with_pkey(3), Some(FlushKind::Forget)),
        (open, closed, Some(FlushKind::Forget)),
        (closed, open, None),
    ];
    for (before, after, expected) in cases {
        let (table, mmu, pfn) = one_page(before | EntryFlags::DIRTY);
        let mut gather = Gather::new(&table, &mmu, pages(0x1000, 1));
        let old = lock(&table, 0x1000).protect(&Mmap, &mut gather, after);
        gather.finish();
        assert!(old.is_dirty());
        let now = peek(&table, at(0x1000)).mapping().expect("still mapped");
        assert_eq!(
            (now.pfn, now.flags),
            (pfn, after | EntryFlags::DIRTY),
            "{before:?}"
        );
        let flushed: Vec<_> = mmu.take().into_iter().map(|(_, kind)| kind).collect();
        assert_eq!(
            flushed,
            expected.into_iter().collect::<Vec<_>>(),
            "{before:?} {after:?}"
        );
        empty(&table, &mmu);
    }
}

#[test]
fn restricting_keeps_what_the_hardware_noted() {
    let (table, mmu, _) = one_page(writable() | EntryFlags::DIRTY | EntryFlags::ACCESSED);
    let mut gather = Gather::new(&table, &mmu, pages(0x1000, 1));
    let mut entry = lock(&table, 0x1000);
    let old = entry.restrict(&Rmap, &mut gather, EntryFlags::WRITABLE);
    assert!(old.is_writable() && old.is_dirty());
    assert!(entry.read().is_dirty() && !entry.read().is_writable());
    assert!(entry.test_and_clear_young(&Rmap));
    assert!(!entry.test_and_clear_young(&Rmap));
    drop(entry);
    drop(gather);
    empty(&table, &mmu);
}

#[test]
fn seeking_stays_in_the_table() {
    let table = table(&arena(64), PagingMode::FourLevel);
    let mut entry = lock(&table, 0x1000);
    assert_eq!(entry.seek(at(0x1f_f123)), Ok(()));
    assert_eq!(entry.addr(), at(0x1f_f000));
    assert_eq!(entry.seek(at(0x20_0000)), Err(OutsideTable));
    assert_eq!(entry.addr(), at(0x1f_f000));
    assert_eq!(entry.covers(), Some(pages(0x1f_f000, 1)));
    assert_eq!(entry.state(), State::None);
}

#[test]
fn replacing_needs_that_folios_lock() {
    let (table, mmu, pfn) = one_page(writable());
    let arena = table.arena();
    let ours = arena.try_get(pfn).expect("it is mapped");
    let other = arena.alloc(AllocRequest::zeroed(Purpose::Anon));
    let other = other.expect("a frame").mark_uptodate();
    let held = ours.lock();
    let wrong = other.try_lock().expect("nobody else has it");
    let swap = NonPresent::Swap {
        device: 1,
        offset: 77,
        exclusive: true,
    };
    let mut entry = lock(&table, 0x1000);
    assert!(entry.replace(&Rmap, &wrong, swap).is_err());
    let stale = entry
        .replace(&Rmap, &held, swap)
        .expect("it maps this folio");
    assert_eq!(entry.state(), State::NonPresent(swap));
    drop(entry);
    assert!(stale.old().is_writable());
    drop((held, wrong));
    let folio = stale.flush(&mmu).into_folio().expect("the entry held it");
    assert_eq!(folio.pfn(), pfn);
    unmapped(&table, folio);
    assert_eq!(mmu.take().len(), 1);
    drop((ours, other));
    empty(&table, &mmu);
}

#[test]
fn a_migration_puts_back_what_it_took() {
    let (table, mmu, pfn) = one_page(writable());
    let folio = table.arena().try_get(pfn).expect("it is mapped");
    let held = folio.lock();
    let migration = NonPresent::Migration {
        pfn,
        kind: addr::MigrationKind::Write,
    };
    let mut entry = lock(&table, 0x1000);
    let stale = entry
        .replace(&Rmap, &held, migration)
        .expect("it maps this folio");
    let snapshot = stale.placeholder();
    let back = Entry::leaf(pfn, writable());
    let unrelated = Entry::non_present(NonPresent::Busy);
    assert!(entry.restore(&Rmap, &held, unrelated, back).is_err());
    entry
        .restore(&Rmap, &held, snapshot, back)
        .expect("the migration entry stands");
    drop(entry);
    drop(held);
    // The reference moved back into the entry by way of the receipt.
    let pfn_again = stale
        .flush(&mmu)
        .into_folio()
        .expect("the entry held it")
        .into_entry();
    assert_eq!(pfn_again, pfn);
    drop(folio);
    empty(&table, &mmu);
}
