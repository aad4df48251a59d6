//! F25: an attempt takes the fault, and gives it back only with what it needs.

fn main() {}

fn twice(fault: mm::Fault) {
    let first = mm::attempt(fault);
    let second = mm::attempt(fault);
    drop((first, second));
}
