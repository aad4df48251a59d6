//! From the number in a frame record to what owns the folio (Linux: `folio->mapping`).
//!
//! A frame record outlives nothing and owns nothing, so it holds a number. The number is never
//! used again after its owner is gone; a look-up then finds nothing, and the folio is known to be
//! on its way out. The lowest bit tells anonymous memory from files, as Linux tags the pointer.

use alloc::sync::{Arc, Weak};

use frame::OwnerId;

use crate::anon::{AnonVma, Family};
use crate::rmap::FileMappings;
use crate::unique::{self, Names};

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

static OWNERS: Names<Registered> = Names::new();

/// A number of a living owner; forgotten when this is dropped.
#[derive(Debug)]
pub struct OwnerEntry {
    id: OwnerId,
}

impl OwnerEntry {
    /// A number for an object whose areas are in `mappings`.
    pub fn file(mappings: &Arc<FileMappings>) -> Self {
        let id = OwnerId::object(unique::number());
        OwnerEntry::enter(id, Registered::File(Arc::downgrade(mappings)))
    }

    /// A number for private copies of one area and its children.
    pub(crate) fn anon(family: &Arc<Family>) -> Self {
        let id = OwnerId::anon(unique::number());
        OwnerEntry::enter(id, Registered::Anon(Arc::downgrade(family)))
    }

    fn enter(id: OwnerId, owner: Registered) -> Self {
        OWNERS.enter(id.as_u64(), owner);
        OwnerEntry { id }
    }

    /// The number.
    pub fn id(&self) -> OwnerId {
        self.id
    }
}

impl Drop for OwnerEntry {
    fn drop(&mut self) {
        OWNERS.forget(self.id.as_u64());
    }
}

/// Whether the number stands for private copies (Linux: `folio_test_anon`).
pub fn is_anon(id: OwnerId) -> bool {
    id.is_anon()
}

/// What a number stands for, while that is alive.
pub fn find(id: OwnerId) -> Option<Owner> {
    // The reference is counted up under the lock and leaves it before it can be the last.
    OWNERS.find(id.as_u64(), |owner| match owner {
        Registered::Anon(family) => Some(Owner::Anon(AnonVma::known(family.upgrade()?, id))),
        Registered::File(mappings) => Some(Owner::File(mappings.upgrade()?)),
    })
}
