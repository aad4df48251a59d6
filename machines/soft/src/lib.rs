//! The soft machine: virtual CPUs with TLBs, walking our page tables as the hardware would.
//!
//! It is the machine of the tests and of every host where no other one can run. A [`SoftCpu`]
//! performs loads, stores and fetches; each is looked up in the CPU's TLB or walked for in our
//! tables, accessed and dirty set by compare-exchange, and either reaches a frame or returns a
//! [`Trap`](machine::Trap) with the error code that an x86 CPU would push. A [`SoftMmu`] is one
//! space's [`Mmu`](machine::Mmu): its flush shoots down every CPU that may remember the space.
//!
//! # What stands in for an interrupt
//! A CPU holds its TLB's lock from the lookup to the end of the transfer. A flush takes that lock
//! on each CPU concerned, so when it returns, no access that used a forgotten translation is still
//! under way: the interrupt of a real shootdown, which also waits for an instruction to end.
//!
//! The machine knows page tables and frames, and nothing of areas: whoever drives it brings the
//! traps to the core and repeats the access.
#![forbid(unsafe_code)]

mod cpu;
mod device;
mod smp;
mod mmu;
mod tlb;
mod walk;

pub use cpu::{LoadedSpace, SoftCpu};
pub use device::{DeviceLost, DeviceMemory, NoDevices};
pub use mmu::SoftMmu;
pub use smp::{MAX_CPUS, SoftMachine};
pub use tlb::TlbStats;

#[cfg(test)]
mod tests;
