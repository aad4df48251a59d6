//! What one fault did, step by step, in Linux's function names.
//!
//! A fault carries a trace only if its caller asked for one; otherwise each step costs one test of a
//! pointer that is already at hand.

use alloc::vec::Vec;

/// One step of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceStep {
    /// The function of Linux that does this step.
    pub linux: &'static str,
    /// What it found or did here.
    pub note: &'static str,
    /// In which attempt, counted from 1.
    pub attempt: u32,
}

/// The steps of one fault, in order, over all its attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultTrace {
    steps: Vec<TraceStep>,
}

impl FaultTrace {
    /// An empty trace.
    pub fn new() -> Self {
        Self::default()
    }

    /// The steps so far.
    pub fn steps(&self) -> &[TraceStep] {
        &self.steps
    }

    /// Whether a step was done by the function Linux calls `linux`.
    pub fn has(&self, linux: &str) -> bool {
        self.steps.iter().any(|step| step.linux == linux)
    }

    pub(crate) fn push(&mut self, step: TraceStep) {
        self.steps.push(step);
    }
}
