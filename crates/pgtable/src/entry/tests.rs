use addr::{Level, Markers, MigrationKind, NonPresent, Pfn, VmFlags};
use proptest::prelude::*;

use super::{Entry, EntryFlags, Leaf, State};

fn any_pfn() -> impl Strategy<Value = Pfn> {
    (0..=Pfn::MAX.as_u64()).prop_map(Pfn::new)
}

fn any_leaf_flags() -> impl Strategy<Value = EntryFlags> {
    any::<u64>().prop_map(EntryFlags::from_bits_truncate)
}

fn any_non_present() -> impl Strategy<Value = NonPresent> {
    let migration_kind = prop_oneof![
        Just(MigrationKind::Read),
        Just(MigrationKind::ReadExclusive),
        Just(MigrationKind::Write),
    ];
    prop_oneof![
        (
            0..NonPresent::MAX_SWAP_DEVICES,
            0..1u64 << 50,
            any::<bool>()
        )
            .prop_map(|(device, offset, exclusive)| NonPresent::Swap {
                device,
                offset,
                exclusive
            }),
        (any_pfn(), migration_kind).prop_map(|(pfn, kind)| NonPresent::Migration { pfn, kind }),
        (any_pfn(), any::<bool>())
            .prop_map(|(pfn, writable)| NonPresent::DevicePrivate { pfn, writable }),
        any_pfn().prop_map(|pfn| NonPresent::DeviceExclusive { pfn }),
        any_pfn().prop_map(|pfn| NonPresent::HwPoison { pfn }),
        (0..8u8).prop_map(|bits| NonPresent::Marker(Markers::from_bits_truncate(bits))),
        Just(NonPresent::Busy),
    ]
}

// row: F08
proptest! {
    #[test]
    fn every_non_present_kind_survives_the_word(what in any_non_present()) {
        let entry = Entry::non_present(what);
        prop_assert_eq!(entry.decode(), State::NonPresent(what));
        prop_assert!(!entry.is_none() && !entry.is_present() && !entry.is_hardware_present());
        for noted in [entry.with_soft_dirty(), entry.with_uffd_wp()] {
            prop_assert_eq!(noted.decode(), State::NonPresent(what));
            prop_assert!(!noted.is_present());
        }
        prop_assert!(entry.with_soft_dirty().is_soft_dirty() && !entry.is_soft_dirty());
        prop_assert!(entry.with_uffd_wp().is_uffd_wp() && !entry.is_uffd_wp());
        prop_assert_eq!(entry.with_uffd_wp().without_uffd_wp(), entry);
    }

    #[test]
    fn every_mapping_survives_the_word(pfn in any_pfn(), flags in any_leaf_flags()) {
        let entry = Entry::leaf(pfn, flags);
        let mapped = Leaf {
            pfn,
            flags: if flags.contains(EntryFlags::PRESENT) {
                flags
            } else {
                flags | EntryFlags::PROT_NONE
            },
        };
        prop_assert_eq!(entry.mapping(), Some(mapped));
        let expected = if flags.contains(EntryFlags::PRESENT) {
            State::Leaf(mapped)
        } else {
            State::ProtNone(mapped)
        };
        prop_assert_eq!(entry.decode(), expected);
        prop_assert_eq!(entry.non_present_kind(), None);
    }

    #[test]
    fn a_change_of_rights_keeps_everything_else(
        pfn in any_pfn(),
        flags in any_leaf_flags(),
        rights in any_leaf_flags(),
    ) {
        let kept = !EntryFlags::RIGHTS;
        let before = Entry::leaf(pfn, flags);
        let after = before.with_rights(rights);
        let (before, after) = (before.mapping().unwrap(), after.mapping().unwrap());
        prop_assert_eq!(before.pfn, after.pfn);
        prop_assert_eq!(before.flags & kept, after.flags & kept);
    }

    // inv: 36
    #[test]
    fn userfault_write_protection_never_leaves_a_writable_entry(
        pfn in any_pfn(),
        flags in any_leaf_flags(),
        rights in any_leaf_flags(),
    ) {
        let entry = Entry::leaf(pfn, flags).with_uffd_wp();
        prop_assert!(!entry.is_writable());
        prop_assert!(!entry.with_rights(rights).is_writable());
    }

    // inv: 35
    #[test]
    fn a_private_area_gives_no_write_bit(bits in any::<u64>()) {
        let flags = VmFlags::from_bits_truncate(bits) - VmFlags::SHARED;
        prop_assert!(!EntryFlags::of_area(flags).contains(EntryFlags::WRITABLE));
    }
}

#[test]
fn bits_are_where_the_hardware_wants_them() {
    let entry = Entry::leaf(
        Pfn::new(0x12345),
        EntryFlags::PRESENT | EntryFlags::WRITABLE | EntryFlags::USER | EntryFlags::NO_EXECUTE,
    );
    assert_eq!(entry.bits(), (1 << 63) | 0x1234_5007);
    assert_eq!(Entry::table(Pfn::new(0x99)).bits(), 0x9_9067);
    assert_eq!(EntryFlags::SPECIAL.bits(), 1 << 9);
    assert_eq!(EntryFlags::UFFD_WP.bits(), 1 << 10);
    assert_eq!(EntryFlags::SOFT_DIRTY.bits(), 1 << 11);
    assert_eq!(EntryFlags::PKEY.bits(), 0xf << 59);
}

#[test]
fn swap_types_follow_linux() {
    let type_of = |what| Entry::non_present(what).bits() >> 59;
    let pfn = Pfn::new(5);
    let swap = NonPresent::Swap {
        device: 23,
        offset: 0,
        exclusive: false,
    };
    assert_eq!(type_of(swap), 23);
    assert_eq!(type_of(NonPresent::HwPoison { pfn }), 24);
    assert_eq!(
        type_of(NonPresent::Migration {
            pfn,
            kind: MigrationKind::Read
        }),
        25
    );
    assert_eq!(
        type_of(NonPresent::Migration {
            pfn,
            kind: MigrationKind::ReadExclusive
        }),
        26
    );
    assert_eq!(
        type_of(NonPresent::Migration {
            pfn,
            kind: MigrationKind::Write
        }),
        27
    );
    assert_eq!(
        type_of(NonPresent::DevicePrivate {
            pfn,
            writable: true
        }),
        28
    );
    assert_eq!(
        type_of(NonPresent::DevicePrivate {
            pfn,
            writable: false
        }),
        29
    );
    assert_eq!(type_of(NonPresent::DeviceExclusive { pfn }), 30);
    assert_eq!(type_of(NonPresent::Marker(Markers::GUARD)), 31);
}

#[test]
fn a_frame_the_hardware_must_not_follow_is_stored_inverted() {
    let place = 0x000f_ffff_ffff_f000;
    let closed = Entry::leaf(Pfn::new(1), EntryFlags::empty());
    assert_eq!(closed.bits() & place, place ^ 0x1000);
    let swapped = Entry::non_present(NonPresent::Swap {
        device: 0,
        offset: 0,
        exclusive: false,
    });
    assert_eq!((swapped.bits() >> 9) & ((1 << 50) - 1), (1 << 50) - 1);
}

#[test]
fn busy_entries_are_told_apart_and_all_decode_to_busy() {
    let (one, two) = (Entry::busy(1), Entry::busy(2));
    assert_ne!(one, two);
    for entry in [one, two, Entry::busy(u64::MAX)] {
        assert!(entry.is_busy());
        assert!(!entry.is_present());
    }
}

#[test]
fn a_level_decides_between_table_and_leaf() {
    let table = Entry::table(Pfn::new(7));
    assert_eq!(table.decode_at(Level::Pmd), State::Table(Pfn::new(7)));
    assert_eq!(table.table_pfn(), Some(Pfn::new(7)));
    let huge = Entry::leaf(Pfn::new(512), EntryFlags::PRESENT | EntryFlags::HUGE);
    assert!(matches!(huge.decode_at(Level::Pmd), State::Leaf(_)));
    assert_eq!(huge.table_pfn(), None);
    assert!(matches!(table.decode_at(Level::Pte), State::Leaf(_)));
    assert_eq!(Entry::NONE.decode_at(Level::Pmd), State::None);
}

// row: A03
#[test]
fn area_flags_become_rights() {
    let of = EntryFlags::of_area;
    let private = VmFlags::READ | VmFlags::WRITE;
    let open = EntryFlags::PRESENT | EntryFlags::USER | EntryFlags::ACCESSED;
    assert_eq!(of(VmFlags::READ), open | EntryFlags::NO_EXECUTE);
    assert_eq!(of(private), open | EntryFlags::NO_EXECUTE);
    let shared = private | VmFlags::SHARED;
    assert_eq!(
        of(shared),
        open | EntryFlags::NO_EXECUTE | EntryFlags::WRITABLE
    );
    assert_eq!(of(VmFlags::EXEC), open);
    assert_eq!(
        of(VmFlags::MAYREAD),
        EntryFlags::PROT_NONE | EntryFlags::ACCESSED
    );
    let keyed = VmFlags::READ.with_pkey(9).expect("nine is a key");
    assert_eq!(of(keyed).pkey(), 9);
}
