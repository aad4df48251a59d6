//! The counters of `/proc/PID/status`.

use crate::subject::Usage;

/// Reads the text.
pub(super) fn parse(text: &str) -> Usage {
    let bytes = |key: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let number = line.and_then(|line| line.split_whitespace().next());
        number
            .and_then(|number| number.parse::<u64>().ok())
            .unwrap_or_default()
            << 10
    };
    Usage {
        total: bytes("VmSize"),
        data: bytes("VmData"),
        stack: bytes("VmStk"),
        locked: bytes("VmLck"),
        anon: bytes("RssAnon"),
        file: bytes("RssFile"),
        shmem: bytes("RssShmem"),
        tables: bytes("VmPTE"),
    }
}
