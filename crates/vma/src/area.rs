//! One area of a space (Linux: `struct vm_area_struct`).

use crate::gap::StartGap;
use crate::prot::{self, PageProt};
use crate::tree::Spanned;
use crate::vma_lock::{SpaceLock, VmaLock};
use addr::{PAGE_SIZE, VirtAddr, VirtRange, VmFlags};
use alloc::sync::Arc;
use core::ops::Deref;
use object::{AnonChain, Area, Callbacks, FileLink, VmOps};
use sync::atomic::{AtomicBool, Ordering};
use sync::{MayInstall, Once};

/// An area: a range of addresses with one set of flags and one object.
///
/// It does not change while anybody can see it, apart from its lock words, the anon_vma link and the
/// MAYBE_GUARD mark; a change of anything else makes another `Vma`. Derefs to what its object may see.
#[derive(Debug)]
#[repr(C)]
pub struct Vma {
    // First, so that what a lockless lookup writes lies beside the reference count of the `Arc`.
    lock: VmaLock,
    guards: AtomicBool,
    page_prot: PageProt,
    ops: Option<Arc<dyn VmOps>>,
    anon: Once<Arc<AnonChain>>,
    file_link: Option<Arc<FileLink>>,
    area: Area,
}

/// What makes an area: what its object may see, and the object's operations.
#[derive(Clone, Debug)]
pub struct NewArea {
    /// Range, flags, file and the rest.
    pub area: Area,
    /// The operations; `None` is anonymous memory (Linux: `vm_ops`).
    pub ops: Option<Arc<dyn VmOps>>,
}

impl NewArea {
    /// Anonymous memory.
    pub fn anonymous(range: VirtRange, flags: VmFlags, pgoff: addr::PgOff) -> Self {
        Self {
            area: Area::new(range, flags, pgoff),
            ops: None,
        }
    }
}

impl Vma {
    /// The operations of the object; `None` is anonymous memory (Linux: `vm_ops`).
    #[inline]
    pub fn ops(&self) -> Option<&Arc<dyn VmOps>> {
        self.ops.as_ref()
    }

    /// Whether this is anonymous memory (Linux: `vma_is_anonymous`).
    #[inline]
    pub fn is_anonymous(&self) -> bool {
        self.ops.is_none()
    }

    /// Which members its operations have; none for anonymous memory.
    pub fn callbacks(&self) -> Callbacks {
        self.ops
            .as_ref()
            .map_or(Callbacks::empty(), |ops| ops.callbacks())
    }

    /// The flags, with MAYBE_GUARD as it is now (Linux: `vm_flags`).
    #[inline]
    pub fn flags(&self) -> VmFlags {
        if self.guards.load(Ordering::Relaxed) {
            self.area.flags | VmFlags::MAYBE_GUARD
        } else {
            self.area.flags
        }
    }

    /// Notes that guard markers may be in the page tables. Sticky; a read lock is enough, since it is
    /// only ever set (Linux: `vma_set_atomic_flag`).
    pub fn set_maybe_guard(&self, _held: &impl MayInstall) {
        // Relaxed: whoever must see it takes a lock of this area after we let go of ours.
        self.guards.store(true, Ordering::Relaxed);
    }

    /// Rights of its entries (Linux: `vm_page_prot`).
    #[inline]
    pub fn page_prot(&self) -> PageProt {
        self.page_prot
    }

    /// Whether mprotect and hint faults may make an entry writable by themselves, if the page allows
    /// it (Linux: `vma_wants_manual_pte_write_upgrade`).
    pub fn wants_manual_write_upgrade(&self) -> bool {
        let flags = self.flags();
        if flags.contains(VmFlags::SHARED) {
            prot::wants_write_notify(&self.area, flags, self.ops())
        } else {
            flags.contains(VmFlags::WRITE)
        }
    }

    /// Where its private pages belong, once it has or may have any (Linux: `anon_vma` with
    /// `anon_vma_chain`).
    #[inline]
    pub fn anon_chain(&self) -> Option<&Arc<AnonChain>> {
        self.anon.get()
    }

    /// The link to its file's mappings (Linux: the `shared.rb` node in `i_mmap`).
    pub fn file_link(&self) -> Option<&Arc<FileLink>> {
        self.file_link.as_ref()
    }

    /// Whether the area belongs to the space of this lock (Linux: `vm_mm`).
    pub fn is_of(&self, space: &Arc<SpaceLock>) -> bool {
        Arc::ptr_eq(self.lock.space(), space)
    }

    /// Whether it is in the tree of its space.
    pub fn is_attached(&self) -> bool {
        self.lock.is_attached()
    }

    /// An area that is in no tree yet.
    pub(crate) fn detached(
        space: &Arc<SpaceLock>,
        new: NewArea,
        chain: Option<Arc<AnonChain>>,
        file_link: Option<Arc<FileLink>>,
    ) -> Arc<Self> {
        let NewArea { area, ops } = new;
        let anon = Once::new();
        if let Some(chain) = chain {
            anon.get_or_init(|| chain);
        }
        Arc::new(Self {
            lock: VmaLock::new(Arc::clone(space)),
            guards: AtomicBool::new(area.flags.contains(VmFlags::MAYBE_GUARD)),
            page_prot: PageProt::of(&area, area.flags, ops.as_ref()),
            ops,
            anon,
            file_link,
            area,
        })
    }

    /// Takes the chain for its own unless it has one; gives the one it has then.
    pub(crate) fn adopt(&self, chain: AnonChain) -> &Arc<AnonChain> {
        // A chain that comes too late is dropped, and so unlinked.
        self.anon.get_or_init(|| Arc::new(chain))
    }

    #[inline]
    pub(crate) fn lock(&self) -> &VmaLock {
        &self.lock
    }
}

impl Deref for Vma {
    type Target = Area;

    fn deref(&self) -> &Area {
        &self.area
    }
}

impl Spanned for Arc<Vma> {
    fn span(&self) -> VirtRange {
        self.area.range
    }
}

impl StartGap for Arc<Vma> {
    fn start_with_gap(&self, stack_guard_bytes: u64) -> VirtAddr {
        start_gap(self.area.range.start(), self.area.flags, stack_guard_bytes)
    }

    fn keeps_start_gap(&self) -> bool {
        self.area.flags.intersects(VmFlags::STARTGAP)
    }
}

/// Linux: `vm_start_gap`.
fn start_gap(start: VirtAddr, flags: VmFlags, stack_guard_bytes: u64) -> VirtAddr {
    let gap = if flags.contains(VmFlags::GROWSDOWN) {
        stack_guard_bytes
    } else if flags.contains(VmFlags::SHADOW_STACK) {
        PAGE_SIZE
    } else {
        0
    };
    start.saturating_sub(gap)
}
