//! Names of flags, advice, errors and signals.

type Table = &'static [(&'static str, u64)];

const PROT: Table = &[
    ("none", 0),
    ("sem", 8),
    ("growsdown", 0x0100_0000),
    ("growsup", 0x0200_0000),
];

const MAP: Table = &[
    ("shared", 1),
    ("private", 2),
    ("shared_validate", 3),
    ("droppable", 8),
    ("fixed", 0x10),
    ("anon", 0x20),
    ("32bit", 0x40),
    ("above4g", 0x80),
    ("growsdown", 0x100),
    ("denywrite", 0x800),
    ("executable", 0x1000),
    ("locked", 0x2000),
    ("noreserve", 0x4000),
    ("populate", 0x8000),
    ("nonblock", 0x1_0000),
    ("stack", 0x2_0000),
    ("hugetlb", 0x4_0000),
    ("sync", 0x8_0000),
    ("noreplace", 0x10_0000),
];

const REMAP: Table = &[("maymove", 1), ("fixed", 2), ("dontunmap", 4)];

const ADVICE: Table = &[
    ("normal", 0),
    ("random", 1),
    ("sequential", 2),
    ("willneed", 3),
    ("dontneed", 4),
    ("free", 8),
    ("remove", 9),
    ("dontfork", 10),
    ("dofork", 11),
    ("mergeable", 12),
    ("unmergeable", 13),
    ("hugepage", 14),
    ("nohugepage", 15),
    ("dontdump", 16),
    ("dodump", 17),
    ("wipeonfork", 18),
    ("keeponfork", 19),
    ("cold", 20),
    ("pageout", 21),
    ("populate_read", 22),
    ("populate_write", 23),
    ("dontneed_locked", 24),
    ("collapse", 25),
    ("hwpoison", 100),
    ("soft_offline", 101),
    ("guard_install", 102),
    ("guard_remove", 103),
];

const MSYNC: Table = &[("async", 1), ("invalidate", 2), ("sync", 4)];
const MLOCK: Table = &[("onfault", 1)];
const MLOCKALL: Table = &[("current", 1), ("future", 2), ("onfault", 4)];
const OPEN: Table = &[
    ("rdonly", 0),
    ("wronly", 1),
    ("rdwr", 2),
    ("append", 0o2000),
    ("creat", 0o100),
];
const MEMFD: Table = &[("cloexec", 1), ("allow_sealing", 2)];
const FALLOCATE: Table = &[("keep_size", 1), ("punch_hole", 2)];
const LIMIT: Table = &[("data", 2), ("stack", 3), ("memlock", 8), ("as", 9)];

/// What an argument's names are looked up in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dictionary {
    Prot,
    Map,
    Remap,
    Advice,
    Msync,
    Mlock,
    Mlockall,
    Open,
    Memfd,
    Fallocate,
    Limit,
}

impl Dictionary {
    fn table(self) -> Table {
        match self {
            Self::Prot => PROT,
            Self::Map => MAP,
            Self::Remap => REMAP,
            Self::Advice => ADVICE,
            Self::Msync => MSYNC,
            Self::Mlock => MLOCK,
            Self::Mlockall => MLOCKALL,
            Self::Open => OPEN,
            Self::Memfd => MEMFD,
            Self::Fallocate => FALLOCATE,
            Self::Limit => LIMIT,
        }
    }

    /// The value of one name.
    pub(super) fn value(self, name: &str) -> Option<u64> {
        let entry = self.table().iter().find(|(known, _)| *known == name);
        entry
            .map(|(_, value)| *value)
            .or_else(|| self.letters(name))
    }

    /// `rw`, `rx`, `wx`: the short form of a protection.
    fn letters(self, name: &str) -> Option<u64> {
        if self != Self::Prot {
            return None;
        }
        let mut value = 0;
        for letter in name.chars() {
            value |= match letter {
                'r' => 1,
                'w' => 2,
                'x' => 4,
                _ => return None,
            };
        }
        Some(value)
    }
}

/// The names of mmap's flags and their values.
#[must_use]
pub fn map_flags() -> &'static [(&'static str, u64)] {
    MAP
}

/// The names of madvise's advice and their values.
#[must_use]
pub fn advice() -> &'static [(&'static str, u64)] {
    ADVICE
}

const ERRNO: &[(&str, i32)] = &[
    ("EPERM", 1),
    ("ENOENT", 2),
    ("ESRCH", 3),
    ("EINTR", 4),
    ("EIO", 5),
    ("ENXIO", 6),
    ("E2BIG", 7),
    ("EBADF", 9),
    ("EAGAIN", 11),
    ("ENOMEM", 12),
    ("EACCES", 13),
    ("EFAULT", 14),
    ("EBUSY", 16),
    ("EEXIST", 17),
    ("ENODEV", 19),
    ("EINVAL", 22),
    ("EFBIG", 27),
    ("ETXTBSY", 26),
    ("ENOSPC", 28),
    ("ESPIPE", 29),
    ("ENOSYS", 38),
    ("EOVERFLOW", 75),
    ("EOPNOTSUPP", 95),
    ("EHWPOISON", 133),
];

/// The number of an errno.
#[must_use]
pub fn errno_number(name: &str) -> Option<i32> {
    ERRNO
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
}

/// The name of an errno.
#[must_use]
pub fn errno_name(number: i32) -> String {
    let entry = ERRNO.iter().find(|(_, known)| *known == number);
    entry.map_or_else(|| format!("E{number}"), |(name, _)| (*name).to_string())
}

const CODES: &[(&str, i32, i32)] = &[
    ("SEGV MAPERR", libc::SIGSEGV, 1),
    ("SEGV ACCERR", libc::SIGSEGV, 2),
    ("SEGV PKUERR", libc::SIGSEGV, 4),
    ("BUS ADRALN", libc::SIGBUS, 1),
    ("BUS ADRERR", libc::SIGBUS, 2),
    ("BUS MCEERR_AR", libc::SIGBUS, 4),
];

/// Reads `SEGV MAPERR` and its like.
pub(super) fn signal_of(text: &str) -> Option<(i32, i32)> {
    CODES
        .iter()
        .find(|(known, _, _)| *known == text)
        .map(|(_, signal, code)| (*signal, *code))
}

/// `SEGV MAPERR` for the two numbers.
#[must_use]
pub fn signal_code_name(signal: i32, code: i32) -> String {
    let entry = CODES
        .iter()
        .find(|(_, known, with)| (*known, *with) == (signal, code));
    entry.map_or_else(
        || format!("{} code {code}", signal_name(signal)),
        |(name, _, _)| (*name).into(),
    )
}

/// `SIGSEGV` for 11.
#[must_use]
pub fn signal_name(signal: i32) -> String {
    match signal {
        libc::SIGSEGV => "SIGSEGV".into(),
        libc::SIGBUS => "SIGBUS".into(),
        libc::SIGILL => "SIGILL".into(),
        libc::SIGTRAP => "SIGTRAP".into(),
        libc::SIGKILL => "SIGKILL".into(),
        other => format!("signal {other}"),
    }
}
