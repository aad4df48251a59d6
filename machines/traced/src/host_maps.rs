//! What the host says of a process: its areas, the ends of its image, its auxiliary vector.

use std::fmt::Display;
use std::fs::File;
use std::io::Read;

use addr::Prot;

use crate::sys::Tid;

/// One line of `/proc/PID/maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostArea {
    /// First address.
    pub(crate) start: u64,
    /// Behind the last address.
    pub(crate) end: u64,
    /// Rights.
    pub(crate) prot: Prot,
    /// Byte offset in the file.
    pub(crate) offset: u64,
    /// Major and minor number of the device that the file is on.
    pub(crate) device: (u32, u32),
    /// Inode number; 0 for what is no file.
    pub(crate) ino: u64,
    /// What stands at the end of the line.
    pub(crate) name: String,
}

impl HostArea {
    /// Whether it is of the vDSO family.
    pub(crate) fn is_vdso_family(&self) -> bool {
        ["[vdso]", "[vvar]", "[vvar_vclock]"].contains(&self.name.as_str())
    }

    fn parse(line: &str) -> Option<Self> {
        let mut rest = line;
        let mut word = || {
            let trimmed = rest.trim_start();
            let end = trimmed.find(' ').unwrap_or(trimmed.len());
            let (word, after) = trimmed.split_at(end);
            rest = after;
            word
        };
        let (start, end) = word().split_once('-')?;
        let rights = word();
        let offset = u64::from_str_radix(word(), 16).ok()?;
        let (major, minor) = word().split_once(':')?;
        let number = |hex| u32::from_str_radix(hex, 16).ok();
        let device = (number(major)?, number(minor)?);
        let ino = word().parse().ok()?;
        let mut prot = Prot::NONE;
        for (letter, right) in [('r', Prot::READ), ('w', Prot::WRITE), ('x', Prot::EXEC)] {
            if rights.contains(letter) {
                prot |= right;
            }
        }
        Some(Self {
            start: u64::from_str_radix(start, 16).ok()?,
            end: u64::from_str_radix(end, 16).ok()?,
            prot,
            offset,
            device,
            ino,
            name: rest.trim_start().to_owned(),
        })
    }
}

/// What a file of `/proc` says, in as few reads as possible, since each one makes the text anew;
/// empty when there is none.
pub(crate) fn contents(path: &str) -> Vec<u8> {
    const BYTES: usize = 8 << 10;
    let mut text = Vec::with_capacity(BYTES);
    if let Ok(file) = File::open(path) {
        // Such a file has no length to be asked for. What was read before an error stands.
        let _ = file.take(u64::MAX).read_to_end(&mut text);
    }
    text
}

/// What `/proc/PID/status` says behind `name` and a colon.
pub(crate) fn status_of(task: impl Display, name: &str) -> Option<String> {
    let status = contents(&format!("/proc/{task}/status"));
    let status = String::from_utf8_lossy(&status);
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    let (_, word) = lines.find(|(at, _)| *at == name)?;
    Some(word.trim().to_owned())
}

/// All areas of a process; empty when it is gone.
pub(crate) fn areas(tid: Tid) -> Vec<HostArea> {
    let text = contents(&format!("/proc/{tid}/maps"));
    String::from_utf8_lossy(&text)
        .lines()
        .filter_map(HostArea::parse)
        .collect()
}

/// The ends of the image, of `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) start_code: u64,
    pub(crate) end_code: u64,
    pub(crate) start_stack: u64,
    pub(crate) start_data: u64,
    pub(crate) end_data: u64,
    pub(crate) start_brk: u64,
    pub(crate) arg_start: u64,
    pub(crate) arg_end: u64,
    pub(crate) env_start: u64,
    pub(crate) env_end: u64,
}

/// The ends of a process's image.
pub(crate) fn ends(tid: Tid) -> Ends {
    let text = contents(&format!("/proc/{tid}/stat"));
    parse_ends(&String::from_utf8_lossy(&text))
}

fn parse_ends(stat: &str) -> Ends {
    // The name may hold anything; the fields after it are numbers, the first being field 3.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace()
        .collect();
    let field = |number: usize| {
        fields
            .get(number - 3)
            .and_then(|word| word.parse::<u64>().ok())
            .unwrap_or(0)
    };
    Ends {
        start_code: field(26),
        end_code: field(27),
        start_stack: field(28),
        start_data: field(45),
        end_data: field(46),
        start_brk: field(47),
        arg_start: field(48),
        arg_end: field(49),
        env_start: field(50),
        env_end: field(51),
    }
}

/// The auxiliary vector of a process, without its end.
pub(crate) fn auxv(tid: Tid) -> Vec<(u64, u64)> {
    let bytes = contents(&format!("/proc/{tid}/auxv"));
    let (pairs, _) = bytes.as_chunks::<16>();
    pairs
        .iter()
        .map(|pair| {
            let (words, _) = pair.as_chunks::<8>();
            let word = |at: usize| words.get(at).map_or(0, |word| u64::from_le_bytes(*word));
            (word(0), word(1))
        })
        .take_while(|(kind, _)| *kind != 0)
        .collect()
}

#[cfg(test)]
mod tests;
