//! Protection keys, as a kernel answers on a CPU without them (Linux: `pkey_alloc`, `pkey_free`).

use addr::Errno;

use crate::mm::{Mm, MmFlags};

/// PKEY_DISABLE_ACCESS, PKEY_DISABLE_WRITE.
const RIGHTS: u64 = 3;

impl Mm {
    /// `pkey_alloc`: there is no key.
    ///
    /// # Errors
    /// EINVAL for flags and unknown rights; EINVAL the first time, for the CPU cannot follow the one
    /// key there seemed to be; ENOSPC ever after, for that key does not come back.
    pub fn pkey_alloc(&self, flags: u64, rights: u64) -> Result<i32, Errno> {
        if flags != 0 || rights & !RIGHTS != 0 {
            return Err(Errno::EINVAL);
        }
        match self
            .set_flags(MmFlags::PKEYS_TAKEN)
            .contains(MmFlags::PKEYS_TAKEN)
        {
            true => Err(Errno::ENOSPC),
            false => Err(Errno::EINVAL),
        }
    }

    /// `pkey_free`.
    ///
    /// # Errors
    /// EINVAL: nobody has a key.
    pub fn pkey_free(&self, _pkey: i32) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }
}
