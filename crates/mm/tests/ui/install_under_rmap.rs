//! A reverse-map guard does not allow to install entries.

fn main() {}

fn install(entry: &mut pgtable::EntryLock<'_>, held: &object::RmapRead<'_>, new: pgtable::Entry) {
    let _ = entry.install(held, new);
}
