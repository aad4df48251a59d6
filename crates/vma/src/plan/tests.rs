//! The tables of merging and splitting, row by row.

use super::*;
use crate::fixtures::*;
use crate::{MmapHeld, NewArea, Rules, SpaceLock};
use addr::{Errno, PgOff, VirtAddr, VmFlags};
use alloc::sync::Arc;
use object::{Callbacks, MemPolicy, PolicyMode, UserfaultId};
use std::vec;
use std::vec::Vec;

const CLOSING: Callbacks = Callbacks::OPEN.union(Callbacks::CLOSE);

// row: A09
#[test]
fn a_new_range_merges_as_the_table_says() {
    let lock = space();
    assert_eq!(lock.map(anonymous(10, 20, RW)).placement, Placement::Alone);
    assert_eq!(
        lock.map(anonymous(20, 30, RW)).placement,
        Placement::ExtendsPrev
    );
    assert_eq!(lock.map(anonymous(40, 50, RW)).placement, Placement::Alone);
    assert_eq!(
        lock.map(anonymous(35, 40, RW)).placement,
        Placement::ExtendsNext
    );
    assert_eq!(lock.layout(), [(10, 30), (35, 50)]);
    let joined = lock.map(anonymous(30, 35, RW));
    assert_eq!(joined.placement, Placement::JoinsBoth);
    assert_eq!(lock.layout(), [(10, 50)]);
    assert_eq!(joined.vma.pgoff, PgOff::new(10));
}

// row: A09
#[test]
fn brk_extends_upwards_only() {
    let lock = space();
    lock.map(anonymous(10, 20, RW)).vma.is_attached();
    lock.map(anonymous(30, 40, RW)).vma.is_attached();
    let mut held = lock.write();
    let plan = MapPlan::decide(&held, anonymous(20, 30, RW), MapScope::PrevOnly).expect("no file");
    assert_eq!(plan.commit(&mut held).placement, Placement::ExtendsPrev);
    drop(held);
    assert_eq!(lock.layout(), [(10, 30), (30, 40)]);
}

// row: A09
#[test]
fn a_close_hook_of_next_leaves_next_alone() {
    let lock = space();
    let diary = Arc::new(Diary::with(CLOSING));
    for (start, end) in [(10, 20), (30, 40), (20, 30)] {
        let _ = lock.map(told(&diary, start, end));
    }
    assert_eq!(lock.layout(), [(10, 30), (30, 40)]);
    // Without the hook the three are one.
    let lock = space();
    let diary = Arc::new(Diary::with(Callbacks::FAULT));
    for (start, end) in [(10, 20), (30, 40), (20, 30)] {
        let _ = lock.map(told(&diary, start, end));
    }
    assert_eq!(lock.layout(), [(10, 40)]);
    assert!(diary.take().is_empty());
}

/// Areas that differ from `anonymous(10, 20, RW)` in one thing that keeps them apart.
fn strangers() -> Vec<NewArea> {
    let like = || anonymous(20, 30, RW);
    let mut list = vec![
        anonymous(20, 30, RO),
        anonymous(20, 30, RW | VmFlags::SEALED),
    ];
    list.extend(
        [
            VmFlags::IO,
            VmFlags::DONTEXPAND,
            VmFlags::PFNMAP,
            VmFlags::MIXEDMAP,
        ]
        .map(|special| anonymous(20, 30, RW | special)),
    );
    let mut other = like();
    other.area.pgoff = PgOff::new(21);
    list.push(other);
    let mut other = like();
    other.area.name = Some("heap".into());
    list.push(other);
    let mut other = like();
    other.area.policy = Some(Arc::new(MemPolicy {
        mode: PolicyMode::Bind,
        nodes: 1,
    }));
    list.push(other);
    let mut other = like();
    other.area.userfault = core::num::NonZeroU64::new(3).map(UserfaultId);
    list.push(other);
    let mut other = like();
    other.area.file = Some(file());
    list.push(other);
    list.push(told(&Arc::new(Diary::with(Callbacks::FAULT)), 20, 30));
    list
}

// row: A09
// row: A11
#[test]
fn any_difference_that_counts_keeps_areas_apart() {
    for other in strangers() {
        let lock = space();
        let _ = lock.map(anonymous(10, 20, RW));
        let told = std::format!("{other:?}");
        assert_eq!(lock.map(other).placement, Placement::Alone, "{told}");
    }
}

// row: A09
#[test]
fn equal_names_and_policies_merge_by_value() {
    let lock = space();
    for (start, end) in [(10, 20), (20, 30)] {
        let mut new = anonymous(start, end, RW);
        new.area.name = Some("heap".into());
        new.area.policy = Some(Arc::new(MemPolicy {
            mode: PolicyMode::Bind,
            nodes: 1,
        }));
        let _ = lock.map(new);
    }
    assert_eq!(lock.layout(), [(10, 30)]);
}

// row: A05
#[test]
fn parts_of_one_open_file_merge_where_offsets_agree() {
    let lock = space();
    let one = file();
    let _ = lock.map(mapped(&one, 10, (10, 20)));
    let _ = lock.map(mapped(&one, 10, (20, 30)));
    assert_eq!(lock.layout(), [(10, 30)]);
    let _ = lock.map(mapped(&one, 9, (30, 40)));
    assert_eq!(lock.layout(), [(10, 30), (30, 40)]);
    let _ = lock.map(mapped(&file(), 9, (40, 50)));
    assert_eq!(lock.layout(), [(10, 30), (30, 40), (40, 50)]);
    assert_eq!(one.mappings().nr_mappings(), 2);
}

// row: A04
#[test]
fn sticky_flags_are_kept_by_whoever_absorbs() {
    let lock = space();
    let _ = lock.map(anonymous(10, 20, RW));
    let placed = lock.map(anonymous(20, 30, RW | VmFlags::SOFTDIRTY));
    assert_eq!(placed.placement, Placement::ExtendsPrev);
    assert_eq!(placed.vma.flags(), RW | VmFlags::SOFTDIRTY);
    placed.vma.set_maybe_guard(&lock.read());
    assert!(placed.vma.flags().contains(VmFlags::MAYBE_GUARD));
    let placed = lock.map(anonymous(30, 40, RW));
    assert_eq!(placed.vma.flags(), RW | VmFlags::STICKY);
    // A cut keeps them too.
    lock.unmap(15, 16);
    assert_eq!(lock.area_at(12).flags(), RW | VmFlags::STICKY);
}

/// prev [10,20), middle [20,30) and next [30,40), where middle alone is read-only.
fn three() -> Lock {
    let lock = space();
    for new in [
        anonymous(10, 20, RW),
        anonymous(20, 30, RO),
        anonymous(30, 40, RW),
    ] {
        let _ = lock.map(new);
    }
    assert_eq!(lock.layout(), [(10, 20), (20, 30), (30, 40)]);
    lock
}

// row: A09
// row: A10
// inv: 15
#[test]
fn a_changed_part_merges_as_the_table_says() {
    type Case = (u64, u64, &'static [(u64, u64)]);
    let cases: [Case; 6] = [
        (20, 30, &[(10, 40)]),
        (20, 25, &[(10, 25), (25, 30), (30, 40)]),
        (25, 30, &[(10, 20), (20, 25), (25, 40)]),
        (23, 27, &[(10, 20), (20, 23), (23, 27), (27, 30), (30, 40)]),
        (20, 20 + 1, &[(10, 21), (21, 30), (30, 40)]),
        (30 - 1, 30, &[(10, 20), (20, 29), (29, 40)]),
    ];
    for (start, end, expected) in cases {
        let lock = three();
        lock.protect(start, end, RW).expect("nothing refuses");
        assert_eq!(lock.layout(), expected, "{start}..{end}");
        check_tree(&lock.snapshot());
    }
}

// row: A09
#[test]
fn one_like_neighbour_takes_the_whole_middle() {
    let lock = space();
    for new in [anonymous(10, 20, RW), anonymous(20, 30, RO)] {
        let _ = lock.map(new);
    }
    lock.protect(20, 30, RW).expect("nothing refuses");
    assert_eq!(lock.layout(), [(10, 30)]);
    let lock = space();
    for new in [anonymous(20, 30, RO), anonymous(30, 40, RW)] {
        let _ = lock.map(new);
    }
    lock.protect(20, 30, RW).expect("nothing refuses");
    assert_eq!(lock.layout(), [(20, 40)]);
    assert_eq!(lock.area_at(20).pgoff, PgOff::new(20));
}

// row: A09
#[test]
fn a_middle_with_a_close_hook_is_not_merged_away() {
    let diary = Arc::new(Diary::with(CLOSING));
    let lock = space();
    let _ = lock.map(told(&diary, 10, 20));
    let mut middle = told(&diary, 20, 30);
    middle.area.flags = RO;
    let _ = lock.map(middle);
    lock.protect(20, 30, RW).expect("nothing refuses");
    assert_eq!(lock.layout(), [(10, 20), (20, 30)]);
    // A part of it may go to prev: it does not vanish.
    lock.protect(20, 30, RO).expect("nothing refuses");
    lock.protect(20, 25, RW).expect("nothing refuses");
    assert_eq!(lock.layout(), [(10, 25), (25, 30)]);
    assert!(diary.take().is_empty());
}

// row: A10
// row: V01
// row: V02
// inv: 23
#[test]
fn splits_are_opened_and_removals_closed() {
    let diary = Arc::new(Diary::with(CLOSING));
    let lock = space();
    let _ = lock.map(told(&diary, 10, 40));
    lock.protect(20, 30, RO).expect("nothing refuses");
    assert_eq!(diary.take(), [(Heard::Open, 10, 20), (Heard::Open, 30, 40)]);
    lock.unmap(5, 15);
    assert_eq!(
        diary.take(),
        [(Heard::Open, 15, 20), (Heard::Close, 10, 15)]
    );
    lock.unmap(0, 100);
    let closed = [(15, 20), (20, 30), (30, 40)].map(|(start, end)| (Heard::Close, start, end));
    assert_eq!(diary.take(), closed);
    assert!(lock.snapshot().is_empty());
}

// row: V03
// row: A10
// inv: 19
#[test]
fn a_refused_second_split_leaves_the_first() {
    let diary = Diary::with(Callbacks::MAY_SPLIT).unsplittable_at(30);
    let lock = space();
    let _ = lock.map(told(&Arc::new(diary), 10, 40));
    assert_eq!(lock.protect(20, 30, RO), Err(Errno::EINVAL));
    assert_eq!(lock.layout(), [(10, 20), (20, 40)]);
    assert!(lock.snapshot().iter().all(|vma| vma.flags() == RW));
    let mut held = lock.write();
    let refused = RemovePlan::decide(&held, span(15, 30)).expect_err("it does not split there");
    assert_eq!(refused.settle(&mut held), Errno::EINVAL);
    drop(held);
    assert_eq!(lock.layout(), [(10, 15), (15, 20), (20, 40)]);
    check_tree(&lock.snapshot());
}

// row: M11
// inv: 20
#[test]
fn splitting_stops_at_the_limit() {
    let lock = space_with(Rules {
        max_map_count: 2,
        ..Rules::default()
    });
    let _ = lock.map(anonymous(10, 40, RW));
    // The first split makes the second area, the second would make a third.
    assert_eq!(lock.protect(20, 30, RO), Err(Errno::ENOMEM));
    assert_eq!(lock.layout(), [(10, 20), (20, 40)]);
    assert_eq!(lock.protect(22, 24, RO), Err(Errno::ENOMEM));
    assert_eq!(lock.layout(), [(10, 20), (20, 40)]);
    // One split of munmap is always allowed, two are not.
    let mut held = lock.write();
    let refused = RemovePlan::decide(&held, span(12, 18)).expect_err("two splits");
    assert_eq!(refused.why(), PlanError::TooManyAreas);
    assert!(!refused.keeps_split());
    assert_eq!(refused.settle(&mut held), Errno::ENOMEM);
    drop(held);
    lock.unmap(15, 25);
    assert_eq!(lock.layout(), [(10, 15), (25, 40)]);
}

// inv: 22
// row: A04
#[test]
fn a_sealed_area_is_not_removed() {
    let lock = space();
    let _ = lock.map(anonymous(10, 20, RW));
    let _ = lock.map(anonymous(20, 30, RW | VmFlags::SEALED));
    let _ = lock.map(anonymous(30, 40, RW));
    let mut held = lock.write();
    for (start, end) in [(25, 35), (20, 30), (22, 24)] {
        let refused = RemovePlan::decide(&held, span(start, end)).expect_err("sealed");
        assert!(!refused.keeps_split());
        assert_eq!(refused.settle(&mut held), Errno::EPERM);
    }
    // The split before it was found stays.
    let refused = RemovePlan::decide(&held, span(15, 25)).expect_err("sealed");
    assert!(refused.keeps_split());
    assert_eq!(refused.settle(&mut held), Errno::EPERM);
    drop(held);
    assert_eq!(lock.layout(), [(10, 15), (15, 20), (20, 30), (30, 40)]);
}

// row: A01
// row: M03
#[test]
fn a_removal_says_what_went_and_what_stays_around_it() {
    let lock = space();
    let one = file();
    let _ = lock.map(mapped(&one, 10, (10, 20)));
    let _ = lock.map(anonymous(20, 30, RW | VmFlags::LOCKED | VmFlags::ACCOUNT));
    let _ = lock.map(anonymous(40, 50, RW | VmFlags::ACCOUNT));
    let mut held = lock.write();
    let plan = RemovePlan::decide(&held, span(15, 45)).expect("nothing refuses");
    assert_eq!(plan.nr_pages(), 20);
    assert_eq!(plan.nr_pages_with(VmFlags::LOCKED), 10);
    assert_eq!(plan.nr_pages_with(VmFlags::ACCOUNT), 15);
    let removed = plan.commit(&mut held);
    let went: Vec<_> = removed
        .areas()
        .iter()
        .map(|part| pages(part.range()))
        .collect();
    assert_eq!(went, [(15, 20), (20, 30), (40, 45)]);
    assert_eq!(removed.areas()[0].area().pgoff, PgOff::new(5));
    assert!(removed.areas().iter().all(|part| !part.vma().is_attached()));
    // Found through the file until its entries are gone: what is left of it, and all of the old area.
    assert_eq!(one.mappings().nr_mappings(), 2);
    let (unlinked, unclosed) = removed.unlink_rmap();
    assert_eq!(one.mappings().nr_mappings(), 1);
    let unlinked = unlinked.expect("something went");
    assert_eq!(pages(sync::Detached::range(&unlinked)), (15, 45));
    assert_eq!(sync::Detached::floor(&unlinked), at(15));
    assert_eq!(sync::Detached::ceiling(&unlinked), Some(at(45)));
    unclosed.close();
    drop(held);
    assert_eq!(lock.layout(), [(10, 15), (45, 50)]);
}

// inv: 19
// row: A10
#[test]
fn an_abandoned_removal_leaves_its_splits() {
    let diary = Arc::new(Diary::with(CLOSING));
    let lock = space();
    let _ = lock.map(told(&diary, 10, 40));
    let abandon = |start, end| {
        let mut held = lock.write();
        let plan = RemovePlan::decide(&held, span(start, end)).expect("nothing refuses");
        plan.abandon(&mut held);
    };
    abandon(20, 30);
    assert_eq!(lock.layout(), [(10, 20), (20, 30), (30, 40)]);
    assert_eq!(diary.take(), [(Heard::Open, 10, 20), (Heard::Open, 30, 40)]);
    abandon(5, 20);
    abandon(60, 70);
    assert_eq!(lock.layout(), [(10, 20), (20, 30), (30, 40)]);
    assert!(diary.take().is_empty());
    check_tree(&lock.snapshot());
}

// row: S13
#[test]
fn the_end_of_a_space_spares_nothing() {
    let lock = three();
    lock.protect(20, 30, RW | VmFlags::SEALED)
        .expect("nothing refuses");
    let mut held = lock.write();
    let (unlinked, unclosed) = RemovePlan::everything(&held)
        .commit(&mut held)
        .unlink_rmap();
    assert_eq!(unclosed.areas().len(), 3);
    assert_eq!(unlinked.as_ref().and_then(sync::Detached::ceiling), None);
    assert!(held.tree().is_empty());
    unclosed.close();
    let (unlinked, unclosed) = RemovePlan::everything(&held)
        .commit(&mut held)
        .unlink_rmap();
    assert!(unlinked.is_none() && unclosed.areas().is_empty());
}

// row: A07
// row: A09
#[test]
fn private_pages_decide_who_merges() {
    // One side has some: the whole gets them.
    let lock = space();
    let _ = lock.map(anonymous(10, 20, RW));
    lock.touch(10);
    let _ = lock.map(anonymous(20, 30, RW));
    assert_eq!(lock.layout(), [(10, 30)]);
    assert!(lock.area_at(25).anon_chain().is_some());
    // Both have different ones: they stay apart, and what lies between goes to the lower.
    let lock = space();
    for (start, end) in [(10, 20), (30, 40)] {
        let _ = lock.map(anonymous(start, end, RW));
        lock.touch(start);
    }
    assert_eq!(
        lock.map(anonymous(20, 30, RW)).placement,
        Placement::ExtendsPrev
    );
    assert_eq!(lock.layout(), [(10, 30), (30, 40)]);
}

// row: A07
#[test]
fn neighbours_that_may_merge_later_share_an_anon_vma() {
    let lock = space();
    let _ = lock.map(anonymous(10, 20, RW));
    let _ = lock.map(anonymous(20, 30, RO));
    lock.touch(10);
    lock.touch(20);
    let [low, high] = [10, 20].map(|page| lock.area_at(page));
    let chain = |vma: &Arc<crate::Vma>| Arc::clone(vma.anon_chain().expect("it was touched"));
    assert!(chain(&low).same_anon_vma(&chain(&high)));
    lock.protect(20, 30, RW).expect("nothing refuses");
    assert_eq!(lock.layout(), [(10, 30)]);
    let own = chain(&lock.area_at(10)).own().clone();
    drop((low, high));
    assert_eq!(own.counts().map(|counts| counts.nr_linked), Some(1));
    lock.unmap(10, 30);
    assert_eq!(own.counts(), None);
}

// row: A07
// row: A09
// row: S12
#[test]
fn a_fork_child_does_not_spread_its_chain() {
    let parent = space();
    let _ = parent.map(anonymous(10, 20, RW));
    parent.touch(10);
    let _ = parent.map(anonymous(40, 50, RW | VmFlags::DONTCOPY));
    let _ = parent.map(anonymous(60, 70, RW | VmFlags::WIPEONFORK));
    parent.touch(60);
    let child = space();
    let forked = fork(&parent, &child);
    assert_eq!(forked.len(), 2);
    assert_eq!(child.layout(), [(10, 20), (60, 70)]);
    assert!(child.area_at(60).anon_chain().is_none());
    let chain = child.area_at(10).anon_chain().cloned().expect("inherited");
    assert!(!chain.is_singular());
    assert!(!child.area_at(10).is_of(parent.space()) && child.area_at(10).is_of(child.space()));
    // In the parent this would merge.
    assert_eq!(child.map(anonymous(20, 30, RW)).placement, Placement::Alone);
    assert_eq!(
        parent.map(anonymous(20, 30, RW)).placement,
        Placement::ExtendsPrev
    );
}

fn fork(parent: &Lock, child: &Lock) -> Vec<Forked> {
    let held = parent.write();
    let mut young = child.write_nested();
    let plan = ForkPlan::decide(&held, &young, |vma| {
        let flags = vma.flags() - VmFlags::LOCKED_MASK;
        if flags.contains(VmFlags::DONTCOPY) {
            Inherit::Nothing
        } else if flags.contains(VmFlags::WIPEONFORK) {
            Inherit::Wiped(flags)
        } else {
            Inherit::Copied(flags)
        }
    });
    plan.expect("no file refuses").commit(&mut young)
}

/// A stack at [1000, 1010) above an area that ends at 600.
fn stack_above(below: VmFlags) -> Lock {
    let lock = space();
    let _ = lock.map(anonymous(500, 600, below));
    let _ = lock.map(anonymous(1000, 1010, RW | VmFlags::GROWSDOWN));
    lock
}

fn grow(lock: &Lock, page: u64, lowest: VirtAddr) -> Result<u64, GrowRefused> {
    let mut held = lock.write();
    let vma = held.tree().find_next(at(page)).cloned().expect("a stack");
    let plan = GrowPlan::decide(&held, &vma, at(page), lowest)?;
    let nr_grown = plan.nr_grown();
    assert_eq!(
        plan.size_bytes() >> addr::PAGE_SHIFT,
        vma.range.pages() + nr_grown
    );
    let grown = plan.commit(&mut held);
    assert_eq!(grown.pgoff, PgOff::new(grown.range.start().page_number()));
    Ok(nr_grown)
}

// inv: 21
// row: A10
#[test]
fn a_stack_grows_to_its_guard_gap_and_no_further() {
    let lock = stack_above(RW);
    assert_eq!(grow(&lock, 900, at(1)), Ok(100));
    assert_eq!(lock.layout(), [(500, 600), (900, 1010)]);
    assert_eq!(grow(&lock, 950, at(1)), Ok(0));
    assert_eq!(grow(&lock, 856, at(1)), Ok(44));
    assert_eq!(grow(&lock, 855, at(1)), Err(GrowRefused::GuardGap));
    assert_eq!(grow(&lock, 700, at(800)), Err(GrowRefused::TooLow));
    // Neighbours without access, or growing themselves, are exempt.
    for exempt in [VmFlags::MAY_ACCESS, RW | VmFlags::GROWSDOWN] {
        assert_eq!(grow(&stack_above(exempt), 600, at(1)), Ok(400));
    }
    let lock = space();
    let _ = lock.map(anonymous(1000, 1010, RW));
    assert_eq!(grow(&lock, 999, at(1)), Err(GrowRefused::NotGrowing));
    let lock = space();
    let mut odd = anonymous(1000, 1010, RW | VmFlags::GROWSDOWN);
    odd.area.pgoff = PgOff::new(3);
    let _ = lock.map(odd);
    assert_eq!(grow(&lock, 996, at(1)), Err(GrowRefused::Offset));
}

// row: S04
#[test]
fn growth_in_place_merges_with_what_follows() {
    let lock = space();
    let _ = lock.map(anonymous(10, 20, RW));
    let _ = lock.map(anonymous(30, 40, RW));
    let mut held = lock.write();
    let vma = held.tree().find(at(10)).cloned().expect("mapped");
    let plan = MapPlan::extend(&held, &vma, 5 << addr::PAGE_SHIFT).expect("free");
    let grown = plan.commit(&mut held).vma;
    let plan = MapPlan::extend(&held, &grown, 5 << addr::PAGE_SHIFT).expect("free");
    assert_eq!(plan.commit(&mut held).placement, Placement::JoinsBoth);
    drop(held);
    assert_eq!(lock.layout(), [(10, 40)]);
    let _ = lock.map(anonymous(50, 60, RW | VmFlags::MIXEDMAP));
    let held = lock.write();
    let vma = held.tree().find(at(50)).cloned().expect("mapped");
    let refused = MapPlan::extend(&held, &vma, 4096).expect_err("special areas do not merge");
    assert_eq!(refused, PlanError::NoMerge);
}

// row: S04
// row: A05
#[test]
fn a_copy_keeps_offsets_once_there_are_private_pages() {
    let lock = space();
    let _ = lock.map(anonymous(10, 20, RW));
    assert_eq!(copy(&lock, 10, 100).vma.pgoff, PgOff::new(100));
    lock.touch(10);
    let copied = copy(&lock, 10, 200);
    assert_eq!(
        (copied.vma.pgoff, copied.placement),
        (PgOff::new(10), Placement::Alone)
    );
    assert!(copied.vma.anon_chain().is_some());
    assert_eq!(copied.need_rmap_locks, NeedRmapLocks::No);
}

// row: S04
// row: V01
#[test]
fn a_copy_that_merges_below_its_source_in_offsets_needs_the_rmap_locks() {
    let lock = space();
    let _ = lock.map(anonymous(10, 30, RW));
    lock.touch(10);
    // The lower half first, then the upper half right behind it.
    let lower = move_half(&lock, (10, 20), 100);
    assert_eq!(lower.placement, Placement::Alone);
    let upper = move_half(&lock, (20, 30), 110);
    assert_eq!(upper.placement, Placement::ExtendsPrev);
    assert_eq!(upper.need_rmap_locks, NeedRmapLocks::Yes);
    assert_eq!(lock.layout(), [(100, 120)]);
}

fn move_half(lock: &Lock, (start, end): (u64, u64), target: u64) -> Placed {
    let mut held = lock.write();
    let vma = held.tree().find(at(start)).cloned().expect("mapped");
    let range = span(target, target + end - start);
    let placed = MapPlan::copy(&held, &vma, at(start), range)
        .expect("no file")
        .commit(&mut held);
    let removal = RemovePlan::decide(&held, span(start, end)).expect("nothing refuses");
    let (_, unclosed) = removal.commit(&mut held).unlink_rmap();
    unclosed.close();
    placed
}

fn copy(lock: &Lock, from: u64, target: u64) -> Placed {
    let mut held = lock.write();
    let vma = held.tree().find(at(from)).cloned().expect("mapped");
    let plan = MapPlan::copy(&held, &vma, at(from), span(target, target + 10));
    plan.expect("no file refuses").commit(&mut held)
}

// row: S04
#[test]
fn an_unfaulted_source_may_be_swallowed_by_its_copy() {
    let lock = space();
    let _ = lock.map(anonymous(10, 20, RW));
    let copied = copy(&lock, 10, 20);
    assert_eq!(copied.placement, Placement::ExtendsPrev);
    assert_eq!(lock.layout(), [(10, 30)]);
}

// row: S04
#[test]
fn what_is_left_of_a_move_that_does_not_unmap_has_no_private_pages() {
    let lock = space();
    let _ = lock.map(anonymous(10, 20, RW | VmFlags::LOCKED));
    lock.touch(10);
    let own = lock
        .area_at(10)
        .anon_chain()
        .expect("touched")
        .own()
        .clone();
    let mut held = lock.write();
    let vma = held.tree().find(at(10)).cloned().expect("mapped");
    let plan = ModifyPlan::emptied(&held, &vma, RW).expect("no file refuses");
    let emptied = plan.commit(&mut held).vma;
    assert!(emptied.anon_chain().is_none());
    assert_eq!(emptied.flags(), RW);
    assert_eq!(own.counts(), None);
}

// row: A03
#[test]
fn rights_of_entries_follow_from_flags() {
    use addr::Prot;
    let lock = space();
    let prot_of = |new: NewArea| lock.map(new).vma.page_prot().access();
    assert_eq!(prot_of(anonymous(10, 20, RW)), Prot::READ);
    assert_eq!(prot_of(anonymous(20, 30, VmFlags::MAY_ACCESS)), Prot::NONE);
    let shared = RW | VmFlags::SHARED | VmFlags::MAYSHARE;
    let shared_told = |callbacks, start, flags| {
        let mut new = told(&Arc::new(Diary::with(callbacks)), start, start + 10);
        new.area.flags = flags;
        new
    };
    assert_eq!(
        prot_of(shared_told(Callbacks::FAULT, 30, shared)),
        Prot::READ | Prot::WRITE
    );
    let noticed = Callbacks::FAULT | Callbacks::PAGE_MKWRITE;
    assert_eq!(prot_of(shared_told(noticed, 40, shared)), Prot::READ);
    let watched = shared | VmFlags::UFFD_WP;
    assert_eq!(
        prot_of(shared_told(Callbacks::FAULT, 50, watched)),
        Prot::READ
    );
    let vma = lock.area_at(40);
    assert!(vma.wants_manual_write_upgrade() && lock.area_at(10).wants_manual_write_upgrade());
    assert!(!lock.area_at(30).wants_manual_write_upgrade());
    let keyed = RW.with_pkey(5).expect("a key");
    assert_eq!(lock.map(anonymous(60, 70, keyed)).vma.page_prot().pkey(), 5);
}

// row: A08
#[test]
fn an_area_without_operations_is_anonymous() {
    let lock = space();
    assert!(lock.map(anonymous(10, 20, RW)).vma.is_anonymous());
    let diary = Arc::new(Diary::with(Callbacks::FAULT));
    let vma = lock.map(told(&diary, 20, 30)).vma;
    assert!(!vma.is_anonymous() && vma.ops().is_some());
    assert_eq!(vma.callbacks(), Callbacks::FAULT);
}

#[test]
#[should_panic(expected = "where it was decided")]
fn a_plan_of_another_arrangement_is_not_committed() {
    let lock = three();
    let mut held = lock.write();
    let old = RemovePlan::decide(&held, span(10, 20)).expect("nothing refuses");
    let new = RemovePlan::decide(&held, span(20, 30)).expect("nothing refuses");
    let _first = new.commit(&mut held);
    let _second = old.commit(&mut held);
}

#[test]
fn a_dropped_plan_leaves_no_trace() {
    let lock = space();
    let one = file();
    let _ = lock.map(mapped(&one, 10, (10, 40)));
    let held = lock.write();
    let before: &Arc<SpaceLock> = held.space();
    drop(RemovePlan::decide(&held, span(20, 30)).expect("nothing refuses"));
    assert!(Arc::ptr_eq(before, lock.space()));
    drop(held);
    assert_eq!(one.mappings().nr_mappings(), 1);
    assert_eq!(lock.layout(), [(10, 40)]);
    assert!(lock.lock_vma_under_rcu(at(25)).is_ok());
}
