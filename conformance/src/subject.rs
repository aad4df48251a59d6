//! What a machine must offer to be held against the cases.

use std::fmt;

/// One process of a case. The first is [`Who::MAIN`]; a fork makes the others, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who(pub usize);

impl Who {
    /// The process that a case starts with.
    pub const MAIN: Self = Self(0);
}

/// A kernel release, as far as the cases tell releases apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    /// The number before the first dot.
    pub major: u32,
    /// The number after it.
    pub minor: u32,
}

impl Release {
    /// The release whose behaviour is the project's reference.
    pub const REFERENCE: Self = Self { major: 7, minor: 0 };

    /// Reads `6.18` or `6.18.44-anything`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit());
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?.parse().ok()?;
        Some(Self { major, minor })
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The system calls that a case may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the system call of that name")]
pub enum Sys {
    Mmap,
    Munmap,
    Mprotect,
    PkeyMprotect,
    PkeyAlloc,
    PkeyFree,
    Mremap,
    Brk,
    Madvise,
    Msync,
    Mincore,
    Mlock,
    Mlock2,
    Munlock,
    Mlockall,
    Munlockall,
    Mseal,
    RemapFilePages,
    Open,
    Close,
    MemfdCreate,
    Ftruncate,
    Fallocate,
    Pwrite,
    Pread,
    Setrlimit,
}

impl Sys {
    /// The number of the call on x86-64.
    #[must_use]
    pub fn number(self) -> libc::c_long {
        match self {
            Self::Mmap => libc::SYS_mmap,
            Self::Munmap => libc::SYS_munmap,
            Self::Mprotect => libc::SYS_mprotect,
            Self::PkeyMprotect => libc::SYS_pkey_mprotect,
            Self::PkeyAlloc => libc::SYS_pkey_alloc,
            Self::PkeyFree => libc::SYS_pkey_free,
            Self::Mremap => libc::SYS_mremap,
            Self::Brk => libc::SYS_brk,
            Self::Madvise => libc::SYS_madvise,
            Self::Msync => libc::SYS_msync,
            Self::Mincore => libc::SYS_mincore,
            Self::Mlock => libc::SYS_mlock,
            Self::Mlock2 => libc::SYS_mlock2,
            Self::Munlock => libc::SYS_munlock,
            Self::Mlockall => libc::SYS_mlockall,
            Self::Munlockall => libc::SYS_munlockall,
            Self::Mseal => 462,
            Self::RemapFilePages => libc::SYS_remap_file_pages,
            Self::Open => libc::SYS_open,
            Self::Close => libc::SYS_close,
            Self::MemfdCreate => libc::SYS_memfd_create,
            Self::Ftruncate => libc::SYS_ftruncate,
            Self::Fallocate => libc::SYS_fallocate,
            Self::Pwrite => libc::SYS_pwrite64,
            Self::Pread => libc::SYS_pread64,
            Self::Setrlimit => libc::SYS_setrlimit,
        }
    }
}

/// One argument of a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// A number, or an address of the case.
    Value(u64),
    /// The address of a buffer that belongs to nobody's case: [`Call::input`] lies there before
    /// the call, and [`Returned::output`] is read from there after it.
    Buffer,
}

/// A system call to be made by a process of the case.
#[derive(Debug, Clone)]
pub struct Call {
    /// Which.
    pub sys: Sys,
    /// With what.
    pub operands: [Operand; 6],
    /// What lies in the buffer before the call.
    pub input: Vec<u8>,
    /// How many bytes of the buffer to bring back.
    pub output: usize,
}

/// What came back from a system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returned {
    /// As in the register: a value, or a negative errno.
    pub value: i64,
    /// The buffer after the call.
    pub output: Vec<u8>,
}

/// An access to the memory of a process.
#[derive(Debug, Clone)]
pub enum Access {
    /// Load so many bytes, one after the other.
    Load {
        /// Of the first byte.
        addr: u64,
        /// How many.
        len: usize,
    },
    /// Store these bytes, one after the other.
    Store {
        /// Of the first byte.
        addr: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// Call the code at this address as a function without arguments that returns an `int`.
    Execute {
        /// Of the first instruction.
        addr: u64,
    },
}

/// A signal that an access raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caught {
    /// Its number.
    pub signal: i32,
    /// Its `si_code`.
    pub code: i32,
    /// Its `si_addr`.
    pub addr: u64,
}

/// What an access did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accessed {
    /// The bytes loaded, or the four bytes of the `int` that the code returned.
    pub result: Result<Vec<u8>, Caught>,
    /// Minor faults that the process has counted during the access.
    pub faults: u64,
}

/// A transfer by way of another process, or of `/proc/PID/mem`.
#[derive(Debug, Clone)]
pub struct Outside {
    /// Who makes the call.
    pub by: Who,
    /// Whose memory it is.
    pub of: Who,
    /// By which door.
    pub door: Door,
    /// Of the first byte.
    pub addr: u64,
    /// Read or write.
    pub transfer: Transfer,
}

/// The ways into a space from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// `process_vm_readv` and `process_vm_writev`: the rights of the area count.
    ProcessVm,
    /// `/proc/PID/mem`: forced, as a debugger does it.
    ProcMem,
}

/// The direction of an [`Outside`] transfer.
#[derive(Debug, Clone)]
pub enum Transfer {
    /// So many bytes out of the space.
    Read(usize),
    /// These bytes into it.
    Write(Vec<u8>),
}

/// The counters of a space, as `/proc/PID/status` has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// VmSize, in bytes.
    pub total: u64,
    /// VmData, in bytes.
    pub data: u64,
    /// VmStk, in bytes.
    pub stack: u64,
    /// VmLck, in bytes.
    pub locked: u64,
    /// RssAnon, in bytes.
    pub anon: u64,
    /// RssFile, in bytes.
    pub file: u64,
    /// RssShmem, in bytes.
    pub shmem: u64,
    /// VmPTE, in bytes.
    pub tables: u64,
}

/// The subject did not do its part: it died, hung, or cannot do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);

/// Whether a figure of a subject is Linux's to the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum Exact {
    /// It is.
    Yes,
    /// It is the subject's own affair, and not compared; of residence, only that what must be
    /// resident is.
    No,
}

/// Which figures of a subject can be compared.
///
/// A machine that fills the neighbours of a faulting page, as any with a costly fill does, has more
/// resident and faults less often than the kernel.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Figures {
    /// Minor faults of an access.
    pub faults: Exact,
    /// Pages that mincore reports.
    pub residence: Exact,
    /// Counters of the space.
    pub counters: Exact,
}

impl Figures {
    /// All of them.
    pub const ALL: Self = Self {
        faults: Exact::Yes,
        residence: Exact::Yes,
        counters: Exact::Yes,
    };
    /// None of them.
    pub const NONE: Self = Self {
        faults: Exact::No,
        residence: Exact::No,
        counters: Exact::No,
    };
}

/// A process, and those it forks, on which a case is performed.
///
/// The first process starts with a window of 64 GiB at [`WINDOW`] in which nothing is mapped, and
/// with nothing free above its next `mmap(NULL)`; without capabilities; with the resource limits
/// memlock at least 8 MiB, stack 8 MiB, the others unlimited.
pub trait Subject {
    /// Whose behaviour it shows.
    fn release(&self) -> Release;

    /// What of its bookkeeping can be compared.
    fn figures(&self) -> Figures {
        Figures::ALL
    }

    /// Makes a system call. `Err` only if the subject broke; an errno is a value.
    fn call(&mut self, who: Who, call: &Call) -> Result<Returned, Broken>;

    /// Touches memory.
    fn access(&mut self, who: Who, access: &Access) -> Result<Accessed, Broken>;

    /// Forks; the inner error is an errno.
    fn fork(&mut self, who: Who) -> Result<Result<Who, i32>, Broken>;

    /// Ends a forked process.
    fn exit(&mut self, who: Who) -> Result<(), Broken>;

    /// Moves bytes by way of a process or of `/proc`.
    fn outside(&mut self, transfer: &Outside) -> Result<Returned, Broken>;

    /// The text of `/proc/PID/maps`.
    fn maps(&mut self, who: Who) -> Result<String, Broken>;

    /// The counters.
    fn usage(&mut self, who: Who) -> Result<Usage, Broken>;
}

/// Where the window of a case begins.
pub const WINDOW: u64 = 0x1000_0000_0000;

/// Starts subjects of one kind.
pub trait Runner: Send + Sync {
    /// `host`, `soft`, `traced`.
    fn name(&self) -> &'static str;

    /// Why it can perform nothing here, if so.
    fn unavailable(&self) -> Option<String> {
        None
    }

    /// Whether it has what a case says that it needs.
    fn offers(&self, need: &str) -> bool;

    /// A fresh subject. `dir` is where the files of the case lie.
    fn start(&self, dir: &std::path::Path) -> Result<Box<dyn Subject>, Broken>;
}
