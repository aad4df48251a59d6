//! The order of locks, checked per thread in debug builds (Linux's lockdep, and the heads of
//! `mm/rmap.c` and `mm/filemap.c`).
//!
//! A lock made with a [`Rank`] may only be waited for while every lock that the thread holds has
//! a lower one. Trying without waiting is always allowed. Release builds check nothing and store
//! nothing.

use core::fmt;

/// Where a lock stands in the order, outermost first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Rank {
    /// A file's own lock, while it is written or truncated (`i_rwsem`).
    Inode,
    /// `mmap_lock` of a space.
    Mmap,
    /// The read lock of one area. Under it no `mmap_lock` may be waited for.
    VmaRead,
    /// A file mapping's `invalidate_lock`.
    Invalidate,
    /// A folio's lock.
    Folio,
    /// `vma_start_write`: the write mark of one area.
    VmaWrite,
    /// The interval tree of a file's mappings (`i_mmap_rwsem`).
    FileMappings,
    /// The root of a tree of anon_vmas.
    AnonVma,
    /// `page_table_lock`, and the lock of one table's entries. Two may nest: the child's then the
    /// parent's at fork, the old range's then the new one's at mremap.
    Table,
    /// Short registries: swap devices, the index of a page cache, the owners of folios.
    Registry,
    /// The LRU lists of a node.
    Lru,
    /// What a CPU keeps of the arena, then the free lists of a node.
    Arena,
    /// The registry of charge groups.
    Charge,
}

/// A lock that is held by this thread, as far as the order knows. Kept in a guard; dropping it
/// says that the lock was released. Without size and effect in release builds.
#[must_use = "dropping it says that the lock was released"]
#[derive(Debug)]
pub struct Held {
    #[cfg(all(debug_assertions, feature = "std", not(any(loom, shuttle))))]
    entry: Option<checked::Entry>,
}

/// Waiting for a lock of rank `rank`. Panics in debug builds if this thread holds one of the same
/// or a later rank.
#[track_caller]
#[inline]
pub fn acquire(rank: Rank) -> Held {
    Held::tracked(rank, Nesting::Forbidden)
}

/// Waiting for a second lock of the rank that was taken last.
#[track_caller]
#[inline]
pub fn acquire_nested(rank: Rank) -> Held {
    Held::tracked(rank, Nesting::SameRank)
}

/// A lock of rank `rank` was got without waiting.
#[inline]
pub fn acquired_by_trying(rank: Rank) -> Held {
    Held::tracked(rank, Nesting::Tried)
}

/// What was held may be waited under: panics in debug builds if this thread is pinned, or holds a
/// lock of [`Rank::Table`] or later.
#[track_caller]
#[inline]
pub fn assert_may_wait() {
    #[cfg(all(debug_assertions, feature = "std", not(any(loom, shuttle))))]
    {
        assert!(!crate::is_pinned(), "waiting while pinned");
        checked::assert_below(Rank::Table);
    }
}

/// Frames may be allocated, and paid for, without holding up who wants a folio's lock: panics in debug
/// builds if this thread holds one of [`Rank::Folio`] or later.
#[track_caller]
#[inline]
pub fn assert_no_folio_locked() {
    #[cfg(all(debug_assertions, feature = "std", not(any(loom, shuttle))))]
    checked::assert_below(Rank::Folio);
}

/// Panics in debug builds if this thread holds any ranked lock: the start of an outermost loop.
#[track_caller]
#[inline]
pub fn assert_none_held() {
    #[cfg(all(debug_assertions, feature = "std", not(any(loom, shuttle))))]
    checked::assert_below(Rank::Inode);
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Nesting {
    Forbidden,
    SameRank,
    Tried,
}

impl Held {
    /// A lock outside the order.
    #[inline]
    pub const fn unranked() -> Self {
        Self {
            #[cfg(all(debug_assertions, feature = "std", not(any(loom, shuttle))))]
            entry: None,
        }
    }

    #[track_caller]
    #[inline]
    #[cfg_attr(
        not(all(debug_assertions, feature = "std", not(any(loom, shuttle)))),
        expect(unused_variables, reason = "the order is checked in debug builds only")
    )]
    fn tracked(rank: Rank, nesting: Nesting) -> Self {
        Self {
            #[cfg(all(debug_assertions, feature = "std", not(any(loom, shuttle))))]
            entry: Some(checked::Entry::push(rank, nesting)),
        }
    }

    /// The guard goes to another thread or into a queue: this thread is no longer accountable
    /// for its order.
    #[inline]
    pub fn travel(&mut self) {
        #[cfg(all(debug_assertions, feature = "std", not(any(loom, shuttle))))]
        {
            self.entry = None;
        }
    }
}

/// The rank that a lock was made with. Without size in release builds.
#[derive(Clone, Copy)]
pub(crate) struct RankMark {
    #[cfg(debug_assertions)]
    rank: Option<Rank>,
}

impl RankMark {
    pub(crate) const NONE: Self = Self {
        #[cfg(debug_assertions)]
        rank: None,
    };

    #[cfg_attr(
        not(debug_assertions),
        expect(unused_variables, reason = "the order is checked in debug builds only")
    )]
    pub(crate) const fn new(rank: Rank) -> Self {
        Self {
            #[cfg(debug_assertions)]
            rank: Some(rank),
        }
    }

    #[track_caller]
    #[inline]
    pub(crate) fn acquire(self) -> Held {
        #[cfg(debug_assertions)]
        if let Some(rank) = self.rank {
            return acquire(rank);
        }
        Held::unranked()
    }

    #[track_caller]
    #[inline]
    pub(crate) fn acquire_nested(self) -> Held {
        #[cfg(debug_assertions)]
        if let Some(rank) = self.rank {
            return acquire_nested(rank);
        }
        Held::unranked()
    }

    #[inline]
    pub(crate) fn acquired_by_trying(self) -> Held {
        #[cfg(debug_assertions)]
        if let Some(rank) = self.rank {
            return acquired_by_trying(rank);
        }
        Held::unranked()
    }
}

impl fmt::Debug for RankMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[cfg(debug_assertions)]
        if let Some(rank) = self.rank {
            return fmt::Debug::fmt(&rank, f);
        }
        f.write_str("unranked")
    }
}

#[cfg(all(debug_assertions, feature = "std", not(any(loom, shuttle))))]
mod checked {
    use std::cell::Cell;
    use std::sync::Arc;
    use std::vec::Vec;

    use parking_lot::Mutex;

    use super::{Nesting, Rank};

    type Stack = Arc<Mutex<Vec<(u64, Rank)>>>;

    std::thread_local! {
        static STACK: Stack = Stack::default();
        static NEXT: Cell<u64> = const { Cell::new(0) };
    }

    /// An entry in the stack of the thread that took the lock; its guard may end elsewhere.
    #[derive(Debug)]
    pub(super) struct Entry {
        stack: Stack,
        id: u64,
    }

    impl Entry {
        #[track_caller]
        pub(super) fn push(rank: Rank, nesting: Nesting) -> Self {
            let stack = STACK.try_with(Arc::clone).unwrap_or_default();
            let id = NEXT
                .try_with(|next| next.replace(next.get() + 1))
                .unwrap_or(0);
            let mut held = stack.lock();
            let outer = held.iter().map(|(_, rank)| *rank).max();
            let in_order = match nesting {
                Nesting::Forbidden => outer.is_none_or(|outer| outer < rank),
                Nesting::SameRank => outer.is_none_or(|outer| outer <= rank),
                Nesting::Tried => true,
            };
            assert!(
                in_order,
                "lock order: waiting for {rank:?} while holding {:?} (a guard that went to \
                 another thread must `travel`)",
                held.iter().map(|(_, rank)| *rank).collect::<Vec<_>>(),
            );
            held.push((id, rank));
            drop(held);
            Self { stack, id }
        }
    }

    impl Drop for Entry {
        fn drop(&mut self) {
            self.stack.lock().retain(|(id, _)| *id != self.id);
        }
    }

    #[track_caller]
    pub(super) fn assert_below(limit: Rank) {
        let stack = STACK.try_with(Arc::clone).unwrap_or_default();
        let held: Vec<Rank> = stack
            .lock()
            .iter()
            .map(|(_, rank)| *rank)
            .filter(|rank| *rank >= limit)
            .collect();
        assert!(held.is_empty(), "waiting while holding {held:?}");
    }
}
