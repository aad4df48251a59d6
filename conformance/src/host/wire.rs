//! What goes between controller and agent: a head of sixteen words, then bytes.

/// Words in a head.
pub(super) const WORDS: usize = 16;
/// Bytes in a head.
pub(super) const HEAD: usize = WORDS * 8;
/// The longest payload.
pub(super) const PAYLOAD: usize = 256 << 10;

/// What the agent is to do; the word at [`OP`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Op {
    /// System call [`NUMBER`], operands from [`OPERANDS`]; those in [`MASK`] are the payload's address.
    Call = 1,
    /// Load [`LENGTH`] bytes from the first operand.
    Load,
    /// Store the payload at the first operand.
    Store,
    /// Call the first operand.
    Execute,
    /// Fork; the child connects to the controller.
    Fork,
    /// Exit.
    Exit,
    /// Read the file whose path is the payload.
    File,
    /// Read or write ([`MASK`] 0 or 1) [`LENGTH`] bytes at the first operand, of process [`NUMBER`],
    /// by `process_vm_*`.
    ProcessVm,
    /// The same by `/proc/PID/mem`, whose path is [`PATH`] bytes at the head of the payload.
    ProcMem,
}

impl Op {
    const ALL: [Self; 9] = [
        Self::Call,
        Self::Load,
        Self::Store,
        Self::Execute,
        Self::Fork,
        Self::Exit,
        Self::File,
        Self::ProcessVm,
        Self::ProcMem,
    ];

    pub(super) fn of(word: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|op| *op as u64 == word)
    }
}

// The words of a request.
pub(super) const OP: usize = 0;
pub(super) const NUMBER: usize = 1;
pub(super) const MASK: usize = 2;
/// Bytes of payload that follow the head.
pub(super) const LENGTH: usize = 3;
/// Bytes of payload wanted back.
pub(super) const WANTED: usize = 4;
pub(super) const PATH: usize = 5;
pub(super) const OPERANDS: usize = 6;

// The words of a reply; LENGTH as above.
pub(super) const VALUE: usize = 0;
pub(super) const SIGNAL: usize = 1;
pub(super) const CODE: usize = 2;
pub(super) const ADDR: usize = 4;
pub(super) const FAULTS: usize = 5;

/// A head as bytes.
pub(super) fn to_bytes(words: &[u64; WORDS]) -> [u8; HEAD] {
    let mut bytes = [0; HEAD];
    for (place, word) in words.iter().enumerate() {
        bytes[place * 8..place * 8 + 8].copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Bytes as a head.
pub(super) fn from_bytes(bytes: &[u8; HEAD]) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    for (place, word) in words.iter_mut().enumerate() {
        let mut eight = [0; 8];
        eight.copy_from_slice(&bytes[place * 8..place * 8 + 8]);
        *word = u64::from_le_bytes(eight);
    }
    words
}
