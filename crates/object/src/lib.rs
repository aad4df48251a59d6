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
//! | Linux | here |
//! |---|---|
//! | `struct vm_operations_struct` | [`VmOps`] |
//! | `struct vm_fault` | [`FaultContext`], [`MapAround`], [`WriteNotice`] |
//! | the bits of `vm_fault_t` | [`Supplied`], [`Notified`], [`FaultFailure`] |
//! | `VM_FAULT_RETRY`, `folio_lock_or_retry` | [`PageRequest`] |
//! | `vm_area_struct`, what drivers read of it | [`Area`] |
//! | `struct file` in `vm_file`, `vma_is_shared_maywrite` | [`MappedFile`], [`rmap::Sharing`] |
//! | `folio->mapping` | [`owner`] |
//! | `i_mmap`, `i_mmap_writable`, `unmap_mapping_range` | [`FileMappings`] |
//! | `anon_vma`, `anon_vma_chain`, `anon_vma_fork` | [`AnonVma`], [`AnonChain`] |
//! | `rmap_walk`, `page_vma_mapped_walk` | [`rmap::walk`], [`MappingSpace::visit`] |
//! | `struct address_space`, `filemap_fault`, `filemap_map_pages` | [`pagecache::PageCache`] |
//! | `shmem_fault`, `shmem_fallocate` | [`shmem::Shmem`] |
//! | `struct dev_pagemap`, `get_dev_pagemap` | [`device::DevPagemap`], [`device::DeviceSpace`] |
//! | `dax_iomap_fault`, `dax_finish_sync_fault` | [`device::DaxFile`] |
//! | `nopage` of 2.6.24 | [`nopage::NopageOps`] |
//! | `struct mempolicy` | [`MemPolicy`] |
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
pub mod config;
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
pub use config::ObjectConfig;
pub use context::{AreaChange, AreaPeek, FaultContext, MapAround, OutsideAccess, WriteNotice};
pub use failure::{FaultFailure, SourceError};
pub use file::{FileId, FileObject, InodeId, MappedFile};
pub use ops::{Callbacks, Notified, Supplied, VmOps};
pub use policy::{MemPolicy, PolicyMode};
pub use request::{Brought, Obtained, PageRequest, Revalidate, Waiting};
pub use rmap::{
    EvenCows, FileLink, FileMappings, FlushDue, Mapping, MappingSpace, RmapRead, RmapWrite,
};
