use std::process::Command;

use super::*;

/// A path that leads to a FIFO by now is not waited at for somebody who writes to it.
// row: S12
#[test]
fn only_regular_files_are_opened_to_read() {
    let path = std::env::temp_dir().join(format!("recto-fifo-{}", std::process::id()));
    if !Command::new("mkfifo")
        .arg(&path)
        .status()
        .is_ok_and(|status| status.success())
    {
        eprintln!("skipped: no mkfifo");
        return;
    }
    let opened = open_to_read(&path.to_string_lossy());
    std::fs::remove_file(&path).expect("it is there");
    assert_eq!(opened.err().map(|error| error.raw()), Some(libc::ENODEV));
    let itself = std::env::current_exe().expect("the test has a file");
    assert!(open_to_read(&itself.to_string_lossy()).is_ok());
}
