//! The settings of the host that explain why something is refused.

use std::fs;

use super::Cause;
use crate::sys::{Tid, probe};

const YAMA: &str = "/proc/sys/kernel/yama/ptrace_scope";
const SELINUX: &str = "/sys/fs/selinux/booleans/deny_ptrace";

/// A task that traces another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tracer {
    pub(super) pid: i32,
    /// What it is called; what it may be where that cannot be read.
    pub(super) name: String,
}

/// Where this process finds itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Surroundings {
    /// Who traces it.
    pub(super) tracer: Option<Tracer>,
    /// Whether it has CAP_SYS_PTRACE.
    pub(super) may_trace_anyone: bool,
    /// How many seccomp filters it is under; one, where the host does not count them.
    pub(super) nr_filters: u32,
    /// `kernel.yama.ptrace_scope`, where there is Yama.
    pub(super) yama_scope: Option<u32>,
    /// Whether SELinux's `deny_ptrace` is on.
    pub(super) selinux_denies: bool,
    /// Whether its children are closed to it, as its program may not be read.
    pub(super) closed: bool,
}

/// A setting's value.
pub(super) fn setting(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

impl Surroundings {
    /// Looks around.
    pub(super) fn here() -> Self {
        let status = setting("/proc/self/status").unwrap_or_default();
        let own = std::process::id().cast_signed();
        Self {
            yama_scope: setting(YAMA).and_then(|value| value.parse().ok()),
            selinux_denies: setting(SELINUX).is_some_and(|value| value.starts_with('1')),
            closed: !probe::is_dumpable(),
            ..Self::of_status(&status, own)
        }
    }

    /// The same for a child of ours, which somebody else may trace.
    pub(super) fn of_child(child: Tid) -> Self {
        let status = setting(&format!("/proc/{child}/status")).unwrap_or_default();
        let own = std::process::id().cast_signed();
        let here = Self::here();
        Self {
            tracer: Self::of_status(&status, own).tracer.or(here.tracer),
            ..here
        }
    }

    /// What the `status` of a process says; that `own` traces it is not told.
    pub(super) fn of_status(status: &str, own: i32) -> Self {
        const CAP_SYS_PTRACE: u64 = 1 << 19;
        let field = |name: &str| {
            let mut lines = status.lines();
            let word = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            word.map_or("", str::trim)
        };
        let tracer = field("TracerPid").parse().ok();
        let rights = u64::from_str_radix(field("CapEff"), 16).unwrap_or(0);
        let nr_filters = match field("Seccomp") {
            "" | "0" => 0,
            _ => field("Seccomp_filters").parse().unwrap_or(1),
        };
        Self {
            tracer: tracer
                .filter(|pid| *pid != 0 && *pid != own)
                .map(Tracer::with_pid),
            may_trace_anyone: rights & CAP_SYS_PTRACE != 0,
            nr_filters,
            ..Self::default()
        }
    }

    /// A seccomp filter forbids these calls.
    pub(super) fn filtered(&self, calls: &str) -> Cause {
        Cause::new(
            format!("a seccomp filter (Seccomp_filters: {})", self.nr_filters),
            format!(
                "let the container's seccomp profile allow {calls} (docker: --security-opt \
                 seccomp=unconfined)"
            ),
        )
    }

    /// Why looking into a child, or tracing it, is refused with `errno` (`__ptrace_may_access`).
    pub(super) fn why_untraceable(&self, call: &str, errno: i32) -> Cause {
        let traces = call.starts_with("ptrace");
        match *self {
            Self {
                nr_filters: 1.., ..
            } if errno == libc::ENOSYS => self.filtered(call),
            Self {
                tracer: Some(ref tracer),
                ..
            } if traces => tracer.cause(),
            Self {
                yama_scope: Some(scope @ 3..),
                ..
            } => Cause::new(
                format!("kernel.yama.ptrace_scope = {scope}: nobody may trace"),
                "set kernel.yama.ptrace_scope = 1 in /etc/sysctl.d and reboot: it cannot be lowered \
                 while the host runs",
            ),
            Self {
                yama_scope: Some(2),
                may_trace_anyone: false,
                ..
            } => Cause::new(
                "kernel.yama.ptrace_scope = 2, and no CAP_SYS_PTRACE",
                "sysctl kernel.yama.ptrace_scope=1, or run as root or with CAP_SYS_PTRACE",
            ),
            Self {
                selinux_denies: true,
                ..
            } => Cause::new("SELinux: deny_ptrace is on", "setsebool deny_ptrace off"),
            Self {
                closed: true,
                may_trace_anyone: false,
                ..
            } => Cause::new(
                "this program's file may be executed and not read, so its children are closed to it",
                "chmod a+r the program's file, and set no capabilities on it",
            ),
            Self {
                nr_filters: 1.., ..
            } => self.filtered(call),
            _ => Cause::new(
                "neither Yama nor a seccomp filter: a security module, or another Recto, which lets \
                 its programs trace nobody",
                "run with CAP_SYS_PTRACE, outside of what confines this process",
            ),
        }
    }
}

impl Tracer {
    fn with_pid(pid: i32) -> Self {
        let name = setting(&format!("/proc/{pid}/comm")).filter(|name| !name.is_empty());
        Self {
            pid,
            // A task may be called anything.
            name: name.map_or_else(
                || "strace, a debugger".to_owned(),
                |name| name.escape_default().to_string(),
            ),
        }
    }

    /// "is itself being traced by" this.
    pub(super) fn cause(&self) -> Cause {
        Cause::new(
            format!(
                "Recto is itself being traced by PID {} ({}): a tracer that follows forks takes its \
                 children",
                self.pid, self.name
            ),
            "run Recto outside of it, or let it not follow forks (strace without -f)",
        )
    }
}
