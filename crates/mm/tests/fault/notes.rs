//! Entries that are neither empty nor a mapping, of every kind. Nothing in this build makes them but
//! guards and pages being replaced: here the test is the swap, the migration or the device that does.

use std::sync::Arc;

use addr::{
    Errno, Markers, MigrationKind, NonPresent, PAGE_SIZE, Pfn, PgOff, Prot, SigCode, VirtAddr,
};
use frame::{Arena, FolioLock};
use machine::NoMmu;
use mm::{
    Advice, Attempt, Fault, FaultKind, FileRights, ForkConfig, MapFlags, MapRequest, MmUser,
    ObjectTarget, RemapFlags, RemapRequest, RssKind, attempt,
};
use object::Waiting;
use object::shmem::Shmem;
use pgtable::{Entry, Gather};

use crate::space::{BASE, RW, bare, entry_of, pfn_of, read_at, write_at};

/// A frame of a device, beyond every arena.
const DEVICE: u64 = 1 << 28;

const SWAPPED: NonPresent = NonPresent::Swap {
    device: 0,
    offset: 7,
    exclusive: true,
};
const ON_DEVICE: NonPresent = NonPresent::DevicePrivate {
    pfn: Pfn::new(DEVICE),
    writable: true,
};
const BROKEN: NonPresent = NonPresent::HwPoison { pfn: Pfn::new(5) };
const POISONED: NonPresent = NonPresent::Marker(Markers::POISONED);
const GUARD: NonPresent = NonPresent::Marker(Markers::GUARD);

fn migrating(pfn: Pfn, kind: MigrationKind) -> NonPresent {
    NonPresent::Migration { pfn, kind }
}

/// A space of four private pages, the second of which is elsewhere.
struct Away {
    arena: Arc<Arena>,
    mm: MmUser,
    note: NonPresent,
    /// What the page was, and its lock: whoever moves a page has it.
    was: Entry,
    mover: Option<FolioLock>,
}

const AT: VirtAddr = VirtAddr::new(BASE.as_u64() + PAGE_SIZE);

impl Away {
    /// Puts what `note` makes of the page's frame in its place, with the counts that it stands for.
    fn new(note: impl Fn(Pfn) -> NonPresent) -> Self {
        let (arena, mm) = bare(256);
        let request = MapRequest::anonymous(4 * PAGE_SIZE, RW).fixed_at(BASE);
        mm.mmap(&request).unwrap();
        Self::put(arena, mm, note)
    }

    /// The same in a mapping of an object.
    fn of_object(flags: MapFlags, note: impl Fn(Pfn) -> NonPresent) -> (Self, Arc<Shmem>) {
        let (arena, mm) = bare(256);
        let shmem = Shmem::anonymous(&arena, 4 * PAGE_SIZE);
        let target = ObjectTarget::new(Arc::clone(&shmem) as _)
            .with_file(shmem.open_file(), FileRights::READ_WRITE);
        let request = MapRequest::object(target, 4 * PAGE_SIZE, RW, flags).fixed_at(BASE);
        mm.mmap(&request).unwrap();
        (Self::put(arena, mm, note), shmem)
    }

    fn put(arena: Arc<Arena>, mm: MmUser, note: impl Fn(Pfn) -> NonPresent) -> Self {
        mm.handle_fault(&write_at(BASE)).unwrap();
        mm.handle_fault(&write_at(AT)).unwrap();
        let (was, pfn) = (entry_of(&mm, AT), pfn_of(&mm, AT));
        let note = note(pfn);
        let mut mover = arena.try_get(pfn).unwrap().lock();
        mover.travel();
        if matches!(note, NonPresent::DeviceExclusive { .. }) {
            // It keeps the reference and the count of the mapping, which the gather gives back.
            arena.share_entry(pfn);
        }
        let held = mm.read();
        let mut gather = Gather::of_space(mm.table(), mm.mmu());
        {
            let pin = sync::pin();
            let mut lock = mm.table().slot(AT, &pin).unwrap().lock().unwrap();
            lock.replace(&held, &mover, note)
                .unwrap()
                .defer(&mut gather);
        }
        gather.finish();
        drop(held);
        match note {
            NonPresent::Swap { .. } => {
                mm.rss().add(RssKind::Anon, -1);
                mm.rss().add(RssKind::Swap, 1);
            }
            NonPresent::HwPoison { .. } | NonPresent::Marker(_) => {
                mm.rss().add(RssKind::Anon, -1);
            }
            _ => {}
        }
        let mover = matches!(note, NonPresent::Migration { .. }).then_some(mover);
        Away {
            arena,
            mm,
            note,
            was,
            mover,
        }
    }

    fn of(note: NonPresent) -> Self {
        Self::new(|_| note)
    }

    fn migrating(kind: MigrationKind) -> Self {
        Self::new(|pfn| migrating(pfn, kind))
    }

    /// One of every kind.
    fn all() -> Vec<Self> {
        let mut all: Vec<_> = [SWAPPED, ON_DEVICE, BROKEN, POISONED, GUARD]
            .map(Self::of)
            .into();
        all.push(Self::migrating(MigrationKind::Write));
        all.push(Self::new(|pfn| NonPresent::DeviceExclusive { pfn }));
        all
    }

    fn fork(&self) -> Result<MmUser, Errno> {
        let mmu = Arc::new(NoMmu);
        self.mm.fork(&ForkConfig::new(mmu))
    }

    /// Pages counted as anonymous, and as swapped out.
    fn counted(mm: &MmUser) -> (u64, u64) {
        let rss = mm.stats().rss;
        assert_eq!((rss.file, rss.shmem), (0, 0));
        (rss.anon, rss.swap)
    }

    /// What the page itself counts as.
    fn counts(&self) -> (u64, u64) {
        match self.note {
            NonPresent::Swap { .. } => (0, 1),
            NonPresent::HwPoison { .. } | NonPresent::Marker(_) => (0, 0),
            _ => (1, 0),
        }
    }

    /// Ends the space: every counter and every frame comes back.
    fn end(self) {
        // inv: 50 inv: 51
        drop(self.mm);
        drop(self.mover);
        sync::barrier();
        assert_eq!(self.arena.usage().nr_in_use(), 0, "{:?}", self.note);
    }
}

fn note_at(mm: &MmUser, addr: VirtAddr) -> Option<NonPresent> {
    entry_of(mm, addr).non_present_kind()
}

// row: F19 row: F08
#[test]
fn a_fault_answers_as_a_kernel_without_them() {
    for away in Away::all() {
        let code = match away.note {
            NonPresent::Migration { .. } => {
                away.end();
                continue;
            }
            // No device is known: the entry is a bad one.
            NonPresent::Swap { .. }
            | NonPresent::DevicePrivate { .. }
            | NonPresent::DeviceExclusive { .. } => SigCode::BusAdrErr,
            NonPresent::Marker(Markers::GUARD) => SigCode::MapErr,
            _ => SigCode::MceErrAr,
        };
        for info in [read_at(AT), write_at(AT)] {
            let error = away.mm.handle_fault(&info).unwrap_err();
            assert_eq!(error.si_code(), Some(code), "{:?}", away.note);
            assert_eq!(note_at(&away.mm, AT), Some(away.note));
        }
        // Whoever looks from outside is told as much, and the page before is served.
        let mut bytes = [0; 2];
        let before = VirtAddr::new(AT.as_u64() - 1);
        assert_eq!(
            away.mm.read_memory(before, &mut bytes, mm::Force::Plain),
            1,
            "{:?}",
            away.note
        );
        away.end();
    }
}

// row: F19 row: F25
#[test]
fn a_page_that_is_being_moved_is_waited_for() {
    for kind in [
        MigrationKind::Read,
        MigrationKind::ReadExclusive,
        MigrationKind::Write,
    ] {
        let mut away = Away::migrating(kind);
        let fault = Fault::new(away.mm.shared(), &write_at(AT));
        let Attempt::Needs(mut fault, work) = attempt(fault) else {
            panic!("the page is being moved")
        };
        // inv: 64
        assert_eq!(work.waiting(), Waiting::FolioLock);
        away.come_back();
        fault.take_in(work.perform());
        let Attempt::Handled(handled) = attempt(fault) else {
            panic!("it is back")
        };
        assert_eq!(handled.kind, FaultKind::Spurious);
        away.end();
    }
}

impl Away {
    /// `remove_migration_pte`: the page is back where it was.
    fn come_back(&mut self) {
        let mover = self.mover.take().unwrap();
        let pfn = self.was.mapping().unwrap().pfn;
        let held = self.mm.read();
        let pin = sync::pin();
        let mut lock = self.mm.table().slot(AT, &pin).unwrap().lock().unwrap();
        self.arena.share_entry(pfn);
        let note = lock.read();
        lock.restore(&held, &mover, note, self.was).unwrap();
    }
}

// row: S12 row: F19
#[test]
fn fork_copies_what_can_be_told_twice() {
    for mut away in Away::all() {
        let child = match (away.note, away.fork()) {
            // Its device would have to give it back first, and there is none to ask.
            (NonPresent::DeviceExclusive { .. }, refused) => {
                assert_eq!(refused.unwrap_err(), Errno::ENOMEM);
                assert_eq!(note_at(&away.mm, AT), Some(away.note));
                away.end();
                continue;
            }
            (_, child) => child.unwrap(),
        };
        let both = match away.note {
            NonPresent::Swap { device, offset, .. } => NonPresent::Swap {
                device,
                offset,
                exclusive: false,
            },
            // inv: 41
            NonPresent::Migration { pfn, .. } => migrating(pfn, MigrationKind::Read),
            NonPresent::DevicePrivate { pfn, .. } => NonPresent::DevicePrivate {
                pfn,
                writable: false,
            },
            other => other,
        };
        for mm in [&away.mm, &child] {
            assert_eq!(note_at(mm, AT), Some(both), "{:?}", away.note);
            let (anon, swap) = away.counts();
            assert_eq!(Away::counted(mm), (anon + 1, swap), "{:?}", away.note);
        }
        drop(child);
        if matches!(away.note, NonPresent::Migration { .. }) {
            away.come_back();
            assert!(away.mm.handle_fault(&write_at(AT)).is_ok());
        }
        away.end();
    }
}

// row: S12
#[test]
fn a_userfault_mark_is_not_inherited() {
    let away = Away::of(NonPresent::Marker(Markers::UFFD_WP | Markers::GUARD));
    let child = away.fork().unwrap();
    assert_eq!(note_at(&child, AT), Some(GUARD));
    assert_eq!(note_at(&away.mm, AT), Some(away.note));
    drop(child);
    away.end();
}

// row: S03 row: F19
#[test]
fn what_loses_the_right_to_be_written_does_not_come_back_with_it() {
    for away in Away::all() {
        let after = match away.note {
            NonPresent::Migration { pfn, .. } => migrating(pfn, MigrationKind::ReadExclusive),
            NonPresent::DevicePrivate { pfn, .. } => NonPresent::DevicePrivate {
                pfn,
                writable: false,
            },
            other => other,
        };
        for prot in [Prot::READ, RW, Prot::empty()] {
            away.mm.mprotect(BASE, 4 * PAGE_SIZE, prot).unwrap();
            assert_eq!(note_at(&away.mm, AT), Some(after), "{prot:?}");
        }
        away.end();
    }
}

// row: S03 row: F19
#[test]
fn a_moved_page_of_an_object_is_nobodys_alone() {
    let (away, shmem) =
        Away::of_object(MapFlags::SHARED, |pfn| migrating(pfn, MigrationKind::Write));
    away.mm.mprotect(AT, PAGE_SIZE, Prot::READ).unwrap();
    let pfn = away.was.mapping().unwrap().pfn;
    assert_eq!(
        note_at(&away.mm, AT),
        Some(migrating(pfn, MigrationKind::Read))
    );
    assert_eq!(away.mm.stats().rss.shmem, 2);
    drop(shmem);
    away.end();
}

// row: F19 row: A06
#[test]
fn a_hole_in_the_object_leaves_private_pages_and_its_end_does_not() {
    for note in [SWAPPED, ON_DEVICE, BROKEN, POISONED, GUARD] {
        let (away, shmem) = Away::of_object(MapFlags::PRIVATE, |_| note);
        let before = away.mm.stats().rss;
        shmem.punch(PgOff::ZERO, PgOff::new(3));
        assert_eq!(note_at(&away.mm, AT), Some(note));
        assert_eq!(away.mm.stats().rss, before);
        shmem.resize(0);
        // inv: 37
        let left = (note == GUARD).then_some(GUARD);
        assert_eq!(note_at(&away.mm, AT), left, "{note:?}");
        assert_eq!(away.mm.stats().rss.resident(), 0);
        drop(shmem);
        away.end();
    }
}

// row: S04 row: F19
#[test]
fn a_move_takes_them_along() {
    for away in Away::all() {
        let to = BASE.checked_add(1 << 30).unwrap();
        let request = RemapRequest {
            addr: BASE,
            old_len: 4 * PAGE_SIZE,
            new_len: 4 * PAGE_SIZE,
            flags: RemapFlags::MAYMOVE | RemapFlags::FIXED,
            new_addr: to,
        };
        let before = Away::counted(&away.mm);
        assert_eq!(away.mm.mremap(&request), Ok(to));
        let there = to.checked_add(PAGE_SIZE).unwrap();
        // inv: 37
        assert_eq!(note_at(&away.mm, there), Some(away.note));
        assert!(entry_of(&away.mm, AT).is_none());
        assert_eq!(Away::counted(&away.mm), before);
        away.end();
    }
}

/// The page is gone, and with it all that it counted as.
fn assert_gone(away: &Away) {
    assert!(entry_of(&away.mm, AT).is_none(), "{:?}", away.note);
    assert_eq!(Away::counted(&away.mm), (1, 0), "{:?}", away.note);
}

// row: S06 row: F19
#[test]
fn dontneed_drops_all_but_guards() {
    for away in Away::all() {
        away.mm.madvise(AT, PAGE_SIZE, Advice::DontNeed).unwrap();
        if away.note == GUARD {
            // inv: 37
            assert_eq!(note_at(&away.mm, AT), Some(GUARD));
        } else {
            assert_gone(&away);
            assert!(away.mm.handle_fault(&write_at(AT)).is_ok());
        }
        away.end();
    }
}

// row: S06 row: F19
#[test]
fn free_drops_what_only_says_that_a_page_is_not_there() {
    for away in Away::all() {
        away.mm.madvise(AT, PAGE_SIZE, Advice::Free).unwrap();
        match away.note {
            NonPresent::Swap { .. } | NonPresent::HwPoison { .. } | POISONED => assert_gone(&away),
            other => assert_eq!(note_at(&away.mm, AT), Some(other)),
        }
        away.end();
    }
}

// row: S02 row: F19
#[test]
fn munmap_drops_all() {
    for away in Away::all() {
        away.mm.munmap(AT, PAGE_SIZE).unwrap();
        assert_gone(&away);
        away.end();
    }
}

// row: S06 row: F19
#[test]
fn a_guard_takes_the_place_of_all() {
    for away in Away::all() {
        let mm = &away.mm;
        mm.madvise(AT, PAGE_SIZE, Advice::GuardInstall).unwrap();
        assert_eq!(note_at(mm, AT), Some(GUARD));
        assert_eq!(Away::counted(mm), (1, 0), "{:?}", away.note);
        mm.madvise(AT, PAGE_SIZE, Advice::GuardRemove).unwrap();
        assert_gone(&away);
        away.end();
    }
}

// row: S09 row: F19
#[test]
fn mincore_knows_them() {
    for away in Away::all() {
        let mut seen = Vec::new();
        let note = |bytes: &[u8]| {
            seen.extend_from_slice(bytes);
            Ok(())
        };
        away.mm.mincore(BASE, 3 * PAGE_SIZE, note).unwrap();
        let there = match away.note {
            NonPresent::Swap { .. } | NonPresent::Marker(_) => 0,
            _ => 1,
        };
        assert_eq!(seen, [1, there, 0], "{:?}", away.note);
        away.end();
    }
}

// row: S06 row: F19
#[test]
fn populate_names_its_reason() {
    for away in Away::all() {
        let errno = match away.note {
            NonPresent::Migration { .. } => {
                away.end();
                continue;
            }
            BROKEN | POISONED => Errno::EHWPOISON,
            _ => Errno::EFAULT,
        };
        let populate = away.mm.madvise(BASE, 4 * PAGE_SIZE, Advice::PopulateWrite);
        assert_eq!(populate, Err(errno), "{:?}", away.note);
        away.end();
    }
}
