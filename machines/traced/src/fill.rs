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
    pub(crate) fn fill(
        &self,
        mm: &Mm,
        window: VirtRange,
        span: (u64, u64),
    ) -> Result<(), Unfilled> {
        self.fill_all(mm, &[(window, span)])
    }

    /// The same for several spans, in the order of their addresses. What the host holds stays locked
    /// from the look at the tables until all is mapped: what is taken out of them meanwhile is
    /// forgotten afterwards.
    pub(crate) fn fill_all(
        &self,
        mm: &Mm,
        wanted: &[(VirtRange, (u64, u64))],
    ) -> Result<(), Unfilled> {
        let mut held = self.changing();
        let mut runs = Vec::new();
        for (window, (start, end)) in wanted {
            mm.translations(*window, |run| {
                let (first, behind) = (run.range.start().as_u64(), run.range.end().as_u64());
                if first < *end && behind > *start {
                    runs.push(run);
                }
            });
        }
        let mut soon = Vec::new();
        for run in &runs {
            self.fill_run(&mut held, mm, (run, &mut soon))?;
        }
        held.map(&soon)
    }

    fn fill_run(
        &self,
        held: &mut Held,
        mm: &Mm,
        (run, soon): (&mm::Run, &mut Vec<Run>),
    ) -> Result<(), Unfilled> {
        let (start, end) = (run.range.start().as_u64(), run.range.end().as_u64());
        let refused = held.runs.refused(start, end, run.prot);
        let is_complete = held.watch.is_none() || held.unwritten == Unwritten::Mapped;
        let is_always_there = is_complete || !matches!(run.target, Target::Device(_));
        for part in refused.into_iter().filter_map(|span| part_of(run, span)) {
            if is_always_there {
                self.fill_soon(held, &part, soon)?;
                continue;
            }
            // Such a page of a file is there when it can be written, and not before.
            let areas = mm.mmap_lock().snapshot();
            for area in areas.range(part.range) {
                let is_complete =
                    part.prot.contains(Prot::WRITE) || !area.flags().contains(VmFlags::WRITE);
                let span = (area.range.start().as_u64(), area.range.end().as_u64());
                if is_complete && let Some(part) = part_of(&part, span) {
                    self.fill_soon(held, &part, soon)?;
                }
            }
        }
        Ok(())
    }

    /// Puts memory that has nothing of ours in its way with what is mapped soon, by one look of the
    /// keeper at its orders; anything else is mapped at once, behind that.
    fn fill_soon(
        &self,
        held: &mut Held,
        run: &mm::Run,
        soon: &mut Vec<Run>,
    ) -> Result<(), Unfilled> {
        let (start, end) = (run.range.start().as_u64(), run.range.end().as_u64());
        let has_room = held.runs.len() + soon.len() < held.nr_runs_max();
        let in_the_way = |run: Run| run.backing == Backing::Host;
        let Target::Arena(pfn) = run.target else {
            held.map(&std::mem::take(soon))?;
            return self.fill_part(held, run);
        };
        if !has_room || held.runs.within(start, end).any(in_the_way) {
            held.map(&std::mem::take(soon))?;
            return self.fill_part(held, run);
        }
        // Two spans may be of one run.
        let from = soon.last().map_or(start, |last| last.end.max(start));
        if from < end {
            held.counts.nr_fills += 1;
            soon.push(Run {
                start: from,
                end,
                prot: run.prot,
                backing: Backing::Arena(pfn.phys_addr() + (from - start)),
            });
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
            held.map(&[part])?;
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
