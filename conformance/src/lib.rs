//! Recto's conformance suite: what Linux's memory calls do, as cases in data files, and runners
//! that perform a case on a machine and compare.
//!
//! * [`case`]: a case and its steps, read from `cases/<theme>/*.toml`;
//! * [`subject`]: what a machine must offer to be held against the cases;
//! * [`perform`]: performs a case on a subject and compares step by step;
//! * [`host`]: the subject that is a process of the host kernel, natively or under `recto run`;
//! * [`soft`]: the subject that is our `Mm` with the machine `soft`;
//! * [`suite`]: runs many cases and reports;
//! * [`generate`]: random cases, for comparing two machines where nobody wrote an expectation;
//! * [`program`]: whole programs, run natively and under Recto, and compared.
//!
//! The format is described for readers of other projects in `conformance/README.md`.

pub mod case;
pub mod generate;
pub mod host;
pub mod perform;
pub mod program;
#[cfg(feature = "soft")]
pub mod soft;
pub mod subject;
pub mod suite;
