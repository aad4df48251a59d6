//! A fill ends once.

use object::FaultFailure;
use object::pagecache::Filling;

fn fill(filling: Filling) {
    filling.fill(b"data");
    filling.fail(FaultFailure::Bus);
}

fn main() {}
