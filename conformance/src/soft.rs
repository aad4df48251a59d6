//! The soft runner.
