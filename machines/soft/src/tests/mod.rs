//! Tests of the machine against page tables made by hand.

use std::sync::Arc;

use addr::{Access, PAGE_SIZE, PagingMode, Pfn, VirtAddr, VirtRange};
use frame::{AllocRequest, Arena, ArenaConfig, Purpose};
use machine::{Cpu, ErrorCode, Flush, Mmu, Trap};
use pgtable::{Entry, EntryFlags, Gather, PageTable, TableReserve, Visit};
use sync::{MayInstall, Stable};

use crate::{DeviceLost, DeviceMemory, LoadedSpace, NoDevices, SoftCpu, SoftMachine, SoftMmu};

mod access;
mod devices;
mod shootdown;

/// Stands for the guard of the mmap lock.
pub(crate) struct Mmap;
impl Stable for Mmap {}
impl MayInstall for Mmap {}

/// A machine with one space.
pub(crate) struct Bench {
    pub(crate) arena: Arc<Arena>,
    pub(crate) table: Arc<PageTable>,
    pub(crate) mmu: Arc<SoftMmu>,
    pub(crate) cpus: Vec<SoftCpu>,
}

impl Bench {
    pub(crate) fn new(nr_cpus: usize) -> Self {
        Self::with(nr_cpus, PagingMode::FourLevel, Arc::new(NoDevices))
    }

    pub(crate) fn with(nr_cpus: usize, mode: PagingMode, devices: Arc<dyn DeviceMemory>) -> Self {
        let config = ArenaConfig::heap(512);
        let arena = Arena::new(config).expect("an arena for the test");
        let (machine, mut cpus) = SoftMachine::new(Arc::clone(&arena), devices, nr_cpus);
        let table = Arc::new(PageTable::new(Arc::clone(&arena), mode).expect("a root"));
        let mmu = machine.new_space();
        for cpu in &mut cpus {
            cpu.switch_to(loaded(&mmu, &table));
        }
        Self {
            arena,
            table,
            mmu,
            cpus,
        }
    }

    pub(crate) fn cpu(&mut self) -> &mut SoftCpu {
        &mut self.cpus[0]
    }

    /// Maps a fresh frame filled with `byte`.
    pub(crate) fn map(&self, addr: u64, flags: EntryFlags, byte: u8) -> Pfn {
        let request = AllocRequest::zeroed(Purpose::Anon);
        let folio = self.arena.alloc(request).expect("a frame").mark_uptodate();
        self.arena.record(folio.pfn()).expect("ours").add_map();
        let pfn = folio.into_entry();
        self.arena.write(pfn, 0, &[byte; PAGE_SIZE as usize]);
        self.install(addr, Entry::leaf(pfn, flags));
        pfn
    }

    pub(crate) fn install(&self, addr: u64, entry: Entry) {
        let pin = sync::pin();
        let mut reserve = TableReserve::new();
        let slot = self
            .table
            .slot_or_alloc(at(addr), &pin, &Mmap, &mut reserve)
            .expect("tables");
        let mut lock = slot.lock().expect("nobody frees tables here");
        lock.install(&Mmap, entry).expect("the entry is empty");
    }

    pub(crate) fn peek(&self, addr: u64) -> Entry {
        let pin = sync::pin();
        self.table
            .slot(at(addr), &pin)
            .map_or(Entry::NONE, |slot| slot.snapshot())
    }

    /// Changes the rights of a page, and flushes.
    pub(crate) fn protect(&self, addr: u64, flags: EntryFlags) {
        let range = page(addr);
        let mut gather = Gather::new(&self.table, &*self.mmu, range);
        let mut cursor = self.table.cursor(range, &Mmap, Visit::Filled);
        while let Some(entry) = cursor.advance() {
            entry.protect(&Mmap, &mut gather, flags);
        }
        drop(cursor);
        gather.finish();
    }

    pub(crate) fn zap(&self, addr: u64) {
        let range = page(addr);
        let mut gather = Gather::new(&self.table, &*self.mmu, range);
        let mut cursor = self.table.cursor(range, &Mmap, Visit::Filled);
        while let Some(entry) = cursor.advance() {
            let _ = entry.clear(&Mmap, &mut gather);
        }
        drop(cursor);
        gather.finish();
    }
}

pub(crate) fn loaded(mmu: &Arc<SoftMmu>, table: &Arc<PageTable>) -> LoadedSpace {
    LoadedSpace {
        mmu: Arc::clone(mmu),
        root: table.root(),
        mode: table.mode(),
        owner: Arc::clone(table) as Arc<dyn std::any::Any + Send + Sync>,
    }
}

pub(crate) fn at(addr: u64) -> VirtAddr {
    VirtAddr::new(addr)
}

pub(crate) fn page(addr: u64) -> VirtRange {
    VirtRange::page_of(at(addr)).expect("a page of the test")
}

pub(crate) fn readable() -> EntryFlags {
    EntryFlags::PRESENT | EntryFlags::USER | EntryFlags::NO_EXECUTE
}

pub(crate) fn writable() -> EntryFlags {
    readable() | EntryFlags::WRITABLE
}

pub(crate) fn load(cpu: &mut SoftCpu, addr: u64) -> Result<u8, Trap> {
    let mut byte = [0];
    cpu.load(at(addr), &mut byte)?;
    Ok(byte[0])
}

pub(crate) fn code_of(trap: Trap) -> ErrorCode {
    match trap {
        Trap::PageFault(info) => info.error_code,
        other => panic!("not a page fault: {other:?}"),
    }
}
