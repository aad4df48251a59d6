//! Filling: letting the host map what our tables have.

use addr::{PAGE_SHIFT, Pfn, Prot, VirtAddr, VirtRange, VmFlags};
use mm::{Mm, Target};

use crate::cover::Unwritten;
use crate::held::Held;
use crate::keeper::ZEROES_BYTES;
use crate::runs::{Backing, Run};
use crate::space::{Space, Unfilled, around};
use crate::stub;

impl Space {
    /// Fills the runs of `window`, as the tables of `mm` have them, that have a page in `[start, end)`.
    /// What the host holds stays locked from the look at the tables until all is mapped: what is
    /// taken out of them meanwhile is forgotten afterwards.
    pub(crate) fn fill(
        &self,
        mm: &Mm,
        window: VirtRange,
        (start, end): (u64, u64),
    ) -> Result<(), Unfilled> {
        let mut held = self.changing();
        let mut runs = Vec::new();
        mm.translations(window, |run| {
            let touches = run.range.start().as_u64() < end && run.range.end().as_u64() > start;
            if touches {
                runs.push(run);
            }
        });
        for run in &runs {
            self.fill_run(&mut held, mm, run)?;
        }
        Ok(())
    }

    fn fill_run(&self, held: &mut Held, mm: &Mm, run: &mm::Run) -> Result<(), Unfilled> {
        let (start, end) = (run.range.start().as_u64(), run.range.end().as_u64());
        let refused = held.runs.refused(start, end, run.prot);
        let is_complete = held.watch.is_none() || held.unwritten == Unwritten::Mapped;
        let is_always_there = is_complete || !matches!(run.target, Target::Device(_));
        for part in refused.into_iter().filter_map(|span| part_of(run, span)) {
            if is_always_there {
                self.fill_part(held, &part)?;
                continue;
            }
            // Such a page of a file is there when it can be written, and not before.
            let areas = mm.mmap_lock().snapshot();
            for area in areas.range(part.range) {
                let is_complete =
                    part.prot.contains(Prot::WRITE) || !area.flags().contains(VmFlags::WRITE);
                let span = (area.range.start().as_u64(), area.range.end().as_u64());
                if is_complete && let Some(part) = part_of(&part, span) {
                    self.fill_part(held, &part)?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn fill_part(&self, held: &mut Held, run: &mm::Run) -> Result<(), Unfilled> {
        let (start, end) = (run.range.start().as_u64(), run.range.end().as_u64());
        if held.stub < end && start < held.stub + stub::BYTES {
            held.move_stub()?;
        }
        if held.runs.len() >= held.nr_runs_max() {
            held.make_room(around(start, end));
        }
        held.counts.nr_fills += 1;
        self.map_over(held, run)
    }

    pub(crate) fn map_over(&self, held: &mut Held, run: &mm::Run) -> Result<(), Unfilled> {
        let (start, end) = (run.range.start().as_u64(), run.range.end().as_u64());
        let is_host = |run: Run| run.backing == Backing::Host;
        if held.runs.within(start, end).any(is_host) {
            return Err(Unfilled::OfTheHost);
        }
        let (mut from, prot) = (start, run.prot);
        while from < end {
            let next = match run.target {
                Target::Zeroes => end.min((from / ZEROES_BYTES + 1) * ZEROES_BYTES),
                _ => end,
            };
            let backing = held.backing(&self.shared, (from, run.target), prot)?;
            let part = Run {
                start: from,
                end: next,
                prot,
                backing,
            };
            held.map(part)?;
            from = next;
        }
        Ok(())
    }
}

/// What of a run lies in `[start, end)`.
fn part_of(run: &mm::Run, (start, end): (u64, u64)) -> Option<mm::Run> {
    let span = VirtRange::new(VirtAddr::new(start), VirtAddr::new(end))?;
    let range = run.range.intersect(&span)?;
    let pages = range.start().offset_from(run.range.start()) >> PAGE_SHIFT;
    let target = match run.target {
        Target::Zeroes => Target::Zeroes,
        Target::Arena(pfn) => Target::Arena(Pfn::new(pfn.as_u64() + pages)),
        Target::Device(pfn) => Target::Device(Pfn::new(pfn.as_u64() + pages)),
    };
    Some(mm::Run {
        range,
        target,
        prot: run.prot,
    })
}
