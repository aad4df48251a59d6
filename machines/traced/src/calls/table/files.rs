//! Calls on files and paths.

use libc as c;

use super::Plan::{self, Prepare, See};
use super::{PAIR_OF_TIMES, STAT, Verb};
use crate::calls::operand::Length::{Argument, AtMost, Bytes};
use crate::calls::operand::Operand::{self, Ioctl, Text, Vector, When};
use crate::calls::operand::{Flow, both, input, output};

/// fcntl's argument, where the command makes it a pointer.
const LOCK: Operand = When(
    1,
    &[5, 6, 7, 15, 16, 17, 36, 37, 38, 1035, 1036, 1037, 1038],
    &both(2, Bytes(32)),
);

pub(super) const FILES: &[(i64, Plan)] = &[
    (c::SYS_read, Prepare(&[output(1, AtMost(2))])),
    (c::SYS_write, Prepare(&[input(1, Argument(2))])),
    (c::SYS_pread64, Prepare(&[output(1, AtMost(2))])),
    (c::SYS_pwrite64, Prepare(&[input(1, Argument(2))])),
    (c::SYS_readv, Prepare(&[Vector(Flow::Out, 1, 2)])),
    (c::SYS_writev, Prepare(&[Vector(Flow::In, 1, 2)])),
    (c::SYS_preadv, Prepare(&[Vector(Flow::Out, 1, 2)])),
    (c::SYS_pwritev, Prepare(&[Vector(Flow::In, 1, 2)])),
    (c::SYS_preadv2, Prepare(&[Vector(Flow::Out, 1, 2)])),
    (c::SYS_pwritev2, Prepare(&[Vector(Flow::In, 1, 2)])),
    (c::SYS_vmsplice, Prepare(&[Vector(Flow::InOut, 1, 2)])),
    (c::SYS_fstat, Prepare(&[STAT])),
    (c::SYS_fstatfs, Prepare(&[output(1, Bytes(120))])),
    (c::SYS_getdents, Prepare(&[output(1, Argument(2))])),
    (c::SYS_getdents64, Prepare(&[output(1, Argument(2))])),
    (c::SYS_ioctl, Prepare(&[Ioctl(2)])),
    (c::SYS_fcntl, Prepare(&[LOCK])),
    (c::SYS_pipe, Prepare(&[output(0, Bytes(8))])),
    (c::SYS_pipe2, Prepare(&[output(0, Bytes(8))])),
    (c::SYS_sendfile, Prepare(&[both(2, Bytes(8))])),
    (
        c::SYS_splice,
        Prepare(&[both(1, Bytes(8)), both(3, Bytes(8))]),
    ),
    (
        c::SYS_copy_file_range,
        Prepare(&[both(1, Bytes(8)), both(3, Bytes(8))]),
    ),
    (c::SYS_fallocate, See(Verb::Fallocate, &[])),
    (c::SYS_ftruncate, See(Verb::Ftruncate, &[])),
    (c::SYS_truncate, See(Verb::Truncate, &[Text(0)])),
    (c::SYS_fsetxattr, Prepare(&[Text(1), input(2, Argument(3))])),
    (
        c::SYS_fgetxattr,
        Prepare(&[Text(1), output(2, Argument(3))]),
    ),
    (c::SYS_flistxattr, Prepare(&[output(1, Argument(2))])),
    (c::SYS_fremovexattr, Prepare(&[Text(1)])),
    (451, Prepare(&[input(1, Bytes(16)), output(2, Bytes(40))])),
    (
        c::SYS_name_to_handle_at,
        Prepare(&[Text(1), both(2, Bytes(136)), output(3, Bytes(4))]),
    ),
    (c::SYS_open_by_handle_at, Prepare(&[both(1, Bytes(136))])),
];

pub(super) const PATHS: &[(i64, Plan)] = &[
    (c::SYS_open, See(Verb::Open, &[Text(0)])),
    (c::SYS_creat, See(Verb::Open, &[Text(0)])),
    (c::SYS_openat, See(Verb::Open, &[Text(1)])),
    (
        c::SYS_openat2,
        See(Verb::Open, &[Text(1), input(2, Argument(3))]),
    ),
    (c::SYS_stat, Prepare(&[Text(0), STAT])),
    (c::SYS_lstat, Prepare(&[Text(0), STAT])),
    (
        c::SYS_newfstatat,
        Prepare(&[Text(1), output(2, Bytes(144))]),
    ),
    (c::SYS_statx, Prepare(&[Text(1), output(4, Bytes(256))])),
    (c::SYS_statfs, Prepare(&[Text(0), output(1, Bytes(120))])),
    (c::SYS_access, Prepare(&[Text(0)])),
    (c::SYS_faccessat, Prepare(&[Text(1)])),
    (c::SYS_faccessat2, Prepare(&[Text(1)])),
    (c::SYS_getcwd, Prepare(&[output(0, Argument(1))])),
    (c::SYS_chdir, Prepare(&[Text(0)])),
    (c::SYS_chroot, Prepare(&[Text(0)])),
    (c::SYS_rename, Prepare(&[Text(0), Text(1)])),
    (c::SYS_renameat, Prepare(&[Text(1), Text(3)])),
    (c::SYS_renameat2, Prepare(&[Text(1), Text(3)])),
    (c::SYS_mkdir, Prepare(&[Text(0)])),
    (c::SYS_mkdirat, Prepare(&[Text(1)])),
    (c::SYS_rmdir, Prepare(&[Text(0)])),
    (c::SYS_link, Prepare(&[Text(0), Text(1)])),
    (c::SYS_linkat, Prepare(&[Text(1), Text(3)])),
    (c::SYS_unlink, Prepare(&[Text(0)])),
    (c::SYS_unlinkat, Prepare(&[Text(1)])),
    (c::SYS_symlink, Prepare(&[Text(0), Text(1)])),
    (c::SYS_symlinkat, Prepare(&[Text(0), Text(2)])),
    (c::SYS_readlink, Prepare(&[Text(0), output(1, Argument(2))])),
    (
        c::SYS_readlinkat,
        Prepare(&[Text(1), output(2, Argument(3))]),
    ),
    (c::SYS_chmod, Prepare(&[Text(0)])),
    (c::SYS_fchmodat, Prepare(&[Text(1)])),
    (c::SYS_fchmodat2, Prepare(&[Text(1)])),
    (c::SYS_chown, Prepare(&[Text(0)])),
    (c::SYS_lchown, Prepare(&[Text(0)])),
    (c::SYS_fchownat, Prepare(&[Text(1)])),
    (c::SYS_utime, Prepare(&[Text(0), input(1, Bytes(16))])),
    (
        c::SYS_utimes,
        Prepare(&[Text(0), input(1, Bytes(PAIR_OF_TIMES))]),
    ),
    (
        c::SYS_futimesat,
        Prepare(&[Text(1), input(2, Bytes(PAIR_OF_TIMES))]),
    ),
    (
        c::SYS_utimensat,
        Prepare(&[Text(1), input(2, Bytes(PAIR_OF_TIMES))]),
    ),
    (c::SYS_mknod, Prepare(&[Text(0)])),
    (c::SYS_mknodat, Prepare(&[Text(1)])),
    (
        c::SYS_setxattr,
        Prepare(&[Text(0), Text(1), input(2, Argument(3))]),
    ),
    (
        c::SYS_lsetxattr,
        Prepare(&[Text(0), Text(1), input(2, Argument(3))]),
    ),
    (
        c::SYS_getxattr,
        Prepare(&[Text(0), Text(1), output(2, Argument(3))]),
    ),
    (
        c::SYS_lgetxattr,
        Prepare(&[Text(0), Text(1), output(2, Argument(3))]),
    ),
    (
        c::SYS_listxattr,
        Prepare(&[Text(0), output(1, Argument(2))]),
    ),
    (
        c::SYS_llistxattr,
        Prepare(&[Text(0), output(1, Argument(2))]),
    ),
    (c::SYS_removexattr, Prepare(&[Text(0), Text(1)])),
    (c::SYS_lremovexattr, Prepare(&[Text(0), Text(1)])),
    (c::SYS_inotify_add_watch, Prepare(&[Text(1)])),
    (c::SYS_fanotify_mark, Prepare(&[Text(4)])),
    (c::SYS_memfd_create, Prepare(&[Text(0)])),
    (c::SYS_mount, Prepare(&[Text(0), Text(1), Text(2), Text(4)])),
    (c::SYS_umount2, Prepare(&[Text(0)])),
    (c::SYS_pivot_root, Prepare(&[Text(0), Text(1)])),
    (c::SYS_open_tree, Prepare(&[Text(1)])),
    (c::SYS_move_mount, Prepare(&[Text(1), Text(3)])),
    (c::SYS_fsopen, Prepare(&[Text(0)])),
    (c::SYS_fsconfig, Prepare(&[Text(2), Text(3)])),
    (c::SYS_fspick, Prepare(&[Text(1)])),
    (
        c::SYS_mount_setattr,
        Prepare(&[Text(1), input(3, Argument(4))]),
    ),
    (c::SYS_swapon, Prepare(&[Text(0)])),
    (c::SYS_swapoff, Prepare(&[Text(0)])),
    (c::SYS_acct, Prepare(&[Text(0)])),
    (c::SYS_mq_open, Prepare(&[Text(0), input(3, Bytes(64))])),
    (c::SYS_mq_unlink, Prepare(&[Text(0)])),
];
