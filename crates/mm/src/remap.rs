//! mremap (Linux: `do_mremap`).
//!
//! | asked for | done |
//! |---|---|
//! | the same size, no new address | nothing |
//! | less | the tail is unmapped |
//! | more | extended in place if the area ends there and there is room, else moved |
//! | a new address (FIXED, DONTUNMAP) | moved |
//! | FIXED, the same size | every area of the range is moved, gaps kept |
//! | old length 0 | a shared mapping is mapped once more |

mod entries;
mod relocate;
mod resize;

use alloc::sync::Arc;
use core::cmp::Ordering;

use addr::{Errno, PAGE_SHIFT, PAGE_SIZE, VirtAddr, VirtRange, VmFlags};
use vma::{MmapHeld, MmapWrite, Vma};

use crate::map::RemapFlags;
use crate::mm::{Guarded, Mm};
use crate::shortage::Stop;
use crate::unmap::{Charge, TakenOut};

/// A call of mremap, in the program's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemapRequest {
    /// Where the memory is.
    pub addr: VirtAddr,
    /// How many bytes of it.
    pub old_len: u64,
    /// How many bytes there are to be.
    pub new_len: u64,
    /// How.
    pub flags: RemapFlags,
    /// Where it is to be, with FIXED; where about, with DONTUNMAP.
    pub new_addr: VirtAddr,
}

/// A request whose own words make sense; lengths are whole pages.
#[derive(Clone, Copy, Debug)]
struct Wish {
    addr: VirtAddr,
    old_bytes: u64,
    new_bytes: u64,
    flags: RemapFlags,
    new_addr: VirtAddr,
}

/// What a call came to.
#[derive(Debug)]
enum Remapped<'m> {
    /// The memory begins here.
    At(VirtAddr),
    /// It stays where it is and its tail goes.
    Shrunk(VirtAddr, TakenOut<'m>),
    /// It begins here, and the new part of it is to be faulted in, for it is locked.
    Grown(VirtAddr, VirtRange),
}

impl Mm {
    /// `mremap`: where the memory begins now.
    ///
    /// # Errors
    /// Those of mremap, in the kernel's order. A fixed destination is unmapped before the move is
    /// tried and stays so; of several areas those moved before one that refuses stay moved.
    pub fn mremap(&self, request: &RemapRequest) -> Result<VirtAddr, Errno> {
        let wish = Wish::of(self, request)?;
        self.with_frames(|| self.remap_once(wish))
    }

    fn remap_once(&self, wish: Wish) -> Result<VirtAddr, Stop> {
        let mut held = self.write();
        match self.remap(&mut held, wish)? {
            Remapped::At(addr) => Ok(addr),
            Remapped::Shrunk(addr, taken) => {
                let _held = held.downgrade();
                taken.clear(Charge::GiveBack);
                Ok(addr)
            }
            Remapped::Grown(addr, range) => {
                drop(held);
                self.populate_ignoring_errors(range);
                Ok(addr)
            }
        }
    }

    fn remap(&self, held: &mut MmapWrite<'_, Guarded>, wish: Wish) -> Result<Remapped<'_>, Stop> {
        let max = held.rules().max_map_count;
        if wish.names_address() && held.tree().len() + 2 >= max.saturating_sub(3) {
            return Err(Errno::ENOMEM.into());
        }
        if wish.flags.contains(RemapFlags::FIXED) && wish.old_bytes == wish.new_bytes {
            return self.move_areas(held, wish).map(Remapped::At);
        }
        let vma = held.tree().find(wish.addr).cloned().ok_or(Errno::EFAULT)?;
        self.check_area(&vma, wish)?;
        if wish.names_address() {
            let mut tables = self.tables_for(held, wish)?;
            let addr = self.remap_to(held, vma.clone(), wish, &mut tables)?;
            return Ok(wish.outcome(addr, vma.flags()));
        }
        match wish.resize() {
            Ordering::Equal => Ok(Remapped::At(wish.addr)),
            Ordering::Less => Ok(self.shrink_in_place(held, wish)?),
            Ordering::Greater => {
                let addr = self.grow(held, &vma, wish)?;
                Ok(wish.outcome(addr, vma.flags()))
            }
        }
    }

    /// Moves every area of the range, keeping the gaps between them.
    fn move_areas(&self, held: &mut MmapWrite<'_, Guarded>, wish: Wish) -> Result<VirtAddr, Stop> {
        let end = wish.addr.checked_add(wish.old_bytes).ok_or(Errno::EFAULT)?;
        // For all of them, before the first has moved.
        let mut tables = self.tables_for(held, wish)?;
        let mut first = None;
        let (mut next, mut target, mut last_end) = (wish.addr, wish.new_addr, wish.addr);
        while let Some(left) = VirtRange::new(next, end) {
            let Some(vma) = held.tree().find_intersection(left).cloned() else {
                break;
            };
            if first.is_none() && vma.range.start() > wish.addr {
                return Err(Errno::EFAULT.into());
            }
            let part = vma.range.intersect(&left).ok_or(Errno::EFAULT)?;
            let gap = if first.is_some() {
                part.start().offset_from(last_end)
            } else {
                0
            };
            last_end = vma.range.end();
            let one = Wish {
                addr: part.start(),
                old_bytes: part.bytes(),
                new_bytes: part.bytes(),
                new_addr: target.checked_add(gap).ok_or(Errno::EINVAL)?,
                ..wish
            };
            self.check_area(&vma, one)?;
            let at = self.remap_to(held, vma, one, &mut tables)?;
            first.get_or_insert(at);
            target = at.checked_add(part.bytes()).ok_or(Errno::EINVAL)?;
            next = part.end();
        }
        first.ok_or(Errno::EFAULT.into())
    }

    /// `check_prep_vma`.
    fn check_area(&self, vma: &Arc<Vma>, wish: Wish) -> Result<(), Errno> {
        let flags = vma.flags();
        if flags.contains(VmFlags::SEALED) {
            return Err(Errno::EPERM);
        }
        let grows = wish.resize() == Ordering::Greater;
        if !grows && !wish.names_address() {
            return Ok(());
        }
        if wish.old_bytes == 0 && !flags.intersects(VmFlags::SHARED | VmFlags::MAYSHARE) {
            return Err(Errno::EINVAL);
        }
        let fixed_size = VmFlags::DONTEXPAND | VmFlags::PFNMAP;
        if wish.flags.contains(RemapFlags::DONTUNMAP) && flags.intersects(fixed_size) {
            return Err(Errno::EINVAL);
        }
        // What a shrink unmaps may reach beyond the area; what is kept may not.
        let kept = wish.old_bytes.min(wish.new_bytes);
        if kept > vma.range.end().offset_from(wish.addr) {
            return Err(Errno::EFAULT);
        }
        if grows {
            self.check_growth(vma, wish)
        } else {
            Ok(())
        }
    }

    fn check_growth(&self, vma: &Arc<Vma>, wish: Wish) -> Result<(), Errno> {
        let flags = vma.flags();
        let pgoff = vma.pgoff_of(wish.addr).unwrap_or(vma.pgoff);
        pgoff
            .checked_add(wish.new_bytes >> PAGE_SHIFT)
            .ok_or(Errno::EINVAL)?;
        if flags.intersects(VmFlags::DONTEXPAND | VmFlags::PFNMAP) {
            return Err(Errno::EFAULT);
        }
        let more = wish.new_bytes - wish.old_bytes;
        if !self.limits().may_lock_more(self.accounts(), flags, more) {
            return Err(Errno::EAGAIN);
        }
        if !self
            .limits()
            .may_expand(self.accounts(), flags, more >> PAGE_SHIFT)
        {
            return Err(Errno::ENOMEM);
        }
        Ok(())
    }
}

impl Wish {
    /// `check_mremap_params`, but for what depends on the number of areas.
    fn of(mm: &Mm, request: &RemapRequest) -> Result<Self, Errno> {
        let known = RemapFlags::MAYMOVE | RemapFlags::FIXED | RemapFlags::DONTUNMAP;
        let task_size = mm.layout().task_size();
        if !(request.flags - known).is_empty() || !request.addr.is_page_aligned() {
            return Err(Errno::EINVAL);
        }
        // In the kernel's wrapping arithmetic.
        let whole = |bytes: u64| bytes.wrapping_add(PAGE_SIZE - 1) & !(PAGE_SIZE - 1);
        let wish = Wish {
            addr: request.addr,
            old_bytes: whole(request.old_len),
            new_bytes: whole(request.new_len),
            flags: request.flags,
            new_addr: request.new_addr,
        };
        if wish.new_bytes == 0 || wish.new_bytes > task_size.as_u64() {
            return Err(Errno::EINVAL);
        }
        if wish.names_address() {
            wish.check_address(task_size)?;
        }
        Ok(wish)
    }

    fn check_address(&self, task_size: VirtAddr) -> Result<(), Errno> {
        let fits = self.new_addr.as_u64() <= task_size.as_u64() - self.new_bytes;
        let keeps = self.flags.contains(RemapFlags::DONTUNMAP);
        if !fits
            || !self.new_addr.is_page_aligned()
            || !self.flags.contains(RemapFlags::MAYMOVE)
            || (keeps && self.old_bytes != self.new_bytes)
            || self.overlaps()
        {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// Whether source and destination overlap.
    fn overlaps(&self) -> bool {
        let end = |start: VirtAddr, bytes: u64| start.as_u64().saturating_add(bytes);
        self.addr.as_u64() < end(self.new_addr, self.new_bytes)
            && self.new_addr.as_u64() < end(self.addr, self.old_bytes)
    }

    /// Whether the new address is the caller's choice or wish.
    fn names_address(&self) -> bool {
        self.flags
            .intersects(RemapFlags::FIXED | RemapFlags::DONTUNMAP)
    }

    fn resize(&self) -> Ordering {
        self.new_bytes.cmp(&self.old_bytes)
    }

    /// Locked memory that has grown is faulted in.
    fn outcome(&self, addr: VirtAddr, flags: VmFlags) -> Remapped<'static> {
        let start = addr.saturating_add(self.old_bytes);
        let end = addr.saturating_add(self.new_bytes);
        match VirtRange::new(start, end) {
            Some(range) if flags.contains(VmFlags::LOCKED) => Remapped::Grown(addr, range),
            _ => Remapped::At(addr),
        }
    }
}
