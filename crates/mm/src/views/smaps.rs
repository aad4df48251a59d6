//! `/proc/PID/smaps` and `smaps_rollup`: what of each area is resident, and whose it is.

use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::ops::AddAssign;

use addr::{Level, PAGE_SIZE, VmFlags};
use frame::FolioFlags;
use pgtable::Entry;
use vma::{MmapHeld, Vma};

use super::{Text, maps_line, push_columns};
use crate::accounts::RssKind;
use crate::mm::Mm;

/// Shares of pages are counted in so many parts of a byte (`PSS_SHIFT`).
const PSS_SHIFT: u32 = 12;

/// What is printed of an area (`struct mem_size_stats`), in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Sizes {
    resident: u64,
    pss: u64,
    pss_dirty: u64,
    pss_anon: u64,
    pss_file: u64,
    pss_shmem: u64,
    pss_locked: u64,
    shared_clean: u64,
    shared_dirty: u64,
    private_clean: u64,
    private_dirty: u64,
    referenced: u64,
    anonymous: u64,
    lazyfree: u64,
}

impl AddAssign for Sizes {
    fn add_assign(&mut self, other: Self) {
        self.resident += other.resident;
        self.pss += other.pss;
        self.pss_dirty += other.pss_dirty;
        self.pss_anon += other.pss_anon;
        self.pss_file += other.pss_file;
        self.pss_shmem += other.pss_shmem;
        self.pss_locked += other.pss_locked;
        self.shared_clean += other.shared_clean;
        self.shared_dirty += other.shared_dirty;
        self.private_clean += other.private_clean;
        self.private_dirty += other.private_dirty;
        self.referenced += other.referenced;
        self.anonymous += other.anonymous;
        self.lazyfree += other.lazyfree;
    }
}

/// The names of flags, lowest bit first (`show_smap_vma_flags`).
const MNEMONICS: [(VmFlags, &str); 37] = [
    (VmFlags::READ, "rd"),
    (VmFlags::WRITE, "wr"),
    (VmFlags::EXEC, "ex"),
    (VmFlags::SHARED, "sh"),
    (VmFlags::MAYREAD, "mr"),
    (VmFlags::MAYWRITE, "mw"),
    (VmFlags::MAYEXEC, "me"),
    (VmFlags::MAYSHARE, "ms"),
    (VmFlags::GROWSDOWN, "gd"),
    (VmFlags::UFFD_MISSING, "um"),
    (VmFlags::PFNMAP, "pf"),
    (VmFlags::MAYBE_GUARD, "gu"),
    (VmFlags::UFFD_WP, "uw"),
    (VmFlags::LOCKED, "lo"),
    (VmFlags::IO, "io"),
    (VmFlags::SEQ_READ, "sr"),
    (VmFlags::RAND_READ, "rr"),
    (VmFlags::DONTCOPY, "dc"),
    (VmFlags::DONTEXPAND, "de"),
    (VmFlags::LOCKONFAULT, "lf"),
    (VmFlags::ACCOUNT, "ac"),
    (VmFlags::NORESERVE, "nr"),
    (VmFlags::HUGETLB, "ht"),
    (VmFlags::SYNC, "sf"),
    (VmFlags::ARCH_1, "ar"),
    (VmFlags::WIPEONFORK, "wf"),
    (VmFlags::DONTDUMP, "dd"),
    (VmFlags::SOFTDIRTY, "sd"),
    (VmFlags::MIXEDMAP, "mm"),
    (VmFlags::HUGEPAGE, "hg"),
    (VmFlags::NOHUGEPAGE, "nh"),
    (VmFlags::MERGEABLE, "mg"),
    (VmFlags::SHADOW_STACK, "ss"),
    (VmFlags::DROPPABLE, "dp"),
    (VmFlags::UFFD_MINOR, "ui"),
    (VmFlags::SEALED, "sl"),
    (VmFlags::ALLOW_ANY_UNCACHED, "au"),
];

impl Mm {
    /// `/proc/PID/smaps`, in the kernel's exact bytes (`show_smap`).
    pub fn smaps(&self) -> Vec<u8> {
        let held = self.read();
        let image = self.image().clone();
        let mut text = Text::default();
        for vma in held.tree().iter() {
            let sizes = self.sizes(vma);
            // Writing to it does not fail.
            let _ = maps_line(&mut text, vma, &image);
            let _ = area_text(&mut text, vma.range.bytes(), &sizes, vma.flags());
        }
        text.0
    }

    /// `/proc/PID/smaps_rollup`, in the kernel's exact bytes (`show_smaps_rollup`).
    pub fn smaps_rollup(&self) -> Vec<u8> {
        let held = self.read();
        let mut sizes = Sizes::default();
        let (mut first, mut end) = (None, 0);
        for vma in held.tree().iter() {
            sizes += self.sizes(vma);
            first.get_or_insert(vma.range.start().as_u64());
            end = vma.range.end().as_u64();
        }
        let mut text = Text::default();
        let _ = write!(
            text,
            "{:08x}-{end:08x} ---p 00000000 00:00 0 ",
            first.unwrap_or(0)
        );
        push_columns(&mut text, 0);
        text.push_str("[rollup]\n");
        let _ = sizes_text(&mut text, &sizes, Extent::Space);
        text.0
    }

    /// What is resident of an area (`smap_gather_stats`).
    fn sizes(&self, vma: &Vma) -> Sizes {
        let mut sizes = Sizes::default();
        let (mut at, end) = (vma.range.start(), vma.range.end());
        let pin = sync::pin();
        while at < end {
            let Some(slot) = self.table().slot(at, &pin) else {
                at = Level::Pmd.next_entry(at).unwrap_or(end);
                continue;
            };
            self.account(&mut sizes, slot.snapshot());
            at = at.saturating_add(PAGE_SIZE);
        }
        if vma.flags().contains(VmFlags::LOCKED) {
            sizes.pss_locked = sizes.pss;
        }
        sizes
    }

    /// `smaps_pte_entry`, `smaps_account`. A page of device memory is known to be mapped here alone.
    fn account(&self, sizes: &mut Sizes, entry: Entry) {
        let Some(leaf) = entry.mapping().filter(|_| entry.is_present()) else {
            return;
        };
        let Some(kind) = self.rss_kind_of(entry) else {
            return;
        };
        let record = self.arena().record(leaf.pfn);
        let has = |flag| record.is_some_and(|record| record.has(flag));
        let mappers = record.map_or(1, |record| u64::from(record.map_count().max(1)));
        let dirty = entry.is_dirty() || has(FolioFlags::DIRTY);
        let share = (PAGE_SIZE << PSS_SHIFT) / mappers;
        sizes.resident += PAGE_SIZE;
        sizes.pss += share;
        match kind {
            RssKind::Anon => sizes.pss_anon += share,
            RssKind::Shmem => sizes.pss_shmem += share,
            RssKind::File | RssKind::Swap => sizes.pss_file += share,
        }
        if kind == RssKind::Anon {
            sizes.anonymous += PAGE_SIZE;
            if !dirty && !has(FolioFlags::SWAPBACKED) {
                sizes.lazyfree += PAGE_SIZE;
            }
        }
        if entry.is_young() || has(FolioFlags::REFERENCED) {
            sizes.referenced += PAGE_SIZE;
        }
        if dirty {
            sizes.pss_dirty += share;
        }
        *match (mappers > 1, dirty) {
            (true, true) => &mut sizes.shared_dirty,
            (true, false) => &mut sizes.shared_clean,
            (false, true) => &mut sizes.private_dirty,
            (false, false) => &mut sizes.private_clean,
        } += PAGE_SIZE;
    }
}

/// What the lines of `smaps` are about that follow the line of `maps`: `bytes` of an area of which
/// nothing is resident.
pub fn smaps_of_nothing(bytes: u64, flags: VmFlags) -> Vec<u8> {
    let mut text = Text::default();
    let _ = area_text(&mut text, bytes, &Sizes::default(), flags);
    text.0
}

fn area_text(text: &mut Text, bytes: u64, sizes: &Sizes, flags: VmFlags) -> fmt::Result {
    line(text, "Size:           ", bytes)?;
    line(text, "KernelPageSize: ", PAGE_SIZE)?;
    line(text, "MMUPageSize:    ", PAGE_SIZE)?;
    sizes_text(text, sizes, Extent::Area)?;
    writeln!(text, "THPeligible:    {:8}", 0)?;
    text.push_str("VmFlags: ");
    for (_, name) in MNEMONICS.iter().filter(|(flag, _)| flags.contains(*flag)) {
        write!(text, "{name} ")?;
    }
    text.push_str("\n");
    Ok(())
}

fn line(text: &mut Text, name: &str, bytes: u64) -> fmt::Result {
    writeln!(text, "{name}{:8} kB", bytes >> 10)
}

/// What is summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Area,
    Space,
}

/// `__show_smap`.
fn sizes_text(text: &mut Text, sizes: &Sizes, extent: Extent) -> fmt::Result {
    line(text, "Rss:            ", sizes.resident)?;
    line(text, "Pss:            ", sizes.pss >> PSS_SHIFT)?;
    line(text, "Pss_Dirty:      ", sizes.pss_dirty >> PSS_SHIFT)?;
    if extent == Extent::Space {
        line(text, "Pss_Anon:       ", sizes.pss_anon >> PSS_SHIFT)?;
        line(text, "Pss_File:       ", sizes.pss_file >> PSS_SHIFT)?;
        line(text, "Pss_Shmem:      ", sizes.pss_shmem >> PSS_SHIFT)?;
    }
    let lines = [
        ("Shared_Clean:   ", sizes.shared_clean),
        ("Shared_Dirty:   ", sizes.shared_dirty),
        ("Private_Clean:  ", sizes.private_clean),
        ("Private_Dirty:  ", sizes.private_dirty),
        ("Referenced:     ", sizes.referenced),
        ("Anonymous:      ", sizes.anonymous),
        ("KSM:            ", 0),
        ("LazyFree:       ", sizes.lazyfree),
        ("AnonHugePages:  ", 0),
        ("ShmemPmdMapped: ", 0),
        ("FilePmdMapped:  ", 0),
        ("Shared_Hugetlb: ", 0),
    ];
    for (name, bytes) in lines {
        line(text, name, bytes)?;
    }
    // `seq_put_decimal_ull_width(m, ..., 7)`: one column less.
    writeln!(text, "Private_Hugetlb: {:7} kB", 0)?;
    line(text, "Swap:           ", 0)?;
    line(text, "SwapPss:        ", 0)?;
    line(text, "Locked:         ", sizes.pss_locked >> PSS_SHIFT)
}
