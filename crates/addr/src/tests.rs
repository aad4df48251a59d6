use proptest::prelude::*;
use std::format;
use std::string::ToString;
use std::vec::Vec;

use crate::*;

#[test]
fn errno_names_and_messages_are_those_of_the_host() {
    for &errno in Errno::ALL {
        assert_eq!(Errno::from_raw(errno.raw()), Some(errno));
        let host = std::io::Error::from_raw_os_error(errno.raw()).to_string();
        if cfg!(all(target_os = "linux", target_env = "gnu")) && !cfg!(miri) {
            assert_eq!(format!("{errno} (os error {})", errno.raw()), host);
        }
    }
    assert_eq!(Errno::ENOMEM.as_return(), -12);
    assert_eq!(format!("{:?}", Errno::EFAULT), "EFAULT");
    assert_eq!(Errno::from_raw(41), None);
    assert_eq!(Errno::from_raw(0), None);
}

// row: F03
// inv: 5
#[test]
fn fault_flags_know_their_legal_combinations() {
    use FaultFlags as F;
    assert_eq!(F::DEFAULT.bits(), (1 << 2) | (1 << 4) | (1 << 9));
    assert!(F::DEFAULT.is_first_try());
    assert!(!(F::DEFAULT | F::TRIED).is_first_try());
    assert!(!F::empty().is_first_try());
    for bits in 0..(1u32 << 13) {
        let flags = F::from_bits(bits).expect("all thirteen bits have names");
        let legal = (!flags.contains(F::TRIED) || flags.contains(F::ALLOW_RETRY))
            && !flags.contains(F::WRITE | F::UNSHARE)
            && !flags.contains(F::VMA_LOCK | F::RETRY_NOWAIT);
        assert_eq!(flags.check().is_ok(), legal, "{flags:?}");
    }
    assert_eq!(
        (F::TRIED).check(),
        Err(IllegalFaultFlags::TriedWithoutRetry)
    );
}

// row: F04
#[test]
fn fault_results_convert_as_linux_does() {
    use FaultResult as R;
    assert_eq!(R::ERROR.bits(), 0x1 | 0x2 | 0x40 | 0x10 | 0x20 | 0x800);
    for fine in [
        R::NOPAGE,
        R::LOCKED,
        R::RETRY,
        R::DONE_COW,
        R::NEEDDSYNC,
        R::COMPLETED,
        R::MAJOR,
    ] {
        assert!(!fine.is_error());
        assert_eq!(fine.to_errno(HwpoisonAs::Fault), Ok(()));
    }
    assert_eq!(R::vmf_error(Errno::ENOMEM), R::OOM);
    assert_eq!(R::vmf_error(Errno::EHWPOISON), R::HWPOISON);
    assert_eq!(R::vmf_error(Errno::EIO), R::SIGBUS);
    assert_eq!(R::vmf_fs_error(Ok(())), R::LOCKED);
    assert_eq!(R::vmf_fs_error(Err(Errno::EAGAIN)), R::NOPAGE);
    assert_eq!(R::vmf_fs_error(Err(Errno::EFAULT)), R::NOPAGE);
    assert_eq!(R::vmf_fs_error(Err(Errno::ENOMEM)), R::OOM);
    assert_eq!(R::vmf_fs_error(Err(Errno::ENOSPC)), R::SIGBUS);
    assert_eq!(
        (R::OOM | R::SIGBUS).to_errno(HwpoisonAs::Fault),
        Err(Errno::ENOMEM)
    );
    assert_eq!(
        R::HWPOISON.to_errno(HwpoisonAs::Hwpoison),
        Err(Errno::EHWPOISON)
    );
    assert_eq!(
        R::hwpoison_large(3).to_errno(HwpoisonAs::Fault),
        Err(Errno::EFAULT)
    );
    assert_eq!(
        R::SIGSEGV.to_errno(HwpoisonAs::Hwpoison),
        Err(Errno::EFAULT)
    );
    assert_eq!(R::hwpoison_large(9).hindex(), 9);
    assert_eq!(R::hwpoison_large(15).bits(), 0xf0020);
}

// row: A04
#[test]
fn composites_of_vm_flags_are_those_of_the_specification() {
    use VmFlags as V;
    assert_eq!(V::ACCESS.bits(), 7);
    assert_eq!(V::SPECIAL, V::IO | V::DONTEXPAND | V::PFNMAP | V::MIXEDMAP);
    assert_eq!(V::STACK_FLAGS.bits(), 0x100 | 0x73 | (1 << 20));
    assert_eq!(V::all().bits(), (1 << 43) - 1);
    assert!(V::MAYWRITE.is_cow_mapping());
    assert!(!(V::MAYWRITE | V::SHARED).is_cow_mapping());
    assert!(!V::empty().is_cow_mapping());
    assert!((V::READ | V::MAYREAD).access_within_may());
    assert!(!(V::WRITE | V::MAYREAD).access_within_may());
    assert_eq!(V::READ.with_pkey(7).map(V::pkey), Some(7));
    assert_eq!(V::READ.with_pkey(16), None);
    assert_eq!(
        (Prot::READ | Prot::SEM | Prot::EXEC).vm_flags(),
        V::READ | V::EXEC
    );
    assert_eq!(
        Prot::from_vm_flags(V::STACK_FLAGS),
        Prot::READ | Prot::WRITE
    );
}

// inv: 17
#[test]
fn an_area_has_at_most_one_class() {
    use VmFlags as V;
    let bits = [
        V::READ,
        V::WRITE,
        V::EXEC,
        V::SHARED,
        V::STACK,
        V::SHADOW_STACK,
    ];
    for chosen in 0..(1usize << bits.len()) {
        let flags: V = bits
            .iter()
            .enumerate()
            .filter(|(i, _)| chosen & (1 << i) != 0)
            .map(|(_, f)| *f)
            .collect();
        let exec = flags.contains(V::EXEC) && !flags.intersects(V::WRITE | V::STACK);
        let stack = flags.intersects(V::STACK | V::SHADOW_STACK);
        let data = flags.contains(V::WRITE) && !flags.intersects(V::SHARED | V::STACK);
        let expected = if exec {
            Some(VmClass::Exec)
        } else if stack {
            Some(VmClass::Stack)
        } else if data {
            Some(VmClass::Data)
        } else {
            None
        };
        assert_eq!(flags.class(), expected, "{flags:?}");
    }
}

#[test]
fn levels_cover_what_the_hardware_says() {
    let bytes: Vec<u64> = [Level::Pte, Level::Pmd, Level::Pud, Level::P4d, Level::Pgd]
        .iter()
        .map(|level| level.bytes())
        .collect();
    assert_eq!(bytes, [1 << 12, 1 << 21, 1 << 30, 1 << 39, 1 << 48]);
    assert_eq!(PagingMode::FourLevel.task_size().as_u64(), 0x7fff_ffff_f000);
    assert_eq!(
        PagingMode::FiveLevel.task_size().as_u64(),
        0xff_ffff_ffff_f000
    );
    assert_eq!(PagingMode::FourLevel.top_level().table_bytes(), 1 << 48);
    assert_eq!(PagingMode::FiveLevel.top_level().table_bytes(), 1 << 57);
    assert_eq!(Level::Pte.below(), None);
    assert_eq!(Level::Pgd.above(), None);
    assert!(PagingMode::FourLevel.is_canonical(VirtAddr::new(0x7fff_ffff_ffff)));
    assert!(!PagingMode::FourLevel.is_canonical(VirtAddr::new(0x8000_0000_0000)));
    assert!(PagingMode::FourLevel.is_canonical(VirtAddr::new(0xffff_8000_0000_0000)));
    assert!(PagingMode::FiveLevel.is_canonical(VirtAddr::new(0x8000_0000_0000)));
}

#[test]
fn signals_and_codes_have_their_numbers() {
    assert_eq!(
        (SigCode::MapErr.raw(), SigCode::MapErr.signal().raw()),
        (1, 11)
    );
    assert_eq!((SigCode::AccErr.raw(), SigCode::PkuErr.raw()), (2, 4));
    assert_eq!(
        (SigCode::BusAdrErr.raw(), SigCode::BusAdrErr.signal().raw()),
        (2, 7)
    );
    assert_eq!(
        (SigCode::MceErrAr.raw(), SigCode::MceErrAr.signal().name()),
        (4, "SIGBUS")
    );
}

#[test]
fn ranges_refuse_what_is_not_a_range() {
    let at = VirtAddr::new;
    assert_eq!(VirtRange::new(at(0x1000), at(0x1000)), None);
    assert_eq!(VirtRange::new(at(0x2000), at(0x1000)), None);
    assert_eq!(VirtRange::new(at(0x1001), at(0x3000)), None);
    assert_eq!(VirtRange::from_len(at(!0xfff), 0x1000), None);
    assert_eq!(VirtRange::from_len(at(0x1000), 0), None);
    assert_eq!(at(u64::MAX).align_up(), None);
    let range = VirtRange::new(at(0x1000), at(0x4000)).expect("a range");
    assert_eq!(format!("{range}"), "1000-4000");
    assert_eq!(format!("{:012x}", at(0x1000)), "000000001000");
    assert_eq!(format!("{}", at(0xbeef)), "beef");
    assert_eq!(
        range
            .page_addrs()
            .rev()
            .map(VirtAddr::as_u64)
            .collect::<Vec<_>>(),
        [0x3000, 0x2000, 0x1000]
    );
    assert_eq!(range.split_at(at(0x1000)), None);
    assert_eq!(range.split_at(at(0x2800)), None);
}

fn page_aligned() -> impl Strategy<Value = VirtAddr> {
    prop_oneof![
        0u64..64,
        (u64::MAX >> 12) - 64..=(u64::MAX >> 12),
        any::<u64>()
    ]
    .prop_map(|page| VirtAddr::new(page << 12))
}

fn range() -> impl Strategy<Value = VirtRange> {
    (page_aligned(), 1u64..32).prop_filter_map("end is an address", |(start, pages)| {
        VirtRange::from_len(start, pages << 12)
    })
}

proptest! {
    #[test]
    fn alignment_brackets_the_address(addr: u64) {
        let addr = VirtAddr::new(addr);
        let down = addr.align_down();
        prop_assert!(down <= addr && down.is_page_aligned());
        prop_assert_eq!(addr.offset_from(down), addr.page_offset());
        match addr.align_up() {
            Some(up) => prop_assert!(up >= addr && up.is_page_aligned() && up.as_u64() - addr.as_u64() < PAGE_SIZE),
            None => prop_assert!(addr.as_u64() > u64::MAX - PAGE_MASK),
        }
    }

    #[test]
    fn arithmetic_agrees_with_128_bits(addr: u64, bytes: u64) {
        let wide = u128::from(addr) + u128::from(bytes);
        let sum = VirtAddr::new(addr).checked_add(bytes).map(|sum| u128::from(sum.as_u64()));
        prop_assert_eq!(sum, (wide <= u128::from(u64::MAX)).then_some(wide));
        prop_assert_eq!(PgOff::new(addr).bytes().map(u128::from),
            Some(u128::from(addr) << 12).filter(|wide| *wide <= u128::from(u64::MAX)));
        let pfn = Pfn::new(addr & Pfn::MAX.as_u64());
        prop_assert_eq!(Pfn::containing(pfn.phys_addr()), pfn);
        prop_assert_eq!(pfn.checked_add(bytes).is_some(),
            u128::from(pfn.as_u64()) + u128::from(bytes) <= u128::from(Pfn::MAX.as_u64()));
    }

    #[test]
    fn intersection_is_what_both_contain(a in range(), b in range()) {
        let both = a.intersect(&b);
        prop_assert_eq!(both, b.intersect(&a));
        prop_assert_eq!(both.is_some(), a.overlaps(&b));
        for addr in a.page_addrs().chain(b.page_addrs()) {
            let inside = both.is_some_and(|both| both.contains(addr));
            prop_assert_eq!(inside, a.contains(addr) && b.contains(addr));
        }
        if let Some(both) = both {
            prop_assert!(a.contains_range(&both) && b.contains_range(&both));
            prop_assert_eq!(both.page_addrs().len() as u64, both.pages());
        }
    }

    #[test]
    fn a_split_loses_nothing(whole in range(), page in 0u64..32) {
        let at = whole.start().saturating_add(page << 12);
        if let Some((low, high)) = whole.split_at(at) {
            prop_assert_eq!(low.end(), high.start());
            prop_assert_eq!(low.pages() + high.pages(), whole.pages());
        } else {
            prop_assert!(at == whole.start() || at >= whole.end());
        }
    }

    #[test]
    fn indices_of_all_levels_rebuild_the_address(addr: u64) {
        for mode in [PagingMode::FourLevel, PagingMode::FiveLevel] {
            let addr = VirtAddr::new(addr & ((1 << mode.addr_bits()) - 1));
            let mut rebuilt = addr.page_offset();
            let mut level = Some(mode.top_level());
            let mut seen = 0;
            while let Some(here) = level {
                rebuilt |= (here.index_of(addr) as u64) << here.shift();
                level = here.below();
                seen += 1;
            }
            prop_assert_eq!(rebuilt, addr.as_u64());
            prop_assert_eq!(seen, mode.levels());
        }
    }

    #[test]
    fn covering_order_is_the_smallest(nr_pages in 1u64..=1 << 18) {
        let order = Order::covering(nr_pages).expect("at most 1 GiB");
        prop_assert!(order.nr_pages() >= nr_pages);
        prop_assert!(order == Order::ZERO || order.nr_pages() / 2 < nr_pages);
    }
}
