//! A downgraded lock changes nothing any more.

use vma::{MmapLock, RemovePlan, Removed};

fn change(lock: &MmapLock<()>, plan: RemovePlan) -> Removed {
    let mut held = lock.write();
    let _reading = held.downgrade();
    plan.commit(&mut held)
}

fn main() {}
