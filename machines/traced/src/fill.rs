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
    /// Fills the runs of `windows`, as the tables of `mm` have them, that have a page in one of `spans`,
    /// which are in order and apart. What the host holds stays locked from the look at the tables
    /// until all is mapped: what is taken out of them meanwhile is forgotten afterwards.
    pub(crate) fn fill(
        &self,
        mm: &Mm,
        windows: &[VirtRange],
        spans: &[(u64, u64)],
    ) -> Result<(), Unfilled> {
        let mut held = self.changing();
        let mut runs = Vec::new();
        for window in windows {
            mm.translations(*window, |run| {
                let (start, end) = (run.range.start().as_u64(), run.range.end().as_u64());
                let next = spans.partition_point(|span| span.1 <= start);
                if spans.get(next).is_some_and(|span| span.0 < end) {
                    runs.push(run);
                }
            });
        }
        let mut parts = Vec::new();
        for run in &runs {
            missing_parts(&held, mm, run, &mut parts);
        }
        self.fill_parts(&mut held, &parts)
    }

    pub(crate) fn fill_parts(&self, held: &mut Held, parts: &[mm::Run]) -> Result<(), Unfilled> {
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
            return Ok(());
        };
        let is_in_the_way = |held: &Held, run: &mm::Run| {
            let (start, end) = (run.range.start().as_u64(), run.range.end().as_u64());
            held.stub < end && start < held.stub + stub::BYTES
        };
        while parts.iter().any(|part| is_in_the_way(held, part)) {
            held.move_stub()?;
        }
        if held.runs.len() + parts.len() > held.nr_runs_max() {
            let (start, end) = (first.range.start().as_u64(), last.range.end().as_u64());
            held.make_room(around(start, end));
        }
        held.counts.nr_fills += parts.len() as u64;
        let filled = self.map_over(held, parts);
        if filled == Err(Unfilled::NoSuchPage) && parts.len() > 1 {
            // The keeper may have no room for so many files at once.
            let each = parts.iter().map(|part| self.map_over(held, &[*part]));
            return each.fold(Ok(()), Result::and);
        }
        filled
    }

    /// Maps all of `parts` that can be mapped.
    pub(crate) fn map_over(&self, held: &mut Held, parts: &[mm::Run]) -> Result<(), Unfilled> {
        let (mut runs, mut backed) = (Vec::new(), Ok(()));
        for part in parts {
            backed = backed.and(self.back(held, part, &mut runs));
        }
        backed.and(held.map(&runs))
    }

    /// What a run is mapped from.
    fn back(&self, held: &mut Held, run: &mm::Run, runs: &mut Vec<Run>) -> Result<(), Unfilled> {
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
            runs.push(Run {
                start: from,
                end: next,
                prot,
                backing,
            });
            from = next;
        }
        Ok(())
    }
}

/// What of a run the host would have to map first.
fn missing_parts(held: &Held, mm: &Mm, run: &mm::Run, parts: &mut Vec<mm::Run>) {
    let (start, end) = (run.range.start().as_u64(), run.range.end().as_u64());
    let refused = held.runs.refused(start, end, run.prot);
    let is_complete = held.watch.is_none() || held.unwritten == Unwritten::Mapped;
    let is_always_there = is_complete || !matches!(run.target, Target::Device(_));
    for part in refused.into_iter().filter_map(|span| part_of(run, span)) {
        if is_always_there {
            parts.push(part);
            continue;
        }
        // Such a page of a file is there when it can be written, and not before.
        let areas = mm.mmap_lock().snapshot();
        for area in areas.range(part.range) {
            let is_complete =
                part.prot.contains(Prot::WRITE) || !area.flags().contains(VmFlags::WRITE);
            let span = (area.range.start().as_u64(), area.range.end().as_u64());
            if is_complete {
                parts.extend(part_of(&part, span));
            }
        }
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
