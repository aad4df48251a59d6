//! What was removed must be zapped, unlinked and closed.
#![deny(unused_must_use)]

use vma::{MmapWrite, RemovePlan};

fn remove(plan: RemovePlan, held: &mut MmapWrite<'_, ()>) {
    plan.commit(held);
}

fn main() {}
