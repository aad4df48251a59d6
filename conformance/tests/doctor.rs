//! `recto doctor` where everything works, and where the host refuses something; and that `recto run`
//! gives the same reasons.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use conformance::program;
use conformance::suite::{self, Scratch};
use serde_json::Value;

/// `recto` in a folder that everybody may read, and where it may be refused something.
struct Clinic {
    scratch: Scratch,
}

impl Clinic {
    /// `None` if it cannot be, or if programs cannot run here even where nothing more is refused.
    fn open() -> Option<Self> {
        let recto = program::recto()
            .inspect_err(|why| suite::say(&format!("skipped: {why} (doctor)")))
            .ok()?;
        let clinic = Self {
            scratch: Scratch::create().expect("a folder"),
        };
        fs::copy(recto, clinic.recto()).expect("a copy of the program");
        let everybody = fs::Permissions::from_mode(0o755);
        fs::set_permissions(clinic.scratch.path(), everybody).expect("the folder is open");
        let output = clinic.recto_with(&[], &["doctor"]);
        if output.status.success() {
            return Some(clinic);
        }
        let told = String::from_utf8_lossy(&output.stdout);
        suite::say(&format!(
            "skipped: programs cannot run here (doctor)\n{told}"
        ));
        None
    }

    fn recto(&self) -> PathBuf {
        self.scratch.path().join("recto")
    }

    /// A wrapper of ours, if there is a compiler.
    fn wrapper(&self, name: &str) -> Option<String> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("programs/src/{name}.c"));
        let wrapper = self.scratch.path().join(name);
        let compiled = Command::new("gcc")
            .arg("-o")
            .arg(&wrapper)
            .arg(source)
            .status();
        let Ok(compiled) = compiled else {
            suite::say("skipped: no gcc (doctor)");
            return None;
        };
        assert!(compiled.success());
        Some(wrapper.to_string_lossy().into_owned())
    }

    fn recto_with(&self, through: &[&str], arguments: &[&str]) -> Output {
        let recto = self.recto();
        let recto = recto.to_string_lossy();
        let words: Vec<&str> = through.iter().copied().chain([&*recto]).collect();
        let (first, rest) = words.split_first().expect("at least recto");
        let output = Command::new(first).args(rest).args(arguments).output();
        output.expect("it runs")
    }

    /// What `doctor` finds when it is run through this; its verdict is that of the status.
    fn findings(&self, through: &[&str]) -> Value {
        let output = self.recto_with(through, &["doctor", "--json"]);
        let told = String::from_utf8_lossy(&output.stdout);
        let report: Value = serde_json::from_str(&told).expect("one JSON object");
        let status = if report["ready"] == true { 0 } else { 1 };
        assert_eq!(output.status.code(), Some(status), "{told}");
        report
    }
}

/// The finding with this name.
fn finding<'a>(report: &'a Value, name: &str) -> &'a Value {
    let all = report["findings"].as_array().expect("a list");
    let mut found = all.iter().filter(|finding| finding["name"] == name);
    found
        .next()
        .unwrap_or_else(|| panic!("no {name} in {report}"))
}

fn says(finding: &Value, field: &str, text: &str) -> bool {
    finding[field]
        .as_str()
        .is_some_and(|said| said.contains(text))
}

/// Everything that is needed was tried, and what does not work comes with why and what to do.
// row: S12
#[test]
fn everything_is_tried() {
    let Some(clinic) = Clinic::open() else { return };
    let report = clinic.findings(&[]);
    assert_eq!(report["ready"], true, "{report}");
    for name in ["ptrace", "memory files", "reach of a child", "seccomp"] {
        assert_eq!(finding(&report, name)["state"], "works", "{report}");
    }
    for other in report["findings"].as_array().expect("a list") {
        let lacks = other["state"] != "works";
        assert_eq!(other["cause"].is_string(), lacks, "{other}");
        assert_eq!(other["remedy"].is_string(), lacks, "{other}");
    }
    let text = clinic.recto_with(&[], &["doctor"]).stdout;
    let text = String::from_utf8_lossy(&text);
    assert!(text.starts_with("ptrace: works ("), "{text}");
    assert!(text.ends_with("programs can run\n"), "{text}");
}

/// What is refused, which finding tells of it, with which errno and cause; what `run` says.
const REFUSALS: [(&str, &str, &str, &str, &str); 8] = [
    (
        "101",
        "ptrace",
        "EPERM",
        "a seccomp filter (Seccomp_filters: ",
        "tracing is not permitted",
    ),
    (
        "101:38",
        "ptrace",
        "ENOSYS",
        "a seccomp filter (Seccomp_filters: ",
        "tracing is not permitted",
    ),
    (
        "319",
        "memory files",
        "EPERM",
        "a seccomp filter (Seccomp_filters: ",
        "no memory file",
    ),
    (
        "310",
        "reach of a child",
        "EPERM",
        "a seccomp filter (Seccomp_filters: ",
        "tracing is not permitted",
    ),
    (
        "438",
        "reach of a child",
        "EPERM",
        "a seccomp filter (Seccomp_filters: ",
        "tracing is not permitted",
    ),
    (
        "317",
        "seccomp",
        "EPERM",
        "a seccomp filter (Seccomp_filters: ",
        "a listener cannot be installed",
    ),
    (
        "listened",
        "seccomp",
        "EBUSY",
        "a filter with a listener is installed above",
        "installed above",
    ),
    (
        "unknown",
        "seccomp",
        "ENOSYS",
        "fails calls that it does not know",
        "fails calls that it does not know",
    ),
];

/// One refusal is one finding with its errno and cause, and one line of `run`.
// row: S12
#[test]
fn what_is_refused_is_named() {
    let Some(clinic) = Clinic::open() else { return };
    let Some(refuse) = clinic.wrapper("refuse") else {
        return;
    };
    for (what, name, errno, cause, line) in REFUSALS {
        let report = clinic.findings(&[&refuse, what]);
        let found = finding(&report, name);
        assert_eq!(report["ready"], false, "{what}: {report}");
        assert_eq!(found["state"], "missing", "{what}: {report}");
        assert_eq!(found["errno"], errno, "{what}: {report}");
        assert!(says(found, "cause", cause), "{what}: {report}");
        assert!(found["remedy"].is_string(), "{what}: {report}");
        let output = clinic.recto_with(&[&refuse, what], &["run", "--", "echo", "ran"]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{what}: {told}");
        assert_eq!(output.stdout, b"", "{what}: {told}");
        assert_eq!(told.lines().count(), 1, "{what}: {told}");
        assert!(told.contains(line), "{what}: {told}");
    }
}

/// That there are no more descriptors forbids nothing.
// row: S12
#[test]
fn what_has_run_out_is_not_forbidden() {
    let Some(clinic) = Clinic::open() else { return };
    let few = ["sh", "-c", "ulimit -n 4; exec \"$@\"", "-"];
    let report = clinic.findings(&few);
    let ptrace = finding(&report, "ptrace");
    assert_eq!(ptrace["errno"], "EMFILE", "{report}");
    assert!(says(ptrace, "remedy", "ulimit -n"), "{report}");
    let output = clinic.recto_with(&few, &["run", "--", "echo", "ran"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert_eq!(told, "recto: start: Too many open files\n");
}

/// Programs run without userfaultfd, and the finding says so.
// row: S12
#[test]
fn faults_come_by_the_device_or_by_signals() {
    const NAME: &str = "faults by userfaultfd";
    let Some(clinic) = Clinic::open() else { return };
    let Some(refuse) = clinic.wrapper("refuse") else {
        return;
    };
    let natively = clinic.findings(&[]);
    for what in ["323", "323:38"] {
        let report = clinic.findings(&[&refuse, what]);
        assert_eq!(report["ready"], true, "{report}");
        let found = finding(&report, NAME);
        if finding(&natively, NAME)["state"] == "works"
            && fs::exists("/dev/userfaultfd").is_ok_and(|is| is)
        {
            assert_eq!(found["state"], "works", "{report}");
            assert!(says(found, "detail", "by /dev/userfaultfd"), "{report}");
        } else {
            assert_eq!(found["state"], "absent", "{report}");
            assert!(
                says(found, "detail", "programs run more slowly, by signals"),
                "{report}"
            );
        }
    }
}

/// A user without any rights runs programs as natively, and knows why pages do not come by
/// userfaultfd.
// row: S12
#[test]
fn an_unprivileged_user_is_told_why() {
    let Some(clinic) = Clinic::open() else { return };
    let nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let become_nobody = Command::new(nobody[0])
        .args(&nobody[1..])
        .arg("true")
        .status();
    if !become_nobody.is_ok_and(|status| status.success()) {
        return suite::say("skipped: cannot become another user (doctor)");
    }
    let report = clinic.findings(&nobody);
    let ptrace = finding(&report, "ptrace");
    if ptrace["state"] != "works" {
        assert!(
            says(ptrace, "cause", "kernel.yama.ptrace_scope = "),
            "{report}"
        );
        return suite::say("skipped: only root may trace (doctor)");
    }
    assert_eq!(report["ready"], true, "{report}");
    let faults = finding(&report, "faults by userfaultfd");
    assert_eq!(faults["state"], "absent", "{report}");
    assert!(
        says(faults, "detail", "programs run more slowly, by signals"),
        "{report}"
    );
    assert!(says(faults, "remedy", "CAP_SYS_PTRACE"), "{report}");
    let setting = fs::read_to_string("/proc/sys/vm/unprivileged_userfaultfd");
    if setting.is_ok_and(|value| value.trim() == "0") {
        let cause = "vm.unprivileged_userfaultfd = 0, and no CAP_SYS_PTRACE; /dev/userfaultfd: ";
        assert!(says(faults, "cause", cause), "{report}");
    }
}

/// Rights on the device are not enough for forks to be told.
// row: S12
#[test]
fn fork_events_need_a_right_of_their_own() {
    const NAME: &str = "faults by userfaultfd";
    let Some(clinic) = Clinic::open() else { return };
    let lacking = [
        "setpriv",
        "--bounding-set=-sys_ptrace",
        "--inh-caps=-sys_ptrace",
    ];
    let dropped = Command::new(lacking[0])
        .args(&lacking[1..])
        .arg("true")
        .status();
    if !dropped.is_ok_and(|status| status.success()) {
        return suite::say("skipped: no right to give up (doctor)");
    }
    let natively = clinic.findings(&[]);
    let report = clinic.findings(&lacking);
    if finding(&natively, NAME)["state"] != "works" || fs::File::open("/dev/userfaultfd").is_err() {
        return suite::say("skipped: no /dev/userfaultfd (doctor)");
    }
    let found = finding(&report, NAME);
    assert_eq!(report["ready"], true, "{report}");
    assert_eq!(found["errno"], "EPERM", "{report}");
    assert!(says(found, "detail", "UFFDIO_API"), "{report}");
    assert!(
        says(found, "cause", "fork events need CAP_SYS_PTRACE"),
        "{report}"
    );
}

/// A tracer that follows forks takes what Recto would trace, and is named; another one does not.
// row: S12
#[test]
fn a_tracer_of_recto_is_named() {
    const NAMED: &str = "Recto is itself being traced by PID ";
    let Some(clinic) = Clinic::open() else { return };
    let Some(trace) = clinic.wrapper("trace") else {
        return;
    };
    let run = ["run", "--", "echo", "ran"];

    let report = clinic.findings(&[&trace, "follow"]);
    let ptrace = finding(&report, "ptrace");
    assert_eq!(ptrace["state"], "missing", "{report}");
    assert_eq!(ptrace["errno"], "EPERM", "{report}");
    assert!(says(ptrace, "cause", NAMED), "{report}");
    assert!(says(ptrace, "cause", "(trace)"), "{report}");
    let output = clinic.recto_with(&[&trace, "follow"], &run);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.contains(NAMED) && !told.contains("yama"), "{told}");

    let report = clinic.findings(&[&trace, "alone"]);
    let ptrace = finding(&report, "ptrace");
    assert_eq!(ptrace["state"], "works", "{report}");
    assert!(says(ptrace, "detail", NAMED), "{report}");
    let output = clinic.recto_with(&[&trace, "alone"], &run);
    assert_eq!(output.stdout, b"ran\n", "{output:?}");
    assert!(output.status.success(), "{output:?}");
}
