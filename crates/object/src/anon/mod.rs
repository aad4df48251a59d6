//! Who may map a private copy (Linux: `anon_vma`, `anon_vma_chain`).
//!
//! A private page belongs to the [`AnonVma`] of the area that made it. Fork gives the child area
//! its own, and links the child into all those of its parent too, because it maps the parent's
//! pages. So the areas that may map a page are those linked to its anon_vma:
//!
//! ```text
//! parent area ── P            pages of P: parent, child, grandchild
//! child area ─── P, C         pages of C: child, grandchild
//! grandchild ─── P, C, G      pages of G: grandchild
//! ```
//!
//! All anon_vmas of one fork tree, a family, share one lock, the root's (so does Linux), and so
//! here they are one object behind it. An area holds an [`AnonChain`]: its own anon_vma and the
//! list of those that it is linked to. Areas never change; one that changes shape is replaced, and
//! its chain is [duplicated](AnonChain::duplicate) for the new range before the old is unlinked.
//!
//! Counts per anon_vma, as in Linux: `num_active_vmas`, the areas whose own it is; `num_children`,
//! the anon_vmas whose parent it is, where a root counts itself. They decide when fork may take an
//! anon_vma that has no area of its own any more, so that a process that forks from child to child
//! for ever does not grow its chains.

#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use addr::PgOff;
use frame::OwnerId;
use sync::atomic::{AtomicBool, Ordering};
use sync::rank::Rank;
use sync::{RwLock, RwLockWriteGuard};

use crate::interval::{IntervalKey, IntervalTree};
use crate::owner::OwnerEntry;
use crate::rmap::{HeldRead, Mapping, RmapRead};

/// A fork tree of anon_vmas behind one lock (Linux: `anon_vma->root`).
#[derive(Debug)]
pub(crate) struct Family {
    trees: RwLock<FamilyTrees>,
}

impl Family {
    fn new() -> Arc<Self> {
        Arc::new(Family {
            trees: RwLock::ranked(Rank::AnonVma, FamilyTrees::default()),
        })
    }
}

/// The anon_vmas of a family and the chains through them.
#[derive(Debug, Default)]
pub(crate) struct FamilyTrees {
    nodes: BTreeMap<OwnerId, Node>,
    chains: BTreeMap<ChainId, Chain>,
    next_chain: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ChainId(u64);

/// One `anon_vma`.
#[derive(Debug)]
struct Node {
    /// Keeps the number known while the node is there.
    _entry: OwnerEntry,
    /// Itself for a root.
    parent: OwnerId,
    num_children: u64,
    num_active_vmas: u64,
    areas: IntervalTree<Arc<Mapping>>,
}

/// One area's `anon_vma_chain` list.
#[derive(Debug)]
struct Chain {
    own: OwnerId,
    /// Oldest (the root) first.
    links: Vec<(OwnerId, IntervalKey)>,
}

/// One anon_vma: what owns a private page (Linux: `struct anon_vma`).
#[derive(Clone, Debug)]
pub struct AnonVma {
    family: Arc<Family>,
    id: OwnerId,
}

/// The numbers of an anon_vma, for reports and tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnonCounts {
    /// Anon_vmas whose parent it is; a root counts itself.
    pub num_children: u64,
    /// Areas whose own it is.
    pub num_active_vmas: u64,
    /// Areas linked to it.
    pub nr_linked: usize,
}

impl AnonVma {
    pub(crate) fn known(family: Arc<Family>, id: OwnerId) -> Self {
        AnonVma { family, id }
    }

    /// The number that a folio's record holds.
    pub fn id(&self) -> OwnerId {
        self.id
    }

    /// The anon_vma at the top of the fork tree.
    pub fn root(&self) -> Option<AnonVma> {
        let trees = self.family.trees.read();
        let mut id = self.id;
        loop {
            let parent = trees.nodes.get(&id)?.parent;
            if parent == id {
                return Some(AnonVma {
                    family: Arc::clone(&self.family),
                    id,
                });
            }
            id = parent;
        }
    }

    /// The anon_vma it was forked from; itself for a root.
    pub fn parent(&self) -> Option<AnonVma> {
        let parent = self.family.trees.read().nodes.get(&self.id)?.parent;
        Some(AnonVma {
            family: Arc::clone(&self.family),
            id: parent,
        })
    }

    /// Whether both are of one fork tree, and so under one lock.
    pub fn same_root(&self, other: &AnonVma) -> bool {
        Arc::ptr_eq(&self.family, &other.family)
    }

    /// Its counts; `None` when its last area is gone.
    pub fn counts(&self) -> Option<AnonCounts> {
        let trees = self.family.trees.read();
        let node = trees.nodes.get(&self.id)?;
        Some(AnonCounts {
            num_children: node.num_children,
            num_active_vmas: node.num_active_vmas,
            nr_linked: node.areas.len(),
        })
    }

    /// Keeps the areas of the family as they are (Linux: `anon_vma_lock_read`).
    pub fn read(&self) -> RmapRead<'_> {
        RmapRead::over(HeldRead::Anon(self.family.trees.read()))
    }

    /// The same, if nobody is changing them.
    pub fn try_read(&self) -> Option<RmapRead<'_>> {
        Some(RmapRead::over(HeldRead::Anon(
            self.family.trees.try_read()?,
        )))
    }

    pub(crate) fn write_trees(&self) -> RwLockWriteGuard<'_, FamilyTrees> {
        self.family.trees.write()
    }
}

impl PartialEq for AnonVma {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for AnonVma {}

impl RmapRead<'_> {
    /// The areas linked to `anon` that cover any of the pages `[first, last]`, older ones first;
    /// none if another lock is held than that of its family.
    pub(crate) fn anon_mappings(
        &self,
        anon: &AnonVma,
        first: PgOff,
        last: PgOff,
    ) -> impl Iterator<Item = &Mapping> {
        let node = self
            .family_trees()
            .and_then(|trees| trees.nodes.get(&anon.id));
        node.into_iter()
            .flat_map(move |node| node.areas.overlapping(first.as_u64(), last.as_u64()))
            .map(|mapping| &**mapping)
    }
}

/// An area's place in the reverse map of private pages: its own anon_vma, and all that it is linked
/// to (Linux: `vma->anon_vma` and `vma->anon_vma_chain`). Gone with [`AnonChain::unlink`], or when
/// dropped.
#[derive(Debug)]
pub struct AnonChain {
    own: AnonVma,
    root: OwnerId,
    chain: ChainId,
    nr_links: usize,
    linked: AtomicBool,
}

impl AnonChain {
    /// For an area's first private page: a new root (Linux: `__anon_vma_prepare`, no neighbour to
    /// share with).
    ///
    /// Two faults may both do this for one area; the area keeps the first, the other is dropped.
    pub fn prepare(mapping: Mapping) -> Self {
        let family = Family::new();
        let entry = OwnerEntry::anon(&family);
        let id = entry.id();
        let mut trees = family.trees.write();
        // A root is its own parent, and so counts itself as a child.
        trees.add_node(entry, id);
        trees.node(id).num_children += 1;
        let links = alloc::vec![id];
        let chain = trees.add_chain(id, &links, mapping);
        drop(trees);
        AnonChain::new(AnonVma { family, id }, id, chain, 1)
    }

    /// For an area's first private page, sharing a neighbour's anon_vma (Linux:
    /// `find_mergeable_anon_vma`), so that the two can merge later. `None` if the neighbour is a
    /// fork child, whose chain is longer than one. Whether the areas could merge is the caller's
    /// to know.
    pub fn prepare_sharing(neighbour: &AnonChain, mapping: Mapping) -> Option<Self> {
        if !neighbour.is_singular() {
            return None;
        }
        neighbour.extend_to(mapping)
    }

    /// For a part of the same area after a split, its copy after a mremap, or a neighbour that
    /// absorbs it: the same chain over another range (Linux: `anon_vma_clone`).
    ///
    /// If the area it is taken from was unlinked meanwhile there is nothing to be linked to, and a
    /// new root is made; the caller's write lock on the area excludes that.
    pub fn duplicate(&self, mapping: Mapping) -> Self {
        match self.extend_to(mapping.clone()) {
            Some(chain) => chain,
            None => AnonChain::prepare(mapping),
        }
    }

    fn extend_to(&self, mapping: Mapping) -> Option<Self> {
        let mut trees = self.own.family.trees.write();
        let links = trees.links_of(self.chain)?;
        let chain = trees.add_chain(self.own.id, &links, mapping);
        drop(trees);
        Some(AnonChain::new(
            self.own.clone(),
            self.root,
            chain,
            links.len(),
        ))
    }

    /// For a child's area at fork (Linux: `anon_vma_fork`): linked to all that the parent is linked
    /// to, and to one of its own. That is a new one, unless an anon_vma of the chain has no area of
    /// its own left and at most one child: then it is taken.
    pub fn fork(&self, mapping: Mapping) -> Self {
        let family = &self.own.family;
        let mut trees = family.trees.write();
        let Some(mut links) = trees.links_of(self.chain) else {
            drop(trees);
            return AnonChain::prepare(mapping);
        };
        let own = match trees.reusable(&links) {
            Some(id) => id,
            None => {
                let entry = OwnerEntry::anon(family);
                let id = entry.id();
                trees.add_node(entry, self.own.id);
                trees.node(self.own.id).num_children += 1;
                links.push(id);
                id
            }
        };
        let chain = trees.add_chain(own, &links, mapping);
        drop(trees);
        let own = AnonVma {
            family: Arc::clone(family),
            id: own,
        };
        AnonChain::new(own, self.root, chain, links.len())
    }

    fn new(own: AnonVma, root: OwnerId, chain: ChainId, nr_links: usize) -> Self {
        AnonChain {
            own,
            root,
            chain,
            nr_links,
            linked: AtomicBool::new(true),
        }
    }

    /// Takes the area out; walks that start later do not see it (Linux: `unlink_anon_vmas`).
    /// Anon_vmas without areas go too. Doing it twice does nothing.
    pub fn unlink(&self) {
        if !self.linked.swap(false, Ordering::AcqRel) {
            return;
        }
        // Dropped after the lock: removing a node forgets its number, and frees what it held.
        let mut gone = Vec::new();
        let mut trees = self.own.family.trees.write();
        trees.remove_chain(self.chain, &mut gone);
        drop(trees);
        drop(gone);
    }

    /// The anon_vma that new pages of the area belong to (Linux: `vma->anon_vma`).
    pub fn own(&self) -> &AnonVma {
        &self.own
    }

    /// The number for a page that only this area maps (Linux: `__folio_set_anon`, exclusive).
    pub fn owner_of_exclusive(&self) -> OwnerId {
        self.own.id
    }

    /// The number for a page that may be mapped by relatives already: the root's.
    pub fn owner_of_shared(&self) -> OwnerId {
        self.root
    }

    /// Whether the area is linked to one anon_vma only: it is no fork child, and may share with a
    /// neighbour (Linux: `list_is_singular(&vma->anon_vma_chain)`).
    pub fn is_singular(&self) -> bool {
        self.nr_links == 1
    }

    /// How many anon_vmas it is linked to.
    pub fn nr_links(&self) -> usize {
        self.nr_links
    }

    /// Whether both areas put new pages into one anon_vma.
    pub fn same_anon_vma(&self, other: &AnonChain) -> bool {
        self.own == other.own
    }
}

impl Drop for AnonChain {
    fn drop(&mut self) {
        self.unlink();
    }
}

impl FamilyTrees {
    fn add_node(&mut self, entry: OwnerEntry, parent: OwnerId) {
        let id = entry.id();
        let areas = IntervalTree::new();
        let node = Node {
            _entry: entry,
            parent,
            num_children: 0,
            num_active_vmas: 0,
            areas,
        };
        self.nodes.insert(id, node);
    }

    /// A node known to be there.
    fn node(&mut self, id: OwnerId) -> &mut Node {
        match self.nodes.get_mut(&id) {
            Some(node) => node,
            None => unreachable!("anon_vma {id:?} is in a chain but not in its family"),
        }
    }

    fn links_of(&self, chain: ChainId) -> Option<Vec<OwnerId>> {
        let chain = self.chains.get(&chain)?;
        Some(chain.links.iter().map(|(id, _)| *id).collect())
    }

    fn add_chain(&mut self, own: OwnerId, links: &[OwnerId], mapping: Mapping) -> ChainId {
        let (first, last) = mapping.span();
        let mapping = Arc::new(mapping);
        let links = links
            .iter()
            .map(|id| {
                (
                    *id,
                    self.node(*id)
                        .areas
                        .insert(first, last, Arc::clone(&mapping)),
                )
            })
            .collect();
        self.node(own).num_active_vmas += 1;
        let id = ChainId(self.next_chain);
        self.next_chain += 1;
        self.chains.insert(id, Chain { own, links });
        id
    }

    /// The oldest anon_vma of the chain that no area calls its own and at most one child names as
    /// its parent. Never a root that has a child: it counts itself as well.
    fn reusable(&self, links: &[OwnerId]) -> Option<OwnerId> {
        let idle = |id: &&OwnerId| {
            self.nodes
                .get(id)
                .is_some_and(|node| node.num_active_vmas == 0 && node.num_children < 2)
        };
        links.iter().find(idle).copied()
    }

    fn remove_chain(&mut self, chain: ChainId, gone: &mut Vec<Node>) {
        let Some(chain) = self.chains.remove(&chain) else {
            return;
        };
        self.node(chain.own).num_active_vmas -= 1;
        // Newest first, so that a child goes before its parent and the root last.
        for (id, key) in chain.links.into_iter().rev() {
            let node = self.node(id);
            node.areas.remove(key);
            if !node.areas.is_empty() {
                continue;
            }
            let parent = node.parent;
            self.node(parent).num_children -= 1;
            gone.extend(self.nodes.remove(&id));
        }
    }
}
