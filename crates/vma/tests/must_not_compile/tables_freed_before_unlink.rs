//! Tables of a range that rmap still reaches are not freed.

use sync::Detached;
use vma::Removed;

fn free_tables(_: impl Detached) {}

fn hasty(removed: Removed) {
    free_tables(removed);
}

fn main() {}
