//! The search for room against looking at every page.

use crate::gap::{GapRequest, StartGap};
use crate::tree::{RangeTree, Spanned};
use addr::{PAGE_SIZE, VirtAddr, VirtRange};
use proptest::prelude::*;
use std::vec::Vec;

const PAGES: u64 = 400;
const GUARD_PAGES: u64 = 9;

#[derive(Clone, Copy, Debug)]
struct Piece {
    range: VirtRange,
    stack: bool,
}

impl Spanned for Piece {
    fn span(&self) -> VirtRange {
        self.range
    }
}

impl StartGap for Piece {
    fn start_with_gap(&self, stack_guard_bytes: u64) -> VirtAddr {
        let gap = if self.stack { stack_guard_bytes } else { 0 };
        self.range.start().saturating_sub(gap)
    }

    fn keeps_start_gap(&self) -> bool {
        self.stack
    }
}

fn at(page: u64) -> VirtAddr {
    VirtAddr::new(page * PAGE_SIZE)
}

/// Holes and areas by turns; every fifth area or so is a stack.
fn arrangement() -> impl Strategy<Value = Vec<Piece>> {
    proptest::collection::vec((0..14u64, 1..7u64, 0..5u8), 0..60).prop_map(|runs| {
        let mut next = 0;
        let mut pieces = Vec::new();
        for (hole, pages, kind) in runs {
            let start = next + hole;
            next = start + pages;
            if next <= PAGES {
                let range = VirtRange::new(at(start), at(next)).expect("not empty");
                pieces.push(Piece {
                    range,
                    stack: kind == 0,
                });
            }
        }
        pieces
    })
}

/// Whether `pages` fit at `first`: free, inside, and clear of the gap below the next area. The gap of
/// an area counts only for the hole right below it, as in Linux.
fn fits(pieces: &[Piece], window: (u64, u64), first: u64, pages: u64) -> bool {
    let end = first + pages;
    if first < window.0 || end > window.1 {
        return false;
    }
    let next = pieces.iter().find(|piece| piece.range.end() > at(first));
    next.is_none_or(|next| at(end) <= next.start_with_gap(GUARD_PAGES * PAGE_SIZE))
}

/// From the top down, page by page. A stack met on the way keeps everything from its guard gap on out
/// of reach, even beyond an area that lies inside the gap: so Linux searches on.
fn highest_by_page(pieces: &[Piece], window: (u64, u64), pages: u64) -> Option<u64> {
    let (low, mut high) = window;
    let mut first = high.checked_sub(pages)?;
    loop {
        let free = |page: &u64| !pieces.iter().any(|piece| piece.range.contains(at(*page)));
        let plain =
            first >= low && first + pages <= high && (first..first + pages).all(|page| free(&page));
        if plain && fits(pieces, (low, high), first, pages) {
            return Some(first);
        }
        let next = pieces.iter().find(|piece| piece.range.end() > at(first));
        if let (true, Some(next)) = (plain, next) {
            high = next.start_with_gap(GUARD_PAGES * PAGE_SIZE).page_number();
        }
        first = first.checked_sub(1)?;
    }
}

fn request(window: (u64, u64), pages: u64) -> GapRequest {
    GapRequest {
        stack_guard_bytes: GUARD_PAGES * PAGE_SIZE,
        ..GapRequest::new(pages * PAGE_SIZE, at(window.0), at(window.1))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    // row: M04
    #[test]
    fn lowest_and_highest_are_those_of_a_search_by_page(
        pieces in arrangement(),
        low in 0..PAGES,
        span in 0..PAGES,
        pages in 1..30u64,
    ) {
        let tree = RangeTree::from_sorted(pieces.iter().copied());
        let window = (low, low + span);
        let wanted = request(window, pages);
        let mut places = (0..=2 * PAGES).filter(|first| fits(&pieces, window, *first, pages));
        prop_assert_eq!(tree.lowest_gap(&wanted), places.next().map(at));
        prop_assert_eq!(tree.highest_gap(&wanted), highest_by_page(&pieces, window, pages).map(at));
    }

    // row: M04
    #[test]
    fn an_aligned_place_is_aligned_and_free(
        pieces in arrangement(),
        pages in 1..20u64,
        shift in 0..4u32,
        offset in 0..16u64,
    ) {
        let tree = RangeTree::from_sorted(pieces.iter().copied());
        let align = PAGE_SIZE << shift;
        let wanted = GapRequest {
            align_mask: align - 1,
            align_offset: offset * PAGE_SIZE,
            ..request((0, PAGES), pages)
        };
        for place in [tree.lowest_gap(&wanted), tree.highest_gap(&wanted)].into_iter().flatten() {
            prop_assert_eq!(place.as_u64() % align, (offset * PAGE_SIZE) % align);
            prop_assert!(fits(&pieces, (0, PAGES), place.page_number(), pages));
        }
    }

    // row: M04
    #[test]
    fn a_hint_has_room_where_a_page_by_page_search_says_so(
        pieces in arrangement(),
        first in 0..PAGES,
        pages in 1..20u64,
    ) {
        let tree = RangeTree::from_sorted(pieces.iter().copied());
        let range = VirtRange::from_len(at(first), pages * PAGE_SIZE).expect("not empty");
        let room = tree.is_room(range, GUARD_PAGES * PAGE_SIZE);
        prop_assert_eq!(room, fits(&pieces, (0, 2 * PAGES), first, pages));
    }
}

// row: M04
#[test]
fn a_shadow_stack_gets_its_gap() {
    let piece = Piece {
        range: VirtRange::new(at(10), at(20)).expect("not empty"),
        stack: false,
    };
    let tree = RangeTree::from_sorted([piece]);
    let wanted = GapRequest {
        start_gap: PAGE_SIZE,
        ..request((20, 30), 4)
    };
    assert_eq!(tree.lowest_gap(&wanted), Some(at(21)));
    // The length searched for includes the gap.
    assert_eq!(
        tree.lowest_gap(&GapRequest {
            high: at(24),
            ..wanted
        }),
        None
    );
    assert_eq!(tree.highest_gap(&wanted), Some(at(26)));
}

// row: M04
#[test]
fn absurd_lengths_find_nothing() {
    let tree: RangeTree<Piece> = RangeTree::new();
    let wanted = GapRequest {
        bytes: u64::MAX - 4095,
        align_mask: 0xffff,
        ..request((0, PAGES), 1)
    };
    assert_eq!(tree.lowest_gap(&wanted), None);
    assert_eq!(tree.highest_gap(&wanted), None);
    let reversed = GapRequest {
        low: at(9),
        high: at(3),
        ..request((0, PAGES), 1)
    };
    assert_eq!(tree.lowest_gap(&reversed), None);
    assert_eq!(tree.highest_gap(&reversed), None);
}
