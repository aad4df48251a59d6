//! What `map_pages` is told.

use core::fmt;

use addr::{Pfn, PgOff, VirtAddr};
use frame::FolioLock;

use crate::area::Area;

/// A read fault lets the object map neighbours that it already has (Linux: `vm_ops->map_pages`).
///
/// *Held:* the area, the entry lock, an epoch pin. *May:* offer folios that it could try-lock and
/// device pages whose numbers it knows. *May not:* wait, allocate, or start work.
pub struct MapAround<'a> {
    area: &'a Area,
    address: VirtAddr,
    first: PgOff,
    last: PgOff,
    sink: &'a mut dyn AroundSink,
    nr_mapped: u64,
    fault_page: FaultPage,
}

/// Where offered pages go: the address space's table, with its entry lock held.
pub trait AroundSink {
    /// Whether the entry for the page at `address` is still empty.
    fn is_empty(&self, address: VirtAddr) -> bool;
    /// Maps it there, read-only or as the area's protection has it, if the entry is empty. Takes a
    /// reference of its own.
    fn install(&mut self, address: VirtAddr, page: AroundPage<'_>) -> Offered;
}

/// A page that is already there.
#[derive(Debug)]
pub enum AroundPage<'a> {
    /// Up to date, locked, inside its object.
    Folio(&'a FolioLock),
    /// Device memory.
    Device(Pfn),
}

/// What became of an offered page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It is mapped now.
    Mapped,
    /// There was something; it is left alone.
    Occupied,
    /// Not inside the window.
    Outside,
}

/// Whether fault-around has served the fault itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultPage {
    /// The faulting address is mapped now (`VM_FAULT_NOPAGE`).
    Mapped,
    /// Go on with `fault`.
    Missing,
}

impl<'a> MapAround<'a> {
    /// The window `[first, last]` of `area` around the fault at `address`.
    pub fn new(
        area: &'a Area,
        address: VirtAddr,
        window: (PgOff, PgOff),
        sink: &'a mut dyn AroundSink,
    ) -> Self {
        let (first, last) = (window.0.max(area.pgoff), window.1.min(area.last_pgoff()));
        let fault_page = FaultPage::Missing;
        MapAround {
            area,
            address,
            first,
            last,
            sink,
            nr_mapped: 0,
            fault_page,
        }
    }

    /// The area.
    pub fn area(&self) -> &'a Area {
        self.area
    }

    /// The first page of the window.
    pub fn first(&self) -> PgOff {
        self.first
    }

    /// The last page of the window.
    pub fn last(&self) -> PgOff {
        self.last
    }

    /// Whether page `pgoff` is inside the window and its entry empty.
    pub fn wants(&self, pgoff: PgOff) -> bool {
        self.address_of(pgoff)
            .is_some_and(|address| self.sink.is_empty(address))
    }

    /// Offers a folio of the object as its page `pgoff`.
    pub fn offer_folio(&mut self, pgoff: PgOff, folio: &FolioLock) -> Offered {
        self.offer(pgoff, AroundPage::Folio(folio))
    }

    /// Offers a device page as page `pgoff` of the object.
    pub fn offer_device(&mut self, pgoff: PgOff, pfn: Pfn) -> Offered {
        self.offer(pgoff, AroundPage::Device(pfn))
    }

    fn offer(&mut self, pgoff: PgOff, page: AroundPage<'_>) -> Offered {
        let Some(address) = self.address_of(pgoff) else {
            return Offered::Outside;
        };
        let offered = self.sink.install(address, page);
        if offered == Offered::Mapped {
            self.nr_mapped += 1;
            if address == self.address.align_down() {
                self.fault_page = FaultPage::Mapped;
            }
        }
        offered
    }

    fn address_of(&self, pgoff: PgOff) -> Option<VirtAddr> {
        if pgoff < self.first || pgoff > self.last {
            return None;
        }
        self.area.address_of(pgoff)
    }

    /// How many pages were mapped.
    pub fn nr_mapped(&self) -> u64 {
        self.nr_mapped
    }

    /// Whether the fault is served.
    pub fn fault_page(&self) -> FaultPage {
        self.fault_page
    }
}

impl fmt::Debug for MapAround<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapAround")
            .field("first", &self.first)
            .field("last", &self.last)
            .field("nr_mapped", &self.nr_mapped)
            .finish_non_exhaustive()
    }
}
