//! Where the memory of an area should come from (Linux: `struct mempolicy`).
//!
//! The policy is recorded, compared and handed to `VmOps::set_policy`; on a machine with one node
//! every policy chooses that node.

/// How the nodes of a policy are used (Linux: `MPOL_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PolicyMode {
    /// The task's policy (`MPOL_DEFAULT`).
    Default,
    /// One node first, any other after it (`MPOL_PREFERRED`).
    Preferred,
    /// These nodes only (`MPOL_BIND`).
    Bind,
    /// Page by page round these nodes (`MPOL_INTERLEAVE`).
    Interleave,
    /// The node of the CPU that touches it (`MPOL_LOCAL`).
    Local,
    /// These nodes first, any other after them (`MPOL_PREFERRED_MANY`).
    PreferredMany,
    /// Round these nodes by weight (`MPOL_WEIGHTED_INTERLEAVE`).
    WeightedInterleave,
}

/// A memory policy. Two areas merge only if theirs are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemPolicy {
    /// How the nodes are used.
    pub mode: PolicyMode,
    /// The nodes, one bit each.
    pub nodes: u64,
}
