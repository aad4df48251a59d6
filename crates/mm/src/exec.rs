//! What exec asks of a fresh space beside mmap.

use addr::{Errno, Prot, VirtRange};

use crate::map::{MapFlags, MapRequest};
use crate::mm::{Mm, MmFlags};

impl Mm {
    /// Takes over what exec keeps of the space that the process had `before` (`mm_init`, which begins
    /// with the flags of the caller's space).
    pub fn take_over(&self, before: &Mm) {
        self.clear_flags(MmFlags::DUMP_FILTER);
        self.set_flags(before.flags().over_exec());
    }

    /// Maps the main stack of a program whose `arg_bytes` of strings and vectors will lie at its top
    /// (`setup_arg_pages`, without the move that follows from randomness).
    pub fn setup_stack(&self, arg_bytes: u64) -> Result<VirtRange, Errno> {
        let range = self
            .layout()
            .initial_stack(arg_bytes, self.limits())
            .ok_or(Errno::ENOMEM)?;
        let request = MapRequest::anonymous(range.bytes(), Prot::READ | Prot::WRITE)
            .with(MapFlags::GROWSDOWN | MapFlags::FIXED_NOREPLACE)
            .near(range.start());
        self.mmap(&request)?;
        self.image().start_stack = range.end().saturating_sub(arg_bytes);
        Ok(range)
    }
}
