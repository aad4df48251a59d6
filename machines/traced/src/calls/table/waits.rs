//! Calls on sockets, clocks, timers and queues, and those of no family.

use libc as c;

use super::Plan::{self, Prepare};
use super::{EPOLL_EVENTS, PAIR_OF_TIMES, POLL_FDS, TIME};
use crate::calls::operand::Length::{Argument, ArgumentAnd, AtMost, AtPointer, Bits, Bytes, Items};
use crate::calls::operand::Operand::{self, Message, Messages, Text, When};
use crate::calls::operand::{Flow, both, input, output};

/// A socket's address and its length, as the kernel gives it.
const ADDRESS: [Operand; 2] = [both(2, Bytes(4)), output(1, AtPointer(2))];

/// The options whose value has a pointer in it: the programs that filter packets
/// (`SO_ATTACH_FILTER`, `SO_ATTACH_REUSEPORT_CBPF`).
const FILTER: Operand = When(2, &[26, 51], &Operand::Pointers(3, Argument(4)));

pub(super) const SOCKETS_AND_WAITS: &[(i64, Plan)] = &[
    (c::SYS_connect, Prepare(&[input(1, Argument(2))])),
    (c::SYS_bind, Prepare(&[input(1, Argument(2))])),
    (c::SYS_accept, Prepare(&ADDRESS)),
    (c::SYS_accept4, Prepare(&ADDRESS)),
    (c::SYS_getsockname, Prepare(&ADDRESS)),
    (c::SYS_getpeername, Prepare(&ADDRESS)),
    (
        c::SYS_sendto,
        Prepare(&[input(1, Argument(2)), input(4, Argument(5))]),
    ),
    (
        c::SYS_recvfrom,
        Prepare(&[
            output(1, AtMost(2)),
            both(5, Bytes(4)),
            output(4, AtPointer(5)),
        ]),
    ),
    (c::SYS_sendmsg, Prepare(&[Message(Flow::In, 1)])),
    (c::SYS_recvmsg, Prepare(&[Message(Flow::Out, 1)])),
    (c::SYS_sendmmsg, Prepare(&[Messages(Flow::In, 1, 2)])),
    (
        c::SYS_recvmmsg,
        Prepare(&[Messages(Flow::Out, 1, 2), both(4, Bytes(TIME))]),
    ),
    (c::SYS_socketpair, Prepare(&[output(3, Bytes(8))])),
    (c::SYS_setsockopt, Prepare(&[input(3, Argument(4)), FILTER])),
    (
        c::SYS_getsockopt,
        Prepare(&[both(4, Bytes(4)), both(3, AtPointer(4))]),
    ),
    (c::SYS_poll, Prepare(&[POLL_FDS])),
    (
        c::SYS_select,
        Prepare(&[
            both(1, Bits(0)),
            both(2, Bits(0)),
            both(3, Bits(0)),
            both(4, Bytes(TIME)),
        ]),
    ),
    (c::SYS_epoll_wait, Prepare(&[EPOLL_EVENTS])),
    (c::SYS_epoll_ctl, Prepare(&[input(3, Bytes(12))])),
    (
        c::SYS_nanosleep,
        Prepare(&[input(0, Bytes(TIME)), output(1, Bytes(TIME))]),
    ),
    (
        c::SYS_clock_nanosleep,
        Prepare(&[input(2, Bytes(TIME)), output(3, Bytes(TIME))]),
    ),
    (c::SYS_clock_gettime, Prepare(&[output(1, Bytes(TIME))])),
    (c::SYS_clock_getres, Prepare(&[output(1, Bytes(TIME))])),
    (c::SYS_clock_settime, Prepare(&[input(1, Bytes(TIME))])),
    (c::SYS_clock_adjtime, Prepare(&[both(1, Bytes(208))])),
    (c::SYS_adjtimex, Prepare(&[both(0, Bytes(208))])),
    (
        c::SYS_gettimeofday,
        Prepare(&[output(0, Bytes(TIME)), output(1, Bytes(8))]),
    ),
    (
        c::SYS_settimeofday,
        Prepare(&[input(0, Bytes(TIME)), input(1, Bytes(8))]),
    ),
    (c::SYS_time, Prepare(&[output(0, Bytes(8))])),
    (
        c::SYS_getitimer,
        Prepare(&[output(1, Bytes(PAIR_OF_TIMES))]),
    ),
    (
        c::SYS_setitimer,
        Prepare(&[
            input(1, Bytes(PAIR_OF_TIMES)),
            output(2, Bytes(PAIR_OF_TIMES)),
        ]),
    ),
    (
        c::SYS_timer_create,
        Prepare(&[input(1, Bytes(64)), output(2, Bytes(4))]),
    ),
    (
        c::SYS_timer_settime,
        Prepare(&[
            input(2, Bytes(PAIR_OF_TIMES)),
            output(3, Bytes(PAIR_OF_TIMES)),
        ]),
    ),
    (
        c::SYS_timer_gettime,
        Prepare(&[output(1, Bytes(PAIR_OF_TIMES))]),
    ),
    (
        c::SYS_timerfd_settime,
        Prepare(&[
            input(2, Bytes(PAIR_OF_TIMES)),
            output(3, Bytes(PAIR_OF_TIMES)),
        ]),
    ),
    (
        c::SYS_timerfd_gettime,
        Prepare(&[output(1, Bytes(PAIR_OF_TIMES))]),
    ),
    (c::SYS_semop, Prepare(&[input(1, Items(2, 6))])),
    (
        c::SYS_semtimedop,
        Prepare(&[input(1, Items(2, 6)), input(3, Bytes(TIME))]),
    ),
    (
        c::SYS_semctl,
        Prepare(&[When(2, &[1, 2, 3, 13, 17, 18, 19], &both(3, Bytes(256)))]),
    ),
    (c::SYS_msgsnd, Prepare(&[input(1, ArgumentAnd(2, 8))])),
    (c::SYS_msgrcv, Prepare(&[output(1, ArgumentAnd(2, 8))])),
    (c::SYS_msgctl, Prepare(&[both(2, Bytes(120))])),
    (
        c::SYS_mq_timedsend,
        Prepare(&[input(1, Argument(2)), input(4, Bytes(TIME))]),
    ),
    (
        c::SYS_mq_timedreceive,
        Prepare(&[
            output(1, Argument(2)),
            output(3, Bytes(4)),
            input(4, Bytes(TIME)),
        ]),
    ),
    (
        c::SYS_mq_notify,
        Prepare(&[Operand::Pointers(1, Bytes(64))]),
    ),
    (
        c::SYS_mq_getsetattr,
        Prepare(&[input(1, Bytes(64)), output(2, Bytes(64))]),
    ),
];

pub(super) const REST: &[(i64, Plan)] = &[
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
    (
        c::SYS_landlock_create_ruleset,
        Prepare(&[input(0, Argument(1))]),
    ),
    (c::SYS_landlock_add_rule, Prepare(&[input(2, Bytes(24))])),
    (457, Prepare(&[input(0, Bytes(32)), output(1, Argument(2))])),
    (458, Prepare(&[input(0, Bytes(32)), output(1, Items(2, 8))])),
];
