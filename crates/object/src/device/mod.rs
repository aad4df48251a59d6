//! Memory that is not in the arena (Linux: `memremap.h`, ZONE_DEVICE).
//!
//! Such a page has a number like any frame, above all arena frames, but no frame record: what can
//! be known of it is found through its [`DevPagemap`]. Of Linux's five kinds, [`MemoryType::FsDax`]
//! is built here: **every mapping of a host file** is one. The page is the host's own; a private
//! write copies it into the arena, everything else uses it where it is.
//!
//! | | |
//! |---|---|
//! | [`DeviceSpace`] | all device page numbers, and from a number back to its pagemap |
//! | [`DevPagemap`] | one host file: its numbers, size, areas, and open descriptors |
//! | [`HostFile`] | what the host can be asked about an open file |
//! | [`DaxFile`] | an open host file as areas map it: their operations and their file |
//! | [`MemoryFile`] | a host file that is made of memory, for tests and for `soft` |

mod space;
mod pagemap;
mod host_file;
mod dax;
mod memory_file;
#[cfg(test)]
mod tests;

pub use dax::DaxFile;
pub use host_file::{HostFile, HostRights};
pub use memory_file::MemoryFile;
pub use pagemap::{DevPagemap, MemoryType};
pub use space::{CHUNK_PAGES, DevicePage, DeviceSpace, FIRST_DEVICE_PFN, NoNumbersLeft, is_device};
