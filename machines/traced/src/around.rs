//! First writes that are taken along with one that faulted.
//!
//! A stop costs as much as copying several pages. So when a program writes to a private page that it
//! shares with a child or a parent, the neighbours whose first write would only make them writable
//! are made so at once, and the nearest ones that would have to be copied are copied: to frames that
//! lie as the pages do, so that the host sees one run. Likewise with the data of a program or a library,
//! which its loader writes page by page: it is copied from the file before it is written, since nobody
//! changes a file that runs.

use addr::{Access, Order, PAGE_SHIFT, PAGE_SIZE, VirtAddr, VirtRange, VmFlags};
use frame::Block;
use machine::{FaultInfo, Mode};
use mm::FirstWrite;
use mm::fault::{Attempt, Fault, attempt};

use crate::memory::{Memory, Served, TASK_SIZE};

/// The aligned block in which neighbours are made writable.
const REUSE_PAGES: u64 = 16;

/// The aligned block in which they are copied: what a fork costs beyond what changes.
const COPY_PAGES: u64 = 8;

/// The aligned block in which those of a program's or a library's data are copied from its file.
const FROM_FILE_PAGES: u64 = 16;

/// The block of `pages` pages around an address.
fn block(address: VirtAddr, pages: u64) -> Option<VirtRange> {
    let bytes = pages << PAGE_SHIFT;
    let start = address.align_down_to(bytes);
    let end = start.saturating_add(bytes).min(VirtAddr::new(TASK_SIZE));
    VirtRange::new(start, end)
}

/// The pages that are written first together with one.
struct Around {
    /// What the write that faulted does.
    own: FirstWrite,
    /// The others.
    pages: Vec<(VirtAddr, FirstWrite)>,
    copies: VirtRange,
    frames: Option<Block>,
}

impl Around {
    /// `None` where the page that faulted is not one to be reused or copied.
    fn of(memory: &Memory, fault: VirtAddr) -> Option<Self> {
        let mut pages = Vec::new();
        let whole = block(fault, REUSE_PAGES.max(FROM_FILE_PAGES))?;
        memory
            .mm
            .first_writes(whole, |page, what| pages.push((page, what)));
        let at = pages
            .iter()
            .position(|(page, _)| *page == fault.align_down())?;
        let (_, own) = pages.remove(at);
        let nr_copied = match own {
            FirstWrite::FromObject => FROM_FILE_PAGES,
            FirstWrite::Reuse | FirstWrite::Copy => COPY_PAGES,
        };
        let (reuses, copies) = (block(fault, REUSE_PAGES)?, block(fault, nr_copied)?);
        let data = match own {
            FirstWrite::FromObject => Some(memory.data_of_program(fault)?),
            FirstWrite::Reuse | FirstWrite::Copy => None,
        };
        pages.retain(|(page, what)| match what {
            FirstWrite::Reuse => data.is_none() && reuses.contains(*page),
            FirstWrite::Copy => data.is_none() && copies.contains(*page),
            FirstWrite::FromObject => data.is_some_and(|data| data.contains(*page)),
        });
        let arena = memory.mm.arena();
        let frames = match own {
            FirstWrite::Reuse => None,
            _ => Order::covering(nr_copied).and_then(|order| arena.reserve(order)),
        };
        Some(Self {
            own,
            pages,
            copies,
            frames,
        })
    }

    /// The fault, with the frame that lies right for it.
    fn fault(&self, memory: &Memory, info: &FaultInfo, what: FirstWrite) -> Fault {
        let fault = Fault::new(memory.shared(), info);
        match &self.frames {
            Some(block) if what != FirstWrite::Reuse => {
                let nth = info.addr.offset_from(self.copies.start()) >> PAGE_SHIFT;
                fault.with_frame(block, nth)
            }
            _ => fault,
        }
    }
}

impl Memory {
    /// The area of an address, if it is private data of a file that is also mapped as code: nobody
    /// changes that while it runs.
    pub(crate) fn data_of_program(&self, address: VirtAddr) -> Option<VirtRange> {
        let areas = self.mm.mmap_lock().snapshot();
        let area = areas.find(address)?;
        let file = area.file.as_ref()?;
        let is_code = areas.iter().any(|other| {
            let own = other.file.as_ref();
            other.flags().contains(VmFlags::EXEC) && own.is_some_and(|own| own.same_inode(file))
        });
        is_code.then_some(area.range)
    }

    /// Serves a write, and first writes around it.
    pub(crate) fn serve_write(&self, info: &FaultInfo) -> Served {
        let Some(around) = Around::of(self, info.addr) else {
            return self.serve(info);
        };
        let served = self.go_on(around.fault(self, info, around.own));
        if matches!(served, Served::Yes(_)) {
            let (start, end) = self.write_around(&around, info.addr);
            self.fill(start, end);
        }
        served
    }

    /// Writes to private data of a program that has not been written, and around it, as far as its
    /// file has that at hand: what is to be filled.
    pub(crate) fn write_at_hand(&self, info: &FaultInfo) -> Option<(u64, u64)> {
        let around = Around::of(self, info.addr)?;
        let fault = around.fault(self, info, around.own).as_neighbour();
        let is_served =
            around.own == FirstWrite::FromObject && matches!(attempt(fault), Attempt::Handled(_));
        is_served.then(|| self.write_around(&around, info.addr))
    }

    /// The first writes around one: the span that all lie in.
    fn write_around(&self, around: &Around, address: VirtAddr) -> (u64, u64) {
        let page = address.align_down();
        let (mut low, mut high) = (page, page);
        for (at, what) in &around.pages {
            let write = FaultInfo::forbidden(*at, Access::Write, Mode::User);
            let fault = around.fault(self, &write, *what);
            let is_served = match what {
                // Only what is at hand.
                FirstWrite::FromObject => {
                    matches!(attempt(fault.as_neighbour()), Attempt::Handled(_))
                }
                _ => matches!(self.go_on(fault), Served::Yes(_)),
            };
            if !is_served {
                break;
            }
            (low, high) = (low.min(*at), high.max(*at));
        }
        (low.as_u64(), high.as_u64() + PAGE_SIZE)
    }
}
