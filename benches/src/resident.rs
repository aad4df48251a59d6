//! What of this process the host holds in memory.

use std::io;

/// Bytes resident, by what they are.
#[derive(Clone, Copy, Debug)]
pub struct Resident {
    /// Private memory (`RssAnon`).
    pub private: u64,
    /// Pages of files, the program's own among them (`RssFile`).
    pub files: u64,
    /// Shared memory and memory files: the arena (`RssShmem`).
    pub shared: u64,
}

impl Resident {
    /// Now, as `/proc/self/status` says.
    ///
    /// # Errors
    /// The host has no such file, or it does not say.
    pub fn now() -> io::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
            let kib = kib.and_then(|kib| kib.parse::<u64>().ok());
            kib.map(|kib| kib * 1024).ok_or(io::ErrorKind::Unsupported)
        };
        Ok(Self {
            private: bytes("RssAnon:")?,
            files: bytes("RssFile:")?,
            shared: bytes("RssShmem:")?,
        })
    }
}
