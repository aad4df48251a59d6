//! The areas of a fork's child (Linux: the area part of `dup_mmap`).

use super::pieces::{AnonFrom, build, mapping};
use super::rearrange::{OldLinks, Rearrangement};
use crate::area::{NewArea, Vma};
use crate::lock::{MmapHeld, MmapWrite};
use addr::{Errno, VmFlags};
use alloc::sync::Arc;
use alloc::vec::Vec;
use object::Area;

/// What the child gets of one of the parent's areas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Inherit {
    /// Nothing (Linux: VM_DONTCOPY).
    Nothing,
    /// The area without its private pages (Linux: VM_WIPEONFORK), with these flags.
    Wiped(VmFlags),
    /// The area, with these flags.
    Copied(VmFlags),
}

/// The child's areas, decided.
#[derive(Debug)]
#[must_use = "the child has no areas before the commit"]
pub struct ForkPlan {
    change: Rearrangement,
    pairs: Vec<Forked>,
}

/// An area of the parent and what the child has of it.
#[derive(Debug)]
pub struct Forked {
    /// The parent's, write-locked.
    pub parent: Arc<Vma>,
    /// The child's, write-locked.
    pub child: Arc<Vma>,
}

impl ForkPlan {
    /// For every area of the parent, what `inherit` says of it. The child must have no areas yet. All
    /// of the parent's areas that are copied are write-locked, so that their page tables are stable
    /// until the parent's lock is let go.
    ///
    /// # Errors
    /// What a file says to one more area that may write to it.
    pub fn decide<P, C>(
        parent: &MmapWrite<'_, P>,
        child: &MmapWrite<'_, C>,
        mut inherit: impl FnMut(&Vma) -> Inherit,
    ) -> Result<Self, Errno> {
        debug_assert!(child.tree().is_empty());
        let mut pairs = Vec::with_capacity(parent.tree().len());
        for vma in parent.tree().iter() {
            parent.lock_vma(vma);
            if let Some(heir) = inherited(child, vma, inherit(vma))? {
                pairs.push(Forked {
                    parent: Arc::clone(vma),
                    child: heir,
                });
            }
        }
        let mut change = Rearrangement::begin(child);
        change.fill(pairs.iter().map(|pair| Arc::clone(&pair.child)).collect());
        pairs.iter().for_each(|pair| change.open(&pair.child));
        Ok(Self { change, pairs })
    }

    /// The areas as they will be.
    pub fn pairs(&self) -> &[Forked] {
        &self.pairs
    }

    /// Gives the child its areas, calls `open` for each, and hands out the pairs whose page tables are
    /// to be copied, in order.
    pub fn commit<C>(self, child: &mut MmapWrite<'_, C>) -> Vec<Forked> {
        let _nothing = self.change.commit(child, OldLinks::Replaced);
        self.pairs
    }
}

fn inherited<C>(
    child: &MmapWrite<'_, C>,
    vma: &Vma,
    how: Inherit,
) -> Result<Option<Arc<Vma>>, Errno> {
    let (flags, chain) = match how {
        Inherit::Nothing => return Ok(None),
        Inherit::Wiped(flags) => (flags, None),
        Inherit::Copied(flags) => (flags, vma.anon_chain()),
    };
    let area = Area {
        flags,
        // Who serves the parent's userfaults serves the child's only if they are still registered.
        userfault: vma.userfault.filter(|_| flags.intersects(VmFlags::UFFD)),
        ..Area::clone(vma)
    };
    let chain = chain.map(|chain| chain.fork(mapping(child, &area)));
    let heir = build(
        child,
        NewArea {
            area,
            ops: vma.ops().cloned(),
        },
        AnonFrom::Nothing,
    )?;
    if let Some(chain) = chain {
        heir.adopt(chain);
    }
    Ok(Some(heir))
}
