//! What a space has: exact, limited, and promised.

use addr::{Errno, PAGE_SIZE, Prot, VmFlags};
use mm::accounts::AreaAccounts;
use mm::limits::Privilege;
use mm::{
    Advice, Commit, CommitConfig, CommitLimit, Limits, MapFlags, MapRequest, Overcommit, Resource,
    Rlimit,
};

use crate::space::{BASE, Host, RW, page};

// row: M17
#[test]
fn areas_are_counted_by_class() {
    let host = Host::new(256);
    let space = host.space();
    let map = |pages: u64, prot, flags| {
        let request = MapRequest::anonymous(pages * PAGE_SIZE, prot).with(flags);
        space.mm.mmap(&request).unwrap()
    };
    map(1, Prot::READ, MapFlags::empty());
    map(2, RW, MapFlags::empty());
    map(4, Prot::READ | Prot::EXEC, MapFlags::empty());
    map(8, RW, MapFlags::GROWSDOWN);
    let pages = space.mm.stats().pages;
    // inv: 17
    assert_eq!(
        (pages.total, pages.data, pages.exec, pages.stack),
        (15, 2, 4, 8)
    );
    // row: M16
    assert_eq!(pages.hiwater, 15);
}

// row: M17
#[test]
fn pinned_and_locked_pages_are_not_inherited() {
    let host = Host::new(256);
    let space = host.space();
    let range = space.anon(4, RW);
    // Who keeps pages for long says so.
    space.mm.accounts().account_pinned(3);
    space.mm.mlock(range.start(), 2 * PAGE_SIZE).unwrap();
    let counts = |space: &crate::space::Space<'_>| {
        let pages = space.mm.stats().pages;
        (pages.total, pages.pinned, pages.locked)
    };
    assert_eq!(counts(&space), (4, 3, 2));
    assert_eq!(counts(&space.fork()), (4, 0, 0));
    space.mm.accounts().account_pinned(-3);
    space.mm.munmap(range.start(), PAGE_SIZE).unwrap();
    // inv: 17
    assert_eq!(counts(&space), (3, 0, 1));
}

// row: M16 row: M17
#[test]
fn high_water_marks_remember_what_is_gone() {
    let host = Host::new(256);
    let space = host.space();
    let range = space.anon(10, RW);
    let mut program = space.run();
    for n in 0..6 {
        program.store(page(range, n), 1).unwrap();
    }
    space
        .mm
        .madvise(range.start(), range.bytes(), Advice::DontNeed)
        .unwrap();
    space.mm.munmap(page(range, 2), 8 * PAGE_SIZE).unwrap();
    let stats = space.mm.stats();
    assert_eq!((stats.rss.resident(), stats.hiwater_rss), (0, 6));
    let by_kind = stats.hiwater_by_kind;
    assert_eq!((by_kind.anon, by_kind.file, by_kind.shmem), (6, 0, 0));
    assert_eq!((stats.pages.total, stats.pages.hiwater), (2, 10));
    // inv: 28
    assert!(stats.pgtables_bytes <= 3 * PAGE_SIZE);
}

// row: M10
#[test]
fn tables_are_counted_and_given_back() {
    let host = Host::new(512);
    let space = host.space();
    let before = host.usage();
    for n in 0..4_u64 {
        let at = BASE.checked_add(n << 30).unwrap();
        space
            .mm
            .mmap(&MapRequest::anonymous(PAGE_SIZE, RW).fixed_at(at))
            .unwrap();
        space.run().store(at, 1).unwrap();
    }
    // One PUD table, and for each gigabyte a PMD and a PTE table.
    assert_eq!(space.mm.stats().pgtables_bytes, (1 + 2 * 4) * PAGE_SIZE);
    for n in 0..4_u64 {
        space
            .mm
            .munmap(BASE.checked_add(n << 30).unwrap(), PAGE_SIZE)
            .unwrap();
    }
    assert_eq!(space.mm.stats().pgtables_bytes, 0);
    assert_eq!(host.usage().nr_in_use(), before.nr_in_use());
}

// row: M11
#[test]
fn the_number_of_areas_is_limited() {
    let host = Host::new(256);
    let (mut config, mmu) = host.config();
    config.sysctl.max_map_count = 4;
    let space = host.space_of(config, mmu);
    let map = |n: u64| {
        let at = BASE.checked_add(2 * n * PAGE_SIZE).unwrap();
        space
            .mm
            .mmap(&MapRequest::anonymous(PAGE_SIZE, RW).fixed_at(at))
    };
    for n in 0..5 {
        map(n).unwrap();
    }
    // inv: 20
    assert_eq!(map(5), Err(Errno::ENOMEM));
    assert_eq!(space.mm.stats().areas, 5);
}

// row: M17
#[test]
fn address_space_and_data_are_limited() {
    let accounts = AreaAccounts::default();
    let data = VmFlags::WRITE | VmFlags::READ;
    accounts.account(data, 8);
    let limits = Limits::new();
    let set = |resource, soft: u64, hard: u64| {
        limits.set(
            resource,
            Rlimit {
                soft: soft * PAGE_SIZE,
                hard: hard * PAGE_SIZE,
            },
        );
    };
    set(Resource::AddressSpace, 10, 10);
    assert!(limits.may_expand(&accounts, data, 2) && !limits.may_expand(&accounts, data, 3));
    set(Resource::AddressSpace, 100, 100);
    set(Resource::Data, 9, 9);
    assert!(limits.may_expand(&accounts, data, 1) && !limits.may_expand(&accounts, data, 2));
    // Only data counts as data.
    assert!(limits.may_expand(&accounts, VmFlags::READ, 50));
    // A soft limit of zero binds by the hard one.
    set(Resource::Data, 0, 20);
    assert!(limits.may_expand(&accounts, data, 12) && !limits.may_expand(&accounts, data, 13));
    // A number that does not fit is no way around.
    assert!(!limits.may_expand(&accounts, data, u64::MAX));
}

// row: M17
#[test]
fn locked_memory_is_limited() {
    let accounts = AreaAccounts::default();
    accounts.account_locked(4);
    let limits = Limits::new().with(Resource::Memlock, Rlimit::both(6 * PAGE_SIZE));
    let may = |flags, pages: u64| limits.may_lock_more(&accounts, flags, pages * PAGE_SIZE);
    assert!(may(VmFlags::LOCKED, 2) && !may(VmFlags::LOCKED, 3));
    assert!(may(VmFlags::READ, 1000));
    limits.set_lock_right(mm::LockRight::Any);
    assert!(may(VmFlags::LOCKED, 3));
}

fn ledger(mode: Overcommit) -> Commit {
    Commit::new(CommitConfig {
        mode,
        ram_pages: 1000,
        swap_pages: 100,
        admin_reserve_pages: 50,
        user_reserve_pages: 30,
    })
}

// row: M17
#[test]
fn guess_refuses_only_the_obvious() {
    let commit = ledger(Overcommit::Guess);
    assert_eq!(commit.charge(1100, 0, Privilege::Ordinary), Ok(()));
    assert_eq!(commit.charge(1100, 0, Privilege::Ordinary), Ok(()));
    // inv: 18
    assert_eq!(
        commit.charge(1101, 0, Privilege::Ordinary),
        Err(Errno::ENOMEM)
    );
    assert_eq!(commit.committed(), 2200);
}

// row: M17
#[test]
fn always_refuses_nothing_that_is_a_number() {
    let commit = ledger(Overcommit::Always);
    assert_eq!(commit.charge(1 << 40, 0, Privilege::Ordinary), Ok(()));
    assert_eq!(
        commit.charge(u64::MAX, 0, Privilege::Ordinary),
        Err(Errno::ENOMEM)
    );
    commit.uncharge(1 << 40);
    assert_eq!(commit.committed(), 0);
}

// row: M17
#[test]
fn never_keeps_to_the_sum() {
    let commit = ledger(Overcommit::Never(CommitLimit::RatioPercent(50)));
    // 500 of RAM and 100 of swap, less 50 for the administrator.
    assert_eq!(commit.charge(549, 0, Privilege::Ordinary), Ok(()));
    assert_eq!(commit.charge(1, 0, Privilege::Ordinary), Err(Errno::ENOMEM));
    assert_eq!(commit.charge(49, 0, Privilege::Admin), Ok(()));
    assert_eq!(commit.charge(2, 0, Privilege::Admin), Err(Errno::ENOMEM));
    commit.uncharge(598);
    // A large process leaves room to recover: a 32nd of itself, at most 30 pages.
    assert_eq!(
        commit.charge(549, 320, Privilege::Ordinary),
        Err(Errno::ENOMEM)
    );
    assert_eq!(commit.charge(539, 320, Privilege::Ordinary), Ok(()));
    commit.uncharge(539);
    assert_eq!(commit.charge(519, 1 << 20, Privilege::Ordinary), Ok(()));
    let kbytes = ledger(Overcommit::Never(CommitLimit::Kbytes(40)));
    assert_eq!(kbytes.charge(59, 0, Privilege::Ordinary), Ok(()));
    assert_eq!(kbytes.charge(1, 0, Privilege::Ordinary), Err(Errno::ENOMEM));
}
