//! Entries go (Linux: `zap_pte_range`, `zap_present_ptes`, `zap_nonpresent_ptes`).
//!
//! | entry | zapped |
//! |---|---|
//! | page of a file | always; dirty and accessed are handed to the folio |
//! | private page | unless private copies are to stay |
//! | zero page, bare frame number | always; counts nothing |
//! | device-private, device-exclusive, migration | as the folio it stands for |
//! | guard marker, and a userfault marker of a file | only where markers are dropped too |
//! | poison | unless private copies are to stay |
//!
//! A busy entry goes as well: whoever replaces it finds that out when it comes back to install.

use addr::{Markers, NonPresent, Pfn, VirtRange};
use alloc::sync::Arc;
use frame::FolioFlags;
use object::{EvenCows, VmOps};
use pgtable::{Entry, EntryLock, Gather, Visit};
use sync::Stable;

use crate::accounts::{RSS_KINDS, RssKind};
use crate::mm::Mm;

/// What becomes of markers (Linux: `ZAP_FLAG_DROP_MARKER`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MarkerFate {
    /// They go: munmap, exit.
    Dropped,
    /// Guards stay, and so do userfault markers of files: MADV_DONTNEED, truncation.
    Kept,
}

/// What an area maps, as far as markers care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// Anonymous memory.
    Anonymous,
    /// An object.
    OfObject,
}

impl Memory {
    /// Of an area with these operations.
    pub(crate) fn of(ops: Option<&Arc<dyn VmOps>>) -> Self {
        if ops.is_some() {
            Memory::OfObject
        } else {
            Memory::Anonymous
        }
    }
}

/// How to zap (Linux: `struct zap_details`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zap {
    /// Whether private copies go too.
    pub(crate) cows: EvenCows,
    /// What becomes of markers.
    pub(crate) markers: MarkerFate,
    /// What the area maps.
    pub(crate) memory: Memory,
}

/// What to do with a gather that holds much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WhenFull {
    /// Empty it.
    Flush,
    /// Let it grow.
    Grow,
}

/// Changes of the resident counters, by kind, until they are entered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RssChange([i64; RSS_KINDS.len()]);

impl RssChange {
    /// `change` pages more or fewer of a kind.
    pub(crate) fn add(&mut self, kind: RssKind, change: i64) {
        self.0[kind as usize] += change;
    }

    /// Enters them (Linux: `add_mm_rss_vec`).
    pub(crate) fn enter(self, mm: &Mm) {
        for (kind, change) in RSS_KINDS.into_iter().zip(self.0) {
            mm.rss().add(kind, change);
        }
    }
}

impl Mm {
    /// Zaps the entries of `range`, which `proof` keeps stable. What they held goes into `gather`,
    /// which is emptied on the way when it is full: no entry, rmap or folio lock may be held.
    pub(crate) fn zap(
        &self,
        range: VirtRange,
        proof: &impl Stable,
        gather: &mut Gather<'_>,
        zap: Zap,
    ) {
        self.zap_entries((range, proof), gather, zap, WhenFull::Flush);
    }

    /// As [`Mm::zap`], under locks that a flush may not be made under.
    pub(crate) fn zap_without_flush(
        &self,
        range: VirtRange,
        proof: &impl Stable,
        gather: &mut Gather<'_>,
        zap: Zap,
    ) {
        self.zap_entries((range, proof), gather, zap, WhenFull::Grow);
    }

    fn zap_entries(
        &self,
        (range, proof): (VirtRange, &impl Stable),
        gather: &mut Gather<'_>,
        zap: Zap,
        when_full: WhenFull,
    ) {
        self.rss().note_high_water();
        let mut change = RssChange::default();
        let mut cursor = self.table().cursor(range, proof, Visit::Filled);
        while let Some(lock) = cursor.advance() {
            zap.entry(self, lock, proof, gather, &mut change);
            if when_full == WhenFull::Flush && gather.is_full() {
                cursor.unlock();
                gather.flush();
            }
        }
        change.enter(self);
    }

    /// The counter that `entry` is counted under, if any (Linux: `mm_counter`, `vm_normal_page`).
    pub(crate) fn rss_kind_of(&self, entry: Entry) -> Option<RssKind> {
        if let Some(leaf) = entry.mapping() {
            let counted = !entry.is_special() || object::device::is_device(leaf.pfn);
            return self.rss_kind_of_frame(leaf.pfn).filter(|_| counted);
        }
        match entry.non_present_kind()? {
            NonPresent::Swap { .. } => Some(RssKind::Swap),
            // Only anonymous memory is ever there.
            NonPresent::DevicePrivate { .. } => Some(RssKind::Anon),
            NonPresent::Migration { pfn, .. } | NonPresent::DeviceExclusive { pfn } => {
                self.rss_kind_of_frame(pfn)
            }
            NonPresent::HwPoison { .. } | NonPresent::Marker(_) | NonPresent::Busy => None,
        }
    }
}

impl Mm {
    fn rss_kind_of_frame(&self, pfn: Pfn) -> Option<RssKind> {
        if object::device::is_device(pfn) {
            return Some(RssKind::File);
        }
        let record = self.arena().record(pfn)?;
        Some(if record.is_anon() {
            RssKind::Anon
        } else if record.has(FolioFlags::SWAPBACKED) {
            RssKind::Shmem
        } else {
            RssKind::File
        })
    }
}

impl Zap {
    /// Zaps one entry unless the rules keep it.
    fn entry(
        &self,
        mm: &Mm,
        lock: &mut EntryLock<'_>,
        proof: &impl Stable,
        gather: &mut Gather<'_>,
        change: &mut RssChange,
    ) {
        let entry = lock.read();
        let kind = mm.rss_kind_of(entry);
        let note = entry.non_present_kind();
        if let Some(NonPresent::Marker(markers)) = note {
            self.marker(markers, lock, proof, gather);
            return;
        }
        if self.keeps(kind, note) {
            return;
        }
        if note == Some(NonPresent::Busy) && self.cows == EvenCows::No {
            // A private copy is on its way here, and stays as one made earlier would. Only what it
            // replaces is still remembered.
            if let Some(range) = lock.covers() {
                gather.forget(range);
            }
            return;
        }
        let old = if self.leaves_uffd_marker(entry) {
            lock.clear_leaving(proof, gather, Markers::UFFD_WP)
        } else {
            lock.clear(proof, gather)
        };
        if let Some(kind) = kind {
            change.add(kind, -1);
        }
        note_use(mm, kind, old);
    }

    /// Whether the entry stays because private copies do.
    fn keeps(&self, kind: Option<RssKind>, note: Option<NonPresent>) -> bool {
        let private = matches!(kind, Some(RssKind::Anon | RssKind::Swap))
            || matches!(note, Some(NonPresent::HwPoison { .. }));
        self.cows == EvenCows::No && private
    }

    /// A page of an object that userfaultfd write-protects leaves a note of that behind, unless the
    /// range goes for good.
    fn leaves_uffd_marker(&self, entry: Entry) -> bool {
        self.markers == MarkerFate::Kept && self.memory == Memory::OfObject && entry.is_uffd_wp()
    }

    fn marker(
        &self,
        markers: Markers,
        lock: &mut EntryLock<'_>,
        proof: &impl Stable,
        gather: &mut Gather<'_>,
    ) {
        let mut stays = Markers::empty();
        if self.markers == MarkerFate::Kept {
            stays |= markers & Markers::GUARD;
            if self.memory == Memory::OfObject {
                stays |= markers & Markers::UFFD_WP;
            }
        }
        if self.cows == EvenCows::No {
            stays |= markers & Markers::POISONED;
        }
        if stays.is_empty() {
            let _marker = lock.clear(proof, gather);
        } else if stays != markers {
            let _marker = lock.clear_leaving(proof, gather, stays);
        }
    }
}

/// A page of an object that was used through the entry is marked used (`folio_mark_accessed`); that it
/// was written the gather hands over. Private pages keep no such record: nobody else maps them.
fn note_use(mm: &Mm, kind: Option<RssKind>, old: Entry) {
    let of_object = matches!(kind, Some(RssKind::File | RssKind::Shmem));
    if !of_object || !old.is_young() {
        return;
    }
    if let Some(record) = old.mapping().and_then(|leaf| mm.arena().record(leaf.pfn)) {
        record.set(FolioFlags::REFERENCED);
    }
}
