//! A receipt is spent once: it owns the old entry's reference.

use machine::NoMmu;
use pgtable::{Gather, Stale};

fn twice(stale: Stale<'_>, gather: &mut Gather<'_>) {
    let flushed = stale.flush(&NoMmu);
    stale.defer(gather);
    drop(flushed);
}

fn main() {}
