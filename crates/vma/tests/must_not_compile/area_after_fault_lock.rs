//! An area seen through a fault lock is out of reach once the lock is given up.

use vma::{FaultLock, Vma};

fn keep(lock: FaultLock<'_, ()>) -> u64 {
    let vma: &Vma = lock.vma();
    lock.release();
    vma.range.pages()
}

fn main() {}
