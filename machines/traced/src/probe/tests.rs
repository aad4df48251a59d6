use super::surroundings::{Surroundings, Tracer};
use super::{Failure, Standing, Trouble, examine, told};
use crate::sys::HostError;
use crate::sys::probe::{Child, NoAnswer};
use crate::sys::signal::kill;

const STATUS: &str = "Name:\trecto\nTgid:\t7\nTracerPid:\t0\nCapEff:\t0000000000000000\n\
                      Seccomp:\t0\nSeccomp_filters:\t0\n";

fn cause(around: &Surroundings) -> String {
    around.why_untraceable("ptrace", libc::EPERM).to_string()
}

#[test]
fn a_status_tells_tracer_rights_and_filters() {
    assert_eq!(
        Surroundings::of_status(STATUS, 7),
        Surroundings::default(),
        "nothing forbids anything"
    );
    let root = STATUS.replace("0000000000000000", "000001fffeffffff");
    assert!(Surroundings::of_status(&root, 7).may_trace_anyone);
    let filtered = STATUS.replace(
        "Seccomp:\t0\nSeccomp_filters:\t0",
        "Seccomp:\t2\nSeccomp_filters:\t3",
    );
    assert_eq!(Surroundings::of_status(&filtered, 7).nr_filters, 3);
    let uncounted = STATUS.replace("Seccomp:\t0\nSeccomp_filters:\t0\n", "Seccomp:\t2\n");
    assert_eq!(Surroundings::of_status(&uncounted, 7).nr_filters, 1);
    let traced = STATUS.replace("TracerPid:\t0", "TracerPid:\t4194304");
    let tracer = Surroundings::of_status(&traced, 7).tracer;
    assert_eq!(tracer.map(|tracer| tracer.pid), Some(4_194_304));
    assert_eq!(
        Surroundings::of_status(&traced, 4_194_304).tracer,
        None,
        "we trace it"
    );
    for strange in [
        "",
        "TracerPid:\nCapEff:\nSeccomp:\n",
        "TracerPid:\tx\nCapEff:\tq\n",
    ] {
        assert_eq!(
            Surroundings::of_status(strange, 7).tracer,
            None,
            "{strange}"
        );
    }
}

fn under_yama(scope: u32) -> Surroundings {
    Surroundings {
        yama_scope: Some(scope),
        ..Surroundings::default()
    }
}

/// Of all that may forbid tracing the one is named that does.
#[test]
fn a_refusal_is_put_down_to_what_forbids_it() {
    let forbids = cause(&under_yama(3));
    assert!(forbids.starts_with("kernel.yama.ptrace_scope = 3: nobody may trace"));
    assert!(forbids.contains("reboot"));
    let forbids = cause(&under_yama(2));
    assert!(forbids.starts_with("kernel.yama.ptrace_scope = 2, and no CAP_SYS_PTRACE"));
    assert!(forbids.contains("sysctl kernel.yama.ptrace_scope=1"));
    let privileged = Surroundings {
        may_trace_anyone: true,
        ..under_yama(2)
    };
    for allows in [under_yama(0), under_yama(1), privileged] {
        let other = cause(&allows);
        assert!(other.starts_with("neither Yama nor"), "{allows:?}: {other}");
    }
    let around = [
        (
            Surroundings {
                nr_filters: 2,
                ..under_yama(1)
            },
            "a seccomp filter (Seccomp_filters: 2)",
        ),
        (
            Surroundings {
                closed: true,
                ..under_yama(1)
            },
            "this program's file may be executed and not read",
        ),
        (
            Surroundings {
                selinux_denies: true,
                ..under_yama(1)
            },
            "SELinux: deny_ptrace is on",
        ),
    ];
    for (around, what) in around {
        let told = cause(&around);
        assert!(told.starts_with(what), "{around:?}: {told}");
    }
}

/// Who traces Recto takes its children, but forbids no reading; and Yama never answers ENOSYS.
#[test]
fn a_cause_fits_the_call_and_the_errno() {
    let traced = Surroundings {
        tracer: Some(Tracer {
            pid: 12,
            name: "strace".to_owned(),
        }),
        nr_filters: 1,
        ..under_yama(3)
    };
    let why = |call, errno| traced.why_untraceable(call, errno).to_string();
    let told = why("ptrace", libc::EPERM);
    assert!(
        told.starts_with("Recto is itself being traced by PID 12 (strace): "),
        "{told}"
    );
    let told = why("process_vm_readv", libc::EPERM);
    assert!(told.starts_with("kernel.yama.ptrace_scope = 3"), "{told}");
    let told = why("ptrace", libc::ENOSYS);
    assert!(
        told.starts_with("a seccomp filter (Seccomp_filters: 1)"),
        "{told}"
    );
}

#[test]
fn a_word_below_zero_is_an_errno() {
    assert_eq!(told("call", 5), Ok(5));
    assert_eq!(told("call", i64::MAX), Ok(i64::MAX));
    assert_eq!(told("call", i64::MIN), Ok(i64::MIN), "no errno is so large");
    let refused = Failure::Refused("call", HostError::new(libc::EBUSY));
    assert_eq!(told("call", -i64::from(libc::EBUSY)), Err(refused));
    assert_eq!(refused.to_string(), "call: EBUSY (Device or resource busy)");
}

/// A child that does not answer is given up, and ends; one that has died says of what.
#[test]
fn a_trial_ends_whatever_its_child_does() {
    let child = Child::at_hand().expect("a child");
    let first_words = [child.hear(), child.hear()];
    assert!(first_words.iter().all(Result::is_ok), "{first_words:?}");
    kill(child.tid(), libc::SIGSTOP);
    child.go();
    assert_eq!(child.hear(), Err(NoAnswer::Silent), "it is stopped");
    drop(child);

    let child = Child::at_hand().expect("a child");
    kill(child.tid(), libc::SIGKILL);
    let last = std::iter::repeat_with(|| child.hear()).find(Result::is_err);
    assert_eq!(last, Some(Err(NoAnswer::Ended(Some(libc::SIGKILL)))));
}

#[test]
fn what_does_not_work_comes_with_why_and_what_to_do() {
    let childless = Trouble::childless(HostError::new(libc::EAGAIN));
    assert!(
        childless.cause.what.contains("a limit on processes"),
        "{childless:?}"
    );
    for finding in examine() {
        let lacks = finding.standing != Standing::Works;
        assert_eq!(finding.cause.is_some(), lacks, "{finding:?}");
        assert_eq!(finding.remedy.is_some(), lacks, "{finding:?}");
        assert!(finding.errno.is_none() || lacks, "{finding:?}");
    }
}
