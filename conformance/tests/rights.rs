//! `recto run` where it may do less.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use conformance::program;
use conformance::suite::{self, Scratch};

fn recto() -> Option<PathBuf> {
    let recto = program::recto();
    recto
        .inspect_err(|why| suite::say(&format!("skipped: {why} (rights)")))
        .ok()
}

/// A user without any rights runs programs as natively.
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
}
