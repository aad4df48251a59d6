//! The arena of frames: allocator, folios, per-frame records.
//!
//! An [`Arena`] is a run of 4 KiB frames, one memory file on Linux. Frames are numbers
//! ([`addr::Pfn`]); what is in them goes in and out by copy, because a program under us may write
//! it at any time. Each frame has one [`FrameRecord`] of 64 bytes.
//!
//! A folio passes through types: [`FreshFolio`] (ours alone, contents not valid) becomes a
//! [`Folio`] (one counted reference), which may become a [`FolioLock`]; a reference moves into a
//! page-table entry with [`Folio::into_entry`] and comes back with [`Arena::folio_of_entry`].
//!
//! | Linux | here |
//! |---|---|
//! | `struct page`, `struct folio` | [`FrameRecord`] |
//! | `alloc_pages`, `__free_pages`, per-CPU lists, buddy | [`Arena::alloc`], dropping the last [`Folio`] |
//! | `folio_get`, `folio_put`, `folio_try_get` | [`Folio::clone`], drop, [`Arena::try_get`] |
//! | `folio_lock`, `folio_trylock` | [`Folio::lock`], [`Folio::try_lock`] |
//! | `FOLL_PIN`, `folio_maybe_dma_pinned` | [`Folio::pin`], [`FrameRecord::maybe_dma_pinned`] |
//! | `folio_add_lru`, `lruvec` | [`Folio::add_to_lru`], [`LruList`] |
//! | `mem_cgroup_charge` | [`AllocRequest::charge`], [`ChargeId`] |
//! | `ZERO_PAGE` | [`Arena::zero_page`] |

#![cfg_attr(not(any(feature = "std", loom, shuttle)), no_std)]

extern crate alloc as heap;

mod alloc;
mod arena;
mod block;
mod buddy;
mod charge;
mod folio;
mod fresh;
mod give_back;
mod lru;
mod percpu;
mod record;
mod store;
mod usage;
mod words;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

pub use alloc::{AllocRequest, Contents, Depth, OutOfFrames, Purpose};
pub use arena::{Arena, ArenaConfig, ArenaError, Backing};
pub use block::{Block, TakeError};
pub use charge::{ChargeId, Charged};
pub use folio::{Folio, FolioLock, FolioPin};
pub use fresh::FreshFolio;
pub use lru::{LruList, LruSizes};
pub use record::{FolioFlags, FrameRecord, OwnerId};
pub use usage::Usage;
pub use words::Words;

/// Frames of an arena have numbers below this; device memory has numbers from here on.
pub const DEVICE_PFN_BASE: u64 = 1 << 28;
