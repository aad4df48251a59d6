//! What should come of a step.

use std::fmt;

use super::expr::Expr;
use super::names::{errno_number, signal_of};
use super::parse::{self, ParseError};

/// What should come of a step, and at what cost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expectation {
    /// The result.
    pub result: Expect,
    /// Minor faults of an access, where they are defined exactly.
    pub faults: Option<u64>,
}

/// What should come of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Expect {
    /// No error and no signal.
    #[default]
    Success,
    /// Anything: the step only makes a situation.
    Any,
    /// This errno.
    Errno(i32),
    /// This value or address.
    Value(Expr),
    /// An address aligned to so many bytes.
    Aligned(u64),
    /// These bytes.
    Bytes(Vec<u8>),
    /// This signal, at this address; at the address accessed if none is given.
    Signal {
        /// Its number.
        signal: i32,
        /// Its `si_code`.
        code: i32,
        /// Its `si_addr`.
        at: Option<Expr>,
    },
    /// These areas.
    Areas(Vec<AreaLine>),
    /// Residence of pages, `1` or `0` each.
    Pages(String),
}

/// One area as the cases write it: `0-4 rw-p @1 name`, in pages from where one looked.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AreaLine {
    /// First page.
    pub start: i64,
    /// First page after it.
    pub end: i64,
    /// As in the text, `rw-p`.
    pub perms: String,
    /// Offset into the file, in pages.
    pub pgoff: u64,
    /// The last column; empty if there is none.
    pub name: String,
}

impl Expectation {
    /// Reads what stands behind the arrow.
    pub(super) fn parse(text: &str) -> Result<Self, ParseError> {
        match text.rsplit_once("faults ") {
            Some((before, count)) if !count.contains('"') => {
                let wrong = |_| ParseError::new(format!("not a number of faults: {count}"));
                let faults = Some(count.trim().parse().map_err(wrong)?);
                let result = match before.trim() {
                    "" => Expect::Success,
                    before => Expect::parse(before)?,
                };
                Ok(Self { result, faults })
            }
            _ => Ok(Self {
                result: Expect::parse(text)?,
                faults: None,
            }),
        }
    }
}

impl Expect {
    fn parse(text: &str) -> Result<Self, ParseError> {
        if let Some(number) = errno_number(text) {
            return Ok(Self::Errno(number));
        }
        match text {
            "ok" => return Ok(Self::Success),
            "any" => return Ok(Self::Any),
            "pages" => return Ok(Self::Pages(String::new())),
            "empty" => return Ok(Self::Areas(Vec::new())),
            _ => {}
        }
        if let Some(unit) = text.strip_prefix("aligned ") {
            let unit = Expr::parse(unit)?
                .value(&super::Symbols::new())
                .map_err(ParseError::new)?;
            return Ok(Self::Aligned(unit));
        }
        if let Some(pages) = text.strip_prefix("pages ") {
            return Ok(Self::Pages(pages.trim().to_string()));
        }
        let (name, at) = match text.split_once(" @ ") {
            Some((name, at)) => (name.trim(), Some(Expr::parse(at)?)),
            None => (text, None),
        };
        if let Some((signal, code)) = signal_of(name) {
            return Ok(Self::Signal { signal, code, at });
        }
        if text.starts_with(['"', 'x']) && !text.starts_with("x+") {
            return parse::bytes(text).map(Self::Bytes);
        }
        if text.contains(" r") || text.contains(" -") {
            return parse::pieces(text)
                .into_iter()
                .map(AreaLine::parse)
                .collect::<Result<_, _>>()
                .map(Self::Areas);
        }
        Expr::parse(text).map(Self::Value)
    }
}

impl AreaLine {
    fn parse(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::new(format!("not an area: {text:?}"));
        let (range, rest) = text.split_once(' ').ok_or_else(wrong)?;
        let (start, end) = range.split_once('-').ok_or_else(wrong)?;
        let mut words = rest.split_whitespace().peekable();
        let perms = words
            .next()
            .filter(|perms| perms.len() == 4)
            .ok_or_else(wrong)?
            .to_string();
        let pgoff = match words.next_if(|word| word.starts_with('@')) {
            Some(word) => word[1..].parse().map_err(|_| wrong())?,
            None => 0,
        };
        let number = |text: &str| text.parse::<i64>().map_err(|_| wrong());
        let name = words.collect::<Vec<_>>().join(" ");
        Ok(Self {
            start: number(start)?,
            end: number(end)?,
            perms,
            pgoff,
            name,
        })
    }
}

impl fmt::Display for AreaLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{} {}", self.start, self.end, self.perms)?;
        if self.pgoff != 0 {
            write!(f, " @{}", self.pgoff)?;
        }
        if !self.name.is_empty() {
            write!(f, " {}", self.name)?;
        }
        Ok(())
    }
}

/// The areas of `/proc/PID/maps` between two addresses, cut to them, in pages from the first.
/// A name below `dir` loses that part. `Err` names the line that is not in the kernel's form.
pub fn area_lines(text: &str, from: u64, to: u64, dir: &str) -> Result<Vec<AreaLine>, String> {
    let mut areas = Vec::new();
    for line in text.lines() {
        let area =
            Line::parse(line).ok_or_else(|| format!("not in the kernel's form: {line:?}"))?;
        let (start, end) = (area.start.max(from), area.end.min(to));
        if start >= end {
            continue;
        }
        let name = area
            .name
            .strip_prefix(dir)
            .map_or(area.name, |rest| rest.trim_start_matches('/'));
        let backed = area.inode != 0;
        let skipped = if backed {
            (start - area.start) / 4096
        } else {
            0
        };
        areas.push(AreaLine {
            start: pages(start, from),
            end: pages(end, from),
            perms: area.perms.to_string(),
            pgoff: area.offset / 4096 + skipped,
            name: name.to_string(),
        });
    }
    Ok(areas)
}

fn pages(addr: u64, from: u64) -> i64 {
    addr.wrapping_sub(from).cast_signed() / 4096
}

/// A line of the kernel's text, every column as it prints it.
struct Line<'t> {
    start: u64,
    end: u64,
    perms: &'t str,
    offset: u64,
    inode: u64,
    name: &'t str,
}

impl<'t> Line<'t> {
    /// Reads a line, and refuses one that the kernel would print otherwise.
    fn parse(line: &'t str) -> Option<Self> {
        let mut columns = line.splitn(6, ' ');
        let (start, end) = columns.next()?.split_once('-')?;
        let perms = columns.next()?;
        let offset = columns.next()?;
        let device = columns.next()?;
        let inode = columns.next()?;
        let name = columns.next()?.trim_start_matches(' ');
        let hex = |text: &str| u64::from_str_radix(text, 16).ok();
        let (start, end, offset) = (hex(start)?, hex(end)?, hex(offset)?);
        let inode = inode.parse::<u64>().ok()?;
        let mut printed = format!("{start:08x}-{end:08x} {perms} {offset:08x} {device} {inode} ");
        if !name.is_empty() {
            printed = format!("{printed:<73}{name}");
        }
        (printed == line).then_some(Self {
            start,
            end,
            perms,
            offset,
            inode,
            name,
        })
    }
}
