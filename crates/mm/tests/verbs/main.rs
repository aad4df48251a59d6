//! The memory calls, against what the kernel documents and against a plain model of a space.

mod ahead;
mod basic;
mod errors;
mod files;
mod exec;
mod family;
mod hooks;
mod kit;
mod limits;
mod model;
mod names;
mod placement;
mod random;
mod shortage;
mod stress;
