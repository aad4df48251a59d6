//! A space seen from outside: `/proc` text, translations for machines that are filled, statistics.

mod smaps;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use addr::{Level, PAGE_SHIFT, PAGE_SIZE, Pfn, Prot, VirtAddr, VirtRange, VmFlags};
use frame::FolioFlags;
use machine::AccessedDirty;
use object::context::AreaPeek;
use object::{Callbacks, InodeId};
use pgtable::{Entry, EntryFlags, Slot};
use vma::{MmapHeld, Vma};

use crate::accounts::{AreaCounts, FaultCounts, RssCounts};
use crate::layout::Image;
use crate::mm::Mm;

pub use smaps::smaps_of_nothing;

/// Where the name of an area begins in a line of `/proc/PID/maps`.
const NAME_COLUMN: usize = 73;

/// Where a translation leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// To this frame of the arena, and those after it.
    Arena(Pfn),
    /// To this page of device memory, and those after it.
    Device(Pfn),
    /// Each page to the zero page.
    Zeroes,
}

impl Target {
    fn of(pfn: Pfn, zero_page: Pfn) -> Self {
        if pfn == zero_page {
            Target::Zeroes
        } else if object::device::is_device(pfn) {
            Target::Device(pfn)
        } else {
            Target::Arena(pfn)
        }
    }

    /// The page `pages` further on.
    fn further(self, pages: u64) -> Option<Self> {
        match self {
            Target::Arena(pfn) => pfn.checked_add(pages).map(Target::Arena),
            Target::Device(pfn) => pfn.checked_add(pages).map(Target::Device),
            Target::Zeroes => Some(Target::Zeroes),
        }
    }
}

/// A run of pages with one target and one set of rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The addresses.
    pub range: VirtRange,
    /// Where the first of them leads.
    pub target: Target,
    /// What may be done through them.
    pub prot: Prot,
}

/// What the first write to a private page that is mapped would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstWrite {
    /// Make it writable where it is: nobody else has it (`wp_page_reuse`).
    Reuse,
    /// Copy it (`wp_page_copy`).
    Copy,
    /// Copy it from its object, whose page may be mapped or not (`wp_page_copy`, `do_cow_fault`).
    FromObject,
}

/// The figures of a space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MmStats {
    /// Faults.
    pub faults: FaultCounts,
    /// Resident pages now.
    pub rss: RssCounts,
    /// The most pages ever resident.
    pub hiwater_rss: u64,
    /// The most pages ever resident of each kind, each at its own time.
    pub hiwater_by_kind: RssCounts,
    /// Pages of areas.
    pub pages: AreaCounts,
    /// Bytes of page tables.
    pub pgtables_bytes: u64,
    /// Areas.
    pub areas: u64,
    /// Children made by fork.
    pub forks: u64,
}

impl Mm {
    /// The figures now. Exact while nothing is under way.
    pub fn stats(&self) -> MmStats {
        MmStats {
            faults: self.rss().fault_counts(),
            rss: self.rss().counts(),
            hiwater_rss: self.rss().high_water(),
            hiwater_by_kind: self.rss().high_water_by_kind(),
            pages: self.accounts().counts(),
            pgtables_bytes: self.table().bytes(),
            areas: self.mmap_lock().snapshot().len() as u64,
            forks: self.forks(),
        }
    }

    /// `/proc/PID/maps`, to be read as text: what of a path is not UTF-8 is replaced.
    pub fn maps_text(&self) -> String {
        String::from_utf8_lossy(&self.maps()).into_owned()
    }

    /// `/proc/PID/maps`, in the kernel's exact bytes (`show_map`).
    pub fn maps(&self) -> Vec<u8> {
        let held = self.read();
        let image = self.image().clone();
        let mut text = Text::default();
        for vma in held.tree().iter() {
            // Writing to it does not fail.
            let _ = maps_line(&mut text, vma, &image);
        }
        text.0
    }

    /// What is mapped in `range`, as runs that are contiguous in both address and target, lowest
    /// first: what a machine that is filled by software may fill. Nothing is locked, so each page is
    /// as it was at some moment; a machine that fills must order its fills with its flushes.
    ///
    /// Where only faults set dirty bits, a clean page is not said to be writable: its first write has
    /// to fault.
    pub fn translations(&self, range: VirtRange, mut found: impl FnMut(Run)) {
        let marks = self.mmu().caps().accessed_dirty;
        let zero_page = self.arena().zero_page();
        let mut run: Option<Run> = None;
        let mut at = range.start();
        let pin = sync::pin();
        let mut slot: Option<Slot<'_, '_>> = None;
        while at < range.end() {
            let next = slot.as_ref().and_then(Slot::next);
            slot = next.or_else(|| self.table().slot(at, &pin));
            let Some(slot) = &slot else {
                at = Level::Pmd.next_entry(at).unwrap_or(range.end());
                continue;
            };
            let page = translation(slot.snapshot(), marks, zero_page)
                .zip(VirtRange::page_of(at))
                .map(|((target, prot), range)| Run {
                    range,
                    target,
                    prot,
                });
            run = match (run.take(), page) {
                (Some(run), Some(page)) => match joined(&run, &page) {
                    Some(longer) => Some(longer),
                    None => {
                        found(run);
                        Some(page)
                    }
                },
                (Some(run), None) => {
                    found(run);
                    None
                }
                (None, page) => page,
            };
            at = at.saturating_add(PAGE_SIZE);
        }
        if let Some(run) = run {
            found(run);
        }
    }
}

impl Mm {
    /// The private pages in `range` that are mapped or of an object, may be written, and would fault
    /// at their first write, lowest first, for a machine that would rather take some such faults at
    /// once. Of a page of an object the program sees what becomes of it until it is written: who
    /// writes to it sooner must know that nothing will. As with [`Mm::translations`], nothing is locked: what is said of a page was so at some
    /// moment.
    pub fn first_writes(&self, range: VirtRange, mut found: impl FnMut(VirtAddr, FirstWrite)) {
        let areas = self.mmap_lock().snapshot();
        let pin = sync::pin();
        for area in areas.range(range) {
            let flags = area.flags();
            let Some(part) = area.range.intersect(&range) else {
                continue;
            };
            if !flags.contains(VmFlags::WRITE) || !flags.is_cow_mapping() {
                continue;
            }
            for at in part.page_addrs() {
                let entry = self.table().slot(at, &pin).map(|slot| slot.snapshot());
                let what = match entry {
                    Some(entry) if !entry.is_none() => self.first_write(entry),
                    _ => Some(FirstWrite::FromObject),
                };
                let is_there =
                    |what: &FirstWrite| *what != FirstWrite::FromObject || area.file.is_some();
                if let Some(what) = what.filter(is_there) {
                    found(at, what);
                }
            }
        }
    }

    fn first_write(&self, entry: Entry) -> Option<FirstWrite> {
        let leaf = entry.mapping().filter(|_| entry.is_hardware_present())?;
        if entry.is_writable() || leaf.flags.contains(EntryFlags::SPECIAL) {
            return None;
        }
        let record = self.arena().record(leaf.pfn);
        let Some(folio) = record.filter(|folio| folio.is_anon()) else {
            return Some(FirstWrite::FromObject);
        };
        let is_alone = folio.has(FolioFlags::ANON_EXCLUSIVE) || folio.ref_count() == 1;
        Some(if is_alone {
            FirstWrite::Reuse
        } else {
            FirstWrite::Copy
        })
    }
}

/// What a machine may do through an entry.
fn translation(entry: Entry, marks: AccessedDirty, zero_page: Pfn) -> Option<(Target, Prot)> {
    let leaf = entry.mapping().filter(|_| entry.is_hardware_present())?;
    let mut prot = leaf.flags.prot();
    if marks == AccessedDirty::SetByFaults && !entry.is_dirty() {
        prot -= Prot::WRITE;
    }
    (!prot.is_empty()).then_some((Target::of(leaf.pfn, zero_page), prot))
}

fn joined(run: &Run, page: &Run) -> Option<Run> {
    let follows = run.range.end() == page.range.start()
        && run.prot == page.prot
        && run.target.further(run.range.pages()) == Some(page.target);
    let range = VirtRange::new(run.range.start(), page.range.end()).filter(|_| follows)?;
    Some(Run { range, ..*run })
}

/// One line of `/proc/PID/maps` (`show_map_vma`).
fn maps_line(text: &mut Text, vma: &Vma, image: &Image) -> fmt::Result {
    let begin = text.len();
    let flags = vma.flags();
    let bit = |flag, letter| if flags.contains(flag) { letter } else { '-' };
    let none = InodeId {
        major: 0,
        minor: 0,
        ino: 0,
    };
    let inode = vma.file.as_ref().map_or(none, |file| file.inode());
    let offset = vma
        .file
        .as_ref()
        .map_or(0, |_| vma.pgoff.as_u64() << PAGE_SHIFT);
    write!(
        text,
        "{:08x}-{:08x} {}{}{}{} {offset:08x} {:02x}:{:02x} {} ",
        vma.range.start(),
        vma.range.end(),
        bit(VmFlags::READ, 'r'),
        bit(VmFlags::WRITE, 'w'),
        bit(VmFlags::EXEC, 'x'),
        if flags.contains(VmFlags::MAYSHARE) {
            's'
        } else {
            'p'
        },
        inode.major,
        inode.minor,
        inode.ino,
    )?;
    let before_name = text.len();
    push_columns(text, begin);
    let name_at = text.len();
    name_of(text, vma, image)?;
    if text.len() == name_at {
        text.truncate(before_name);
    }
    text.push_str("\n");
    Ok(())
}

/// Spaces up to the column of names, in a line that begins at `begin` (`seq_pad`).
fn push_columns(text: &mut Text, begin: usize) {
    for _ in text.len()..begin + NAME_COLUMN {
        text.push_str(" ");
    }
}

/// What is printed for an area: path, object's name, heap, stack, or the name a program gave
/// (`get_vma_name`).
fn name_of(text: &mut Text, vma: &Vma, image: &Image) -> fmt::Result {
    if let Some(file) = &vma.file {
        return match &vma.name {
            Some(name) => write!(text, "[anon_shmem:{name}]"),
            None => {
                push_path(text, &file.path());
                Ok(())
            }
        };
    }
    if let Some(ops) = vma
        .ops()
        .filter(|ops| ops.callbacks().contains(Callbacks::NAME))
        && let Some(name) = ops.name(&AreaPeek::new(vma))
    {
        text.push_str(&name);
        return Ok(());
    }
    if is_initial_heap(vma, image) {
        text.push_str("[heap]");
    } else if is_initial_stack(vma, image) {
        text.push_str("[stack]");
    } else if let Some(name) = &vma.name {
        write!(text, "[anon:{name}]")?;
    }
    Ok(())
}

/// `vma_is_initial_heap`.
fn is_initial_heap(vma: &Vma, image: &Image) -> bool {
    vma.range.start() < image.brk && vma.range.end() > image.start_brk
}

/// `vma_is_initial_stack`.
fn is_initial_stack(vma: &Vma, image: &Image) -> bool {
    let stack = image.start_stack;
    stack != VirtAddr::ZERO && vma.range.start() <= stack && vma.range.end() >= stack
}

/// `seq_path(m, path, "\n")`: a newline in a path is written as an octal escape.
fn push_path(text: &mut Text, path: &[u8]) {
    for byte in path {
        match byte {
            b'\n' => text.push_str("\\012"),
            byte => text.0.push(*byte),
        }
    }
}

/// What a file of `/proc` says: text, but for paths, which are bytes.
#[derive(Debug, Default)]
struct Text(Vec<u8>);

impl Text {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    fn push_str(&mut self, more: &str) {
        self.0.extend_from_slice(more.as_bytes());
    }
}

impl Write for Text {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        self.push_str(more);
        Ok(())
    }
}
