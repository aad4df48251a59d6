//! What `access` is told.

use addr::{PAGE_SIZE, VirtAddr, VmFlags};

use crate::area::Area;
use crate::request::Obtained;

/// Somebody outside the address space reads or writes memory that has no folio
/// (Linux: `vm_ops->access`, for ptrace and `/proc/PID/mem`).
///
/// *Held:* mmap lock for read. *May not:* wait; it may hand back a request.
#[derive(Debug)]
pub struct OutsideAccess<'a> {
    area: &'a Area,
    address: VirtAddr,
    obtained: Option<Obtained>,
}

impl<'a> OutsideAccess<'a> {
    /// An access that starts at `address`.
    pub fn new(area: &'a Area, address: VirtAddr) -> Self {
        OutsideAccess {
            area,
            address,
            obtained: None,
        }
    }

    /// Brings what the previous attempt's request obtained.
    pub fn with_obtained(mut self, obtained: Option<Obtained>) -> Self {
        self.obtained = obtained;
        self
    }

    /// Takes what an earlier request of this access brought.
    pub fn take_obtained(&mut self) -> Option<Obtained> {
        self.obtained.take()
    }

    /// The area.
    pub fn area(&self) -> &'a Area {
        self.area
    }

    /// Whether the program itself could write to the object here: what Linux's generic callback
    /// (`generic_access_phys`) sees by the entry, and refuses to write without.
    pub fn may_write(&self) -> bool {
        self.area.flags.contains(VmFlags::SHARED | VmFlags::WRITE)
    }

    /// The first byte.
    pub fn address(&self) -> VirtAddr {
        self.address
    }

    /// The first byte, as an offset into the object.
    pub fn offset_bytes(&self) -> u64 {
        let page = self.area.pgoff_of(self.address).unwrap_or(self.area.pgoff);
        page.as_u64()
            .saturating_mul(PAGE_SIZE)
            .saturating_add(self.address.page_offset())
    }
}

/// The bytes of an access from outside.
#[derive(Debug)]
pub enum OutsideBytes<'a> {
    /// To be read into.
    Read(&'a mut [u8]),
    /// To be written.
    Write(&'a [u8]),
}

impl OutsideBytes<'_> {
    /// The same bytes, for a shorter time.
    pub fn reborrow(&mut self) -> OutsideBytes<'_> {
        match self {
            OutsideBytes::Read(buf) => OutsideBytes::Read(buf),
            OutsideBytes::Write(bytes) => OutsideBytes::Write(bytes),
        }
    }
}
