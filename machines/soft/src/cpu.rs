//! A virtual CPU.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use addr::{Access, PAGE_SIZE, PagingMode, Pfn, VirtAddr};
use machine::{Cpu, FaultInfo, Mode, Trap};
use pgtable::EntryFlags;

use crate::tlb::{Cached, Tlb, TlbStats};
use crate::walk::{Root, Wanted, walk};
use crate::{SoftMachine, SoftMmu};

/// A space as a CPU runs in it (Linux: what `switch_mm` loads into CR3).
#[derive(Clone)]
pub struct LoadedSpace {
    /// Its cache.
    pub mmu: Arc<SoftMmu>,
    /// Its root table.
    pub root: Pfn,
    /// Its number of levels.
    pub mode: PagingMode,
    /// Whatever keeps the tables alive while the CPU may walk them.
    pub owner: Arc<dyn Any + Send + Sync>,
}

/// One virtual CPU, in user mode.
///
/// An access that reaches no further than two pages is done wholly or not at all, as an
/// instruction is. A longer one goes page by page.
pub struct SoftCpu {
    machine: Arc<SoftMachine>,
    number: usize,
    space: Option<LoadedSpace>,
    pkru: u32,
}

/// Part of an access: one page's worth.
#[derive(Clone, Copy, Debug)]
struct Piece {
    addr: VirtAddr,
    len: usize,
}

/// What to do with each piece once it is translated.
enum Transfer<'b> {
    In(&'b mut [u8]),
    Out(&'b [u8]),
}

impl SoftCpu {
    pub(crate) const fn new(machine: Arc<SoftMachine>, number: usize) -> Self {
        Self {
            machine,
            number,
            space: None,
            pkru: 0,
        }
    }

    /// The CPU's number.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.number
    }

    /// The machine it belongs to.
    #[must_use]
    pub const fn machine(&self) -> &Arc<SoftMachine> {
        &self.machine
    }

    /// Whether it runs in the space of `mmu`, so that there is nothing to switch.
    #[must_use]
    pub fn is_in(&self, mmu: &Arc<SoftMmu>) -> bool {
        let now = self.space.as_ref();
        now.is_some_and(|space| Arc::ptr_eq(&space.mmu, mmu))
    }

    /// Runs in `space` from now on. What it remembers of other spaces stays, tagged.
    pub fn switch_to(&mut self, space: LoadedSpace) {
        debug_assert!(
            Arc::ptr_eq(space.mmu.machine(), &self.machine),
            "a space of this machine"
        );
        space.mmu.enter(self.number);
        self.space = Some(space);
    }

    /// Runs in no space: every access is a fault.
    pub fn switch_off(&mut self) {
        self.space = None;
    }

    /// Sets the protection-key rights, two bits a key: access disabled, writing disabled.
    pub const fn set_pkru(&mut self, pkru: u32) {
        self.pkru = pkru;
    }

    /// How its TLB has fared.
    #[must_use]
    pub fn stats(&self) -> TlbStats {
        self.machine.tlb(self.number).lock().stats
    }

    /// Forgets everything, as a machine may at any moment.
    pub fn forget_all(&mut self) {
        let mut tlb = self.machine.tlb(self.number).lock();
        let stats = tlb.stats;
        *tlb = Tlb::new();
        tlb.stats = stats;
    }

    /// Exchanges the aligned eight bytes at `addr` for `new` if they are `current`: a locked
    /// instruction. Returns what was there; equal to `current` means exchanged.
    ///
    /// # Errors
    /// The trap that stopped it: as for a write, even if nothing is exchanged. Device memory and
    /// an address that is not aligned cannot be locked ([`Trap::Lost`]).
    pub fn compare_exchange(
        &mut self,
        addr: VirtAddr,
        current: u64,
        new: u64,
    ) -> Result<u64, Trap> {
        let mut tlb = self.machine.tlb(self.number).lock();
        let pfn = self.translate(&mut tlb, addr, Access::Write)?;
        let arena = self.machine.arena();
        if !addr.is_aligned_to(8) || arena.record(pfn).is_none() {
            return Err(Trap::Lost {
                addr,
                pfn,
                access: Access::Write,
            });
        }
        let index = addr.page_offset() as usize / 8;
        Ok(
            match arena.words(pfn).compare_exchange(index, current, new) {
                Ok(was) | Err(was) => was,
            },
        )
    }

    fn perform(
        &mut self,
        addr: VirtAddr,
        access: Access,
        transfer: Transfer<'_>,
    ) -> Result<(), Trap> {
        let len = transfer.len();
        let first = (PAGE_SIZE - addr.page_offset()) as usize;
        if (1..=first).contains(&len) {
            self.perform_in_page(Piece { addr, len }, access, transfer)
        } else if len <= first + PAGE_SIZE as usize {
            self.perform_whole(addr, access, transfer)
        } else {
            self.perform_by_page(addr, access, transfer)
        }
    }

    fn perform_in_page(
        &self,
        piece: Piece,
        access: Access,
        transfer: Transfer<'_>,
    ) -> Result<(), Trap> {
        let mut tlb = self.machine.tlb(self.number).lock();
        let pfn = self.translate(&mut tlb, piece.addr, access)?;
        self.transfer(piece, pfn, access, transfer)
    }

    /// Translates both pages before the first byte moves.
    fn perform_whole(
        &self,
        addr: VirtAddr,
        access: Access,
        mut transfer: Transfer<'_>,
    ) -> Result<(), Trap> {
        let mut tlb = self.machine.tlb(self.number).lock();
        let mut translated = [None; 2];
        for (place, piece) in translated.iter_mut().zip(pieces(addr, transfer.len())) {
            let piece = piece?;
            *place = Some((piece, self.translate(&mut tlb, piece.addr, access)?));
        }
        let mut done = 0;
        for (piece, pfn) in translated.into_iter().flatten() {
            self.transfer(piece, pfn, access, transfer.part(done, piece.len))?;
            done += piece.len;
        }
        Ok(())
    }

    fn perform_by_page(
        &self,
        addr: VirtAddr,
        access: Access,
        mut transfer: Transfer<'_>,
    ) -> Result<(), Trap> {
        let mut done = 0;
        for piece in pieces(addr, transfer.len()) {
            let piece = piece?;
            self.perform_in_page(piece, access, transfer.part(done, piece.len))?;
            done += piece.len;
        }
        Ok(())
    }

    /// The page's frame, from the TLB or by a walk. Holding the TLB is what lets the caller use
    /// the frame until it lets go.
    fn translate(&self, tlb: &mut Tlb, addr: VirtAddr, access: Access) -> Result<Pfn, Trap> {
        let Some(space) = &self.space else {
            return Err(Trap::PageFault(FaultInfo::missing(
                addr,
                access,
                Mode::User,
            )));
        };
        if !space.mode.is_canonical(addr) {
            return Err(Trap::NonCanonical { addr });
        }
        let wanted = Wanted {
            addr,
            access,
            pkru: self.pkru,
        };
        if let Some(cached) = tlb.lookup(space.mmu.id(), addr)
            && wanted.check(cached.flags).is_ok()
            && (access != Access::Write || cached.flags.contains(EntryFlags::DIRTY))
        {
            tlb.stats.hits += 1;
            return Ok(cached.pfn);
        }
        tlb.stats.walks += 1;
        let root = Root {
            table: space.root,
            mode: space.mode,
        };
        let (pfn, flags) = walk(self.machine.arena(), root, wanted).map_err(Trap::PageFault)?;
        tlb.insert(Cached::new(space.mmu.id(), addr, pfn, flags));
        Ok(pfn)
    }

    fn transfer(
        &self,
        piece: Piece,
        pfn: Pfn,
        access: Access,
        transfer: Transfer<'_>,
    ) -> Result<(), Trap> {
        let offset = piece.addr.page_offset();
        let arena = self.machine.arena();
        let devices = self.machine.devices();
        let reached = match (arena.record(pfn).is_some(), transfer) {
            (true, Transfer::In(bytes)) => {
                arena.read(pfn, offset, bytes);
                Ok(())
            }
            (true, Transfer::Out(bytes)) => {
                arena.write(pfn, offset, bytes);
                Ok(())
            }
            (false, Transfer::In(bytes)) => devices.copy_in(pfn, offset, bytes),
            (false, Transfer::Out(bytes)) => devices.copy_out(pfn, offset, bytes),
        };
        reached.map_err(|lost| Trap::Lost {
            addr: piece.addr,
            pfn: lost.pfn,
            access,
        })
    }
}

impl Cpu for SoftCpu {
    fn load(&mut self, addr: VirtAddr, bytes: &mut [u8]) -> Result<(), Trap> {
        self.perform(addr, Access::Read, Transfer::In(bytes))
    }

    fn store(&mut self, addr: VirtAddr, bytes: &[u8]) -> Result<(), Trap> {
        self.perform(addr, Access::Write, Transfer::Out(bytes))
    }

    fn fetch(&mut self, addr: VirtAddr, bytes: &mut [u8]) -> Result<(), Trap> {
        self.perform(addr, Access::Execute, Transfer::In(bytes))
    }
}

impl Transfer<'_> {
    const fn len(&self) -> usize {
        match self {
            Self::In(bytes) => bytes.len(),
            Self::Out(bytes) => bytes.len(),
        }
    }

    fn part(&mut self, start: usize, len: usize) -> Transfer<'_> {
        match self {
            Self::In(bytes) => Transfer::In(&mut bytes[start..start + len]),
            Self::Out(bytes) => Transfer::Out(&bytes[start..start + len]),
        }
    }
}

/// An access cut at page boundaries. It may not wrap around the end of the address space.
fn pieces(addr: VirtAddr, len: usize) -> impl Iterator<Item = Result<Piece, Trap>> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let left = len - done;
        if left == 0 {
            return None;
        }
        let Some(here) = addr.checked_add(done as u64) else {
            done = len;
            return Some(Err(Trap::NonCanonical { addr }));
        };
        let piece = Piece {
            addr: here,
            len: left.min((PAGE_SIZE - here.page_offset()) as usize),
        };
        done += piece.len;
        Some(Ok(piece))
    })
}

impl fmt::Debug for LoadedSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedSpace")
            .field("mmu", &self.mmu)
            .field("root", &self.root)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SoftCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoftCpu")
            .field("number", &self.number)
            .field("space", &self.space)
            .field("pkru", &self.pkru)
            .finish_non_exhaustive()
    }
}
