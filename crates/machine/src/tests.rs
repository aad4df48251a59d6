use addr::{Access, PAGE_SIZE, VirtAddr, VirtRange};

use crate::{ErrorCode, FaultInfo, Flush, Mmu, Mode, NoMmu, Translation};

fn range(start: u64, pages: u64) -> VirtRange {
    VirtRange::from_len(VirtAddr::new(start), pages * PAGE_SIZE).expect("a range of the test")
}

// row: F05
#[test]
fn error_code_bits_are_the_hardwares() {
    assert_eq!(ErrorCode::PROT.bits(), 1);
    assert_eq!(ErrorCode::WRITE.bits(), 2);
    assert_eq!(ErrorCode::USER.bits(), 4);
    assert_eq!(ErrorCode::RSVD.bits(), 8);
    assert_eq!(ErrorCode::INSTR.bits(), 16);
    assert_eq!(ErrorCode::PK.bits(), 32);
    assert_eq!(ErrorCode::SHSTK.bits(), 64);
    assert_eq!(ErrorCode::SGX.bits(), 0x8000);
    assert_eq!(ErrorCode::RMP.bits(), 0x8000_0000);
}

#[test]
fn a_report_says_what_was_tried_and_why_it_failed() {
    for access in [Access::Read, Access::Write, Access::Execute] {
        let missing = FaultInfo::missing(VirtAddr::new(0x1234), access, Mode::User);
        assert_eq!(missing.error_code.access(), access);
        assert!(missing.error_code.contains(ErrorCode::USER));
        assert!(!missing.error_code.contains(ErrorCode::PROT));
        let forbidden = FaultInfo::forbidden(VirtAddr::new(0x1234), access, Mode::Kernel);
        assert!(forbidden.error_code.contains(ErrorCode::PROT));
        assert!(!forbidden.error_code.contains(ErrorCode::USER));
    }
}

#[test]
fn a_flush_knows_what_it_covers() {
    let ranges = [range(0x1000, 1), range(0x5000, 2)];
    let flush = Flush::ranges(&ranges);
    assert!(flush.covers(VirtAddr::new(0x1fff)));
    assert!(!flush.covers(VirtAddr::new(0x2000)));
    assert!(flush.covers(VirtAddr::new(0x6000)));
    assert!(Flush::space().covers(VirtAddr::new(0)));
}

#[test]
fn no_mmu_asks_for_nothing() {
    let mmu = NoMmu;
    assert!(!mmu.caps().walks_tables());
    assert!(!mmu.caps().is_filled_by_software());
    mmu.update_mmu_cache(range(0, 1));
    mmu.flush_tlb(&Flush::space());
    let new = Translation {
        pfn: addr::Pfn::new(7),
        prot: addr::Prot::READ,
    };
    mmu.replace(VirtAddr::new(0x1000), new);
}
