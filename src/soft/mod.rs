//! Address spaces on the machine `soft`: it runs anywhere, and needs no right of the host.
//!
//! A [`Computer`] is an arena, some CPUs and the ledger of what was promised. A [`Process`] is an
//! address space on it whose loads and stores fault, are served, and are tried again, until they
//! are done or end in a [`Crash`].

mod computer;
mod devices;
mod process;

#[cfg(test)]
mod tests;

pub use computer::{Computer, ComputerConfig};
pub use process::{Crash, Process};
