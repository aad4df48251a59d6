//! What the locks ask of whatever runs them.

use core::fmt;
use core::sync::atomic::AtomicU32;
use core::time::Duration;

/// More CPU slots than this are never handed out.
pub const MAX_CPUS: usize = 64;

/// The five things that the core asks of its surroundings. A hosted build answers them itself;
/// without `std` the embedder [sets](set_platform) one.
pub trait Platform: Sync {
    /// Sleep while `word` holds `expected`; may return early.
    fn park(&self, word: &AtomicU32, expected: u32);

    /// Wake all who sleep on `word`.
    fn unpark_all(&self, word: &AtomicU32);

    /// Number of the CPU that runs the caller, below [`nr_cpus`](Self::nr_cpus). A hint: it may
    /// change at any time.
    fn cpu(&self) -> usize;

    /// How many CPUs; constant, at most [`MAX_CPUS`].
    fn nr_cpus(&self) -> usize;

    /// Time since some fixed moment.
    fn now(&self) -> Duration;

    /// Says `why` and ends everything.
    fn fatal(&self, why: fmt::Arguments<'_>) -> !;
}

impl fmt::Debug for dyn Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Platform")
    }
}

/// A platform was set before, or the host is it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PlatformAlreadySet;

impl fmt::Display for PlatformAlreadySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the platform is already set")
    }
}

impl core::error::Error for PlatformAlreadySet {}

/// Number of a CPU near the caller, below [`nr_cpus`]: an index into per-CPU data, never a proof
/// of exclusion. On a host it is a slot given to each thread when it first asks, evenly.
#[inline]
#[must_use]
pub fn cpu() -> usize {
    chosen::cpu()
}

/// How many CPU slots there are.
#[inline]
#[must_use]
pub fn nr_cpus() -> usize {
    chosen::nr_cpus()
}

/// The platform in use.
#[must_use]
pub fn platform() -> &'static dyn Platform {
    chosen::platform()
}

/// Use `platform` from now on. Before anything else, and once; on a host, never.
pub fn set_platform(platform: &'static dyn Platform) -> Result<(), PlatformAlreadySet> {
    chosen::set(platform)
}

#[cfg(any(feature = "std", loom, shuttle))]
mod chosen {
    use core::fmt;
    use core::time::Duration;
    use std::cell::Cell;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
    use std::time::Instant;

    use super::{MAX_CPUS, Platform, PlatformAlreadySet};

    const UNASSIGNED: usize = usize::MAX;

    /// How many threads use each slot.
    static LOADS: [AtomicUsize; MAX_CPUS] = [const { AtomicUsize::new(0) }; MAX_CPUS];

    std::thread_local! {
        static SLOT: Cell<usize> = const { Cell::new(UNASSIGNED) };
        static CLAIM: Claim = Claim::new();
    }

    /// A thread's use of a slot; ends with the thread.
    struct Claim(usize);

    impl Claim {
        /// The slot with the fewest threads.
        fn new() -> Self {
            loop {
                let loads = LOADS
                    .iter()
                    .take(nr_cpus())
                    .map(|load| load.load(Ordering::Relaxed));
                let (slot, load) = loads
                    .enumerate()
                    .min_by_key(|(_, load)| *load)
                    .unwrap_or_default();
                let claimed = LOADS[slot].compare_exchange(
                    load,
                    load + 1,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
                if claimed.is_ok() {
                    return Self(slot);
                }
            }
        }
    }

    impl Drop for Claim {
        fn drop(&mut self) {
            LOADS[self.0].fetch_sub(1, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(super) fn cpu() -> usize {
        if cfg!(any(loom, shuttle)) {
            return 0;
        }
        let slot = SLOT.get();
        if slot != UNASSIGNED { slot } else { claim() }
    }

    #[cold]
    fn claim() -> usize {
        // A thread that is ending has no claim any more; slot 0 serves.
        let slot = CLAIM.try_with(|claim| claim.0).unwrap_or(0);
        SLOT.set(slot);
        slot
    }

    #[inline]
    pub(super) fn nr_cpus() -> usize {
        if cfg!(any(loom, shuttle)) {
            return 1;
        }
        static NR_CPUS: AtomicUsize = AtomicUsize::new(0);
        match NR_CPUS.load(Ordering::Relaxed) {
            0 => {
                let found = std::thread::available_parallelism().map_or(1, usize::from);
                let nr_cpus = found.min(MAX_CPUS);
                NR_CPUS.store(nr_cpus, Ordering::Relaxed);
                nr_cpus
            }
            nr_cpus => nr_cpus,
        }
    }

    struct Host;

    impl Platform for Host {
        fn park(&self, word: &AtomicU32, expected: u32) {
            // The host's own locks never come here; whoever does waits politely.
            if word.load(Ordering::SeqCst) == expected {
                std::thread::sleep(Duration::from_micros(50));
            }
        }

        fn unpark_all(&self, _word: &AtomicU32) {}

        fn cpu(&self) -> usize {
            cpu()
        }

        fn nr_cpus(&self) -> usize {
            nr_cpus()
        }

        fn now(&self) -> Duration {
            static START: OnceLock<Instant> = OnceLock::new();
            START.get_or_init(Instant::now).elapsed()
        }

        fn fatal(&self, why: fmt::Arguments<'_>) -> ! {
            std::eprintln!("recto: {why}");
            std::process::abort()
        }
    }

    pub(super) fn platform() -> &'static dyn Platform {
        &Host
    }

    pub(super) fn set(_platform: &'static dyn Platform) -> Result<(), PlatformAlreadySet> {
        Err(PlatformAlreadySet)
    }
}

#[cfg(not(any(feature = "std", loom, shuttle)))]
mod chosen {
    use core::fmt;
    use core::sync::atomic::AtomicU32;
    use core::time::Duration;

    use super::{Platform, PlatformAlreadySet};

    static SET: spin::Once<&'static dyn Platform> = spin::Once::new();

    /// One CPU and nothing else, until an embedder says otherwise.
    struct Alone;

    impl Platform for Alone {
        fn park(&self, _word: &AtomicU32, _expected: u32) {
            core::hint::spin_loop();
        }

        fn unpark_all(&self, _word: &AtomicU32) {}

        fn cpu(&self) -> usize {
            0
        }

        fn nr_cpus(&self) -> usize {
            1
        }

        fn now(&self) -> Duration {
            Duration::ZERO
        }

        fn fatal(&self, why: fmt::Arguments<'_>) -> ! {
            panic!("{why}")
        }
    }

    pub(super) fn platform() -> &'static dyn Platform {
        SET.get().copied().unwrap_or(&Alone)
    }

    pub(super) fn set(platform: &'static dyn Platform) -> Result<(), PlatformAlreadySet> {
        let mut first = false;
        SET.call_once(|| {
            first = true;
            platform
        });
        if first {
            Ok(())
        } else {
            Err(PlatformAlreadySet)
        }
    }

    pub(super) fn cpu() -> usize {
        platform().cpu()
    }

    pub(super) fn nr_cpus() -> usize {
        platform().nr_cpus().clamp(1, super::MAX_CPUS)
    }
}
