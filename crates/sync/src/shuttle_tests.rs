//! The epoch and the queue under shuttle's schedules: larger worlds than loom can finish.

use alloc::sync::Arc;
use shuttle::thread;
use std::vec::Vec;

use crate::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::*;

const SCHEDULES: usize = 300;

#[test]
fn several_readers_and_a_writer_that_retires() {
    shuttle::check_random(
        || {
            const SLOTS: usize = 4;
            let current = Arc::new(AtomicUsize::new(0));
            let alive: Arc<Vec<_>> = Arc::new((0..SLOTS).map(|_| AtomicBool::new(true)).collect());
            let readers: Vec<_> = (0..3)
                .map(|_| {
                    let (current, alive) = (Arc::clone(&current), Arc::clone(&alive));
                    thread::spawn(move || {
                        for _ in 0..3 {
                            let _pin = pin();
                            let slot = current.load(Ordering::SeqCst);
                            thread::yield_now();
                            assert!(alive[slot].load(Ordering::SeqCst));
                        }
                    })
                })
                .collect();
            for next in 1..SLOTS {
                let old = current.swap(next, Ordering::SeqCst);
                let alive = Arc::clone(&alive);
                retire(move || alive[old].store(false, Ordering::SeqCst));
            }
            barrier();
            assert!((0..SLOTS - 1).all(|slot| !alive[slot].load(Ordering::SeqCst)));
            readers
                .into_iter()
                .for_each(|reader| reader.join().expect("no panic"));
        },
        SCHEDULES,
    );
}
