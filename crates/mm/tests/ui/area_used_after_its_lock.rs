//! F24: an area that is borrowed from the fault lock is gone with it.

fn main() {}

fn range_after<T>(lock: vma::FaultLock<'_, T>) -> addr::VirtRange {
    let area = lock.vma();
    lock.release();
    area.range
}
