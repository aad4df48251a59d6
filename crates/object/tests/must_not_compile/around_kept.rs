//! Fault-around ends with the call: its entry lock cannot be carried to another thread.

use object::MapAround;

fn map_pages(around: MapAround<'static>) {
    std::thread::spawn(move || around.nr_mapped());
}

fn main() {}
