//! What of a program's memory a system call reads and writes, as data.

use addr::Access;

/// How long an operand is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// So many bytes.
    Bytes(u64),
    /// As many bytes as this argument says.
    Argument(usize),
    /// As many bytes as this argument says, or fewer: what the descriptor in argument 0 has.
    AtMost(usize),
    /// As many items as this argument says, of so many bytes each.
    Items(usize, u64),
    /// As this argument says, and a header of so many bytes.
    ArgumentAnd(usize, u64),
    /// As many bytes as the 32-bit word that this argument points to says.
    AtPointer(usize),
    /// One bit for each descriptor below this argument, in whole words.
    Bits(usize),
}

/// What happens to an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// The kernel reads it.
    In,
    /// The kernel writes it.
    Out,
    /// Both, or it is not known which.
    InOut,
}

impl Flow {
    /// The access that the pages must be ready for.
    pub(crate) fn access(self) -> Access {
        match self {
            Self::In => Access::Read,
            Self::Out | Self::InOut => Access::Write,
        }
    }
}

/// One piece of memory that a call names. Numbers are those of arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    /// A plain buffer at the address in an argument.
    Buffer(Flow, usize, Length),
    /// A string that ends with zero.
    Text(usize),
    /// An array of strings that ends with a null pointer.
    Texts(usize),
    /// An array of buffers (`struct iovec`), as many as the second argument says.
    Vector(Flow, usize, usize),
    /// A `struct msghdr`.
    Message(Flow, usize),
    /// An array of `struct mmsghdr`, as many as the second argument says.
    Messages(Flow, usize, usize),
    /// A structure at the address in an argument, whose words may be pointers.
    Pointers(usize, Length),
    /// The argument of ioctl, whose request is the argument before it.
    Ioctl(usize),
    /// The operand, if the first argument is one of these numbers.
    When(usize, &'static [u64], &'static Operand),
}

/// The kernel reads `length` bytes at argument `at`.
pub(crate) const fn input(at: usize, length: Length) -> Operand {
    Operand::Buffer(Flow::In, at, length)
}

/// The kernel writes `length` bytes at argument `at`.
pub(crate) const fn output(at: usize, length: Length) -> Operand {
    Operand::Buffer(Flow::Out, at, length)
}

/// The kernel reads and writes `length` bytes at argument `at`.
pub(crate) const fn both(at: usize, length: Length) -> Operand {
    Operand::Buffer(Flow::InOut, at, length)
}

/// What an ioctl does with its argument: direction and size are part of most requests, and the old
/// ones have a table.
pub(crate) fn ioctl_operand(request: u64) -> Option<(Flow, u64)> {
    const OLD_BYTES: u64 = 64;
    const NETWORK_BYTES: u64 = 40;
    let request = request & 0xffff_ffff;
    let bytes = (request >> 16) & 0x3fff;
    match (request >> 30, request >> 8 & 0xff) {
        (0, 0x89) => Some((Flow::InOut, NETWORK_BYTES)),
        (0, 0x54) => terminal_operand(request),
        (0, _) => Some((Flow::InOut, OLD_BYTES)),
        (1, _) => Some((Flow::In, bytes)),
        (2, _) => Some((Flow::Out, bytes)),
        _ => Some((Flow::InOut, bytes)),
    }
}

/// The requests of terminals, which are older than the coding of sizes.
fn terminal_operand(request: u64) -> Option<(Flow, u64)> {
    const TERMIOS: u64 = 36;
    const TERMIO: u64 = 18;
    Some(match request {
        0x5401 => (Flow::Out, TERMIOS),
        0x5402..=0x5404 => (Flow::In, TERMIOS),
        0x5405 => (Flow::Out, TERMIO),
        0x5406..=0x5408 => (Flow::In, TERMIO),
        0x5413 => (Flow::Out, 8),
        0x5414 => (Flow::In, 8),
        0x5409..=0x540c | 0x540e | 0x5425 | 0x5450 | 0x5451 => return None,
        0x540f | 0x5411 | 0x5415 | 0x5419 | 0x541b | 0x5424 | 0x5429 => (Flow::Out, 4),
        0x5410 | 0x5416..=0x5418 | 0x541a | 0x5420 | 0x5421 | 0x5423 | 0x5452 => (Flow::In, 4),
        _ => (Flow::InOut, 64),
    })
}
