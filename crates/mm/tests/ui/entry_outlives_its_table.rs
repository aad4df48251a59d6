//! F02: nor can the lock be kept longer than the space.

fn main() {}

fn keep<'a>(user: mm::MmUser, addr: addr::VirtAddr) -> pgtable::EntryLock<'a> {
    let pin = sync::pin();
    user.table().slot(addr, &pin).unwrap().lock().unwrap()
}
