//! What the host has mapped in one space: runs of pages, each of one piece of memory with one set
//! of rights.
//!
//! It says what the host would do with an access without asking the host, and what has to be asked
//! of the host to forget a range. Nothing here calls the host.

use std::collections::{BTreeMap, HashMap};

use addr::{PAGE_SIZE, Prot};

/// What the pages of a run are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backing {
    /// Frames of the arena, from this byte of it on.
    Arena(u64),
    /// A file, by what the space calls it, from this byte of it on.
    File(u32, u64),
    /// Zeroes, from this byte of a file of them on: the zero page, as often as it lies side by side.
    Zeroes(u64),
    /// The host's own: the vDSO family and the stub. Never forgotten.
    Host,
}

impl Backing {
    /// What lies `bytes` further on.
    fn advanced(self, bytes: u64) -> Self {
        match self {
            Self::Arena(offset) => Self::Arena(offset.wrapping_add(bytes)),
            Self::File(file, offset) => Self::File(file, offset.wrapping_add(bytes)),
            Self::Zeroes(offset) => Self::Zeroes(offset.wrapping_add(bytes)),
            Self::Host => Self::Host,
        }
    }
}

/// A run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Its first address.
    pub(crate) start: u64,
    /// The first address behind it.
    pub(crate) end: u64,
    /// What may be done with its pages.
    pub(crate) prot: Prot,
    /// What they are.
    pub(crate) backing: Backing,
}

impl Run {
    /// What of it lies between two of its addresses.
    pub(crate) fn part(self, start: u64, end: u64) -> Self {
        let backing = self.backing.advanced(start - self.start);
        Self {
            start,
            end,
            prot: self.prot,
            backing,
        }
    }

    fn continues(&self, before: &Self) -> bool {
        before.end == self.start
            && before.prot == self.prot
            && before.backing.advanced(before.end - before.start) == self.backing
    }
}

/// All runs of a space, by address.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    by_start: BTreeMap<u64, Run>,
    /// How many runs there are of each file that has any.
    of_file: HashMap<u32, usize>,
    /// Whether some file has lost its last run since that was asked for.
    has_lost_file: bool,
}

impl Runs {
    /// How many runs there are: about as many areas as the host has.
    pub(crate) fn len(&self) -> usize {
        self.by_start.len()
    }

    /// How many pages are mapped.
    pub(crate) fn nr_pages(&self) -> u64 {
        self.by_start
            .values()
            .map(|run| (run.end - run.start) / PAGE_SIZE)
            .sum()
    }

    /// The run at `address`.
    pub(crate) fn at(&self, address: u64) -> Option<Run> {
        let (_, run) = self.by_start.range(..=address).next_back()?;
        (address < run.end).then_some(*run)
    }

    /// The first address from `start` on, up to `end`, at which the host would refuse an access
    /// with the rights `wanted`; `None` when it refuses none.
    pub(crate) fn first_refused(&self, start: u64, end: u64, wanted: Prot) -> Option<u64> {
        let mut at = start;
        while at < end {
            match self.at(at) {
                Some(run) if run.prot.contains(wanted) => at = run.end,
                _ => return Some(at),
            }
        }
        None
    }

    /// The spans in `[start, end)` in which the host would refuse an access with the rights `wanted`.
    pub(crate) fn refused(&self, start: u64, end: u64, wanted: Prot) -> Vec<(u64, u64)> {
        let mut spans = Vec::new();
        let mut from = start;
        for run in self
            .within(start, end)
            .filter(|run| run.prot.contains(wanted))
        {
            if run.start > from {
                spans.push((from, run.start));
            }
            from = run.end;
        }
        if from < end {
            spans.push((from, end));
        }
        spans
    }

    /// The runs that have a page in `[start, end)`, cut to it.
    pub(crate) fn within(&self, start: u64, end: u64) -> impl Iterator<Item = Run> + '_ {
        let first = self.at(start).map_or(start, |run| run.start);
        let last = end.max(first);
        self.by_start
            .range(first..last)
            .map(move |(_, run)| run.part(run.start.max(start), run.end.min(end)))
            .filter(|run| run.start < run.end)
    }

    /// Whether some run is of the file that is called so.
    pub(crate) fn has_file(&self, called: u32) -> bool {
        self.of_file.contains_key(&called)
    }

    /// Whether some file may have lost its last run since this was asked for last.
    pub(crate) fn take_has_lost_file(&mut self) -> bool {
        std::mem::take(&mut self.has_lost_file)
    }

    fn put(&mut self, run: Run) {
        self.take(run.start);
        if let Backing::File(called, _) = run.backing {
            *self.of_file.entry(called).or_default() += 1;
        }
        self.by_start.insert(run.start, run);
    }

    fn take(&mut self, start: u64) {
        let Some(run) = self.by_start.remove(&start) else {
            return;
        };
        if let Backing::File(called, _) = run.backing
            && let Some(count) = self.of_file.get_mut(&called)
        {
            *count -= 1;
            if *count == 0 {
                self.of_file.remove(&called);
                self.has_lost_file = true;
            }
        }
    }

    /// Notes that `run` is mapped, over whatever was there.
    pub(crate) fn insert(&mut self, mut run: Run) {
        if run.start >= run.end {
            return;
        }
        self.remove(run.start, run.end);
        if let Some((_, before)) = self.by_start.range(..run.start).next_back()
            && run.continues(before)
        {
            let before = *before;
            self.take(before.start);
            run = Run {
                start: before.start,
                backing: before.backing,
                ..run
            };
        }
        if let Some(after) = self.by_start.get(&run.end).copied()
            && after.continues(&run)
        {
            self.take(after.start);
            run.end = after.end;
        }
        self.put(run);
    }

    /// Notes that `[start, end)` is mapped no more.
    pub(crate) fn remove(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        if let Some(run) = self.at(start)
            && run.start < start
        {
            self.put(run.part(run.start, start));
            self.put(run.part(start, run.end));
        }
        if let Some(run) = self.at(end)
            && run.start < end
        {
            self.put(run.part(run.start, end));
            self.put(run.part(end, run.end));
        }
        while let Some((&key, _)) = self.by_start.range(start..end).next() {
            self.take(key);
        }
    }

    /// The spans in `[start, end)` where nothing is mapped.
    pub(crate) fn gaps(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let mut from = start;
        for run in self.within(start, end) {
            if run.start > from {
                gaps.push((from, run.start));
            }
            from = run.end;
        }
        if from < end {
            gaps.push((from, end));
        }
        gaps
    }

    /// The spans in `[start, end)` that must be unmapped for the host to have nothing there. What
    /// is the host's own stays.
    pub(crate) fn forgettable(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let mut spans: Vec<(u64, u64)> = Vec::new();
        let mut own_since = true;
        for run in self.within(start, end) {
            if run.backing == Backing::Host {
                own_since = true;
            } else if own_since || spans.is_empty() {
                spans.push((run.start, run.end));
                own_since = false;
            } else if let Some(last) = spans.last_mut() {
                // Holes between two runs cost nothing to unmap.
                last.1 = run.end;
            }
        }
        spans
    }

    /// The spans in `[start, end)` that can be written, each without holes and with one set of
    /// rights.
    pub(crate) fn writable(&self, start: u64, end: u64) -> Vec<(u64, u64, Prot)> {
        let mut spans: Vec<(u64, u64, Prot)> = Vec::new();
        for run in self.within(start, end) {
            if run.backing == Backing::Host || !run.prot.contains(Prot::WRITE) {
                continue;
            }
            match spans.last_mut() {
                Some(last) if last.1 == run.start && last.2 == run.prot => last.1 = run.end,
                _ => spans.push((run.start, run.end, run.prot)),
            }
        }
        spans
    }

    /// The spans in `[start, end)` with memory of the arena that can be written, each without a page of
    /// a file or of the host in between.
    pub(crate) fn writable_memory(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let mut spans: Vec<(u64, u64)> = Vec::new();
        let mut joins = false;
        for run in self.within(start, end) {
            match run.backing {
                Backing::File(..) | Backing::Host => joins = false,
                _ if !run.prot.contains(Prot::WRITE) => {}
                _ => {
                    match spans.last_mut().filter(|_| joins) {
                        Some(last) => last.1 = run.end,
                        None => spans.push((run.start, run.end)),
                    }
                    joins = true;
                }
            }
        }
        spans
    }

    /// The spans in `[start, end)` with pages of files that cannot be written.
    pub(crate) fn unwritable_files(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let of_file = |run: &Run| matches!(run.backing, Backing::File(..));
        self.within(start, end)
            .filter(|run| of_file(run) && !run.prot.contains(Prot::WRITE))
            .map(|run| (run.start, run.end))
            .collect()
    }

    /// Notes that `[start, end)` can no longer be written.
    pub(crate) fn write_protect(&mut self, start: u64, end: u64) {
        let parts: Vec<Run> = self
            .within(start, end)
            .filter(|run| run.backing != Backing::Host && run.prot.contains(Prot::WRITE))
            .collect();
        for part in parts {
            self.insert(Run {
                prot: part.prot - Prot::WRITE,
                ..part
            });
        }
    }
}

#[cfg(test)]
mod tests;
