//! `recto doctor`: what this host allows, and how to allow what is missing.
//!
//! Everything is read from the settings that decide it; nothing is changed.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use serde::Serialize;

/// One thing that Recto uses, and how it stands here.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    /// What it is.
    pub(crate) name: &'static str,
    /// How it stands.
    pub(crate) state: State,
    /// What was seen.
    pub(crate) detail: String,
    /// What to do where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<&'static str>,
}

/// How a thing stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It works.
    Ok,
    /// `recto run` does without it.
    Absent,
    /// `recto run` needs it, and will not start.
    Missing,
}

/// Whether the output is for eyes on a terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Colour {
    /// A terminal.
    On,
    /// A file or a pipe.
    Off,
}

impl Colour {
    /// Colour is for terminals only.
    pub(crate) fn of_stdout() -> Self {
        if io::stdout().is_terminal() {
            Self::On
        } else {
            Self::Off
        }
    }
}

/// Looks at everything `recto` may use on this host.
pub(crate) fn examine() -> Vec<Finding> {
    vec![
        ptrace(),
        seccomp(),
        memfd(),
        user_namespaces(),
        userfaultfd(),
        kvm(),
    ]
}

/// Prints a line per finding, and under it what to do where something is missing.
pub(crate) fn print_text(findings: &[Finding], colour: Colour) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for finding in findings {
        let (word, paint) = match finding.state {
            State::Ok => ("ok", "32"),
            State::Absent => ("absent", "33"),
            State::Missing => ("missing", "31"),
        };
        let word = match colour {
            Colour::On => format!("\x1b[{paint}m{word:<8}\x1b[0m"),
            Colour::Off => format!("{word:<8}"),
        };
        writeln!(out, "{word} {:<16} {}", finding.name, finding.detail)?;
        if let Some(remedy) = finding.remedy {
            writeln!(out, "{:<25} to fix: {remedy}", "")?;
        }
    }
    Ok(())
}

/// Prints the findings as one JSON object.
pub(crate) fn print_json(findings: &[Finding]) -> io::Result<()> {
    let object = serde_json::json!({ "ready": ready(findings), "findings": findings });
    writeln!(io::stdout().lock(), "{object:#}")
}

fn ready(findings: &[Finding]) -> bool {
    findings
        .iter()
        .all(|finding| finding.state != State::Missing)
}

/// Success if nothing is missing.
pub(crate) fn verdict(findings: &[Finding]) -> ExitCode {
    if ready(findings) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn setting(path: &str) -> Option<String> {
    fs::read_to_string(path)
        .ok()
        .map(|text| text.trim().to_string())
}

/// Whether this process has all rights of root over others' memory (CAP_SYS_PTRACE, bit 19).
fn may_trace_anyone() -> bool {
    const CAP_SYS_PTRACE: u64 = 1 << 19;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & CAP_SYS_PTRACE != 0)
}

fn ptrace() -> Finding {
    let scope = setting("/proc/sys/kernel/yama/ptrace_scope");
    let (state, detail) = match scope.as_deref() {
        None => (
            State::Ok,
            "no Yama: a parent may trace its children".to_string(),
        ),
        Some(scope @ ("0" | "1")) => (State::Ok, format!("kernel.yama.ptrace_scope = {scope}")),
        Some("2") if may_trace_anyone() => (
            State::Ok,
            "kernel.yama.ptrace_scope = 2, and we have CAP_SYS_PTRACE".to_string(),
        ),
        Some(scope) => (
            State::Missing,
            format!("kernel.yama.ptrace_scope = {scope}"),
        ),
    };
    let remedy = (state == State::Missing).then_some(
        "sysctl kernel.yama.ptrace_scope=1 (3 stays until reboot), or run with CAP_SYS_PTRACE",
    );
    Finding {
        name: "ptrace",
        state,
        detail,
        remedy,
    }
}

fn seccomp() -> Finding {
    let actions = setting("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    let lacking: Vec<&str> = ["trace", "user_notif", "allow"]
        .into_iter()
        .filter(|action| !actions.split_whitespace().any(|word| word == *action))
        .collect();
    let (state, detail, remedy) = if lacking.is_empty() {
        (
            State::Ok,
            "filters with trace and user_notif".to_string(),
            None,
        )
    } else {
        let remedy = "a kernel with CONFIG_SECCOMP_FILTER, 5.0 or later; in a container, a \
                      profile that allows seccomp(2)";
        (
            State::Missing,
            format!("no action {}", lacking.join(", ")),
            Some(remedy),
        )
    };
    Finding {
        name: "seccomp",
        state,
        detail,
        remedy,
    }
}

fn memfd() -> Finding {
    match setting("/proc/sys/vm/memfd_noexec").as_deref() {
        Some("2") => Finding {
            name: "memfd",
            state: State::Missing,
            detail: "vm.memfd_noexec = 2: memory of a memfd may not be executed".to_string(),
            remedy: Some("sysctl vm.memfd_noexec=1, or run in a pid namespace that sets it"),
        },
        Some(value) => Finding {
            name: "memfd",
            state: State::Ok,
            detail: format!("vm.memfd_noexec = {value}"),
            remedy: None,
        },
        None => Finding {
            name: "memfd",
            state: State::Ok,
            detail: "executable, as on kernels before 6.3".to_string(),
            remedy: None,
        },
    }
}

fn user_namespaces() -> Finding {
    let limit = setting("/proc/sys/user/max_user_namespaces");
    let barred = setting("/proc/sys/kernel/unprivileged_userns_clone").as_deref() == Some("0")
        || setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").as_deref()
            == Some("1");
    let (state, detail) = match limit.as_deref() {
        None | Some("0") => (State::Absent, "none may be made".to_string()),
        Some(_) if barred => (State::Absent, "only for privileged programs".to_string()),
        Some(limit) => (State::Ok, format!("user.max_user_namespaces = {limit}")),
    };
    let remedy = (state != State::Ok).then_some(
        "sysctl user.max_user_namespaces=10000 kernel.unprivileged_userns_clone=1; recto run does \
         without",
    );
    Finding {
        name: "user namespaces",
        state,
        detail,
        remedy,
    }
}

fn userfaultfd() -> Finding {
    let setting = setting("/proc/sys/vm/unprivileged_userfaultfd");
    let (state, detail) = match setting.as_deref() {
        None => (State::Absent, "not in this kernel".to_string()),
        Some("1") => (State::Ok, "for every program".to_string()),
        Some(_) if may_trace_anyone() => (State::Ok, "for privileged programs".to_string()),
        Some(_) => (State::Absent, "vm.unprivileged_userfaultfd = 0".to_string()),
    };
    let remedy = (state != State::Ok)
        .then_some("sysctl vm.unprivileged_userfaultfd=1; recto run does without");
    Finding {
        name: "userfaultfd",
        state,
        detail,
        remedy,
    }
}

fn kvm() -> Finding {
    let opened = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm");
    let (state, detail) = match opened {
        Ok(_) => (State::Ok, "/dev/kvm opens".to_string()),
        Err(error) => (State::Absent, format!("/dev/kvm: {error}")),
    };
    let remedy = (state != State::Ok)
        .then_some("load kvm_intel or kvm_amd and join group kvm; recto run does without");
    Finding {
        name: "KVM",
        state,
        detail,
        remedy,
    }
}

#[cfg(test)]
mod tests {
    use super::{State, examine};

    #[test]
    fn every_finding_that_is_not_ok_says_what_to_do() {
        let findings = examine();
        assert_eq!(findings.len(), 6);
        for finding in findings {
            assert_eq!(
                finding.remedy.is_some(),
                finding.state != State::Ok,
                "{}",
                finding.name
            );
        }
    }
}
