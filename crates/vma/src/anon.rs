//! An area's first private page: its place in the reverse map (Linux: `__anon_vma_prepare`,
//! `find_mergeable_anon_vma`).

use crate::area::Vma;
use crate::lock::MmapHeld;
use crate::plan::{mapping, pgoff_at};
use addr::VmFlags;
use alloc::sync::Arc;
use object::AnonChain;
use object::file::same_open_file;

/// Gives the area an anon_vma if it has none: that of a neighbour with which it could be one area but
/// for the rights, or else a new one. Any mmap guard will do; two faults may race, and the first wins.
pub fn anon_vma_prepare(held: &impl MmapHeld, vma: &Arc<Vma>) -> Arc<AnonChain> {
    if let Some(chain) = vma.anon_chain() {
        return Arc::clone(chain);
    }
    let place = mapping(held, vma);
    let shared = neighbour_chain(held, vma)
        .and_then(|neighbour| AnonChain::prepare_sharing(&neighbour, place.clone()));
    let chain = shared.unwrap_or_else(|| AnonChain::prepare(place));
    Arc::clone(vma.adopt(chain))
}

/// The chain of the area above or else below that this one could share.
fn neighbour_chain(held: &impl MmapHeld, vma: &Vma) -> Option<Arc<AnonChain>> {
    let above = held
        .tree()
        .find(vma.range.end())
        .filter(|above| could_share(vma, above));
    let usable = |near: &Arc<Vma>| {
        near.anon_chain()
            .filter(|chain| chain.is_singular())
            .cloned()
    };
    above.and_then(usable).or_else(|| {
        let below = held.tree().find_prev(vma.range.start())?;
        usable(Some(below).filter(|below| could_share(below, vma))?)
    })
}

/// Linux: `anon_vma_compatible`. What mprotect changes is left out: the areas may well be one later.
fn could_share(low: &Vma, high: &Vma) -> bool {
    let ignored = VmFlags::ACCESS | VmFlags::STICKY;
    low.range.end() == high.range.start()
        && low.policy.as_deref() == high.policy.as_deref()
        && same_open_file(low.file.as_ref(), high.file.as_ref())
        && ((low.flags() ^ high.flags()) - ignored).is_empty()
        && pgoff_at(low, high.range.start()) == high.pgoff
}
