//! Speed, as ratios against the host kernel measured in the same run.
//!
//! A machine's absolute times belong to that machine and that day; ratios travel. Every comparison
//! here interleaves the two sides, run by run, and quotes medians; of operations within one thread,
//! of the time that the thread ran.

#![deny(unsafe_code)]

pub mod ours;
pub mod pairs;
pub mod resident;
pub mod sys;
