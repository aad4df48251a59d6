//! Memory that is not the arena's.

use core::fmt::Debug;

use addr::Pfn;
use thiserror::Error;

/// The memory behind a device page could not be reached: revoked, truncated away or broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("device page {:#x} is lost", .pfn.as_u64())]
pub struct DeviceLost {
    /// The page.
    pub pfn: Pfn,
}

/// Reaches device pages by copy (Linux: what `dev_pagemap` memory is to the CPU).
///
/// The embedder gives one to the machine; it routes by pfn to the page map that owns it. It is
/// called with a CPU's TLB lock held, so it may take its own time but no lock of the core.
pub trait DeviceMemory: Send + Sync + Debug {
    /// Reads `bytes` from `offset` of the page.
    ///
    /// # Errors
    /// The page is lost.
    fn copy_in(&self, pfn: Pfn, offset: u64, bytes: &mut [u8]) -> Result<(), DeviceLost>;

    /// Writes `bytes` at `offset` of the page.
    ///
    /// # Errors
    /// The page is lost.
    fn copy_out(&self, pfn: Pfn, offset: u64, bytes: &[u8]) -> Result<(), DeviceLost>;
}

/// A machine without device memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoDevices;

impl DeviceMemory for NoDevices {
    fn copy_in(&self, pfn: Pfn, _offset: u64, _bytes: &mut [u8]) -> Result<(), DeviceLost> {
        Err(DeviceLost { pfn })
    }

    fn copy_out(&self, pfn: Pfn, _offset: u64, _bytes: &[u8]) -> Result<(), DeviceLost> {
        Err(DeviceLost { pfn })
    }
}
