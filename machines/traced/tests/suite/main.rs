//! The traced machine as its callers see it. A test that needs a program or a right that this host
//! lacks says `skipped: why`.

mod honesty;
mod programs;
mod refusals;
mod support;
