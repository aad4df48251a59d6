//! The old folio comes out of a flushed receipt only.

use pgtable::Stale;

fn early(stale: Stale<'_>) {
    let _ = stale.into_folio();
}

fn main() {}
