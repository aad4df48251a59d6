//! A finished gather has flushed and freed; nothing more goes into it.

use addr::VirtRange;
use pgtable::Gather;

fn twice(mut gather: Gather<'_>, range: VirtRange) {
    gather.finish();
    gather.forget(range);
}

fn main() {}
