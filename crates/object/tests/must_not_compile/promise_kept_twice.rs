//! A promise is kept once.

use object::source::{Completer, Delivery};

fn keep(completer: Completer<Delivery>) {
    completer.complete(Delivery::Zeroes);
    completer.complete(Delivery::Retry);
}

fn main() {}
