//! New areas made of old ones: a cut keeps everything but the bounds.

use crate::area::{NewArea, Vma};
use crate::lock::MmapHeld;
use addr::{Errno, PAGE_SHIFT, PgOff, VirtAddr, VirtRange, VmFlags};
use alloc::sync::Arc;
use object::rmap::Sharing;
use object::{AnonChain, Area, FileLink, Mapping};

/// `vma` with other bounds: its attributes, and the page offset that keeps every page where it is. The
/// range may reach beyond the area on both sides.
pub(super) fn cut(vma: &Vma, range: VirtRange) -> NewArea {
    let area = Area {
        range,
        flags: vma.flags(),
        pgoff: pgoff_at(vma, range.start()),
        ..Area::clone(vma)
    };
    NewArea {
        area,
        ops: vma.ops().cloned(),
    }
}

/// The page offset that `vma` has, or would have if it reached there, at `addr` (Linux:
/// `linear_page_index`). Wraps as Linux does; offsets of areas that merge are known not to.
pub(crate) fn pgoff_at(vma: &Vma, addr: VirtAddr) -> PgOff {
    let pages = addr.as_u64().wrapping_sub(vma.range.start().as_u64()) as i64 >> PAGE_SHIFT;
    PgOff::new(vma.pgoff.as_u64().wrapping_add_signed(pages))
}

/// The range between two page boundaries, `None` when it would be empty.
pub(super) fn between(start: VirtAddr, end: VirtAddr) -> Option<VirtRange> {
    VirtRange::new(start, end)
}

/// What is left of an area, or of two, on both sides of a part that was cut out.
#[derive(Debug)]
pub(super) struct Rests {
    pub(super) below: Option<Arc<Vma>>,
    pub(super) above: Option<Arc<Vma>>,
}

/// Where the private pages of a new area belong.
#[derive(Clone, Copy, Debug)]
pub(super) enum AnonFrom<'a> {
    /// It has none yet.
    Nothing,
    /// To the same as those of an existing chain, which another area keeps or gives up.
    Chain(&'a AnonChain),
}

impl<'a> AnonFrom<'a> {
    /// Of the first that has any.
    pub(super) fn first(chains: impl IntoIterator<Item = Option<&'a Arc<AnonChain>>>) -> Self {
        chains
            .into_iter()
            .flatten()
            .next()
            .map_or(Self::Nothing, |chain| Self::Chain(chain))
    }

    /// Of an area.
    pub(super) fn of(vma: &'a Vma) -> Self {
        Self::first([vma.anon_chain()])
    }
}

/// Makes a detached area of the space and links it into the reverse map.
///
/// # Errors
/// What the file says to one more area that may write to it.
pub(super) fn build(
    held: &impl MmapHeld,
    new: NewArea,
    anon: AnonFrom<'_>,
) -> Result<Arc<Vma>, Errno> {
    let file_link = link_file(held, &new.area)?.map(Arc::new);
    let chain = match anon {
        AnonFrom::Nothing => None,
        AnonFrom::Chain(chain) => Some(Arc::new(chain.duplicate(mapping(held, &new.area)))),
    };
    Ok(Vma::detached(held.space(), new, chain, file_link))
}

/// Makes a detached area that takes the place of `old`: same bounds, so it shares its links. For a
/// change that makes it a writer of its file, or no writer, it gets a link of its own.
pub(super) fn restyle(held: &impl MmapHeld, old: &Vma, new: NewArea) -> Result<Arc<Vma>, Errno> {
    let file_link = if sharing(old.flags()) == sharing(new.area.flags) {
        old.file_link().cloned()
    } else {
        link_file(held, &new.area)?.map(Arc::new)
    };
    Ok(Vma::detached(
        held.space(),
        new,
        old.anon_chain().cloned(),
        file_link,
    ))
}

/// The area as the reverse map knows it.
pub(crate) fn mapping(held: &impl MmapHeld, area: &Area) -> Mapping {
    Mapping::new(held.mapping_space().clone(), area.range, area.pgoff)
}

fn link_file(held: &impl MmapHeld, area: &Area) -> Result<Option<FileLink>, Errno> {
    let Some(file) = &area.file else {
        return Ok(None);
    };
    file.mappings()
        .link(mapping(held, area), sharing(area.flags))
        .map(Some)
}

/// Linux: `i_mmap_writable` counts areas with both SHARED and MAYWRITE.
fn sharing(flags: VmFlags) -> Sharing {
    if flags.contains(VmFlags::SHARED | VmFlags::MAYWRITE) {
        Sharing::Writable
    } else {
        Sharing::ReadOnly
    }
}
