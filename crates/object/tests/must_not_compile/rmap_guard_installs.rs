//! Who holds an rmap lock knows that the range is stable, and may not fill entries in it.

fn install(_: &impl sync::MayInstall) {}

fn walk(held: &object::RmapRead<'_>, moving: &object::RmapWrite<'_>) {
    install(held);
    install(moving);
}

fn main() {}
