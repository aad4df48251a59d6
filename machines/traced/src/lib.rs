//! The traced machine: unmodified host processes on our page tables.
//!
//! [`run`] starts a program under ptrace and a seccomp filter. At its exec the image that the host
//! built is taken over by an [`mm::Mm`], and the host's areas are unmapped; from then on every page
//! that the host has in the program is a run of our arena, or of a file, filled after a fault that
//! our `Mm` has served, and forgotten when it says so. A fault is an access that waits, where the host
//! lets us have userfaultfd for its own accesses too; else it is a signal, and a stop.
//!
//! | file | what |
//! |---|---|
//! | `run` | starting a tree; what callers see |
//! | `tree`, `requests` | the loop: one thread waits for all stops and answers each |
//! | `jobs` | when this process stops along with its tree |
//! | `exec`, `adopt`, `newborn`, `numbers` | where memories come from: exec and fork |
//! | `faults` | how faults come to us |
//! | `watch`, `cover` | accesses that wait: who serves them, and what they meet where nothing is filled |
//! | `fault`, `decode` | a fault that is a signal |
//! | `memory`, `around`, `fill` | a page fault, from our tables to the filled run |
//! | `habits` | what programs touched when they ran before |
//! | `calls/` | system calls: a table of what each names, and those that Recto performs |
//! | `ready` | what calls name, made ready where no access of the kernel can wait |
//! | `calls/stops` | programs that have to stop at such calls although their accesses can wait |
//! | `nested` | what is named in memory that a call names |
//! | `transfer` | how much of a large buffer a call can fill |
//! | `in_flight` | what the calls that threads are in name, to keep it ready |
//! | `signals`, `actions`, `pending`, `calls/mask`, `calls/consume` | the two signals that Recto owns |
//! | `calls/filter` | seccomp filters of programs: their refusals become questions to the tracer |
//! | `space`, `held`, `runs`, `keeper`, `orders`, `stub`, `steered` | the host's memory as a cache, and who makes host calls in it |
//! | `files`, `special` | what is mapped: host files as DAX, the vDSO family |
//! | `proc_text` | the files of `/proc/PID` that speak of memory |
//! | `together` | a tree and its tracer on one CPU, while that is faster |
//! | `give_back` | frames that lie idle go back to the host |
//! | `probe/` | what this host allows, found by trying it |
//! | `unread` | file pages that a worker reads before a call copies them |
//! | `pool`, `errands` | what other threads do, and what they ask of the tracing one |
//! | `sys/` | the host's calls; the only unsafe code |

#![deny(unsafe_code)]

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!("the traced machine is for Linux on x86-64");

mod actions;
mod adopt;
mod around;
mod calls;
mod cover;
mod decode;
mod errands;
mod exec;
mod fault;
mod faults;
mod files;
mod fill;
mod give_back;
mod habits;
mod halt;
mod held;
mod host_maps;
mod in_flight;
mod jobs;
mod keeper;
mod layout;
mod limits;
mod memory;
mod nested;
mod newborn;
mod numbers;
mod orders;
mod pending;
mod pool;
mod probe;
mod proc_text;
mod readers;
mod ready;
mod requests;
mod run;
mod runs;
mod signals;
mod space;
mod special;
mod stats;
mod steered;
mod stub;
mod sys;
mod thread;
mod together;
mod transfer;
mod tree;
mod unread;
mod watch;
mod zero;

pub use faults::Faults;
pub use probe::{Finding, Standing, examine};
pub use run::{Ending, Outcome, RunConfig, RunError, SignalPolicy, StatsPolicy, run};
pub use stats::{HostCounts, ProcessStats, TreeStats};
pub use sys::signal::end_self_by;
