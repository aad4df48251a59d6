//! Names that a program gives to its anonymous memory (Linux: `prctl_set_vma`,
//! `madvise_set_anon_name`).

use alloc::sync::Arc;

use addr::{Errno, VirtAddr};
use vma::{Attributes, MmapHeld, Vma};

use super::{Walk, update, whole_pages};
use crate::map::PrivateData;
use crate::map::region::ObjectPromise;
use crate::mm::Mm;

/// `ANON_VMA_NAME_MAX_LEN`, without the byte that ends it.
const MAX_BYTES: usize = 79;

impl Mm {
    /// `prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME)`: names the anonymous memory of a range, or takes its
    /// name away. Memory with different names is never one area.
    ///
    /// # Errors
    /// EINVAL for a name that could not be printed, an unaligned start and a range that wraps; EBADF
    /// for memory of a file; ENOMEM for holes, after all else was done; EAGAIN when areas cannot be
    /// split.
    pub fn set_anon_name(&self, addr: VirtAddr, len: u64, name: Option<&str>) -> Result<(), Errno> {
        if !name.is_none_or(is_valid) {
            return Err(Errno::EINVAL);
        }
        let Some(range) = whole_pages(addr, len)? else {
            return Ok(());
        };
        let name: Option<Arc<str>> = name.map(Arc::from);
        let mut held = self.write();
        let mut walk = Walk::over(range);
        while let Some((vma, part)) = walk.next(held.tree()) {
            if !may_be_named(&vma) {
                return Err(Errno::EBADF);
            }
            let to = Attributes::of(&vma).with_name(name.clone());
            update(&mut held, &vma, part, to)?;
        }
        walk.end()
    }
}

/// `is_valid_name_char`, and not too long.
fn is_valid(name: &str) -> bool {
    let printable = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    name.len() <= MAX_BYTES
        && name
            .bytes()
            .all(|byte| printable(byte) && !b"\\`$[]".contains(&byte))
}

/// Anonymous memory; shared memory that was made for an area counts as such (`vma_is_anon_shmem`).
fn may_be_named(vma: &Vma) -> bool {
    let made_for_it = |data: &PrivateData| data.is::<ObjectPromise>();
    vma.is_anonymous() || vma.private_data.as_ref().is_some_and(made_for_it)
}
