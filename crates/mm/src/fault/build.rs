//! Which builds can serve a page fault at all.
//!
//! Linux keeps a `handle_mm_fault` for kernels without an MMU that does nothing but die. Here such a
//! build does not get that far: the function asks for a build with an MMU, and the compiler refuses
//! the others. With the feature `no-mmu` this build is one of those, and the other ways in
//! ([`Mm::handle_fault`], [`attempt`](super::attempt)) do not exist.

use machine::FaultInfo;

use super::outcome::{FaultError, Handled};
use super::request::FaultRequest;
use crate::mm::Mm;

/// A build for hardware that has an MMU, and so has page faults (`CONFIG_MMU`).
#[diagnostic::on_unimplemented(
    message = "a build without an MMU has no page faults to handle",
    label = "`{Self}` has no MMU",
    note = "build without the feature `no-mmu`"
)]
pub trait HasMmu {}

/// This build.
#[derive(Clone, Copy, Debug)]
pub struct ThisBuild;

/// A build without an MMU.
#[derive(Clone, Copy, Debug)]
pub struct NoMmuBuild;

#[cfg(not(feature = "no-mmu"))]
impl HasMmu for ThisBuild {}

/// Serves a fault, waiting where it must; for builds that have faults.
pub fn handle_mm_fault<B: HasMmu>(
    _build: B,
    mm: &Mm,
    info: &FaultInfo,
) -> Result<Handled, FaultError> {
    mm.serve(FaultRequest::of_trap(info)).0
}
