//! What a keeper is told to do, as it finds it in its page of orders.

/// A call that a keeper is to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    number: i64,
    arguments: [u64; 6],
    expected: i64,
}

/// What no call returns.
const NEVER: i64 = i64::MIN;

/// How many words of 64 bits an order takes.
pub(crate) const ORDER_WORDS: usize = 8;

/// Where orders begin in the page, in words.
pub(crate) const FIRST_ORDER: usize = 8;

/// How many orders a page has room for.
pub(crate) const NR_ORDERS_MAX: usize = (512 - FIRST_ORDER) / ORDER_WORDS;

impl Order {
    /// A call that should return 0.
    pub(crate) const fn new(number: i64, arguments: [u64; 6]) -> Self {
        Self {
            number,
            arguments,
            expected: 0,
        }
    }

    /// One that should return something else.
    pub(crate) const fn expecting(self, expected: u64) -> Self {
        let expected = expected as i64;
        Self { expected, ..self }
    }

    /// One whose result is told whatever it is.
    pub(crate) const fn asking(self) -> Self {
        Self {
            expected: NEVER,
            ..self
        }
    }

    /// A munmap.
    pub(crate) const fn munmap(start: u64, end: u64) -> Self {
        Self::new(libc::SYS_munmap, [start, end - start, 0, 0, 0, 0])
    }

    /// An mprotect.
    pub(crate) const fn mprotect(start: u64, end: u64, bits: u64) -> Self {
        Self::new(libc::SYS_mprotect, [start, end - start, bits, 0, 0, 0])
    }

    /// A close.
    pub(crate) const fn close(descriptor: u32) -> Self {
        Self::new(libc::SYS_close, [descriptor as u64, 0, 0, 0, 0, 0])
    }

    /// As it stands in the page. What the high halves of an mmap's flags and descriptor carry is the
    /// keeper's business.
    pub(crate) fn words(&self) -> [u64; ORDER_WORDS] {
        let [a, b, c, mut flags, mut descriptor, f] = self.arguments;
        if self.number == libc::SYS_mmap {
            flags &= u64::from(u32::MAX);
            descriptor &= u64::from(u32::MAX);
        }
        let (number, expected) = (self.number as u64, self.expected as u64);
        [number, a, b, c, flags, descriptor, f, expected]
    }
}

/// An order that did not go as expected. Those after it were not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unexpected {
    /// Which one it was.
    pub(crate) nth: usize,
    /// What the call returned.
    pub(crate) answer: i64,
}

impl Unexpected {
    /// The errno that it failed with.
    pub(crate) fn errno(self) -> i32 {
        self.answer.unsigned_abs() as i32
    }
}

/// What a keeper tells of a batch of orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// All went as expected.
    Done,
    /// With so many left, the first of them returned something else.
    Left(usize, i64),
}

/// How many bits of a result are told: addresses and errnos have no more.
const RESULT_BITS: u32 = 48;

impl Report {
    /// What the offset says that a keeper has left.
    pub(crate) fn from_offset(offset: i64) -> Self {
        let left = (offset >> RESULT_BITS) as usize;
        let unused = i64::BITS - RESULT_BITS;
        Self::Left(left, offset << unused >> unused)
    }
}

#[cfg(test)]
mod tests;
