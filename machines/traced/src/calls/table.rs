//! Every system call of x86-64: whether it stops, and what of the program's memory it names.

use libc as c;

use super::operand::Length::{Argument, ArgumentAnd, AtPointer, Bits, Bytes, Items};
use super::operand::Operand::{Ioctl, Message, Messages, Text, Texts, Vector, When};
use super::operand::{Flow, Operand, both, input, output};

/// A call that Recto performs, or prepares in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Mmap,
    Munmap,
    Mprotect,
    Mremap,
    Brk,
    Madvise,
    Msync,
    Mincore,
    Mlock,
    Mlock2,
    Munlock,
    Mlockall,
    Munlockall,
    RemapFilePages,
    ProcessVmRead,
    ProcessVmWrite,
    Fork,
    Vfork,
    Clone,
    Clone3,
    Exec,
    Open,
    Truncate,
    Ftruncate,
    Futex,
    FutexWaitv,
    SetTidAddress,
    SetRobustList,
    Sigaction,
    Sigprocmask,
    Sigreturn,
    Sigsuspend,
    Sigaltstack,
    /// A call that takes a signal mask for its duration: the mask is in argument 4, or, with
    /// pselect6, in a pair that argument 5 points to.
    WithMask,
    Setrlimit,
    Prlimit,
    Prctl,
}

/// What is done with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// It names no memory: it runs without a stop.
    Pass,
    /// It fails with this errno, without a stop.
    Fail(i32),
    /// Its operands are made ready, then it runs.
    Prepare(&'static [Operand]),
    /// Its operands are made ready, then Recto sees to it.
    See(Verb, &'static [Operand]),
}

use Plan::{Fail, Pass, Prepare, See};

/// One past the highest call number that is known.
pub(crate) const NR_CALLS: usize = 463;

const STAT: Operand = output(1, Bytes(144));
const PAIR_OF_TIMES: u64 = 32;
const TIME: u64 = 16;
const SIGINFO: u64 = 128;
const RUSAGE: u64 = 144;
const ADDRESS: [Operand; 2] = [both(2, Bytes(4)), output(1, AtPointer(2))];
const EPOLL_EVENTS: Operand = output(1, Items(2, 12));
const POLL_FDS: Operand = both(0, Items(1, 8));
const LOCK: Operand = When(
    1,
    &[5, 6, 7, 15, 16, 17, 36, 37, 38, 1035, 1036, 1037, 1038],
    &both(2, Bytes(32)),
);
const NO_CALL: Plan = Fail(c::ENOSYS);

/// The plan for each call number.
pub(crate) static PLANS: [Plan; NR_CALLS] = {
    let mut plans = [NO_CALL; NR_CALLS];
    let mut group = 0;
    while group < GROUPS.len() {
        let mut at = 0;
        while at < GROUPS[group].len() {
            let (number, plan) = GROUPS[group][at];
            plans[number as usize] = plan;
            at += 1;
        }
        group += 1;
    }
    let mut at = 0;
    while at < WITHOUT_MEMORY.len() {
        plans[WITHOUT_MEMORY[at] as usize] = Pass;
        at += 1;
    }
    plans
};

const GROUPS: [&[(i64, Plan)]; 7] =
    [MEMORY, TASKS, SIGNALS, FILES, PATHS, SOCKETS_AND_WAITS, REST];

const MEMORY: &[(i64, Plan)] = &[
    (c::SYS_mmap, See(Verb::Mmap, &[])),
    (c::SYS_munmap, See(Verb::Munmap, &[])),
    (c::SYS_mprotect, See(Verb::Mprotect, &[])),
    (c::SYS_pkey_mprotect, See(Verb::Mprotect, &[])),
    (c::SYS_mremap, See(Verb::Mremap, &[])),
    (c::SYS_brk, See(Verb::Brk, &[])),
    (c::SYS_madvise, See(Verb::Madvise, &[])),
    (c::SYS_msync, See(Verb::Msync, &[])),
    (c::SYS_mincore, See(Verb::Mincore, &[])),
    (c::SYS_mlock, See(Verb::Mlock, &[])),
    (c::SYS_mlock2, See(Verb::Mlock2, &[])),
    (c::SYS_munlock, See(Verb::Munlock, &[])),
    (c::SYS_mlockall, See(Verb::Mlockall, &[])),
    (c::SYS_munlockall, See(Verb::Munlockall, &[])),
    (c::SYS_remap_file_pages, See(Verb::RemapFilePages, &[])),
    (
        c::SYS_process_vm_readv,
        See(Verb::ProcessVmRead, &[input(1, Items(2, 16)), input(3, Items(4, 16))]),
    ),
    (
        c::SYS_process_vm_writev,
        See(Verb::ProcessVmWrite, &[input(1, Items(2, 16)), input(3, Items(4, 16))]),
    ),
    (c::SYS_membarrier, Pass),
    // As a kernel without these options answers.
    (c::SYS_ptrace, Fail(c::EPERM)),
    (c::SYS_pkey_alloc, Fail(c::ENOSPC)),
    (c::SYS_pkey_free, Fail(c::EINVAL)),
];

const TASKS: &[(i64, Plan)] = &[
    (c::SYS_fork, See(Verb::Fork, &[])),
    (c::SYS_vfork, See(Verb::Vfork, &[])),
    (c::SYS_clone, See(Verb::Clone, &[output(2, Bytes(4)), output(3, Bytes(4))])),
    (c::SYS_clone3, See(Verb::Clone3, &[input(0, Argument(1))])),
    (c::SYS_execve, See(Verb::Exec, &[Text(0), Texts(1), Texts(2)])),
    (c::SYS_execveat, See(Verb::Exec, &[Text(1), Texts(2), Texts(3)])),
    (c::SYS_set_tid_address, See(Verb::SetTidAddress, &[])),
    (c::SYS_set_robust_list, See(Verb::SetRobustList, &[])),
    (c::SYS_get_robust_list, Prepare(&[output(1, Bytes(8)), output(2, Bytes(8))])),
    (c::SYS_futex, See(Verb::Futex, &[])),
    (c::SYS_futex_waitv, See(Verb::FutexWaitv, &[input(0, Items(1, 24)), input(3, Bytes(TIME))])),
    (454, Prepare(&[both(0, Bytes(8))])),
    (455, Prepare(&[both(0, Bytes(8)), input(4, Bytes(TIME))])),
    (c::SYS_wait4, Prepare(&[output(1, Bytes(4)), output(3, Bytes(RUSAGE))])),
    (c::SYS_waitid, Prepare(&[output(2, Bytes(SIGINFO)), output(4, Bytes(RUSAGE))])),
    (c::SYS_prctl, See(Verb::Prctl, &[])),
    (c::SYS_arch_prctl, Prepare(&[When(0, &[0x1003, 0x1004, 0x5005], &output(1, Bytes(8)))])),
    (c::SYS_sched_setparam, Prepare(&[input(1, Bytes(4))])),
    (c::SYS_sched_getparam, Prepare(&[output(1, Bytes(4))])),
    (c::SYS_sched_setscheduler, Prepare(&[input(2, Bytes(4))])),
    (c::SYS_sched_rr_get_interval, Prepare(&[output(1, Bytes(TIME))])),
    (c::SYS_sched_setaffinity, Prepare(&[input(2, Argument(1))])),
    (c::SYS_sched_getaffinity, Prepare(&[output(2, Argument(1))])),
    (c::SYS_sched_setattr, Prepare(&[both(1, Bytes(56))])),
    (c::SYS_sched_getattr, Prepare(&[output(1, Argument(2))])),
    (c::SYS_getrlimit, Prepare(&[output(1, Bytes(16))])),
    (c::SYS_setrlimit, See(Verb::Setrlimit, &[input(1, Bytes(16))])),
    (c::SYS_prlimit64, See(Verb::Prlimit, &[input(2, Bytes(16)), output(3, Bytes(16))])),
    (c::SYS_getrusage, Prepare(&[output(1, Bytes(RUSAGE))])),
    (c::SYS_times, Prepare(&[output(0, Bytes(32))])),
    (c::SYS_getgroups, Prepare(&[output(1, Items(0, 4))])),
    (c::SYS_setgroups, Prepare(&[input(1, Items(0, 4))])),
    (c::SYS_getresuid, Prepare(&[output(0, Bytes(4)), output(1, Bytes(4)), output(2, Bytes(4))])),
    (c::SYS_getresgid, Prepare(&[output(0, Bytes(4)), output(1, Bytes(4)), output(2, Bytes(4))])),
    (c::SYS_capget, Prepare(&[both(0, Bytes(8)), output(1, Bytes(24))])),
    (c::SYS_capset, Prepare(&[both(0, Bytes(8)), input(1, Bytes(24))])),
    (c::SYS_getcpu, Prepare(&[output(0, Bytes(4)), output(1, Bytes(4))])),
    (c::SYS_seccomp, Prepare(&[both(2, Bytes(16))])),
    (c::SYS_modify_ldt, Prepare(&[both(1, Argument(2))])),
];

const SIGNALS: &[(i64, Plan)] = &[
    (c::SYS_rt_sigaction, See(Verb::Sigaction, &[input(1, Bytes(32)), output(2, Bytes(32))])),
    (c::SYS_rt_sigprocmask, See(Verb::Sigprocmask, &[input(1, Bytes(8)), output(2, Bytes(8))])),
    (c::SYS_rt_sigreturn, See(Verb::Sigreturn, &[])),
    (c::SYS_rt_sigpending, Prepare(&[output(0, Argument(1))])),
    (
        c::SYS_rt_sigtimedwait,
        Prepare(&[input(0, Bytes(8)), output(1, Bytes(SIGINFO)), input(2, Bytes(TIME))]),
    ),
    (c::SYS_rt_sigqueueinfo, Prepare(&[input(2, Bytes(SIGINFO))])),
    (c::SYS_rt_tgsigqueueinfo, Prepare(&[input(3, Bytes(SIGINFO))])),
    (c::SYS_pidfd_send_signal, Prepare(&[input(2, Bytes(SIGINFO))])),
    (c::SYS_rt_sigsuspend, See(Verb::Sigsuspend, &[input(0, Bytes(8))])),
    (c::SYS_sigaltstack, See(Verb::Sigaltstack, &[input(0, Bytes(24)), output(1, Bytes(24))])),
    (c::SYS_signalfd, Prepare(&[input(1, Argument(2))])),
    (c::SYS_signalfd4, Prepare(&[input(1, Argument(2))])),
    (
        c::SYS_pselect6,
        See(Verb::WithMask, &[
            both(1, Bits(0)),
            both(2, Bits(0)),
            both(3, Bits(0)),
            both(4, Bytes(TIME)),
            input(5, Bytes(16)),
        ]),
    ),
    (c::SYS_ppoll, See(Verb::WithMask, &[POLL_FDS, both(2, Bytes(TIME)), input(3, Bytes(8))])),
    (c::SYS_epoll_pwait, See(Verb::WithMask, &[EPOLL_EVENTS, input(4, Bytes(8))])),
    (
        c::SYS_epoll_pwait2,
        See(Verb::WithMask, &[EPOLL_EVENTS, input(3, Bytes(TIME)), input(4, Bytes(8))]),
    ),
];

const FILES: &[(i64, Plan)] = &[
    (c::SYS_read, Prepare(&[output(1, Argument(2))])),
    (c::SYS_write, Prepare(&[input(1, Argument(2))])),
    (c::SYS_pread64, Prepare(&[output(1, Argument(2))])),
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
    (c::SYS_splice, Prepare(&[both(1, Bytes(8)), both(3, Bytes(8))])),
    (c::SYS_copy_file_range, Prepare(&[both(1, Bytes(8)), both(3, Bytes(8))])),
    (c::SYS_ftruncate, See(Verb::Ftruncate, &[])),
    (c::SYS_truncate, See(Verb::Truncate, &[Text(0)])),
    (c::SYS_fsetxattr, Prepare(&[Text(1), input(2, Argument(3))])),
    (c::SYS_fgetxattr, Prepare(&[Text(1), output(2, Argument(3))])),
    (c::SYS_flistxattr, Prepare(&[output(1, Argument(2))])),
    (c::SYS_fremovexattr, Prepare(&[Text(1)])),
    (451, Prepare(&[input(1, Bytes(16)), output(2, Bytes(40))])),
    (c::SYS_name_to_handle_at, Prepare(&[Text(1), both(2, Bytes(136)), output(3, Bytes(4))])),
    (c::SYS_open_by_handle_at, Prepare(&[both(1, Bytes(136))])),
];

const PATHS: &[(i64, Plan)] = &[
    (c::SYS_open, See(Verb::Open, &[Text(0)])),
    (c::SYS_creat, Prepare(&[Text(0)])),
    (c::SYS_openat, See(Verb::Open, &[Text(1)])),
    (c::SYS_openat2, See(Verb::Open, &[Text(1), input(2, Argument(3))])),
    (c::SYS_stat, Prepare(&[Text(0), STAT])),
    (c::SYS_lstat, Prepare(&[Text(0), STAT])),
    (c::SYS_newfstatat, Prepare(&[Text(1), output(2, Bytes(144))])),
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
    (c::SYS_readlinkat, Prepare(&[Text(1), output(2, Argument(3))])),
    (c::SYS_chmod, Prepare(&[Text(0)])),
    (c::SYS_fchmodat, Prepare(&[Text(1)])),
    (c::SYS_fchmodat2, Prepare(&[Text(1)])),
    (c::SYS_chown, Prepare(&[Text(0)])),
    (c::SYS_lchown, Prepare(&[Text(0)])),
    (c::SYS_fchownat, Prepare(&[Text(1)])),
    (c::SYS_utime, Prepare(&[Text(0), input(1, Bytes(16))])),
    (c::SYS_utimes, Prepare(&[Text(0), input(1, Bytes(PAIR_OF_TIMES))])),
    (c::SYS_futimesat, Prepare(&[Text(1), input(2, Bytes(PAIR_OF_TIMES))])),
    (c::SYS_utimensat, Prepare(&[Text(1), input(2, Bytes(PAIR_OF_TIMES))])),
    (c::SYS_mknod, Prepare(&[Text(0)])),
    (c::SYS_mknodat, Prepare(&[Text(1)])),
    (c::SYS_setxattr, Prepare(&[Text(0), Text(1), input(2, Argument(3))])),
    (c::SYS_lsetxattr, Prepare(&[Text(0), Text(1), input(2, Argument(3))])),
    (c::SYS_getxattr, Prepare(&[Text(0), Text(1), output(2, Argument(3))])),
    (c::SYS_lgetxattr, Prepare(&[Text(0), Text(1), output(2, Argument(3))])),
    (c::SYS_listxattr, Prepare(&[Text(0), output(1, Argument(2))])),
    (c::SYS_llistxattr, Prepare(&[Text(0), output(1, Argument(2))])),
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
    (c::SYS_mount_setattr, Prepare(&[Text(1), input(3, Argument(4))])),
    (c::SYS_swapon, Prepare(&[Text(0)])),
    (c::SYS_swapoff, Prepare(&[Text(0)])),
    (c::SYS_acct, Prepare(&[Text(0)])),
    (c::SYS_mq_open, Prepare(&[Text(0), input(3, Bytes(64))])),
    (c::SYS_mq_unlink, Prepare(&[Text(0)])),
];

const SOCKETS_AND_WAITS: &[(i64, Plan)] = &[
    (c::SYS_connect, Prepare(&[input(1, Argument(2))])),
    (c::SYS_bind, Prepare(&[input(1, Argument(2))])),
    (c::SYS_accept, Prepare(&ADDRESS)),
    (c::SYS_accept4, Prepare(&ADDRESS)),
    (c::SYS_getsockname, Prepare(&ADDRESS)),
    (c::SYS_getpeername, Prepare(&ADDRESS)),
    (c::SYS_sendto, Prepare(&[input(1, Argument(2)), input(4, Argument(5))])),
    (
        c::SYS_recvfrom,
        Prepare(&[output(1, Argument(2)), both(5, Bytes(4)), output(4, AtPointer(5))]),
    ),
    (c::SYS_sendmsg, Prepare(&[Message(Flow::In, 1)])),
    (c::SYS_recvmsg, Prepare(&[Message(Flow::Out, 1)])),
    (c::SYS_sendmmsg, Prepare(&[Messages(Flow::In, 1, 2)])),
    (c::SYS_recvmmsg, Prepare(&[Messages(Flow::Out, 1, 2), both(4, Bytes(TIME))])),
    (c::SYS_socketpair, Prepare(&[output(3, Bytes(8))])),
    (c::SYS_setsockopt, Prepare(&[input(3, Argument(4))])),
    (c::SYS_getsockopt, Prepare(&[both(4, Bytes(4)), both(3, AtPointer(4))])),
    (c::SYS_poll, Prepare(&[POLL_FDS])),
    (
        c::SYS_select,
        Prepare(&[both(1, Bits(0)), both(2, Bits(0)), both(3, Bits(0)), both(4, Bytes(TIME))]),
    ),
    (c::SYS_epoll_wait, Prepare(&[EPOLL_EVENTS])),
    (c::SYS_epoll_ctl, Prepare(&[input(3, Bytes(12))])),
    (c::SYS_nanosleep, Prepare(&[input(0, Bytes(TIME)), output(1, Bytes(TIME))])),
    (c::SYS_clock_nanosleep, Prepare(&[input(2, Bytes(TIME)), output(3, Bytes(TIME))])),
    (c::SYS_clock_gettime, Prepare(&[output(1, Bytes(TIME))])),
    (c::SYS_clock_getres, Prepare(&[output(1, Bytes(TIME))])),
    (c::SYS_clock_settime, Prepare(&[input(1, Bytes(TIME))])),
    (c::SYS_clock_adjtime, Prepare(&[both(1, Bytes(208))])),
    (c::SYS_adjtimex, Prepare(&[both(0, Bytes(208))])),
    (c::SYS_gettimeofday, Prepare(&[output(0, Bytes(TIME)), output(1, Bytes(8))])),
    (c::SYS_settimeofday, Prepare(&[input(0, Bytes(TIME)), input(1, Bytes(8))])),
    (c::SYS_time, Prepare(&[output(0, Bytes(8))])),
    (c::SYS_getitimer, Prepare(&[output(1, Bytes(PAIR_OF_TIMES))])),
    (
        c::SYS_setitimer,
        Prepare(&[input(1, Bytes(PAIR_OF_TIMES)), output(2, Bytes(PAIR_OF_TIMES))]),
    ),
    (c::SYS_timer_create, Prepare(&[input(1, Bytes(64)), output(2, Bytes(4))])),
    (
        c::SYS_timer_settime,
        Prepare(&[input(2, Bytes(PAIR_OF_TIMES)), output(3, Bytes(PAIR_OF_TIMES))]),
    ),
    (c::SYS_timer_gettime, Prepare(&[output(1, Bytes(PAIR_OF_TIMES))])),
    (
        c::SYS_timerfd_settime,
        Prepare(&[input(2, Bytes(PAIR_OF_TIMES)), output(3, Bytes(PAIR_OF_TIMES))]),
    ),
    (c::SYS_timerfd_gettime, Prepare(&[output(1, Bytes(PAIR_OF_TIMES))])),
    (c::SYS_semop, Prepare(&[input(1, Items(2, 6))])),
    (c::SYS_semtimedop, Prepare(&[input(1, Items(2, 6)), input(3, Bytes(TIME))])),
    (c::SYS_semctl, Prepare(&[When(2, &[1, 2, 3, 13, 17, 18, 19], &both(3, Bytes(256)))])),
    (c::SYS_msgsnd, Prepare(&[input(1, ArgumentAnd(2, 8))])),
    (c::SYS_msgrcv, Prepare(&[output(1, ArgumentAnd(2, 8))])),
    (c::SYS_msgctl, Prepare(&[both(2, Bytes(120))])),
    (c::SYS_mq_timedsend, Prepare(&[input(1, Argument(2)), input(4, Bytes(TIME))])),
    (
        c::SYS_mq_timedreceive,
        Prepare(&[output(1, Argument(2)), output(3, Bytes(4)), input(4, Bytes(TIME))]),
    ),
    (c::SYS_mq_notify, Prepare(&[input(1, Bytes(64))])),
    (c::SYS_mq_getsetattr, Prepare(&[input(1, Bytes(64)), output(2, Bytes(64))])),
];

const REST: &[(i64, Plan)] = &[
    (c::SYS_uname, Prepare(&[output(0, Bytes(390))])),
    (c::SYS_sysinfo, Prepare(&[output(0, Bytes(112))])),
    (c::SYS_syslog, Prepare(&[output(1, Argument(2))])),
    (c::SYS_sethostname, Prepare(&[input(0, Argument(1))])),
    (c::SYS_setdomainname, Prepare(&[input(0, Argument(1))])),
    (c::SYS_getrandom, Prepare(&[output(0, Argument(1))])),
    (c::SYS_ustat, Prepare(&[output(1, Bytes(32))])),
    (c::SYS_quotactl, Prepare(&[Text(1), both(3, Bytes(112))])),
    (c::SYS_quotactl_fd, Prepare(&[both(3, Bytes(112))])),
    (c::SYS_reboot, Prepare(&[Text(3)])),
    (c::SYS_delete_module, Prepare(&[Text(0)])),
    (c::SYS_landlock_create_ruleset, Prepare(&[input(0, Argument(1))])),
    (c::SYS_landlock_add_rule, Prepare(&[input(2, Bytes(24))])),
    (457, Prepare(&[input(0, Bytes(32)), output(1, Argument(2))])),
    (458, Prepare(&[input(0, Bytes(32)), output(1, Items(2, 8))])),
];

/// Calls whose arguments are numbers.
const WITHOUT_MEMORY: &[i64] = &[
    c::SYS_close,
    c::SYS_close_range,
    c::SYS_lseek,
    c::SYS_dup,
    c::SYS_dup2,
    c::SYS_dup3,
    c::SYS_flock,
    c::SYS_fsync,
    c::SYS_fdatasync,
    c::SYS_sync,
    c::SYS_syncfs,
    c::SYS_sync_file_range,
    c::SYS_fallocate,
    c::SYS_fadvise64,
    c::SYS_readahead,
    c::SYS_fchdir,
    c::SYS_fchmod,
    c::SYS_fchown,
    c::SYS_umask,
    c::SYS_tee,
    c::SYS_getpid,
    c::SYS_gettid,
    c::SYS_getppid,
    c::SYS_getpgid,
    c::SYS_getpgrp,
    c::SYS_setpgid,
    c::SYS_getsid,
    c::SYS_setsid,
    c::SYS_getuid,
    c::SYS_getgid,
    c::SYS_geteuid,
    c::SYS_getegid,
    c::SYS_setuid,
    c::SYS_setgid,
    c::SYS_setreuid,
    c::SYS_setregid,
    c::SYS_setresuid,
    c::SYS_setresgid,
    c::SYS_setfsuid,
    c::SYS_setfsgid,
    c::SYS_getpriority,
    c::SYS_setpriority,
    c::SYS_sched_yield,
    c::SYS_sched_getscheduler,
    c::SYS_sched_get_priority_max,
    c::SYS_sched_get_priority_min,
    c::SYS_ioprio_get,
    c::SYS_ioprio_set,
    c::SYS_personality,
    c::SYS_kill,
    c::SYS_tkill,
    c::SYS_tgkill,
    c::SYS_pause,
    c::SYS_alarm,
    c::SYS_restart_syscall,
    c::SYS_exit,
    c::SYS_exit_group,
    c::SYS_socket,
    c::SYS_listen,
    c::SYS_shutdown,
    c::SYS_epoll_create,
    c::SYS_epoll_create1,
    c::SYS_eventfd,
    c::SYS_eventfd2,
    c::SYS_timerfd_create,
    c::SYS_timer_getoverrun,
    c::SYS_timer_delete,
    c::SYS_inotify_init,
    c::SYS_inotify_init1,
    c::SYS_inotify_rm_watch,
    c::SYS_fanotify_init,
    c::SYS_semget,
    c::SYS_msgget,
    c::SYS_unshare,
    c::SYS_setns,
    c::SYS_kcmp,
    c::SYS_vhangup,
    c::SYS_iopl,
    c::SYS_ioperm,
    c::SYS_pidfd_open,
    c::SYS_pidfd_getfd,
    c::SYS_fsmount,
    c::SYS_landlock_restrict_self,
];
