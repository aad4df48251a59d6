//! What is mapped, and the way back from a folio to every place that maps it.
//!
//! Linux spreads this over `vm_operations_struct`, `address_space`, `anon_vma`, `shmem` and
//! `dev_pagemap`. Here it is one crate that knows frames and locks, and knows neither page tables
//! nor address spaces: an object is asked for memory by [`ops::VmOps`] and asks address spaces for
//! only a few duties through [`rmap::MappingSpace`].
//!
//! Two rules hold everywhere in this crate:
//! * **A callback never waits.** It hands back a [`request::PageRequest`], which is the work still
//!   to do, and by returning it gives up every lock. Only `PageRequest::perform` waits.
//! * **A folio's owner is a number.** Frame records hold an `OwnerId`; [`owner`] finds what it
//!   names, if that is still alive.
//!
//! Reading order: [`ops`] (what an embedder implements), [`context`] (what each callback is told),
//! [`request`] (what waits), then the objects: [`pagecache`], [`shmem`], [`source`], [`device`];
//! and the reverse map: [`rmap`], [`anon`].

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, loom, shuttle))]
extern crate std;

#[cfg(test)]
mod testing;

pub mod ops;
pub mod context;
pub mod request;
pub mod failure;
pub mod area;
pub mod policy;
pub mod file;
pub mod owner;
mod unique;
pub mod interval;
pub mod rmap;
pub mod anon;
pub mod pagecache;
pub mod shmem;
pub mod source;
pub mod nopage;
pub mod device;

pub use anon::{AnonChain, AnonVma};
pub use area::{Area, UserfaultId};
pub use context::{AreaChange, AreaPeek, FaultContext, MapAround, OutsideAccess, WriteNotice};
pub use failure::{FaultFailure, SourceError};
pub use file::{FileId, FileObject, InodeId, MappedFile};
pub use ops::{Callbacks, Notified, Supplied, VmOps};
pub use policy::{MemPolicy, PolicyMode};
pub use request::{Brought, Obtained, PageRequest, Revalidate, Waiting};
pub use rmap::{
    EvenCows, FileLink, FileMappings, FlushDue, Mapping, MappingSpace, RmapRead, RmapWrite,
};
