//! Descriptors of other tasks, and files that live in memory.
#![expect(unsafe_code, reason = "host calls that make descriptors or map memory")]

use super::{HostError, Tid};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;

fn owned(number: libc::c_long) -> Result<OwnedFd, HostError> {
    if number < 0 {
        return Err(HostError::last());
    }
    // SAFETY: the kernel has just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number as i32) })
}

/// A handle on a process, or on one thread of it.
pub(crate) fn open_task(tid: Tid) -> Result<OwnedFd, HostError> {
    const PIDFD_THREAD: libc::c_long = libc::O_EXCL as libc::c_long;
    // SAFETY: numbers alone.
    let thread = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, tid.raw(), PIDFD_THREAD) });
    thread.or_else(|_| {
        // SAFETY: numbers alone.
        owned(unsafe { libc::syscall(libc::SYS_pidfd_open, tid.raw(), 0) })
    })
}

/// A duplicate of descriptor `number` of the task that `task` is a handle on.
pub(crate) fn take(task: BorrowedFd<'_>, number: i32) -> Result<OwnedFd, HostError> {
    // SAFETY: numbers alone.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, task.as_raw_fd(), number, 0) })
}

/// A file in memory holding `contents`, that nobody can change any more.
pub(crate) fn sealed_file(name: &std::ffi::CStr, contents: &[u8]) -> Result<OwnedFd, HostError> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: a string that ends with zero.
    let with_exec = unsafe { libc::memfd_create(name.as_ptr(), flags | libc::MFD_EXEC) };
    let number = if with_exec >= 0 {
        with_exec
    } else {
        // SAFETY: as above, for kernels that do not know the flag.
        unsafe { libc::memfd_create(name.as_ptr(), flags) }
    };
    let mut file = File::from(owned(number.into())?);
    file.write_all(contents)?;
    let seals = libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: numbers alone.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } < 0 {
        return Err(HostError::last());
    }
    Ok(file.into())
}

/// A file in memory holding `bytes` zeroes, that can be written.
pub(crate) fn zero_file(name: &std::ffi::CStr, bytes: u64) -> Result<OwnedFd, HostError> {
    // SAFETY: a string that ends with zero.
    let number = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    let file = File::from(owned(number.into())?);
    file.set_len(bytes)?;
    Ok(file.into())
}

/// A file in memory holding `contents`, as a reader of a `/proc` file expects it: at offset zero,
/// and not writable through this descriptor.
pub(crate) fn text_file(name: &std::ffi::CStr, contents: &[u8]) -> Result<OwnedFd, HostError> {
    let writable = sealed_file(name, contents)?;
    let path = format!("/proc/self/fd/{}", writable.as_raw_fd());
    Ok(File::open(path)?.into())
}

/// Another opening of the file behind a descriptor, that can only be read.
pub(crate) fn reopen_to_read(descriptor: BorrowedFd<'_>) -> Result<OwnedFd, HostError> {
    open_to_read(&format!("/proc/self/fd/{}", descriptor.as_raw_fd()))
}

/// Opens a regular file to read it, and waits for nobody: what else may be at the path is not opened,
/// and nobody who has a lease on the file is waited for.
pub(crate) fn open_to_read(path: &str) -> Result<OwnedFd, HostError> {
    let place = File::options()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path)?;
    if !place.metadata()?.is_file() {
        return Err(HostError::new(libc::ENODEV));
    }
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(format!("/proc/self/fd/{}", place.as_raw_fd()))?;
    Ok(file.into())
}

/// The flags a descriptor was opened with.
pub(crate) fn open_flags(descriptor: BorrowedFd<'_>) -> Result<i32, HostError> {
    // SAFETY: numbers alone.
    let flags = unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_GETFL) };
    if flags < 0 {
        Err(HostError::last())
    } else {
        Ok(flags)
    }
}

/// The type of the filesystem that a file is on.
pub(crate) fn filesystem_kind(descriptor: BorrowedFd<'_>) -> Result<i64, HostError> {
    // SAFETY: the structure is integers, so zeroes are one.
    let mut statfs: libc::statfs = unsafe { core::mem::zeroed() };
    // SAFETY: the structure is of the size that is stored.
    if unsafe { libc::fstatfs(descriptor.as_raw_fd(), &raw mut statfs) } < 0 {
        return Err(HostError::last());
    }
    Ok(statfs.f_type)
}

/// Whether the host lets this file be mapped, found by mapping and unmapping one page of it. Through a
/// descriptor that could write, what can only be appended to is mapped by nobody.
pub(crate) fn probe_mapping(descriptor: BorrowedFd<'_>) -> Result<(), HostError> {
    let probed = with_mapping(descriptor, 0, |_| ());
    if !probed.is_err_and(|error| error.raw() == libc::EACCES) {
        return probed;
    }
    let reader = reopen_to_read(descriptor)?;
    with_mapping(reader.as_fd(), 0, |_| ())
}

/// Fills `page` as a mapping shows the page at `offset`; what cannot be read is left as it is.
pub(crate) fn read_mapped(descriptor: BorrowedFd<'_>, offset: u64, page: &mut [u8]) {
    let own = Tid::new(std::process::id() as i32);
    // Not by a load: the file may be cut off at any time. What cannot be mapped is left as it is too.
    let _ = with_mapping(descriptor, offset, |at| super::memory::read(own, at, page));
}

/// Lends the address at which the page at `offset` of a file is mapped, shared and to be read. What is
/// there may be SIGBUS.
fn with_mapping<T>(
    descriptor: BorrowedFd<'_>,
    offset: u64,
    act: impl FnOnce(u64) -> T,
) -> Result<T, HostError> {
    let offset = i64::try_from(offset).map_err(|_| HostError::new(libc::EINVAL))?;
    // SAFETY: a mapping at a place that the kernel chooses overlaps nothing.
    let at = unsafe {
        libc::mmap(
            core::ptr::null_mut(),
            4096,
            libc::PROT_READ,
            libc::MAP_SHARED,
            descriptor.as_raw_fd(),
            offset,
        )
    };
    if at == libc::MAP_FAILED {
        return Err(HostError::last());
    }
    let answer = act(at as u64);
    // SAFETY: the mapping just made, which nothing points into.
    unsafe { libc::munmap(at, 4096) };
    Ok(answer)
}

/// Lends the descriptor of an open file; `None` when it has none.
pub(crate) fn with_descriptor<T>(
    file: &dyn object::device::HostFile,
    act: impl FnOnce(BorrowedFd<'_>) -> T,
) -> Option<T> {
    let number = file.descriptor()?;
    if number < 0 {
        return None;
    }
    // SAFETY: a host file keeps its descriptor open while it lives, and it is borrowed here.
    Some(act(unsafe { BorrowedFd::borrow_raw(number) }))
}

/// Reads at a byte offset what is in the host's memory already; EAGAIN when that is nothing.
pub(crate) fn read_at_hand(
    descriptor: BorrowedFd<'_>,
    offset: u64,
    buf: &mut [u8],
) -> Result<usize, HostError> {
    let vector = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    let offset = i64::try_from(offset).map_err(|_| HostError::new(libc::EINVAL))?;
    for flags in [libc::RWF_NOWAIT, 0] {
        // SAFETY: one vector, which is `buf`.
        let got =
            unsafe { libc::preadv2(descriptor.as_raw_fd(), &raw const vector, 1, offset, flags) };
        if got >= 0 {
            return Ok(got as usize);
        }
        let error = HostError::last();
        // Memory files do not know the flag, and never wait.
        if error.raw() != libc::EOPNOTSUPP || !is_in_memory(descriptor) {
            return Err(error);
        }
    }
    Err(HostError::new(libc::EAGAIN))
}

/// Whether the host has something of these bytes of a file in memory. Older hosts answer ENOSYS.
pub(crate) fn is_cached(
    descriptor: BorrowedFd<'_>,
    offset: u64,
    bytes: u64,
) -> Result<bool, HostError> {
    const CACHESTAT: libc::c_long = 451;
    let range = [offset, bytes];
    let mut counts = [0u64; 5];
    // SAFETY: the two structures are of numbers of 64 bits: two, which are read, and five, which are
    // stored; both outlive the call.
    let answer = unsafe {
        libc::syscall(
            CACHESTAT,
            descriptor.as_raw_fd(),
            range.as_ptr(),
            counts.as_mut_ptr(),
            0,
        )
    };
    if answer < 0 {
        return Err(HostError::last());
    }
    let [nr_cached, ..] = counts;
    Ok(nr_cached > 0)
}

fn is_in_memory(descriptor: BorrowedFd<'_>) -> bool {
    filesystem_kind(descriptor).is_ok_and(|kind| kind == libc::TMPFS_MAGIC)
}

/// Makes a hole of `len` bytes at `offset`.
pub(crate) fn punch_hole(
    descriptor: BorrowedFd<'_>,
    offset: u64,
    len: u64,
) -> Result<(), HostError> {
    let flags = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) else {
        return Err(HostError::new(libc::EINVAL));
    };
    // SAFETY: numbers alone.
    let answer = unsafe { libc::fallocate(descriptor.as_raw_fd(), flags, offset, len) };
    if answer < 0 {
        Err(HostError::last())
    } else {
        Ok(())
    }
}

/// What the file behind a descriptor of this process is called now, as the kernel tells it.
pub(crate) fn path(descriptor: BorrowedFd<'_>) -> Option<Vec<u8>> {
    let link = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    let path = std::fs::read_link(link).ok()?;
    Some(path.into_os_string().into_vec())
}

/// Whether two descriptors of this process are of one opening of a file.
pub(crate) fn is_same_open_file(a: BorrowedFd<'_>, b: BorrowedFd<'_>) -> bool {
    const KCMP_FILE: i32 = 0;
    let pid = std::process::id();
    // SAFETY: numbers alone.
    let order = unsafe {
        libc::syscall(
            libc::SYS_kcmp,
            pid,
            pid,
            KCMP_FILE,
            a.as_raw_fd(),
            b.as_raw_fd(),
        )
    };
    order == 0
}

/// The seals of a memory file; none for any other file.
pub(crate) fn seals(descriptor: BorrowedFd<'_>) -> i32 {
    // SAFETY: numbers alone.
    unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_GET_SEALS) }.max(0)
}

/// Whether the file can only be appended to.
pub(crate) fn is_append_only(descriptor: BorrowedFd<'_>) -> bool {
    // SAFETY: the structure is integers, so zeroes are one.
    let mut statx: libc::statx = unsafe { core::mem::zeroed() };
    // SAFETY: an empty string, and a structure of the size that is stored; both outlive the call.
    let answer = unsafe {
        libc::statx(
            descriptor.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            0,
            &raw mut statx,
        )
    };
    answer == 0 && statx.stx_attributes & libc::STATX_ATTR_APPEND as u64 != 0
}

/// Whether the host swaps to the file, by what it says to an allocation where no file has room: it
/// looks at that first.
pub(crate) fn is_swapped_to(descriptor: BorrowedFd<'_>) -> bool {
    let (keep_size, nowhere) = (libc::FALLOC_FL_KEEP_SIZE, libc::off_t::MAX);
    // SAFETY: numbers alone.
    let answer = unsafe { libc::fallocate(descriptor.as_raw_fd(), keep_size, nowhere, nowhere) };
    answer < 0 && HostError::last().raw() == libc::ETXTBSY
}

/// Whether a socket's data is a stream: what one call leaves is there for the next.
pub(crate) fn is_stream_socket(descriptor: BorrowedFd<'_>) -> bool {
    let mut kind: libc::c_int = 0;
    let mut bytes = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: an integer is stored, of the size that is told; both outlive the call.
    let answer = unsafe {
        libc::getsockopt(
            descriptor.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TYPE,
            (&raw mut kind).cast(),
            &raw mut bytes,
        )
    };
    answer == 0 && kind == libc::SOCK_STREAM
}

/// Whether nothing on the file's mount may be executed.
pub(crate) fn is_on_noexec_mount(descriptor: BorrowedFd<'_>) -> bool {
    // SAFETY: the structure is integers, so zeroes are one.
    let mut statvfs: libc::statvfs = unsafe { core::mem::zeroed() };
    // SAFETY: the structure is of the size that is stored.
    let answer = unsafe { libc::fstatvfs(descriptor.as_raw_fd(), &raw mut statvfs) };
    answer == 0 && statvfs.f_flag & libc::ST_NOEXEC != 0
}

/// Raises the number of descriptors that this process may have to what it may raise it to; what it
/// was before.
pub(crate) fn raise_limit() -> Option<libc::rlimit> {
    let mut before = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure is stored to and outlives the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut before) } < 0 {
        return None;
    }
    let raised = libc::rlimit {
        rlim_cur: before.rlim_max,
        ..before
    };
    // SAFETY: the structure is read by the call.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) };
    Some(before)
}

#[cfg(test)]
mod tests;
