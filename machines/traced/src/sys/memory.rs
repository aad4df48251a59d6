//! Reading a task's memory as its own loads see it.
#![expect(unsafe_code, reason = "process_vm_readv takes raw pointers")]

use super::{HostError, Tid};

/// Copies from the task's memory at `address`; the number of bytes that could be read.
pub(crate) fn read(tid: Tid, address: u64, out: &mut [u8]) -> usize {
    try_read(tid, address, out).unwrap_or(0)
}

/// The same, for who asks why nothing could be read.
pub(crate) fn try_read(tid: Tid, address: u64, out: &mut [u8]) -> Result<usize, HostError> {
    let local = libc::iovec {
        iov_base: out.as_mut_ptr().cast(),
        iov_len: out.len(),
    };
    let remote = libc::iovec {
        iov_base: core::ptr::with_exposed_provenance_mut(address as usize),
        iov_len: out.len(),
    };
    // SAFETY: 1. the local vector is `out`. 2. the remote one is a number to this process.
    let got =
        unsafe { libc::process_vm_readv(tid.raw(), &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(got).map_err(|_| HostError::last())
}

/// The lowest address that the host gives to one who asks for the second page, if it says: found by
/// mapping and unmapping a page.
pub(crate) fn lowest_hint() -> Option<u64> {
    const BYTES: usize = 4096;
    // SAFETY: the address is a wish: what is mapped already is not touched.
    let at = unsafe {
        libc::mmap(
            core::ptr::without_provenance_mut(BYTES),
            BYTES,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if at == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the mapping just made, which nothing points into.
    unsafe { libc::munmap(at, BYTES) };
    // Where that page is taken, the answer says nothing.
    Some(at.addr() as u64).filter(|at| *at <= 1 << 20)
}

/// Soft and hard value of a limit of a process.
pub(crate) fn limit(tid: Tid, resource: u32) -> Option<(u64, u64)> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure is stored to and outlives the call; nothing is changed.
    let answer = unsafe { libc::prlimit(tid.raw(), resource, core::ptr::null(), &raw mut limit) };
    (answer == 0).then_some((limit.rlim_cur, limit.rlim_max))
}

/// Sets the soft and hard value of a limit of a process; the answer is whether the host let it.
pub(crate) fn set_limit(tid: Tid, resource: u32, (soft, hard): (u64, u64)) -> bool {
    let limit = libc::rlimit {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: the structure is read by the call, and outlives it.
    let answer =
        unsafe { libc::prlimit(tid.raw(), resource, &raw const limit, core::ptr::null_mut()) };
    answer == 0
}

/// The capabilities in force of a task, a bit each; `None` when the host does not say.
pub(crate) fn capabilities(tid: Tid) -> Option<u64> {
    /// As the kernel has both: a version and a number; of the low and of the high half each the
    /// capabilities in force, permitted and inheritable.
    const VERSION_3: u32 = 0x2008_0522;
    let mut header = [VERSION_3, tid.raw() as u32];
    let mut sets = [[0u32; 3]; 2];
    // SAFETY: both are of the sizes that this version has, are stored to and outlive the call.
    let answer = unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) };
    let [[low, ..], [high, ..]] = sets;
    (answer == 0).then_some(u64::from(low) | u64::from(high) << 32)
}
