//! A plan is committed once.

use vma::{MmapWrite, RemovePlan, Removed};

fn twice(plan: RemovePlan, held: &mut MmapWrite<'_, ()>) -> [Removed; 2] {
    [plan.commit(held), plan.commit(held)]
}

fn main() {}
