//! `recto run` where it may do less: without rights, and where the host refuses what it needs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use conformance::program;
use conformance::suite::{self, Scratch};

const SYS_PTRACE: &str = "101";
const SYS_SECCOMP: &str = "317";

fn recto() -> Option<PathBuf> {
    let recto = program::recto();
    recto
        .inspect_err(|why| suite::say(&format!("skipped: {why} (rights)")))
        .ok()
}

/// What a run prints of a program that writes to standard output, when a call is refused.
fn refused(scratch: &Path, recto: &Path, call: &str) -> Option<Output> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/src/refuse.c");
    let refuse = scratch.join("refuse");
    let mut compiler = Command::new("gcc");
    let Ok(compiled) = compiler.arg("-o").arg(&refuse).arg(source).status() else {
        suite::say("skipped: no gcc (rights)");
        return None;
    };
    assert!(compiled.success());
    let mut run = Command::new(refuse);
    run.arg(call).arg(recto).args(["run", "--", "echo", "ran"]);
    Some(run.output().expect("the wrapper runs"))
}

/// One line that names what to look at, status 1, and the program does not run.
// row: S12
#[test]
fn what_the_host_refuses_is_one_line_and_status_1() {
    let Some(recto) = recto() else { return };
    let scratch = Scratch::create().expect("a folder");
    for (call, named) in [
        (SYS_PTRACE, "kernel.yama.ptrace_scope"),
        (SYS_SECCOMP, "seccomp"),
    ] {
        let Some(output) = refused(scratch.path(), &recto, call) else {
            return;
        };
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert_eq!(output.stdout, b"", "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(told.contains(named), "{told}");
    }
}

/// A user without any rights runs programs as natively, and `doctor` finds nothing missing.
// row: S12
#[test]
fn an_unprivileged_user_runs_programs() {
    let Some(recto) = recto() else { return };
    // The folder the program was built in may be nobody's business.
    let scratch = Scratch::create().expect("a folder");
    let copy = scratch.path().join("recto");
    fs::copy(recto, &copy).expect("a copy of the program");
    let everybody = fs::Permissions::from_mode(0o755);
    fs::set_permissions(scratch.path(), everybody).expect("the folder is open");
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let natively = Command::new("setpriv")
        .args(nobody)
        .args(["id", "-u"])
        .output();
    if !natively.is_ok_and(|output| output.status.success()) {
        return suite::say("skipped: cannot become another user (rights)");
    }
    let mut run = Command::new("setpriv");
    run.args(nobody).arg(&copy).args(["run", "--", "sh", "-c"]);
    let output = run.arg("id -u; echo piped | cat").output();
    let output = output.expect("setpriv runs");
    let told = String::from_utf8_lossy(&output.stderr);
    if told.contains("tracing is not permitted") {
        return suite::say(&format!("skipped: {} (rights)", told.trim()));
    }
    assert_eq!(output.stdout, b"65534\npiped\n", "{told}");
    assert!(output.status.success(), "{told}");
    let mut doctor = Command::new("setpriv");
    let output = doctor.args(nobody).arg(&copy).arg("doctor").output();
    assert!(output.expect("setpriv runs").status.success());
}
