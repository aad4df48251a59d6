//! F02: the entry can be written through its lock, and through nothing else.

fn main() {}

fn write(mm: &mm::Mm, addr: addr::VirtAddr, entry: pgtable::Entry) {
    let held = mm.read();
    let pin = sync::pin();
    let slot = mm.table().slot(addr, &pin).unwrap();
    slot.install(&held, entry);
}
