//! Every system call of x86-64: whether it stops, and what of the program's memory it names.

mod files;
mod waits;

use libc as c;

use super::operand::Length::{Argument, Bits, Bytes, Items};
use super::operand::Operand::{Text, Texts, When};
use super::operand::{Operand, both, input, output};

/// A call that Recto performs, or prepares in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Mmap,
    Munmap,
    Mprotect,
    PkeyAlloc,
    PkeyFree,
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
    Mseal,
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
    Fallocate,
    Futex,
    FutexWaitv,
    SetTidAddress,
    SetRobustList,
    Sigaction,
    Sigprocmask,
    Sigreturn,
    Sigsuspend,
    Signalfd,
    Sigaltstack,
    /// A call that takes a signal mask for its duration: the mask is in argument 4, or, with
    /// pselect6, in a pair that argument 5 points to.
    WithMask,
    Setrlimit,
    Prlimit,
    /// A call that may change the caller's capabilities.
    Rights,
    SetAffinity,
    GetAffinity,
    Prctl,
    Personality,
    Seccomp,
}

impl Verb {
    /// Whether a call is looked at only because faults come as signals: because of what it does to
    /// those, or because of what it names.
    pub(crate) fn is_for_signals_alone(self) -> bool {
        matches!(
            self,
            Self::Sigaction
                | Self::Sigprocmask
                | Self::Sigreturn
                | Self::Sigsuspend
                | Self::Signalfd
                | Self::Sigaltstack
                | Self::WithMask
                | Self::Exec
        )
    }
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
const EPOLL_EVENTS: Operand = output(1, Items(2, 12));
const POLL_FDS: Operand = both(0, Items(1, 8));
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

const GROUPS: [&[(i64, Plan)]; 7] = [
    MEMORY,
    TASKS,
    SIGNALS,
    files::FILES,
    files::PATHS,
    waits::SOCKETS_AND_WAITS,
    waits::REST,
];

const MEMORY: &[(i64, Plan)] = &[
    (c::SYS_mmap, See(Verb::Mmap, &[])),
    (c::SYS_munmap, See(Verb::Munmap, &[])),
    (c::SYS_mprotect, See(Verb::Mprotect, &[])),
    (c::SYS_pkey_mprotect, See(Verb::Mprotect, &[])),
    (c::SYS_pkey_alloc, See(Verb::PkeyAlloc, &[])),
    (c::SYS_pkey_free, See(Verb::PkeyFree, &[])),
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
    (c::SYS_mseal, See(Verb::Mseal, &[])),
    (
        c::SYS_process_vm_readv,
        See(
            Verb::ProcessVmRead,
            &[input(1, Items(2, 16)), input(3, Items(4, 16))],
        ),
    ),
    (
        c::SYS_process_vm_writev,
        See(
            Verb::ProcessVmWrite,
            &[input(1, Items(2, 16)), input(3, Items(4, 16))],
        ),
    ),
    (c::SYS_membarrier, Pass),
    // As a kernel without these options answers.
    (c::SYS_ptrace, Fail(c::EPERM)),
];

const TASKS: &[(i64, Plan)] = &[
    (c::SYS_fork, See(Verb::Fork, &[])),
    (c::SYS_vfork, See(Verb::Vfork, &[])),
    (
        c::SYS_clone,
        See(Verb::Clone, &[output(2, Bytes(4)), output(3, Bytes(4))]),
    ),
    (c::SYS_clone3, See(Verb::Clone3, &[input(0, Argument(1))])),
    (
        c::SYS_execve,
        See(Verb::Exec, &[Text(0), Texts(1), Texts(2)]),
    ),
    (
        c::SYS_execveat,
        See(Verb::Exec, &[Text(1), Texts(2), Texts(3)]),
    ),
    (c::SYS_set_tid_address, See(Verb::SetTidAddress, &[])),
    (c::SYS_set_robust_list, See(Verb::SetRobustList, &[])),
    (
        c::SYS_get_robust_list,
        Prepare(&[output(1, Bytes(8)), output(2, Bytes(8))]),
    ),
    (c::SYS_futex, See(Verb::Futex, &[])),
    (
        c::SYS_futex_waitv,
        See(
            Verb::FutexWaitv,
            &[input(0, Items(1, 24)), input(3, Bytes(TIME))],
        ),
    ),
    (454, Prepare(&[both(0, Bytes(8))])),
    (455, Prepare(&[both(0, Bytes(8)), input(4, Bytes(TIME))])),
    (
        c::SYS_wait4,
        Prepare(&[output(1, Bytes(4)), output(3, Bytes(RUSAGE))]),
    ),
    (
        c::SYS_waitid,
        Prepare(&[output(2, Bytes(SIGINFO)), output(4, Bytes(RUSAGE))]),
    ),
    (c::SYS_prctl, See(Verb::Prctl, &[])),
    (c::SYS_personality, See(Verb::Personality, &[])),
    (
        c::SYS_arch_prctl,
        Prepare(&[When(0, &[0x1003, 0x1004, 0x5005], &output(1, Bytes(8)))]),
    ),
    (c::SYS_sched_setparam, Prepare(&[input(1, Bytes(4))])),
    (c::SYS_sched_getparam, Prepare(&[output(1, Bytes(4))])),
    (c::SYS_sched_setscheduler, Prepare(&[input(2, Bytes(4))])),
    (
        c::SYS_sched_rr_get_interval,
        Prepare(&[output(1, Bytes(TIME))]),
    ),
    (
        c::SYS_sched_setaffinity,
        See(Verb::SetAffinity, &[input(2, Argument(1))]),
    ),
    (
        c::SYS_sched_getaffinity,
        See(Verb::GetAffinity, &[output(2, Argument(1))]),
    ),
    (c::SYS_sched_setattr, Prepare(&[both(1, Bytes(56))])),
    (c::SYS_sched_getattr, Prepare(&[output(1, Argument(2))])),
    (c::SYS_getrlimit, Prepare(&[output(1, Bytes(16))])),
    (
        c::SYS_setrlimit,
        See(Verb::Setrlimit, &[input(1, Bytes(16))]),
    ),
    (
        c::SYS_prlimit64,
        See(Verb::Prlimit, &[input(2, Bytes(16)), output(3, Bytes(16))]),
    ),
    (c::SYS_getrusage, Prepare(&[output(1, Bytes(RUSAGE))])),
    (c::SYS_times, Prepare(&[output(0, Bytes(32))])),
    (c::SYS_getgroups, Prepare(&[output(1, Items(0, 4))])),
    (c::SYS_setgroups, Prepare(&[input(1, Items(0, 4))])),
    (
        c::SYS_getresuid,
        Prepare(&[
            output(0, Bytes(4)),
            output(1, Bytes(4)),
            output(2, Bytes(4)),
        ]),
    ),
    (
        c::SYS_getresgid,
        Prepare(&[
            output(0, Bytes(4)),
            output(1, Bytes(4)),
            output(2, Bytes(4)),
        ]),
    ),
    (
        c::SYS_capget,
        Prepare(&[both(0, Bytes(8)), output(1, Bytes(24))]),
    ),
    (
        c::SYS_capset,
        See(Verb::Rights, &[both(0, Bytes(8)), input(1, Bytes(24))]),
    ),
    (c::SYS_setuid, See(Verb::Rights, &[])),
    (c::SYS_setreuid, See(Verb::Rights, &[])),
    (c::SYS_setresuid, See(Verb::Rights, &[])),
    (c::SYS_setfsuid, See(Verb::Rights, &[])),
    (c::SYS_setgid, See(Verb::Rights, &[])),
    (c::SYS_setregid, See(Verb::Rights, &[])),
    (c::SYS_setresgid, See(Verb::Rights, &[])),
    (c::SYS_setfsgid, See(Verb::Rights, &[])),
    (c::SYS_unshare, See(Verb::Rights, &[])),
    (c::SYS_setns, See(Verb::Rights, &[])),
    (
        c::SYS_getcpu,
        Prepare(&[output(0, Bytes(4)), output(1, Bytes(4))]),
    ),
    (c::SYS_seccomp, See(Verb::Seccomp, &[both(2, Bytes(16))])),
    (c::SYS_modify_ldt, Prepare(&[both(1, Argument(2))])),
];

const SIGNALS: &[(i64, Plan)] = &[
    (
        c::SYS_rt_sigaction,
        See(
            Verb::Sigaction,
            &[input(1, Bytes(32)), output(2, Bytes(32))],
        ),
    ),
    (
        c::SYS_rt_sigprocmask,
        See(
            Verb::Sigprocmask,
            &[input(1, Bytes(8)), output(2, Bytes(8))],
        ),
    ),
    (c::SYS_rt_sigreturn, See(Verb::Sigreturn, &[])),
    (c::SYS_rt_sigpending, Prepare(&[output(0, Argument(1))])),
    (
        c::SYS_rt_sigtimedwait,
        Prepare(&[
            input(0, Bytes(8)),
            output(1, Bytes(SIGINFO)),
            input(2, Bytes(TIME)),
        ]),
    ),
    (c::SYS_rt_sigqueueinfo, Prepare(&[input(2, Bytes(SIGINFO))])),
    (
        c::SYS_rt_tgsigqueueinfo,
        Prepare(&[input(3, Bytes(SIGINFO))]),
    ),
    (
        c::SYS_pidfd_send_signal,
        Prepare(&[input(2, Bytes(SIGINFO))]),
    ),
    (
        c::SYS_rt_sigsuspend,
        See(Verb::Sigsuspend, &[input(0, Bytes(8))]),
    ),
    (
        c::SYS_sigaltstack,
        See(
            Verb::Sigaltstack,
            &[input(0, Bytes(24)), output(1, Bytes(24))],
        ),
    ),
    (
        c::SYS_signalfd,
        See(Verb::Signalfd, &[input(1, Argument(2))]),
    ),
    (
        c::SYS_signalfd4,
        See(Verb::Signalfd, &[input(1, Argument(2))]),
    ),
    (
        c::SYS_pselect6,
        See(
            Verb::WithMask,
            &[
                both(1, Bits(0)),
                both(2, Bits(0)),
                both(3, Bits(0)),
                both(4, Bytes(TIME)),
                input(5, Bytes(16)),
            ],
        ),
    ),
    (
        c::SYS_ppoll,
        See(
            Verb::WithMask,
            &[POLL_FDS, both(2, Bytes(TIME)), input(3, Bytes(8))],
        ),
    ),
    (
        c::SYS_epoll_pwait,
        See(Verb::WithMask, &[EPOLL_EVENTS, input(4, Bytes(8))]),
    ),
    (
        c::SYS_epoll_pwait2,
        See(
            Verb::WithMask,
            &[EPOLL_EVENTS, input(3, Bytes(TIME)), input(4, Bytes(8))],
        ),
    ),
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
    c::SYS_getpriority,
    c::SYS_setpriority,
    c::SYS_sched_yield,
    c::SYS_sched_getscheduler,
    c::SYS_sched_get_priority_max,
    c::SYS_sched_get_priority_min,
    c::SYS_ioprio_get,
    c::SYS_ioprio_set,
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
    c::SYS_kcmp,
    c::SYS_vhangup,
    c::SYS_iopl,
    c::SYS_ioperm,
    c::SYS_pidfd_open,
    c::SYS_pidfd_getfd,
    c::SYS_fsmount,
    c::SYS_landlock_restrict_self,
];
