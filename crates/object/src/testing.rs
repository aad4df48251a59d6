//! Address spaces made of a map, for the tests of this crate.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::vec::Vec;

use addr::{Access, FaultFlags, PAGE_SIZE, Pfn, PgOff, VirtAddr, VirtRange};
use frame::{Arena, ArenaConfig, FolioLock};

use crate::area::Area;
use crate::context::{FaultContext, Noticed, WriteNotice};
use crate::ops::{Notified, Privacy, Supplied, VmOps};
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

/// Serves a fault as the loop does: performs what is asked for, with nothing held, until there is an
/// answer. Also says how often it had to wait.
pub(crate) fn serve(ops: &dyn VmOps, area: &Area, page: u64, access: Access) -> (Supplied, usize) {
    serve_in(&arena(16), ops, area, page, access)
}

pub(crate) fn serve_in(
    arena: &Arc<Arena>,
    ops: &dyn VmOps,
    area: &Area,
    page: u64,
    access: Access,
) -> (Supplied, usize) {
    let address = VirtAddr::new(area.range.start().as_u64() + page * PAGE_SIZE);
    let flags = FaultFlags::DEFAULT | FaultFlags::of_access(access);
    let mut obtained = None;
    for nr_waits in 0..100 {
        let mut context =
            FaultContext::new(area, address, flags, arena).with_obtained(obtained.take());
        let intent = context.intent();
        match ops.fault(&mut context) {
            Supplied::Later(request) => obtained = Some(request.perform()),
            supplied => {
                assert_eq!(supplied.breach(intent, Privacy::of(area.flags)), None);
                return (supplied, nr_waits);
            }
        }
    }
    panic!("no progress");
}

/// Tells the object of a write as the loop does.
pub(crate) fn notify(ops: &dyn VmOps, area: &Area, page: u64, noticed: Noticed<'_>) -> Notified {
    let address = VirtAddr::new(area.range.start().as_u64() + page * PAGE_SIZE);
    let mut obtained = None;
    for _ in 0..100 {
        let mut notice = WriteNotice::new(area, address, noticed).with_obtained(obtained.take());
        let notified = match noticed {
            Noticed::Folio(_) => ops.page_mkwrite(&mut notice),
            Noticed::Device(_) => ops.pfn_mkwrite(&mut notice),
        };
        match notified {
            Notified::Later(request) => obtained = Some(request.perform()),
            notified => return notified,
        }
    }
    panic!("no progress");
}

pub(crate) fn locked(supplied: (Supplied, usize)) -> FolioLock {
    match supplied.0 {
        Supplied::Locked(locked) => locked,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn bytes_of(folio: &FolioLock) -> [u8; 4] {
    let mut bytes = [0; 4];
    folio.read(0, &mut bytes);
    bytes
}
