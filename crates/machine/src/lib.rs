//! What a CPU and its MMU do for us: traits and values, no behaviour.
//!
//! Our page tables are the truth and a *machine* is a cache of them. It executes loads and stores,
//! may remember translations as a TLB does, and must forget them when told. Losing everything it
//! remembers is always legal. The core above knows machines only through [`Mmu`], and hears from
//! them only through [`Trap`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod caps;
mod cpu;
mod error_code;
mod flush;
mod mmu;
mod trap;

pub use caps::{AccessedDirty, MmuCaps, TableUse};
pub use cpu::Cpu;
pub use error_code::ErrorCode;
pub use flush::{Flush, FlushKind, FlushScope};
pub use mmu::{Mmu, NoMmu, Translation};
pub use trap::{FaultInfo, Mode, Trap};

#[cfg(test)]
extern crate std;
#[cfg(test)]
mod tests;
