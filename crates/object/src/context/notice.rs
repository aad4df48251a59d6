//! What `page_mkwrite` and `pfn_mkwrite` are told.

use addr::{Pfn, PgOff, VirtAddr};
use frame::{Folio, OwnerId};

use super::relevant;
use crate::area::Area;
use crate::request::{Brought, Obtained};

/// A page, or a device page, of a shared mapping is about to be written for the first time
/// (Linux: `vmf` with `FAULT_FLAG_MKWRITE`).
///
/// *Held:* the area, for read, and a reference to the folio, which is **not** locked. *May:* what a
/// [`FaultContext`](super::FaultContext) may. *May not:* wait.
#[derive(Debug)]
pub struct WriteNotice<'a> {
    area: &'a Area,
    address: VirtAddr,
    page: Noticed<'a>,
    obtained: Option<Obtained>,
}

/// What is about to be written.
#[derive(Clone, Copy, Debug)]
pub enum Noticed<'a> {
    /// A folio (`page_mkwrite`).
    Folio(&'a Folio),
    /// Device memory (`pfn_mkwrite`).
    Device(Pfn),
}

impl<'a> WriteNotice<'a> {
    /// A write at `address` in `area` to `page`.
    pub fn new(area: &'a Area, address: VirtAddr, page: Noticed<'a>) -> Self {
        WriteNotice {
            area,
            address,
            page,
            obtained: None,
        }
    }

    /// Brings what the previous attempt's request obtained.
    pub fn with_obtained(mut self, obtained: Option<Obtained>) -> Self {
        self.obtained = obtained;
        self
    }

    /// The area.
    pub fn area(&self) -> &'a Area {
        self.area
    }

    /// The page that is written.
    pub fn address(&self) -> VirtAddr {
        self.address.align_down()
    }

    /// The page of the object.
    pub fn pgoff(&self) -> PgOff {
        self.area.pgoff_of(self.address).unwrap_or(self.area.pgoff)
    }

    /// What is about to be written.
    pub fn page(&self) -> Noticed<'a> {
        self.page
    }

    /// Takes what an earlier request of this fault brought.
    pub fn take_obtained(&mut self) -> Option<Obtained> {
        self.obtained.take()
    }

    /// Takes what an earlier request brought, if it speaks of page `index` of `mapping`.
    pub fn take_obtained_of(&mut self, mapping: OwnerId, index: PgOff) -> Option<Brought> {
        relevant(self.obtained.take(), mapping, index)
    }

    /// Ends the call; what was obtained and not taken.
    pub fn into_obtained(self) -> Option<Obtained> {
        self.obtained
    }
}
