//! From the number in a frame record to what owns the folio (Linux: `folio->mapping`).
//!
//! A frame record outlives nothing and owns nothing, so it holds a number. The number is never
//! used again after its owner is gone; a look-up then finds nothing, and the folio is known to be
//! on its way out. The lowest bit tells anonymous memory from files, as Linux tags the pointer.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};

use frame::OwnerId;
use sync::atomic::{AtomicU64, Ordering};
use sync::rank::Rank;
use sync::{Once, RwLock};

use crate::anon::{AnonVma, Family};
use crate::rmap::FileMappings;

/// What owns a folio: who to ask which areas map it.
#[derive(Clone, Debug)]
pub enum Owner {
    /// Private copies.
    Anon(AnonVma),
    /// An object; the areas that map it, or it and others laid over it.
    File(Arc<FileMappings>),
}

#[derive(Debug)]
enum Registered {
    Anon(Weak<Family>),
    File(Weak<FileMappings>),
}

/// Look-ups come from every fault on every CPU; they should not meet on one lock.
const NR_SHARDS: usize = 16;

type Shard = RwLock<BTreeMap<u64, Registered>>;

static SHARDS: Once<[Shard; NR_SHARDS]> = Once::new();

fn shard(id: OwnerId) -> &'static Shard {
    let make = || core::array::from_fn(|_| RwLock::ranked(Rank::Registry, BTreeMap::new()));
    &SHARDS.get_or_init(make)[id.number() as usize % NR_SHARDS]
}

fn unused_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A number of a living owner; forgotten when this is dropped.
#[derive(Debug)]
pub struct OwnerEntry {
    id: OwnerId,
}

impl OwnerEntry {
    /// A number for an object whose areas are in `mappings`.
    pub fn file(mappings: &Arc<FileMappings>) -> Self {
        let id = OwnerId::object(unused_number());
        OwnerEntry::enter(id, Registered::File(Arc::downgrade(mappings)))
    }

    /// A number for private copies of one area and its children.
    pub(crate) fn anon(family: &Arc<Family>) -> Self {
        let id = OwnerId::anon(unused_number());
        OwnerEntry::enter(id, Registered::Anon(Arc::downgrade(family)))
    }

    fn enter(id: OwnerId, owner: Registered) -> Self {
        shard(id).write().insert(id.as_u64(), owner);
        OwnerEntry { id }
    }

    /// The number.
    pub fn id(&self) -> OwnerId {
        self.id
    }
}

impl Drop for OwnerEntry {
    fn drop(&mut self) {
        shard(self.id).write().remove(&self.id.as_u64());
    }
}

/// Whether the number stands for private copies (Linux: `folio_test_anon`).
pub fn is_anon(id: OwnerId) -> bool {
    id.is_anon()
}

/// What a number stands for, while that is alive.
pub fn find(id: OwnerId) -> Option<Owner> {
    // The reference is counted up under the shard's lock and leaves it before it can be the last.
    let shard = shard(id).read();
    match shard.get(&id.as_u64())? {
        Registered::Anon(family) => Some(Owner::Anon(AnonVma::known(family.upgrade()?, id))),
        Registered::File(mappings) => Some(Owner::File(mappings.upgrade()?)),
    }
}
