//! Frames put aside for a fault that found none.
//!
//! The last rung: what is obtained here belongs to the fault, so the next attempt cannot lose it to
//! anyone. If nothing can be put aside, memory is exhausted, and the fault says so.

use alloc::sync::Arc;

use addr::PagingMode;
use frame::{AllocRequest, Arena, ChargeId, Depth, FreshFolio, Purpose};
use object::Obtained;
use pgtable::TableReserve;

/// Frames that belong to one fault.
#[derive(Debug, Default)]
pub(crate) struct Reserve {
    /// One frame for a page, with anything in it.
    pub(crate) frame: Option<FreshFolio>,
    /// Frames for every table on the way.
    pub(crate) tables: TableReserve,
}

/// Waits for what is being freed, then puts aside all that one fault can need: the tables on the way
/// down and a page. `None` if there is not so much.
pub(crate) fn put_aside(
    arena: &Arc<Arena>,
    charge: Option<ChargeId>,
    mode: PagingMode,
) -> Option<Reserve> {
    // What was unlinked is free only when nobody pinned can see it: before memory is called
    // exhausted, wait for that.
    sync::barrier();
    let mut reserve = Reserve::default();
    let below_root = mode.levels() as usize - 1;
    reserve
        .tables
        .fill_to_depth(arena, below_root, Depth::Reserve)
        .ok()?;
    let page = AllocRequest::uninit(Purpose::Anon)
        .with_charge(charge)
        .with_depth(Depth::Reserve);
    reserve.frame = arena.alloc(page).ok();
    reserve.frame.is_some().then_some(reserve)
}

/// Waits for what is being freed, and leaves it to whoever asks next.
pub(crate) fn wait_for_freed() -> Obtained {
    sync::barrier();
    Obtained::nothing()
}
