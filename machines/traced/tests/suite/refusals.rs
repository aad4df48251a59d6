//! What cannot be run says so, with the text and the status that a shell gives.

use std::os::unix::fs::PermissionsExt;

use crate::support::{ARENA_FRAMES, scratch, skipped, unique};
use traced::{RunConfig, RunError};

fn refusal(program: &str) -> Option<RunError> {
    match traced::run(&RunConfig::new(program, Vec::new(), ARENA_FRAMES)) {
        Ok(outcome) => panic!("{program} ran: {:?}", outcome.ending),
        Err(error @ (RunError::NotPermitted { .. } | RunError::NoFilter { .. })) => {
            skipped(&error.to_string());
            None
        }
        Err(error) => Some(error),
    }
}

fn file(contents: &[u8], mode: u32) -> String {
    let path = scratch("refusals").join(unique());
    std::fs::write(&path, contents).expect("a file for the test");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("its mode");
    path.to_string_lossy().into_owned()
}

#[test]
fn an_unknown_program_is_127() {
    let Some(error) = refusal("no-such-program-anywhere") else {
        return;
    };
    assert_eq!(
        (error.exit_status(), error.to_string().as_str()),
        (127, "no-such-program-anywhere: command not found")
    );
    let Some(error) = refusal("/no/such/program") else {
        return;
    };
    assert_eq!(
        (error.exit_status(), error.to_string().as_str()),
        (127, "/no/such/program: No such file or directory")
    );
}

#[test]
fn what_is_not_executable_is_126() {
    for (contents, mode, text) in [
        (&b"text"[..], 0o644, "Permission denied"),
        (&b"text"[..], 0o755, "Exec format error"),
        (&b"\x7fELF\x02\x01\x01"[..], 0o755, "Exec format error"),
    ] {
        let Some(error) = refusal(&file(contents, mode)) else {
            return;
        };
        assert_eq!(error.exit_status(), 126, "{error}");
        assert!(error.to_string().ends_with(text), "{error}");
    }
    for (path, told) in [
        ("/tmp", "/tmp: Is a directory"),
        ("/etc/passwd/x", "/etc/passwd/x: Not a directory"),
    ] {
        let Some(error) = refusal(path) else { return };
        assert_eq!(
            (error.exit_status(), error.to_string().as_str()),
            (126, told)
        );
    }
}

#[test]
fn a_missing_interpreter_is_127() {
    let Some(error) = refusal(&file(b"#!/no/such/interpreter\n", 0o755)) else {
        return;
    };
    assert_eq!(error.exit_status(), 127, "{error}");
    assert!(
        error.to_string().ends_with("No such file or directory"),
        "{error}"
    );
}

#[test]
fn an_exhausted_arena_kills_the_process_that_needs_more() {
    let line = "head -c 200000000 /dev/zero | sort -S 1G > /dev/null; echo $? >&2; exit 5";
    let config = RunConfig::new("sh", vec!["-c".into(), line.into()], 8192);
    let Some(outcome) = crate::support::run(&config) else {
        return;
    };
    assert_eq!(
        outcome.ending,
        traced::Ending::Exited(5),
        "the others go on"
    );
}
