//! Locks, their order, the epoch, and what holding each proves.
//!
//! Every atomic and every lock of Recto comes from here. That is what lets a model checker take
//! their place: under `--cfg loom` or `--cfg shuttle` the same names are that checker's types.
//!
//! | Linux | here |
//! |---|---|
//! | `spinlock_t`, `struct mutex` | [`Mutex`]; [`ByteLock`] where a byte is all there is |
//! | `struct rw_semaphore` with `downgrade_write` | [`RwLock`] |
//! | `wait_queue_head_t` | [`WaitQueue`] |
//! | `seqcount_t` | [`SeqCount`] |
//! | `rcu_read_lock`, `call_rcu`, `rcu_barrier` | [`pin`], [`retire`], [`barrier`] |
//! | `rcu_dereference` of an owned pointer | [`Rcu`] |
//! | lockdep | [`rank`] |
//!
//! Three back ends: the host's (feature `std`, on by default), bare metal (without it; locks spin
//! and a [`Platform`] says how to wait), and the two model checkers.

#![cfg_attr(not(any(feature = "std", loom, shuttle)), no_std)]

extern crate alloc;

mod backend;
mod byte_lock;
mod epoch;
mod lock;
mod once;
mod platform;
mod proof;
pub mod rank;
mod seq;
mod wait;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, shuttle))]
mod shuttle_tests;
#[cfg(all(test, not(any(loom, shuttle)), feature = "std"))]
mod tests;

pub use byte_lock::{ByteGuard, ByteLock};
pub use epoch::{Pin, Rcu, barrier, is_pinned, pin, retire};
pub use lock::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use once::Once;
pub use platform::{MAX_CPUS, Platform, PlatformAlreadySet, cpu, nr_cpus, platform, set_platform};
pub use proof::{Detached, MayInstall, Stable};
pub use seq::{SeqCount, SeqSnapshot, SeqWrite};
pub use wait::WaitQueue;

/// Atomics: the CPU's, or the model checker's.
pub mod atomic {
    #[cfg(not(any(loom, shuttle)))]
    pub use core::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering,
        fence,
    };
    #[cfg(loom)]
    pub use loom::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering,
        fence,
    };
    #[cfg(shuttle)]
    pub use shuttle::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering,
        fence,
    };
}

/// One turn of a loop that waits for another thread for a few instructions.
///
/// Under a model checker it lets the other threads run, without which such a loop never ends.
pub fn relax() {
    backend::relax();
}
