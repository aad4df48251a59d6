//! The common body of all plans: some areas out, some in, one new tree.

use crate::VmaTree;
use crate::area::Vma;
use crate::lock::MmapWrite;
use alloc::sync::Arc;
use alloc::vec::Vec;
use object::AreaChange;

/// A new arrangement, prepared aside.
#[derive(Debug)]
pub(crate) struct Rearrangement {
    base: Arc<VmaTree>,
    next: Arc<VmaTree>,
    gone: Vec<Arc<Vma>>,
    born: Vec<Arc<Vma>>,
    opened: Vec<Arc<Vma>>,
}

/// What becomes of the reverse-map links of areas that go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OldLinks {
    /// Others cover all they covered: unlink them.
    Replaced,
    /// Their entries are still there: keep them.
    Kept,
}

impl Rearrangement {
    /// The arrangement as it is.
    pub(crate) fn begin<T>(held: &MmapWrite<'_, T>) -> Self {
        let base = Arc::clone(held.arrangement());
        Self {
            next: Arc::new(VmaTree::clone(&base)),
            base,
            gone: Vec::new(),
            born: Vec::new(),
            opened: Vec::new(),
        }
    }

    /// Puts `born` where `gone` was. Both are in order, and together they form one run of the tree
    /// with no other area between.
    pub(crate) fn swap(&mut self, gone: &[Arc<Vma>], born: Vec<Arc<Vma>>) {
        let tree = Arc::make_mut(&mut self.next);
        let mut heirs = born.iter();
        if let Some((first, rest)) = gone.split_first() {
            for vma in rest {
                tree.remove(vma.range.start());
            }
            match heirs.next() {
                Some(heir) => tree.replace(first.range.start(), Arc::clone(heir)),
                None => tree.remove(first.range.start()),
            };
        }
        for heir in heirs {
            tree.insert(Arc::clone(heir));
        }
        self.gone.extend_from_slice(gone);
        self.born.extend(born);
    }

    /// Puts a whole tree in place.
    pub(crate) fn fill(&mut self, born: Vec<Arc<Vma>>) {
        self.next = Arc::new(VmaTree::from_sorted(born.iter().cloned()));
        self.born.extend(born);
    }

    /// `open` will be called for this new area.
    pub(crate) fn open(&mut self, vma: &Arc<Vma>) {
        self.opened.push(Arc::clone(vma));
    }

    /// Whether the commit would change nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.born.is_empty()
    }

    /// Makes it so.
    ///
    /// # Panics
    /// When the arrangement has changed since the plan began, or is another space's. No program
    /// brings that about; it is a caller that holds on to a plan over another commit.
    pub(crate) fn commit<T>(
        self,
        held: &mut MmapWrite<'_, T>,
        old_links: OldLinks,
    ) -> Vec<Arc<Vma>> {
        assert!(
            Arc::ptr_eq(&self.base, held.arrangement()),
            "a plan is committed where it was decided"
        );
        for vma in &self.gone {
            held.lock_vma(vma);
        }
        for vma in &self.born {
            held.lock_vma(vma);
            vma.lock().attach();
        }
        held.publish(self.next);
        for vma in &self.gone {
            vma.lock().detach();
        }
        if old_links == OldLinks::Replaced {
            for vma in &self.gone {
                unlink_replaced(vma, &self.born);
            }
        }
        for vma in &self.opened {
            if let Some(ops) = vma.ops() {
                ops.open(&AreaChange::new(vma));
            }
        }
        self.gone
    }
}

/// Unlinks what no heir shares with the old area.
fn unlink_replaced(old: &Vma, heirs: &[Arc<Vma>]) {
    let shared = |mine: &Arc<object::FileLink>| {
        heirs
            .iter()
            .filter_map(|heir| heir.file_link())
            .any(|theirs| Arc::ptr_eq(mine, theirs))
    };
    if let Some(link) = old.file_link().filter(|link| !shared(link)) {
        link.unlink();
    }
    let shared = |mine: &Arc<object::AnonChain>| {
        heirs
            .iter()
            .filter_map(|heir| heir.anon_chain())
            .any(|theirs| Arc::ptr_eq(mine, theirs))
    };
    if let Some(chain) = old.anon_chain().filter(|chain| !shared(chain)) {
        chain.unlink();
    }
}
