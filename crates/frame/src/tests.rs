//! Tests that look inside; what is seen from outside is tested there too, since a whole arena is
//! cheap.

use heap::sync::Arc;
use std::vec::Vec;

use addr::Order;

use crate::*;

mod arena;
mod block;
mod buddy;
mod charge;
mod folio;
mod lru;
mod model;
mod stress;
mod words;

fn arena(frames: u64) -> Arc<Arena> {
    Arena::new(ArenaConfig::heap(frames)).expect("an arena")
}

fn order(order: u8) -> Order {
    Order::new(order).expect("an order")
}

fn anon() -> AllocRequest {
    AllocRequest::zeroed(Purpose::Anon)
}

fn folio(arena: &Arena) -> Folio {
    arena.alloc(anon()).expect("a frame").mark_uptodate()
}

/// Takes all there is.
fn exhaust(arena: &Arena) -> Vec<FreshFolio> {
    core::iter::from_fn(|| arena.alloc(AllocRequest::uninit(Purpose::Other)).ok()).collect()
}

/// Nothing is in use, and every block has found its buddy again.
fn assert_as_new(arena: &Arena) {
    let usage = arena.usage();
    assert!(usage.is_balanced(), "{usage:?}");
    assert_eq!(usage.nr_in_use(), 0, "{usage:?}");
    assert_eq!(arena.lru_sizes().total(), 0);
    let used = usage.nr_total - usage.nr_never_used;
    assert_eq!(
        arena.free_blocks(),
        whole_blocks(1, used),
        "free blocks did not merge"
    );
}

/// The fewest aligned blocks that `first..end` is made of.
fn whole_blocks(first: u64, end: u64) -> [u32; 11] {
    let mut blocks = [0; 11];
    let mut at = first;
    while at < end {
        let order = at.trailing_zeros().min((end - at).ilog2()).min(10);
        blocks[order as usize] += 1;
        at += 1 << order;
    }
    blocks
}
