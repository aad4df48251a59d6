//! Which locks stand behind the names: the host's, spinning ones, or a model checker's.

#[cfg(all(feature = "std", not(any(loom, shuttle))))]
#[path = "backend/host.rs"]
mod chosen;

#[cfg(not(any(feature = "std", loom, shuttle)))]
#[path = "backend/bare.rs"]
mod chosen;

#[cfg(any(loom, shuttle))]
#[path = "backend/model.rs"]
mod chosen;

pub(crate) use chosen::*;
