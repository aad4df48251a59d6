use super::access_of;
use crate::sys::ptrace::Regs;
use addr::Access;

const RIP: u64 = 0x40_1000;
const RDI: u64 = 0x7000_1000;
const RSI: u64 = 0x6000_2000;
const RSP: u64 = 0x7fff_f000;

fn access(code: &[u8], address: u64) -> Option<Access> {
    let mut regs = Regs::zeroed();
    regs.jump_to_call(RIP, 0, [RDI, RSI, 0, 0, 0, 0]);
    regs.set_stack(RSP);
    access_of(code, &regs, address)
}

#[test]
fn loads_read_and_stores_write() {
    // mov rax, [rdi]; mov [rdi+8], rax; add dword [rdi], 1
    assert_eq!(access(&[0x48, 0x8b, 0x07], RDI), Some(Access::Read));
    assert_eq!(
        access(&[0x48, 0x89, 0x47, 0x08], RDI + 8),
        Some(Access::Write)
    );
    assert_eq!(access(&[0x83, 0x07, 0x01], RDI), Some(Access::Write));
}

#[test]
fn a_copy_reads_one_side_and_writes_the_other() {
    // rep movsb
    assert_eq!(access(&[0xf3, 0xa4], RSI), Some(Access::Read));
    assert_eq!(access(&[0xf3, 0xa4], RDI), Some(Access::Write));
    // rep stosb
    assert_eq!(access(&[0xf3, 0xaa], RDI + 3), Some(Access::Write));
}

#[test]
fn a_push_writes_below_the_stack_and_a_pop_reads() {
    assert_eq!(access(&[0x50], RSP - 8), Some(Access::Write));
    assert_eq!(access(&[0x58], RSP), Some(Access::Read));
    // push [rdi] reads there and writes the stack
    assert_eq!(access(&[0xff, 0x37], RDI), Some(Access::Read));
    assert_eq!(access(&[0xff, 0x37], RSP - 8), Some(Access::Write));
}

#[test]
fn what_is_no_instruction_has_no_access() {
    assert_eq!(access(&[0x06], RDI), None);
    assert_eq!(access(&[], RDI), None);
    assert_eq!(access(&[0x90], RDI), None);
}
