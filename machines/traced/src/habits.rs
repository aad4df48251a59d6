//! What programs touched when they ran before, in the same tree.
//!
//! A program that is run again touches about the same pages of the same files, and each access that
//! waits costs as much as filling many. So what has waited is kept by program, file and page; when
//! such a program begins, or has touched a page of such a file, all that is kept of it is served at
//! once, as far as the file has it at hand, and filled with one batch of host calls.

use std::collections::{BTreeSet, HashMap, VecDeque};

use addr::{Access, PAGE_SIZE, PgOff, VirtAddr, VmFlags};
use machine::{FaultInfo, Mode};
use mm::fault::{Attempt, Fault, attempt};
use object::InodeId;

use crate::memory::Memory;

/// How many programs are known; the one that has not begun for longest is forgotten for another.
const NR_PROGRAMS_MAX: usize = 64;

/// How many accesses are kept of each; the oldest is forgotten for another.
const NR_TOUCHES_MAX: usize = 512;

/// Of so many files in one memory accesses are kept and taken up.
const NR_FILES_MAX: usize = 64;

/// An access to a page of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Touch {
    pub(crate) file: InodeId,
    pub(crate) page: PgOff,
    pub(crate) access: Access,
}

/// What is known of the programs of a tree.
#[derive(Debug, Default)]
pub(crate) struct Habits {
    programs: HashMap<InodeId, Program>,
    nr_begun: u64,
}

#[derive(Debug, Default)]
struct Program {
    begun: u64,
    touches: VecDeque<Touch>,
}

impl Habits {
    /// A program begins.
    pub(crate) fn begin(&mut self, program: InodeId) {
        self.nr_begun += 1;
        if !self.programs.contains_key(&program) && self.programs.len() >= NR_PROGRAMS_MAX {
            let oldest = self.programs.iter().min_by_key(|(_, known)| known.begun);
            if let Some(oldest) = oldest.map(|(inode, _)| *inode) {
                self.programs.remove(&oldest);
            }
        }
        self.programs.entry(program).or_default().begun = self.nr_begun;
    }

    /// A program that has begun made an access that waited.
    pub(crate) fn note(&mut self, program: InodeId, touch: Touch) {
        let Some(known) = self.programs.get_mut(&program) else {
            return;
        };
        if known.touches.contains(&touch) {
            return;
        }
        if known.touches.len() >= NR_TOUCHES_MAX {
            known.touches.pop_front();
        }
        known.touches.push_back(touch);
    }

    /// What a program touched of a file.
    pub(crate) fn of(&self, program: InodeId, file: InodeId) -> Vec<Touch> {
        let known = self.programs.get(&program);
        let touches = known.into_iter().flat_map(|known| &known.touches);
        touches
            .filter(|touch| touch.file == file)
            .copied()
            .collect()
    }
}

/// The program that runs in a space, and the files of which its habits have been taken up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Own {
    program: Option<InodeId>,
    taken_up: BTreeSet<InodeId>,
}

impl Own {
    /// A program that has just begun.
    pub(crate) fn of(program: InodeId) -> Self {
        Self {
            program: Some(program),
            taken_up: BTreeSet::new(),
        }
    }

    /// Whose habits are taken up at an access to a file; `None` at the others of that file.
    fn take_up(&mut self, file: InodeId) -> Option<InodeId> {
        let is_new = self.taken_up.len() < NR_FILES_MAX && self.taken_up.insert(file);
        self.program.filter(|_| is_new)
    }

    /// Whose access to a file it is.
    fn owner(&self, file: InodeId) -> Option<InodeId> {
        self.program.filter(|_| self.taken_up.contains(&file))
    }
}

impl Memory {
    /// A program begins in this memory: it will touch again what it touched before. The spans that
    /// are to be filled.
    pub(crate) fn begin_habits(&self, program: InodeId) -> Vec<(u64, u64)> {
        self.space.shared.habits.lock().begin(program);
        self.space.held.lock().habits = Own::of(program);
        let areas = self.mm.mmap_lock().snapshot();
        let files = areas.iter().filter_map(|area| area.file.as_ref());
        let files: BTreeSet<InodeId> = files.map(|file| file.inode()).collect();
        files
            .into_iter()
            .flat_map(|file| self.take_up(file))
            .collect()
    }

    /// An access has waited. It is kept, and if it was the first to its file, the other habits with
    /// that file are taken up: the spans that are to be filled besides.
    pub(crate) fn touched(&self, address: u64, access: Access) -> Vec<(u64, u64)> {
        let address = VirtAddr::new(address);
        let areas = self.mm.mmap_lock().snapshot();
        let area = areas.find(address);
        let Some((file, page)) =
            area.and_then(|area| Some((area.file.as_ref()?.inode(), area.pgoff_of(address)?)))
        else {
            return Vec::new();
        };
        let spans = self.take_up(file);
        let owner = self.space.held.lock().habits.owner(file);
        if let Some(program) = owner {
            let touch = Touch { file, page, access };
            self.space.shared.habits.lock().note(program, touch);
        }
        spans
    }

    fn take_up(&self, file: InodeId) -> Vec<(u64, u64)> {
        let Some(program) = self.space.held.lock().habits.take_up(file) else {
            return Vec::new();
        };
        let touches = self.space.shared.habits.lock().of(program, file);
        if touches.is_empty() {
            return Vec::new();
        }
        let areas = self.mm.mmap_lock().snapshot();
        let mut spans = Vec::new();
        for area in areas.iter() {
            if area.file.as_ref().is_none_or(|own| own.inode() != file) {
                continue;
            }
            let touched = touches.iter().filter_map(|touch| {
                let at = area.address_of(touch.page)?;
                Some((at, touch.access))
            });
            for (at, access) in touched {
                spans.extend(self.touch_again(at, access, area.flags()));
            }
        }
        spans
    }

    /// Makes an access that was made before, if it may be made and what it needs is at hand. What
    /// is to be filled.
    fn touch_again(&self, at: VirtAddr, access: Access, flags: VmFlags) -> Option<(u64, u64)> {
        let needed = match access {
            Access::Write => VmFlags::WRITE,
            Access::Read | Access::Execute => VmFlags::READ,
        };
        if !flags.contains(needed) {
            return None;
        }
        let span = (at.as_u64(), at.as_u64() + PAGE_SIZE);
        let access = match access {
            Access::Write => access,
            _ => self.access_of_read(at.as_u64()),
        };
        if self.allows(at.as_u64(), access) {
            return Some(span);
        }
        let info = FaultInfo::missing(at, access, Mode::User);
        if access == Access::Write {
            return self.write_at_hand(&info);
        }
        let fault = Fault::new(self.shared(), &info).as_neighbour();
        matches!(attempt(fault), Attempt::Handled(_)).then_some(span)
    }
}

#[cfg(test)]
mod tests;
