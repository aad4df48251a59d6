//! A CPU that executes single accesses on request.

use addr::VirtAddr;

use crate::Trap;

/// A processor that performs one load, store or fetch at a time.
///
/// An access of any length may cross pages. Bytes are transferred page by page in ascending order,
/// so an access that traps may have transferred the pages below the trap; the embedder repeats the
/// whole access once the trap is resolved, as an instruction restarts.
pub trait Cpu {
    /// Reads memory at `addr` into `bytes`.
    ///
    /// # Errors
    /// The trap that stopped the access.
    fn load(&mut self, addr: VirtAddr, bytes: &mut [u8]) -> Result<(), Trap>;

    /// Writes `bytes` at `addr`.
    ///
    /// # Errors
    /// The trap that stopped the access.
    fn store(&mut self, addr: VirtAddr, bytes: &[u8]) -> Result<(), Trap>;

    /// Reads instruction bytes at `addr`.
    ///
    /// # Errors
    /// The trap that stopped the access.
    fn fetch(&mut self, addr: VirtAddr, bytes: &mut [u8]) -> Result<(), Trap>;
}
