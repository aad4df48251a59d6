//! What a fault holds while it looks at an area: the lock of that area, or the mmap lock for reading
//! (Linux: `FAULT_FLAG_VMA_LOCK`, `release_fault_lock`, `assert_fault_locked`).

use crate::area::Vma;
use crate::lock::{MmapHeld, MmapRead, VmaRead};
use addr::VirtAddr;
use alloc::sync::Arc;
use sync::{MayInstall, Stable};

/// The fault lock, with the area it keeps stable. There is no other way to have one without the
/// lock held, so Linux's `assert_fault_locked` is the type; dropping it is `release_fault_lock`.
#[derive(Debug)]
#[must_use = "dropping it releases the fault lock"]
pub struct FaultLock<'m, T>(Held<'m, T>);

#[derive(Debug)]
enum Held<'m, T> {
    Vma(VmaRead),
    Mmap(MmapRead<'m, T>, Arc<Vma>),
}

/// Which lock a [`FaultLock`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultLockKind {
    /// The area's own (Linux: `FAULT_FLAG_VMA_LOCK` set).
    Vma,
    /// The mmap lock, for reading.
    Mmap,
}

impl<'m, T> FaultLock<'m, T> {
    /// The area's own lock.
    #[inline]
    pub fn by_vma(held: VmaRead) -> Self {
        Self(Held::Vma(held))
    }

    /// The mmap lock, for the area that contains `addr`; the guard comes back when none does.
    pub fn by_mmap(held: MmapRead<'m, T>, addr: VirtAddr) -> Result<Self, MmapRead<'m, T>> {
        match held.tree().find(addr).cloned() {
            Some(vma) => Ok(Self(Held::Mmap(held, vma))),
            None => Err(held),
        }
    }

    /// The area, stable while this is held.
    #[inline]
    pub fn vma(&self) -> &Arc<Vma> {
        match &self.0 {
            Held::Vma(held) => held.vma(),
            Held::Mmap(_, vma) => vma,
        }
    }

    /// Which lock it is.
    #[inline]
    pub fn kind(&self) -> FaultLockKind {
        match self.0 {
            Held::Vma(_) => FaultLockKind::Vma,
            Held::Mmap(..) => FaultLockKind::Mmap,
        }
    }

    /// The mmap guard, if that is what is held.
    #[inline]
    pub fn mmap(&self) -> Option<&MmapRead<'m, T>> {
        match &self.0 {
            Held::Vma(_) => None,
            Held::Mmap(held, _) => Some(held),
        }
    }

    /// Gives the lock up (Linux: `release_fault_lock`). Nothing of the area can be used after.
    pub fn release(self) {}
}

impl<T> Stable for FaultLock<'_, T> {}
impl<T> MayInstall for FaultLock<'_, T> {}
