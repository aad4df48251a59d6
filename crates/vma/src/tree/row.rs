//! A row: up to [`FANOUT`] spans in order, their keys in arrays of their own.
//!
//! A lookup reads only `ends` (and at the leaf one word of `starts`), so a level costs two or three
//! cache lines whatever hangs below it.

use core::array;

/// How many spans one node of the tree holds. Larger nodes are walked a little faster, smaller ones are
/// copied faster: of 8, 16 and 32 this loses least on either side.
pub(crate) const FANOUT: usize = 16;

/// Keys compared in one step of a search: a cache line of them.
const LINE: usize = 8;

/// What the keys of empty slots hold, so that a search may look at whole lines.
const BEYOND: u64 = u64::MAX;

/// Spans in order, and what each one carries. Slots at and above `nr` are empty.
#[derive(Clone, Debug)]
pub(crate) struct Row<T> {
    nr: usize,
    ends: [u64; FANOUT],
    starts: [u64; FANOUT],
    items: [Option<T>; FANOUT],
}

impl<T> Row<T> {
    pub(crate) fn new() -> Self {
        Self {
            nr: 0,
            ends: [BEYOND; FANOUT],
            starts: [0; FANOUT],
            items: array::from_fn(|_| None),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.nr
    }

    pub(crate) fn is_full(&self) -> bool {
        self.nr == FANOUT
    }

    pub(crate) fn starts(&self) -> &[u64] {
        &self.starts[..self.nr]
    }

    pub(crate) fn ends(&self) -> &[u64] {
        &self.ends[..self.nr]
    }

    /// The place of the first span that ends above `addr`; `len()` when there is none.
    ///
    /// First the line that has it, by the last key of each, then the place in that line: two short
    /// runs of independent comparisons, instead of one memory latency per halving.
    #[inline]
    pub(crate) fn first_ending_above(&self, addr: u64) -> usize {
        let (lines, _) = self.ends.as_chunks::<LINE>();
        let before = lines[..lines.len() - 1].iter();
        let line = before
            .map(|line| usize::from(line[LINE - 1] <= addr))
            .sum::<usize>();
        let inside = lines[line]
            .iter()
            .map(|end| usize::from(*end <= addr))
            .sum::<usize>();
        (line * LINE + inside).min(self.nr)
    }

    pub(crate) fn get(&self, at: usize) -> Option<&T> {
        self.items.get(at)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.items.get_mut(at)?.as_mut()
    }

    pub(crate) fn items(&self) -> impl Iterator<Item = &T> {
        self.items[..self.nr].iter().flatten()
    }

    /// From the first start to the last end; `None` for an empty row.
    pub(crate) fn span(&self) -> Option<(u64, u64)> {
        Some((*self.starts().first()?, *self.ends().last()?))
    }

    /// The widest hole between two neighbours of this row.
    pub(crate) fn widest_hole(&self) -> u64 {
        let after = self.starts().iter().skip(1);
        after
            .zip(self.ends())
            .map(|(start, end)| start - end)
            .max()
            .unwrap_or(0)
    }

    /// Puts a span at `at`, moving the later ones up. The row must not be full.
    pub(crate) fn put(&mut self, at: usize, span: (u64, u64), item: T) {
        debug_assert!(!self.is_full() && at <= self.nr);
        self.starts.copy_within(at..self.nr, at + 1);
        self.ends.copy_within(at..self.nr, at + 1);
        self.items[at..=self.nr].rotate_right(1);
        (self.starts[at], self.ends[at]) = span;
        self.items[at] = Some(item);
        self.nr += 1;
    }

    /// Takes the span at `at` out, moving the later ones down.
    pub(crate) fn take(&mut self, at: usize) -> Option<T> {
        let item = self.items[..self.nr].get_mut(at)?.take();
        self.starts.copy_within(at + 1..self.nr, at);
        self.ends.copy_within(at + 1..self.nr, at);
        self.items[at..self.nr].rotate_left(1);
        self.nr -= 1;
        self.ends[self.nr] = BEYOND;
        item
    }

    /// Gives the span at `at` other bounds; what it carries stays.
    pub(crate) fn set_span(&mut self, at: usize, span: (u64, u64)) {
        (self.starts[at], self.ends[at]) = span;
    }

    /// Takes the spans from `at` on into a row of their own.
    pub(crate) fn split_off(&mut self, at: usize) -> Self {
        let mut right = Self::new();
        right.nr = self.nr - at;
        right.starts[..right.nr].copy_from_slice(&self.starts[at..self.nr]);
        right.ends[..right.nr].copy_from_slice(&self.ends[at..self.nr]);
        for (to, from) in right.items.iter_mut().zip(&mut self.items[at..self.nr]) {
            *to = from.take();
        }
        self.ends[at..].fill(BEYOND);
        self.nr = at;
        right
    }

    /// Appends all of `right`, whose spans lie above this row's. Both must fit.
    pub(crate) fn append(&mut self, right: Self) {
        debug_assert!(self.nr + right.nr <= FANOUT);
        let end = self.nr + right.nr;
        self.starts[self.nr..end].copy_from_slice(right.starts());
        self.ends[self.nr..end].copy_from_slice(right.ends());
        for (to, from) in self.items[self.nr..end].iter_mut().zip(right.items) {
            *to = from;
        }
        self.nr = end;
    }
}
