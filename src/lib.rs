//! Linux's virtual-memory machinery as a library.
//!
//! An address space ([`Mm`]) is what Linux calls `mm_struct`: areas, real x86-64 page tables in
//! frames of an [`Arena`], the fault, and every memory call with its errors. Who executes the
//! loads and stores is a *machine*, which caches the tables as a TLB does; [`soft`] is one that
//! runs anywhere.
//!
//! What a Linux engineer looks for, and where it is here:
//!
//! | Linux | here |
//! |---|---|
//! | `struct mm_struct` | [`Mm`], kept alive by [`MmUser`] |
//! | `struct vm_area_struct`, as callbacks see it | [`object::Area`] |
//! | `struct vm_operations_struct` | [`VmOps`] |
//! | `struct vm_fault` | [`object::FaultContext`] |
//! | `FAULT_FLAG_*`, `VM_FAULT_*` | [`FaultFlags`], [`FaultResult`] |
//! | `VM_*`, `PROT_*`, `MAP_*` | [`VmFlags`], [`Prot`], [`MapFlags`] |
//! | `do_user_addr_fault` | [`Mm::handle_fault`], or [`attempt`] for an event loop |
//! | `dev_pagemap` | [`object::device::DevPagemap`] |
//!
//! ```
//! use recto::soft::{Computer, ComputerConfig, Process};
//! use recto::{MapRequest, Prot};
//!
//! let computer = Computer::new(ComputerConfig::default())?;
//! let parent = Process::start(&computer)?;
//! let at = parent.mm().mmap(&MapRequest::anonymous(4096, Prot::READ | Prot::WRITE))?;
//! parent.store(at, b"before")?;
//! let child = parent.fork()?;
//! child.store(at, b"after!")?;
//! let mut seen = [0; 6];
//! parent.load(at, &mut seen)?;
//! assert_eq!(&seen, b"before");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod file;
pub mod soft;

pub use {::addr, ::frame, ::machine, ::mm, ::object, ::pgtable, ::sync, ::vma};

pub use addr::{
    Access, Errno, FaultFlags, FaultResult, NonPresent, PAGE_SIZE, PageSize, PagingMode, Pfn,
    PgOff, Prot, SigCode, Signal, VirtAddr, VirtRange, VmFlags,
};
pub use frame::{Arena, ArenaConfig, ArenaError, Backing};
pub use machine::{Cpu, FaultInfo, Mmu, Trap};
pub use mm::{
    Advice, Attempt, Fault, FaultError, FileRights, ForkConfig, Handled, LockAllFlags, LockFlags,
    MapFlags, MapRequest, MapTarget, Mm, MmConfig, MmStats, MmUser, ObjectTarget, RemapFlags,
    RemapRequest, SyncFlags, attempt,
};
pub use object::{PageRequest, Supplied, VmOps};
