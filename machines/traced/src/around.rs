//! First writes that are taken along with one that faulted.
//!
//! A stop costs as much as copying several pages. So when a program writes to a private page that it
//! shares with a child or a parent, the neighbours whose first write would only make them writable
//! are made so at once, and the nearest ones that would have to be copied are copied: to frames that
//! lie as the pages do, so that the host sees one run.

use addr::{Access, Order, PAGE_SHIFT, PAGE_SIZE, VirtAddr, VirtRange};
use frame::Block;
use machine::{FaultInfo, Mode};
use mm::FirstWrite;
use mm::fault::Fault;

use crate::memory::{Memory, Served, TASK_SIZE};

/// The aligned block in which neighbours are made writable.
const REUSE_PAGES: u64 = 16;

/// The aligned block in which they are copied: what a fork costs beyond what changes.
const COPY_PAGES: u64 = 8;

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
        let (whole, copies) = (block(fault, REUSE_PAGES)?, block(fault, COPY_PAGES)?);
        let mut pages = Vec::new();
        memory.mm.first_writes(whole, |page, what| {
            if what == FirstWrite::Reuse || copies.contains(page) {
                pages.push((page, what));
            }
        });
        let at = pages
            .iter()
            .position(|(page, _)| *page == fault.align_down())?;
        let (_, own) = pages.remove(at);
        let arena = memory.mm.arena();
        let frames = match own {
            FirstWrite::Copy => Order::covering(COPY_PAGES).and_then(|order| arena.reserve(order)),
            FirstWrite::Reuse => None,
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
            Some(block) if what == FirstWrite::Copy => {
                let nth = info.addr.offset_from(self.copies.start()) >> PAGE_SHIFT;
                fault.with_frame(block, nth)
            }
            _ => fault,
        }
    }
}

impl Memory {
    /// Serves a write, and first writes around it.
    pub(crate) fn serve_write(&self, info: &FaultInfo) -> Served {
        let Some(around) = Around::of(self, info.addr) else {
            return self.serve(info);
        };
        let page = info.addr.align_down();
        let served = self.go_on(around.fault(self, info, around.own));
        if !matches!(served, Served::Yes(_)) {
            return served;
        }
        let (mut low, mut high) = (page, page);
        for (at, what) in &around.pages {
            let write = FaultInfo::forbidden(*at, Access::Write, Mode::User);
            if !matches!(
                self.go_on(around.fault(self, &write, *what)),
                Served::Yes(_)
            ) {
                break;
            }
            (low, high) = (low.min(*at), high.max(*at));
        }
        self.fill(low.as_u64(), high.as_u64() + PAGE_SIZE);
        served
    }
}
