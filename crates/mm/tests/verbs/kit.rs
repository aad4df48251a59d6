//! A small machine with a translation cache, spaces on it, and a check that everything adds up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use addr::{Access, Errno, PAGE_SIZE, PageSize, Pfn, Prot, VirtAddr, VirtRange, VmClass, VmFlags};
use frame::{Arena, ArenaConfig, FolioFlags, Purpose};
use machine::{AccessedDirty, FaultInfo, Flush, FlushKind, Mmu, MmuCaps, Mode, TableUse};
use mm::{
    Commit, FaultError, ForkConfig, MapFlags, MapRequest, Mm, MmConfig, MmUser, RemapFlags,
    RemapRequest,
};
use object::FileId;
use pgtable::Visit;
use vma::{MmapHeld, VmaTree};

/// Where the tests map things: high enough for the default lowest address, in the middle of nowhere.
pub(crate) const BASE: u64 = 0x40_0000_0000;

/// The address of page `page` of the window.
pub(crate) fn at(page: u64) -> VirtAddr {
    VirtAddr::new(BASE + page * PAGE_SIZE)
}

/// Bytes of `pages` pages.
pub(crate) fn bytes(pages: u64) -> u64 {
    pages * PAGE_SIZE
}

/// Remembers every translation until it is told to forget: what a missing flush would show.
#[derive(Debug, Default)]
pub(crate) struct Tlb {
    cached: Mutex<BTreeMap<u64, (Pfn, Prot)>>,
}

impl Mmu for Tlb {
    fn caps(&self) -> MmuCaps {
        MmuCaps {
            tables: TableUse::FilledBySoftware,
            accessed_dirty: AccessedDirty::SetByFaults,
            max_page: PageSize::Size4K,
        }
    }

    fn update_mmu_cache(&self, _range: VirtRange) {}

    fn flush_tlb(&self, flush: &Flush<'_>) {
        let mut cached = self.cached.lock().unwrap();
        match flush.kind {
            FlushKind::Forget => cached.retain(|page, _| !flush.covers(VirtAddr::new(*page))),
            FlushKind::WriteProtect => {
                for (page, (_, prot)) in cached.iter_mut() {
                    if flush.covers(VirtAddr::new(*page)) {
                        prot.remove(Prot::WRITE);
                    }
                }
            }
        }
    }
}

/// A space and the cache of whoever runs in it.
pub(crate) struct Space {
    pub(crate) mm: MmUser,
    pub(crate) tlb: Arc<Tlb>,
    /// How many pages its forks copy at once, and those of its children.
    pub(crate) nr_copied_max: u64,
}

impl Space {
    /// Does `act` with the frame that an access reaches, faulting as often as it takes. The cache is
    /// locked from the lookup to the end of `act`, so that a flush waits for accesses under way.
    fn access<R>(
        &self,
        addr: VirtAddr,
        access: Access,
        act: impl FnOnce(Pfn) -> R,
    ) -> Result<R, FaultError> {
        let wanted = if access == Access::Write {
            Prot::WRITE
        } else {
            Prot::READ
        };
        for _ in 0..10_000 {
            let mut cached = self.tlb.cached.lock().unwrap();
            if let Some(pfn) = self.look_up(&mut cached, addr, wanted) {
                return Ok(act(pfn));
            }
            drop(cached);
            self.mm
                .handle_fault(&FaultInfo::missing(addr, access, Mode::User))?;
        }
        panic!("no progress at {addr:x}");
    }

    /// What the cache remembers, or else what the tables say, if that allows what is wanted.
    fn look_up(
        &self,
        cached: &mut BTreeMap<u64, (Pfn, Prot)>,
        addr: VirtAddr,
        wanted: Prot,
    ) -> Option<Pfn> {
        let page = addr.align_down().as_u64();
        if let Some((pfn, prot)) = cached.get(&page)
            && prot.contains(wanted)
        {
            return Some(*pfn);
        }
        let pin = sync::pin();
        let entry = self.mm.table().slot(addr, &pin)?.snapshot();
        let mut prot = entry.flags().prot();
        if !entry.is_dirty() {
            prot.remove(Prot::WRITE);
        }
        let leaf = entry.mapping()?;
        if !entry.is_young() || !prot.contains(wanted) {
            return None;
        }
        cached.insert(page, (leaf.pfn, prot));
        Some(leaf.pfn)
    }

    /// Reads the byte at `addr`.
    pub(crate) fn read(&self, addr: VirtAddr) -> Result<u8, FaultError> {
        self.access(addr, Access::Read, |pfn| {
            let mut byte = [0];
            self.mm.arena().read(pfn, addr.page_offset(), &mut byte);
            byte[0]
        })
    }

    /// Writes the byte at `addr`.
    pub(crate) fn write(&self, addr: VirtAddr, byte: u8) -> Result<(), FaultError> {
        self.access(addr, Access::Write, |pfn| {
            self.mm.arena().write(pfn, addr.page_offset(), &[byte]);
        })
    }

    /// Maps anonymous memory at page `page` of the window.
    pub(crate) fn map(
        &self,
        page: u64,
        pages: u64,
        prot: Prot,
        flags: MapFlags,
    ) -> Result<VirtAddr, Errno> {
        let mut request = MapRequest::anonymous(bytes(pages), prot).fixed_at(at(page));
        request.flags = flags | MapFlags::ANONYMOUS | MapFlags::FIXED;
        self.mm.mmap(&request)
    }

    /// Maps private memory for reading and writing.
    pub(crate) fn map_private(&self, page: u64, pages: u64) -> VirtAddr {
        self.map(page, pages, Prot::READ | Prot::WRITE, MapFlags::PRIVATE)
            .unwrap()
    }

    /// Maps shared memory for reading and writing.
    pub(crate) fn map_shared(&self, page: u64, pages: u64) -> VirtAddr {
        self.map(page, pages, Prot::READ | Prot::WRITE, MapFlags::SHARED)
            .unwrap()
    }

    pub(crate) fn unmap(&self, page: u64, pages: u64) -> Result<(), Errno> {
        self.mm.munmap(at(page), bytes(pages))
    }

    pub(crate) fn protect(&self, page: u64, pages: u64, prot: Prot) -> Result<(), Errno> {
        self.mm.mprotect(at(page), bytes(pages), prot)
    }

    pub(crate) fn remap(
        &self,
        page: u64,
        (old, new): (u64, u64),
        flags: RemapFlags,
        to: u64,
    ) -> Result<VirtAddr, Errno> {
        self.mm.mremap(&RemapRequest {
            addr: at(page),
            old_len: bytes(old),
            new_len: bytes(new),
            flags,
            new_addr: at(to),
        })
    }

    pub(crate) fn fork(&self) -> Result<Space, Errno> {
        let tlb = Arc::new(Tlb::default());
        let mut config = ForkConfig::new(Arc::clone(&tlb) as Arc<dyn Mmu>);
        config.nr_copied_max = self.nr_copied_max;
        let mm = self.mm.fork(&config)?;
        Ok(Space {
            mm,
            tlb,
            nr_copied_max: self.nr_copied_max,
        })
    }

    pub(crate) fn tree(&self) -> Arc<VmaTree> {
        self.mm.mmap_lock().snapshot()
    }

    /// The areas as (first page, pages, rights and sharing as maps prints them).
    pub(crate) fn areas(&self) -> Vec<(u64, u64, String)> {
        let text = |flags: VmFlags| {
            let mut text = String::new();
            for (flag, letter) in [
                (VmFlags::READ, 'r'),
                (VmFlags::WRITE, 'w'),
                (VmFlags::EXEC, 'x'),
            ] {
                text.push(if flags.contains(flag) { letter } else { '-' });
            }
            text.push(if flags.contains(VmFlags::MAYSHARE) {
                's'
            } else {
                'p'
            });
            text
        };
        let page = |addr: VirtAddr| addr.as_u64().wrapping_sub(BASE) / PAGE_SIZE;
        let tree = self.tree();
        tree.iter()
            .map(|vma| (page(vma.range.start()), vma.nr_pages(), text(vma.flags())))
            .collect()
    }
}

/// Spaces that share an arena and a ledger.
pub(crate) struct World {
    pub(crate) arena: Arc<Arena>,
    pub(crate) commit: Arc<Commit>,
    pub(crate) spaces: Vec<Space>,
    /// Pages promised to shared-memory objects, by their file.
    pub(crate) objects: BTreeMap<FileId, u64>,
}

impl World {
    pub(crate) fn new(frames: u64) -> Self {
        Self::with(frames, |_| {})
    }

    pub(crate) fn with(frames: u64, configure: impl FnOnce(&mut MmConfig)) -> Self {
        let arena = Arena::new(ArenaConfig::heap(frames)).unwrap();
        let tlb = Arc::new(Tlb::default());
        let mut config = MmConfig::new(Arc::clone(&arena), Arc::clone(&tlb) as Arc<dyn Mmu>);
        config.commit = Arc::new(Commit::guess(1 << 30));
        config
            .limits
            .set(mm::Resource::Memlock, mm::Rlimit::UNLIMITED);
        configure(&mut config);
        let commit = Arc::clone(&config.commit);
        let mm = Mm::create(config).unwrap();
        let first = Space {
            mm,
            tlb,
            nr_copied_max: 0,
        };
        let spaces = vec![first];
        World {
            arena,
            commit,
            spaces,
            objects: BTreeMap::new(),
        }
    }

    pub(crate) fn first(&self) -> &Space {
        &self.spaces[0]
    }

    /// Notes what objects just mapped were promised.
    pub(crate) fn note_objects(&mut self) {
        for space in &self.spaces {
            for vma in space.tree().iter() {
                if let Some(file) = &vma.file
                    && vma.flags().contains(VmFlags::SHARED)
                {
                    let promised = !vma.flags().contains(VmFlags::NORESERVE);
                    let pages = if promised { vma.nr_pages() } else { 0 };
                    self.objects.entry(file.id()).or_insert(pages);
                }
            }
        }
    }

    /// Checks every account against what it stands for. To be called when nothing is under way.
    pub(crate) fn check(&mut self) {
        self.note_objects();
        sync::barrier();
        let mut tally = Tally::default();
        for space in &self.spaces {
            tally.space(space);
        }
        let objects: u64 = tally
            .files
            .iter()
            .filter_map(|file| self.objects.get(file))
            .sum();
        assert_eq!(
            self.commit.committed(),
            (tally.accounted + objects) as i64,
            "inv 18"
        );
        for (pfn, maps) in &tally.mapped {
            let record = self.arena.record(*pfn).unwrap();
            assert_eq!(u64::from(record.map_count()), *maps, "mapcount of {pfn:?}");
            let in_cache = !record.is_anon();
            assert_eq!(
                u64::from(record.ref_count()),
                maps + u64::from(in_cache),
                "{pfn:?}"
            );
        }
        let usage = self.arena.usage();
        assert!(usage.is_balanced(), "{usage:?}");
        assert_eq!(usage.of(Purpose::Table), tally.tables, "inv 28");
        let anon = tally
            .mapped
            .keys()
            .filter(|pfn| self.is_anon(**pfn))
            .count() as u64;
        assert_eq!(
            usage.of(Purpose::Anon),
            anon,
            "private frames that nothing maps"
        );
    }

    fn is_anon(&self, pfn: Pfn) -> bool {
        self.arena
            .record(pfn)
            .is_some_and(|record| record.is_anon())
    }

    /// Ends every space; nothing may be left.
    pub(crate) fn end(mut self) {
        self.spaces.clear();
        sync::barrier();
        let usage = self.arena.usage();
        assert_eq!(usage.nr_in_use(), 0, "{usage:?}");
        assert_eq!(self.commit.committed(), 0);
    }
}

/// What is found in the tables and trees of all spaces.
#[derive(Default)]
struct Tally {
    mapped: BTreeMap<Pfn, u64>,
    files: BTreeSet<FileId>,
    accounted: u64,
    tables: u64,
}

impl Tally {
    fn space(&mut self, space: &Space) {
        let held = space.mm.read();
        self.areas(space, held.tree());
        let everything = VirtRange::new(VirtAddr::ZERO, space.mm.layout().task_size()).unwrap();
        let mut rss = [0u64; 4];
        let mut cursor = space.mm.table().cursor(everything, &held, Visit::Filled);
        while let Some(lock) = cursor.advance() {
            let entry = lock.read();
            let vma = held.tree().find(lock.addr());
            let vma = vma.unwrap_or_else(|| panic!("{entry:?} at {:x} in no area", lock.addr()));
            let Some(leaf) = entry.mapping() else {
                continue;
            };
            if entry.is_special() {
                assert!(!entry.is_writable(), "inv 36");
                continue;
            }
            let record = space.mm.arena().record(leaf.pfn).unwrap();
            *self.mapped.entry(leaf.pfn).or_default() += 1;
            let exclusive = record.has(FolioFlags::ANON_EXCLUSIVE);
            if record.is_anon() {
                assert!(
                    !entry.is_writable() || exclusive,
                    "inv 40 at {:x}",
                    lock.addr()
                );
                assert!(vma.anon_chain().is_some(), "inv 48 at {:x}", lock.addr());
                let index = vma.pgoff_of(lock.addr()).unwrap().as_u64();
                assert_eq!(record.index(), index, "inv 47 at {:x}", lock.addr());
                assert!(!exclusive || record.map_count() == 1, "inv 41");
                rss[1] += 1;
            } else if record.has(FolioFlags::SWAPBACKED) {
                rss[3] += 1;
            } else {
                rss[0] += 1;
            }
        }
        drop(cursor);
        let counts = space.mm.rss().counts();
        assert_eq!(
            [counts.file, counts.anon, counts.swap, counts.shmem],
            rss,
            "inv 50"
        );
        // The root is counted apart: it lives as long as the space.
        self.tables += space.mm.table().bytes() / PAGE_SIZE + 1;
    }

    fn areas(&mut self, space: &Space, tree: &VmaTree) {
        let counts = space.mm.accounts().counts();
        let mut last_end = VirtAddr::ZERO;
        let (mut total, mut locked, mut classes) = (0, 0, [0u64; 3]);
        for vma in tree.iter() {
            let flags = vma.flags();
            assert!(vma.range.start() >= last_end, "inv 14");
            assert!(vma.is_attached(), "inv 9");
            last_end = vma.range.end();
            assert!(flags.access_within_may(), "inv 16");
            assert!(!flags.contains(VmFlags::SHARED) || flags.contains(VmFlags::MAYSHARE));
            assert!(!vma.is_anonymous() || vma.file.is_none(), "inv 24");
            let pages = vma.nr_pages();
            total += pages;
            locked += if flags.contains(VmFlags::LOCKED) {
                pages
            } else {
                0
            };
            self.accounted += if flags.contains(VmFlags::ACCOUNT) {
                pages
            } else {
                0
            };
            match flags.class() {
                Some(VmClass::Exec) => classes[0] += pages,
                Some(VmClass::Stack) => classes[1] += pages,
                Some(VmClass::Data) => classes[2] += pages,
                None => {}
            }
            self.files.extend(vma.file.iter().map(|file| file.id()));
        }
        assert_eq!(counts.total, total, "inv 17: total_vm");
        assert_eq!(counts.locked, locked, "inv 17: locked_vm");
        assert_eq!([counts.exec, counts.stack, counts.data], classes, "inv 17");
        assert!(counts.hiwater >= total);
    }
}
