use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::ByteLock;
use crate::rank::Rank;

// row: M12
#[test]
fn a_byte_lock_lets_one_thread_in_at_a_time() {
    let lock = ByteLock::new();
    let (inside, entered) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                for _ in 0..5_000 {
                    let guard = match lock.try_lock(Rank::Table) {
                        Some(guard) => guard,
                        None => lock.lock(Rank::Table),
                    };
                    assert!(!inside.swap(true, Ordering::Relaxed), "two are inside");
                    entered.fetch_add(1, Ordering::Relaxed);
                    inside.store(false, Ordering::Relaxed);
                    drop(guard);
                }
            });
        }
    });
    assert_eq!(entered.into_inner(), 20_000);
}

#[test]
fn failing_to_take_it_does_not_release_it() {
    let lock = ByteLock::new();
    let held = lock.lock(Rank::Table);
    assert!(lock.try_lock(Rank::Table).is_none());
    assert!(lock.try_lock(Rank::Table).is_none());
    drop(held);
    assert!(lock.try_lock(Rank::Table).is_some());
}
