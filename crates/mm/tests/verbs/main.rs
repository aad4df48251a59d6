//! The memory calls, against what the kernel documents and against a plain model of a space.

mod basic;
mod kit;
mod model;
mod random;
