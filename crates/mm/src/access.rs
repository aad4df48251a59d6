//! A space's memory, from outside: reading, writing, pinning.
//!
//! Linux names: `access_remote_vm` (ptrace, `/proc/PID/mem`), `process_vm_rw`, `pin_user_pages`.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use addr::{Access, Errno, PAGE_SIZE, Pfn, VirtAddr, VirtRange, VmFlags};
use frame::{FolioFlags, FolioPin};
use object::context::{OutsideAccess, OutsideBytes};
use object::ops::Accessed;
use object::{Callbacks, Obtained, PageRequest};
use vma::MmapHeld;

use crate::mm::Mm;
use crate::reach::{Hold, Reach, Reached, Unreached, Want};
use crate::views::Target;

/// Whether an access from outside is bound by the area's rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Force {
    /// It is, as for `process_vm_readv`.
    Plain,
    /// It is not, as for ptrace: private memory can be written though the program may not, and a
    /// stack is grown (`FOLL_FORCE`).
    Forced,
}

impl Mm {
    /// Copies memory from `addr` on into `bytes`; how many bytes were copied before the first that
    /// could not be (`access_remote_vm`). Waits where it must.
    pub fn read_memory(&self, addr: VirtAddr, bytes: &mut [u8], force: Force) -> usize {
        let mut done = 0;
        for (at, part) in parts(addr, bytes.len()) {
            let piece = &mut bytes[part.clone()];
            let want = Want {
                access: Access::Read,
                force,
                hold: Hold::Reference,
            };
            let read = match self.reach_or_grow(at, want) {
                Ok(page) => self.read_page(&page, at, piece),
                Err(Unreached::Refused | Unreached::Fault(_)) if force == Force::Forced => {
                    self.ask_object(at, OutsideBytes::Read(piece))
                }
                Err(_) => 0,
            };
            done += read;
            if read < part.len() {
                break;
            }
        }
        done
    }

    /// Copies `bytes` to memory from `addr` on; how many were copied before the first that could not
    /// be. Waits where it must.
    pub fn write_memory(&self, addr: VirtAddr, bytes: &[u8], force: Force) -> usize {
        let mut done = 0;
        for (at, part) in parts(addr, bytes.len()) {
            let piece = &bytes[part.clone()];
            let want = Want {
                access: Access::Write,
                force,
                // A bare reference would not keep a fork from sharing the page before it is
                // written.
                hold: Hold::Pin,
            };
            let written = match self.reach_or_grow(at, want) {
                Ok(page) => self.write_page(&page, at, piece),
                Err(Unreached::Refused | Unreached::Fault(_)) if force == Force::Forced => {
                    self.ask_object(at, OutsideBytes::Write(piece))
                }
                Err(_) => 0,
            };
            done += written;
            if written < part.len() {
                break;
            }
        }
        done
    }

    /// Faults in and pins the pages of `range` for `access`, as far as that goes. Waits where it must.
    pub fn pin_range(&self, range: VirtRange, access: Access) -> Pins {
        let mut pinning = Progress::new(range, access);
        loop {
            sync::rank::assert_none_held();
            match pinning.advance(self) {
                Ok(()) => return pinning.pins,
                Err(work) => pinning.take_in(work.perform()),
            }
        }
    }

    /// The page at `at`; below a stack, the stack is grown first if the access is forced.
    fn reach_or_grow(&self, at: VirtAddr, want: Want) -> Result<Reached, Unreached> {
        match Reach::new(at, want).wait(self) {
            Err(Unreached::NoArea) if want.force == Force::Forced => {
                let above = self.mmap_lock().snapshot().find_next(at).cloned();
                if !above.is_some_and(|vma| vma.flags().contains(VmFlags::GROWSDOWN)) {
                    return Err(Unreached::NoArea);
                }
                drop(self.grow_stack(at).map_err(|_| Unreached::NoArea)?);
                Reach::new(at, want).wait(self)
            }
            end => end,
        }
    }

    fn read_page(&self, page: &Reached, at: VirtAddr, piece: &mut [u8]) -> usize {
        let offset = at.page_offset();
        match page {
            Reached::Folio(_, pfn) | Reached::Pinned(_, pfn) => {
                self.arena().read(*pfn, offset, piece);
            }
            Reached::Zeroes | Reached::Mapped => piece.fill(0),
            Reached::Device(pfn) => {
                let copied = self.devices().page(*pfn).ok_or(Errno::EFAULT);
                let copied = copied.and_then(|dev| dev.pagemap.copy_in(dev.pgoff, offset, piece));
                if copied.is_err() {
                    return 0;
                }
            }
        }
        piece.len()
    }

    fn write_page(&self, page: &Reached, at: VirtAddr, piece: &[u8]) -> usize {
        let offset = at.page_offset();
        match page {
            Reached::Pinned(pin, pfn) => {
                self.arena().write(*pfn, offset, piece);
                // `set_page_dirty_lock`
                pin.set(FolioFlags::DIRTY);
            }
            Reached::Folio(..) | Reached::Zeroes | Reached::Mapped => return 0,
            Reached::Device(pfn) => {
                let copied = self.devices().page(*pfn).ok_or(Errno::EFAULT);
                let copied = copied.and_then(|dev| dev.pagemap.copy_out(dev.pgoff, offset, piece));
                if copied.is_err() {
                    return 0;
                }
            }
        }
        piece.len()
    }

    /// `vm_ops->access`: memory that has no pages to be had. What is private is not written through
    /// to its object. Linux leaves that to the callback, and the generic one refuses it.
    fn ask_object(&self, at: VirtAddr, mut bytes: OutsideBytes<'_>) -> usize {
        let mut obtained = None;
        loop {
            let held = self.read();
            let Some(vma) = held.tree().find(at).cloned() else {
                return 0;
            };
            let Some(ops) = vma
                .ops()
                .filter(|_| vma.callbacks().contains(Callbacks::ACCESS))
            else {
                return 0;
            };
            let writes = matches!(bytes, OutsideBytes::Write(_));
            if writes && !vma.flags().contains(VmFlags::SHARED) {
                return 0;
            }
            let again = match &mut bytes {
                OutsideBytes::Read(bytes) => OutsideBytes::Read(bytes),
                OutsideBytes::Write(bytes) => OutsideBytes::Write(bytes),
            };
            let mut access = OutsideAccess::new(&vma, at).with_obtained(obtained.take());
            let answer = ops.access(&mut access, again);
            drop(held);
            match answer {
                Accessed::Bytes(count) => return count,
                Accessed::Later(work) => obtained = Some(work.perform()),
                Accessed::Error(_) => return 0,
            }
        }
    }
}

/// The pieces of `len` bytes from `addr` on, one a page: where each begins, and which bytes it is.
fn parts(addr: VirtAddr, len: usize) -> impl Iterator<Item = (VirtAddr, core::ops::Range<usize>)> {
    let mut begin = 0;
    core::iter::from_fn(move || {
        if begin >= len {
            return None;
        }
        let at = addr.checked_add(begin as u64)?;
        let room = (PAGE_SIZE - at.page_offset()) as usize;
        let end = len.min(begin + room);
        let part = begin..end;
        begin = end;
        Some((at, part))
    })
}

/// One pinned page.
#[derive(Debug)]
pub enum Pinned {
    /// A frame of the arena; the pin keeps it mapped here, and fork copies it for the child.
    Frame(FolioPin, Pfn),
    /// The zero page, which needs no pin.
    Zeroes(Pfn),
    /// A page of device memory, which its device keeps.
    Device(Pfn),
}

impl Pinned {
    /// Where the page is.
    pub fn target(&self) -> Target {
        match self {
            Pinned::Frame(_, pfn) | Pinned::Zeroes(pfn) => Target::Arena(*pfn),
            Pinned::Device(pfn) => Target::Device(*pfn),
        }
    }
}

/// Pages pinned from the start of a range on. Dropping them unpins.
#[derive(Debug)]
#[must_use = "dropping it unpins the pages"]
pub struct Pins {
    range: VirtRange,
    pages: Vec<Pinned>,
    stopped: Option<Errno>,
}

impl Pins {
    /// What was to be pinned.
    pub fn range(&self) -> VirtRange {
        self.range
    }

    /// The pages that were, from the start on, without a gap.
    pub fn pages(&self) -> &[Pinned] {
        &self.pages
    }

    /// How many bytes of the range they cover.
    pub fn bytes(&self) -> u64 {
        self.pages.len() as u64 * PAGE_SIZE
    }

    /// Why there are not more; `None` if the whole range is pinned.
    pub fn stopped(&self) -> Option<Errno> {
        self.stopped
    }
}

/// How far an attempt at pinning came.
#[must_use]
#[derive(Debug)]
pub enum PinStep {
    /// The range is pinned, or as much as can be.
    Done(Pins),
    /// Perform the request with nothing held, hand over what it obtained, go on.
    Needs(Pinning, PageRequest),
}

/// A range being pinned, for event loops: it never waits.
#[derive(Debug)]
pub struct Pinning {
    mm: Arc<Mm>,
    progress: Progress,
}

impl Pinning {
    /// The pages of `range`, for `access`.
    pub fn new(mm: &Arc<Mm>, range: VirtRange, access: Access) -> Self {
        Pinning {
            mm: Arc::clone(mm),
            progress: Progress::new(range, access),
        }
    }

    /// Takes in what a performed request obtained.
    pub fn take_in(&mut self, obtained: Obtained) {
        self.progress.take_in(obtained);
    }

    /// Goes on as far as that is possible without waiting.
    pub fn advance(mut self) -> PinStep {
        match self.progress.advance(&self.mm) {
            Ok(()) => PinStep::Done(self.progress.pins),
            Err(work) => PinStep::Needs(self, work),
        }
    }
}

/// A range, pinned up to somewhere.
#[derive(Debug)]
struct Progress {
    pins: Pins,
    next: VirtAddr,
    want: Want,
    reach: Option<Box<Reach>>,
}

impl Progress {
    fn new(range: VirtRange, access: Access) -> Self {
        Progress {
            pins: Pins {
                range,
                pages: Vec::new(),
                stopped: None,
            },
            next: range.start(),
            want: Want {
                access,
                force: Force::Plain,
                hold: Hold::Pin,
            },
            reach: None,
        }
    }

    fn take_in(&mut self, obtained: Obtained) {
        if let Some(reach) = &mut self.reach {
            reach.take_in(obtained);
        }
    }

    fn advance(&mut self, mm: &Mm) -> Result<(), PageRequest> {
        while self.next < self.pins.range.end() {
            let (next, want) = (self.next, self.want);
            let reach = self
                .reach
                .get_or_insert_with(|| Box::new(Reach::new(next, want)));
            let page = match reach.attempt(mm) {
                Ok(Reached::Pinned(pin, pfn)) => Pinned::Frame(pin, pfn),
                Ok(Reached::Device(pfn)) => Pinned::Device(pfn),
                Ok(Reached::Zeroes) => Pinned::Zeroes(mm.arena().zero_page()),
                // A pin was asked for, so nothing else can have been reached.
                Ok(Reached::Folio(..) | Reached::Mapped) => return Ok(()),
                Err(Unreached::Needs(work)) => return Err(work),
                Err(why) => {
                    self.pins.stopped = Some(why.errno());
                    return Ok(());
                }
            };
            self.pins.pages.push(page);
            self.reach = None;
            self.next = self.next.saturating_add(PAGE_SIZE);
        }
        Ok(())
    }
}
