//! Every interleaving that the scheduler tries, of threads that want one page while others take it
//! away.

use alloc::sync::Arc;

use addr::{PAGE_SIZE, PgOff};
use frame::{AllocRequest, Arena, ArenaConfig, Purpose};
use shuttle::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use shuttle::thread;

use super::{Begun, Found, PageCache, Shrink};
use crate::request::Brought;
use crate::rmap::{EvenCows, FileMappings};

fn cache() -> Arc<PageCache> {
    let arena = Arena::new(ArenaConfig::heap(8)).unwrap();
    PageCache::new(arena, FileMappings::new(), PAGE_SIZE)
}

/// What the fault loop does about page 0; whether it got it.
fn want(cache: &Arc<PageCache>, fills: &AtomicUsize) -> bool {
    loop {
        match cache.find_locked(PgOff::ZERO) {
            Found::Locked(folio) => {
                let mut bytes = [0; 4];
                folio.read(0, &mut bytes);
                assert_eq!(&bytes, b"done", "seen before it was filled");
                assert!(cache.owns(&folio, PgOff::ZERO));
                return true;
            }
            Found::Later(request) => {
                let brought = request.perform().brought;
                assert!(matches!(brought, Brought::Nothing | Brought::Folio(_)));
            }
            Found::BeyondEnd => return false,
            Found::Absent => {
                let frame = cache
                    .arena()
                    .alloc(AllocRequest::uninit(Purpose::PageCache));
                if let Begun::Filling(filling) = cache.begin_fill(PgOff::ZERO, frame.unwrap()) {
                    fills.fetch_add(1, SeqCst);
                    filling.fill(b"done");
                }
            }
        }
    }
}

#[test]
fn one_fills_and_all_see_it_filled() {
    shuttle::check_random(
        || {
            let (cache, fills) = (cache(), Arc::new(AtomicUsize::new(0)));
            let threads = [0; 3].map(|_| {
                let (cache, fills) = (Arc::clone(&cache), Arc::clone(&fills));
                thread::spawn(move || assert!(want(&cache, &fills)))
            });
            for thread in threads {
                thread.join().unwrap();
            }
            assert_eq!(fills.load(SeqCst), 1);
        },
        500,
    );
}

// inv: 56
#[test]
fn nobody_gets_a_page_that_was_cut_off() {
    shuttle::check_random(
        || {
            let (cache, fills) = (cache(), Arc::new(AtomicUsize::new(0)));
            let threads = [0; 2].map(|_| {
                let (cache, fills) = (Arc::clone(&cache), Arc::clone(&fills));
                thread::spawn(move || {
                    want(&cache, &fills);
                })
            });
            let mut step = cache.truncate(0);
            while let Shrink::Later(request) = step {
                drop(request.perform());
                step = cache.remove_from(PgOff::ZERO, None, EvenCows::Yes);
            }
            assert!(!want(&cache, &fills));
            for thread in threads {
                thread.join().unwrap();
            }
            assert_eq!(cache.nr_pages(), 0, "nothing is left beyond the end");
        },
        500,
    );
}

#[test]
fn a_fill_given_up_is_taken_up_by_another() {
    shuttle::check_random(
        || {
            let (cache, fills) = (cache(), Arc::new(AtomicUsize::new(0)));
            let frame = cache
                .arena()
                .alloc(AllocRequest::uninit(Purpose::PageCache));
            let Begun::Filling(filling) = cache.begin_fill(PgOff::ZERO, frame.unwrap()) else {
                panic!("nobody else is there");
            };
            let other = {
                let (cache, fills) = (Arc::clone(&cache), Arc::clone(&fills));
                thread::spawn(move || assert!(want(&cache, &fills)))
            };
            drop(filling);
            other.join().unwrap();
            assert_eq!(fills.load(SeqCst), 1);
        },
        500,
    );
}
