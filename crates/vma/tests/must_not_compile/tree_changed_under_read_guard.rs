//! Areas change only under the mmap write lock.

use vma::{MmapLock, RemovePlan, Removed};

fn change(lock: &MmapLock<()>, plan: RemovePlan) -> Removed {
    let mut held = lock.read();
    plan.commit(&mut held)
}

fn main() {}
