//! Reading a task's memory as its own loads see it.
#![expect(unsafe_code, reason = "process_vm_readv takes raw pointers")]

use super::Tid;

/// Copies from the task's memory at `address`; the number of bytes that could be read.
pub(crate) fn read(tid: Tid, address: u64, out: &mut [u8]) -> usize {
    let local = libc::iovec { iov_base: out.as_mut_ptr().cast(), iov_len: out.len() };
    let remote = libc::iovec {
        iov_base: core::ptr::with_exposed_provenance_mut(address as usize),
        iov_len: out.len(),
    };
    // SAFETY: 1. the local vector is `out`. 2. the remote one is a number to this process.
    let got = unsafe { libc::process_vm_readv(tid.raw(), &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(got).unwrap_or(0)
}
