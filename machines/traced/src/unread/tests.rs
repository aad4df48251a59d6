use std::fs::File;
use std::io::Write;

use super::*;

/// What is in the host's memory is not waited for; much is not looked at page by page; what lies
/// behind the end is nothing.
// row: S12
#[test]
fn what_is_at_hand_is_not_unread() {
    let path = std::env::temp_dir().join(format!("recto-unread-{}", std::process::id()));
    let mut file = File::options()
        .create_new(true)
        .read(true)
        .write(true)
        .open(&path)
        .expect("a temporary file");
    std::fs::remove_file(&path).expect("it is there");
    file.write_all(&vec![7; 8192]).expect("room for it");
    let again = || file.try_clone().expect("a descriptor");
    assert!(Unread::of(again(), 0, 8192).is_none());
    assert!(Unread::of(again(), 8192, 4096).is_none());
    file.set_len(LOOKED_AT_BYTES_MAX + 4096).expect("a hole");
    let unread = Unread::of(again(), 0, u64::MAX).expect("more than is looked at");
    unread.read();
    assert_eq!(unread.end, LOOKED_AT_BYTES_MAX + 4096);
}
