//! Address spaces made of a map, for the tests of this crate.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::vec::Vec;

use addr::{PAGE_SIZE, Pfn, PgOff, VirtAddr, VirtRange};
use frame::{Arena, ArenaConfig};

use crate::rmap::{EvenCows, FlushDue, MappedEntry, Mapping, MappingSpace, Protected, RmapRead};

/// An address space that is a map from page address to what is mapped there.
#[derive(Debug, Default)]
pub(crate) struct FakeSpace {
    pub(crate) entries: Mutex<BTreeMap<u64, FakeEntry>>,
    pub(crate) log: Arc<Mutex<Vec<Event>>>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct FakeEntry {
    pub(crate) pfn: Pfn,
    pub(crate) writable: bool,
    /// A private copy, which only truncation takes.
    pub(crate) private: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Zapped(VirtRange),
    Flushed(VirtRange),
}

impl FakeSpace {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(FakeSpace::default())
    }

    pub(crate) fn mapping(self: &Arc<Self>, start: u64, pages: u64, pgoff: u64) -> Mapping {
        let space: Weak<dyn MappingSpace> = Arc::downgrade(self) as Weak<dyn MappingSpace>;
        Mapping::new(space, range(start, pages), PgOff::new(pgoff))
    }

    pub(crate) fn map(&self, address: u64, pfn: Pfn) {
        self.map_entry(
            address,
            FakeEntry {
                pfn,
                writable: false,
                private: false,
            },
        );
    }

    pub(crate) fn map_entry(&self, address: u64, entry: FakeEntry) {
        self.entries.lock().unwrap().insert(address, entry);
    }

    pub(crate) fn unmap(&self, address: u64) -> Option<FakeEntry> {
        self.entries.lock().unwrap().remove(&address)
    }

    pub(crate) fn mapped(&self, address: u64) -> Option<Pfn> {
        self.entries
            .lock()
            .unwrap()
            .get(&address)
            .map(|entry| entry.pfn)
    }

    pub(crate) fn log(&self) -> Vec<Event> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    fn due(&self, range: VirtRange) -> FlushDue {
        let log = Arc::clone(&self.log);
        FlushDue::new(move || log.lock().unwrap().push(Event::Flushed(range)))
    }
}

impl MappingSpace for FakeSpace {
    fn zap_mapping(&self, range: VirtRange, even_cows: EvenCows, _held: &RmapRead<'_>) -> FlushDue {
        let mut entries = self.entries.lock().unwrap();
        let before = entries.len();
        entries.retain(|address, entry| {
            let inside = range.contains(VirtAddr::new(*address));
            !inside || (entry.private && even_cows == EvenCows::No)
        });
        if entries.len() == before {
            return FlushDue::none();
        }
        self.log.lock().unwrap().push(Event::Zapped(range));
        self.due(range)
    }

    fn write_protect(&self, range: VirtRange, _held: &RmapRead<'_>) -> Protected {
        let mut nr_cleaned = 0;
        for (address, entry) in self.entries.lock().unwrap().iter_mut() {
            if range.contains(VirtAddr::new(*address)) && entry.writable && !entry.private {
                entry.writable = false;
                nr_cleaned += 1;
            }
        }
        let flush = if nr_cleaned == 0 {
            FlushDue::none()
        } else {
            self.due(range)
        };
        Protected { nr_cleaned, flush }
    }

    fn visit(&self, address: VirtAddr, pfn: Pfn, _held: &RmapRead<'_>) -> Option<MappedEntry> {
        let entries = self.entries.lock().unwrap();
        let entry = entries
            .get(&address.as_u64())
            .filter(|entry| entry.pfn == pfn)?;
        Some(MappedEntry {
            writable: entry.writable,
            dirty: entry.writable,
            young: true,
        })
    }
}

pub(crate) fn range(start: u64, pages: u64) -> VirtRange {
    VirtRange::from_len(VirtAddr::new(start), pages * PAGE_SIZE).unwrap()
}

pub(crate) fn arena(frames: u64) -> Arc<Arena> {
    Arena::new(ArenaConfig::heap(frames)).unwrap()
}
