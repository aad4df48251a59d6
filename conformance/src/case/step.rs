//! A step: who does what, under which name the result goes, and what is expected.

use std::fmt;

use serde::Deserialize;

use super::expect::Expectation;
use super::expr::Expr;
use super::names::Dictionary;
use super::parse;
use crate::subject::{Door, Release, Sys};

/// The steps of a case, in order.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct Script {
    /// In order.
    pub steps: Vec<Step>,
}

impl TryFrom<String> for Script {
    type Error = parse::ParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let steps = text
            .lines()
            .filter_map(|line| parse::step(line).transpose());
        Ok(Self {
            steps: steps.collect::<Result<_, _>>()?,
        })
    }
}

/// One step.
#[derive(Debug, Clone)]
pub struct Step {
    /// The releases it speaks of.
    pub guard: Guard,
    /// Which process; `None` is the first.
    pub who: Option<String>,
    /// The name that its result goes by from now on.
    pub bind: Option<String>,
    /// What is done.
    pub verb: Verb,
    /// With what.
    pub args: Vec<Arg>,
    /// What should come of it.
    pub expect: Expectation,
    /// As written.
    pub text: String,
}

/// The releases that a step speaks of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Guard {
    /// From this on.
    pub since: Option<Release>,
    /// Up to, and without, this.
    pub until: Option<Release>,
}

impl Guard {
    /// Whether the step is performed on a kernel of this release.
    #[must_use]
    pub fn admits(self, release: Release) -> bool {
        self.since.is_none_or(|since| release >= since)
            && self.until.is_none_or(|until| release < until)
    }
}

/// An argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arg {
    /// A number or an address.
    Number(Expr),
    /// Bytes, written as text, hexadecimal or code.
    Bytes(Vec<u8>),
    /// The name of a file, process or counter.
    Name(String),
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// A system call whose arguments are all numbers.
    Plain(Sys),
    /// mmap without a file: descriptor -1, offset 0.
    Mmap,
    /// mincore into a buffer of ours, or to an address of the case.
    Mincore,
    /// open of a file of the case.
    Open,
    /// memfd_create.
    MemfdCreate,
    /// pwrite of literal bytes.
    Pwrite,
    /// pread, compared with literal bytes.
    Pread,
    /// setrlimit of the soft limit.
    Setrlimit,
    /// Load bytes.
    Load,
    /// Store bytes.
    Store,
    /// Call code.
    Execute,
    /// fork, naming the child.
    Fork,
    /// Ends a child.
    Exit,
    /// Read by way of another process.
    Peek(Door),
    /// Write by way of another process.
    Poke(Door),
    /// The areas between two addresses.
    Maps,
    /// A counter of the space, relative to the start of the case.
    Counter,
}

/// What an argument may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Number,
    Flags(Dictionary),
    Bytes,
    Name,
}

/// How a verb is written.
pub(super) struct Signature {
    pub(super) name: &'static str,
    pub(super) verb: Verb,
    pub(super) kinds: &'static [Kind],
    /// How many of the arguments must be there.
    pub(super) required: usize,
}

use Kind::{Bytes as B, Flags as F, Name as I, Number as N};

const fn row(name: &'static str, verb: Verb, kinds: &'static [Kind], required: usize) -> Signature {
    Signature {
        name,
        verb,
        kinds,
        required,
    }
}

/// Every verb of the language.
pub(super) const SIGNATURES: &[Signature] = &[
    row(
        "mmap",
        Verb::Mmap,
        &[N, N, F(Dictionary::Prot), F(Dictionary::Map), N, N],
        4,
    ),
    row("munmap", Verb::Plain(Sys::Munmap), &[N, N], 2),
    row(
        "mprotect",
        Verb::Plain(Sys::Mprotect),
        &[N, N, F(Dictionary::Prot)],
        3,
    ),
    row(
        "pkey_mprotect",
        Verb::Plain(Sys::PkeyMprotect),
        &[N, N, F(Dictionary::Prot), N],
        4,
    ),
    row("pkey_alloc", Verb::Plain(Sys::PkeyAlloc), &[N, N], 2),
    row("pkey_free", Verb::Plain(Sys::PkeyFree), &[N], 1),
    row(
        "mremap",
        Verb::Plain(Sys::Mremap),
        &[N, N, N, F(Dictionary::Remap), N],
        4,
    ),
    row("brk", Verb::Plain(Sys::Brk), &[N], 1),
    row(
        "madvise",
        Verb::Plain(Sys::Madvise),
        &[N, N, F(Dictionary::Advice)],
        3,
    ),
    row(
        "msync",
        Verb::Plain(Sys::Msync),
        &[N, N, F(Dictionary::Msync)],
        3,
    ),
    row("mincore", Verb::Mincore, &[N, N, N], 2),
    row("mlock", Verb::Plain(Sys::Mlock), &[N, N], 2),
    row(
        "mlock2",
        Verb::Plain(Sys::Mlock2),
        &[N, N, F(Dictionary::Mlock)],
        3,
    ),
    row("munlock", Verb::Plain(Sys::Munlock), &[N, N], 2),
    row(
        "mlockall",
        Verb::Plain(Sys::Mlockall),
        &[F(Dictionary::Mlockall)],
        1,
    ),
    row("munlockall", Verb::Plain(Sys::Munlockall), &[], 0),
    row("mseal", Verb::Plain(Sys::Mseal), &[N, N, N], 3),
    row(
        "remap_file_pages",
        Verb::Plain(Sys::RemapFilePages),
        &[N, N, F(Dictionary::Prot), N, F(Dictionary::Map)],
        5,
    ),
    row("open", Verb::Open, &[I, F(Dictionary::Open)], 2),
    row("close", Verb::Plain(Sys::Close), &[N], 1),
    row(
        "memfd_create",
        Verb::MemfdCreate,
        &[I, F(Dictionary::Memfd)],
        2,
    ),
    row("ftruncate", Verb::Plain(Sys::Ftruncate), &[N, N], 2),
    row(
        "fallocate",
        Verb::Plain(Sys::Fallocate),
        &[N, F(Dictionary::Fallocate), N, N],
        4,
    ),
    row("pwrite", Verb::Pwrite, &[N, B, N], 3),
    row("pread", Verb::Pread, &[N, N, N], 3),
    row("pwrite_from", Verb::Plain(Sys::Pwrite), &[N, N, N, N], 4),
    row("pread_into", Verb::Plain(Sys::Pread), &[N, N, N, N], 4),
    row("setrlimit", Verb::Setrlimit, &[F(Dictionary::Limit), N], 2),
    row("load", Verb::Load, &[N, N], 2),
    row("store", Verb::Store, &[N, B], 2),
    row("exec", Verb::Execute, &[N], 1),
    row("fork", Verb::Fork, &[I], 1),
    row("exit", Verb::Exit, &[], 0),
    row("peek", Verb::Peek(Door::ProcessVm), &[I, N, N], 3),
    row("poke", Verb::Poke(Door::ProcessVm), &[I, N, B], 3),
    row("mem_read", Verb::Peek(Door::ProcMem), &[I, N, N], 3),
    row("mem_write", Verb::Poke(Door::ProcMem), &[I, N, B], 3),
    row("maps", Verb::Maps, &[N, N], 2),
    row("counter", Verb::Counter, &[I], 1),
];

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
