use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess,
    OpKind, Register,
};

use super::*;
use crate::sys::seccomp::INSTALL_CALL;

fn instructions() -> Vec<Instruction> {
    let decoder = Decoder::with_ip(64, &CODE, 0, DecoderOptions::NONE);
    decoder.into_iter().collect()
}

/// The words that stand beside the bytes.
fn words_beside() -> Vec<String> {
    let lines = include_str!("../stub.rs").lines();
    let code = lines.filter(|line| line.trim_start().starts_with("0x"));
    let first_word = |line: &str| {
        let (_, beside) = line.split_once("// ")?;
        beside.split_whitespace().next().map(str::to_owned)
    };
    code.filter_map(first_word).collect()
}

#[test]
fn the_code_is_what_stands_beside_it() {
    let decoded = instructions().into_iter();
    let decoded: Vec<String> = decoded
        .map(|instruction| format!("{:?}", instruction.mnemonic()).to_lowercase())
        .collect();
    assert_eq!(decoded, words_beside());
}

#[test]
fn it_goes_where_code_is_and_begins_and_waits_where_it_should() {
    let all = instructions();
    let starts: Vec<u64> = all.iter().map(Instruction::ip).collect();
    for instruction in &all {
        if instruction.op0_kind() == OpKind::NearBranch64 {
            let target = instruction.near_branch64();
            assert!(starts.contains(&target), "{target:x}");
        }
    }
    let at = |ip: u64| all.iter().find(|instruction| instruction.ip() == ip);
    assert_eq!(at(0).map(Instruction::mnemonic), Some(Mnemonic::Syscall));
    let begins = at(START).expect("code");
    assert_eq!(
        (begins.op0_register(), begins.immediate32()),
        (Register::EAX, INSTALL_CALL as u32)
    );
    let waits = at(REST).expect("code");
    assert_eq!(
        (waits.mnemonic(), waits.op0_register()),
        (Mnemonic::Lea, Register::RBX)
    );
    let last = all.last().expect("code");
    assert_eq!(last.flow_control(), FlowControl::IndirectBranch);
}

#[test]
fn it_reads_its_orders_and_no_other_memory() {
    let mut factory = InstructionInfoFactory::new();
    for instruction in instructions() {
        if instruction.is_ip_rel_memory_operand() {
            assert_eq!(instruction.mnemonic(), Mnemonic::Lea);
            assert_eq!(instruction.ip_rel_memory_address(), ORDERS);
        }
        for memory in factory.info(&instruction).used_memory() {
            if instruction.mnemonic() == Mnemonic::Lea {
                continue;
            }
            assert_eq!(memory.access(), OpAccess::Read);
            assert!([Register::RBX, Register::R13].contains(&memory.base()));
            assert_eq!(memory.index(), Register::None);
        }
    }
}

/// What a keeper does when the host refuses it something that it needs to begin.
#[test]
fn a_keeper_that_cannot_begin_ends() {
    let all = instructions();
    let at = |ip: u64| all.iter().find(|instruction| instruction.ip() == ip);
    let before_rest = at(REST - 1).map(Instruction::mnemonic);
    assert_eq!(before_rest, Some(Mnemonic::Hlt));
    let install = all.iter().position(|instruction| instruction.ip() == START);
    let asked = all.iter().skip(install.expect("code"));
    let refused = asked.clone().find(|next| next.mnemonic() == Mnemonic::Jne);
    assert_eq!(refused.map(Instruction::near_branch64), Some(REST - 1));
    let mapped = asked.clone().find(|next| next.mnemonic() == Mnemonic::Je);
    assert_eq!(mapped.map(Instruction::next_ip), Some(REST - 1));
}
