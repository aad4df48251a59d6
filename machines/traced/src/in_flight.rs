//! What the calls that threads are in name of one space's memory.
//!
//! The host's kernel reads and writes it on its own, at any time until the call returns. What it
//! meets unmapped or write-protected then, it does not fault in as Linux would: the call fails. So
//! what a call names is made ready before the call, spared when room is made, pinned at a fork, and
//! made ready again when something took it away meanwhile.

use std::collections::HashMap;

use addr::{Access, PAGE_SIZE};

use crate::sys::Tid;

/// A range that a call names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// First byte.
    pub(crate) start: u64,
    /// Behind the last byte.
    pub(crate) end: u64,
    /// What the kernel does with it.
    pub(crate) access: Access,
}

impl Named {
    /// What of it lies in `[start, end)`.
    fn within(&self, start: u64, end: u64) -> Option<Self> {
        let (start, end) = (self.start.max(start), self.end.min(end));
        (start < end).then_some(Self {
            start,
            end,
            access: self.access,
        })
    }
}

/// What calls name, by who makes them. A thread's last call counts until its next one: its return is
/// not seen.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    by_thread: HashMap<Tid, Vec<Named>>,
    /// What may no longer be ready, but was not looked at again yet.
    disturbed: Vec<Named>,
}

impl InFlight {
    /// Notes that the call a thread is about to make names a range.
    pub(crate) fn name(&mut self, tid: Tid, named: Named) {
        self.by_thread.entry(tid).or_default().push(named);
    }

    /// A thread's last call is over.
    pub(crate) fn end_call(&mut self, tid: Tid) {
        if let Some(named) = self.by_thread.get_mut(&tid) {
            named.clear();
        }
    }

    /// A thread is gone.
    pub(crate) fn end_thread(&mut self, tid: Tid) {
        self.by_thread.remove(&tid);
    }

    /// What a thread's call names.
    pub(crate) fn of(&self, tid: Tid) -> &[Named] {
        self.by_thread.get(&tid).map_or(&[], Vec::as_slice)
    }

    /// What calls name in `[start, end)` may no longer be ready.
    pub(crate) fn disturb(&mut self, start: u64, end: u64) {
        let named = self.by_thread.values().flatten();
        let parts = named.filter_map(|named| named.within(start, end));
        self.disturbed.extend(parts);
    }

    /// The spans of whole pages in `[start, end)` that calls name, lowest first.
    pub(crate) fn named_in(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let named = self.by_thread.values().flatten();
        let parts = named.filter_map(|named| named.within(start, end));
        merged(parts.map(|part| (part.start, part.end)))
    }

    /// Whether something has to be looked at again.
    pub(crate) fn is_disturbed(&self) -> bool {
        !self.disturbed.is_empty()
    }

    /// What has to be looked at again, each once. Else what cannot be made ready, and is disturbed by
    /// every try, would be tried twice as often after each stop.
    pub(crate) fn take_disturbed(&mut self) -> Vec<Named> {
        let mut disturbed = std::mem::take(&mut self.disturbed);
        let writes = |named: &Named| named.access == Access::Write;
        disturbed.sort_unstable_by_key(|named| (named.start, named.end, writes(named)));
        disturbed.dedup();
        disturbed
    }

    /// The spans between 0 and the end of all addresses that no call names a page of, and that are
    /// outside `spared`.
    pub(crate) fn spans_between(&self, spared: (u64, u64)) -> Vec<(u64, u64)> {
        let named = self.by_thread.values().flatten();
        let kept = named.map(|named| (named.start, named.end));
        let mut spans = Vec::new();
        let mut from = 0;
        for (start, end) in merged(kept.chain([spared])) {
            if start > from {
                spans.push((from, start));
            }
            from = end;
        }
        spans.push((from, u64::MAX));
        spans
    }
}

/// The pages of some spans, without overlaps, lowest first.
fn merged(spans: impl Iterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
    let mut pages: Vec<(u64, u64)> = spans
        .map(|(start, end)| {
            let end = end.checked_next_multiple_of(PAGE_SIZE).unwrap_or(u64::MAX);
            (start & !(PAGE_SIZE - 1), end)
        })
        .collect();
    pages.sort_unstable();
    pages.dedup_by(|next, last| {
        let touches = next.0 <= last.1;
        if touches {
            last.1 = last.1.max(next.1);
        }
        touches
    });
    pages
}

#[cfg(test)]
mod tests;
