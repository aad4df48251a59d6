//! Reading a step: `[7.0..] child: name = verb(args) -> expectation  # comment`.

use super::expect::Expectation;
use super::expr::Expr;
use super::names::Dictionary;
use super::step::{Arg, Guard, Kind, SIGNATURES, Signature, Step};
use crate::subject::Release;

/// What is wrong with a step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ParseError {
    reason: String,
}

impl ParseError {
    /// With the reason given.
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
        }
    }

    fn in_line(self, line: &str) -> Self {
        Self::new(format!("{}, in: {line}", self.reason))
    }
}

/// Reads one line; `None` if it is empty or a comment.
pub(super) fn step(line: &str) -> Result<Option<Step>, ParseError> {
    let text = without_comment(line).trim();
    if text.is_empty() {
        return Ok(None);
    }
    statement(text)
        .map(Some)
        .map_err(|error| error.in_line(text))
}

fn statement(text: &str) -> Result<Step, ParseError> {
    let (guard, rest) = guard(text)?;
    let (action, expectation) = match find_outside(rest, "->") {
        Some(at) => (rest[..at].trim(), Some(rest[at + 2..].trim())),
        None => (rest.trim(), None),
    };
    let open = action.find('(').ok_or_else(|| ParseError::new("no ("))?;
    let arguments = action[open + 1..]
        .strip_suffix(')')
        .ok_or_else(|| ParseError::new("no ) at the end"))?;
    let (who, head) = match action[..open].split_once(':') {
        Some((who, head)) => (Some(name(who)?), head),
        None => (None, &action[..open]),
    };
    let (bind, verb) = match head.split_once('=') {
        Some((bind, verb)) => (Some(name(bind)?), verb),
        None => (None, head),
    };
    let signature = signature(verb.trim())?;
    Ok(Step {
        guard,
        who,
        bind,
        verb: signature.verb,
        args: args(signature, arguments)?,
        expect: expectation.map_or_else(|| Ok(Expectation::default()), Expectation::parse)?,
        text: text.to_string(),
    })
}

fn guard(text: &str) -> Result<(Guard, &str), ParseError> {
    let Some(inside) = text.strip_prefix('[') else {
        return Ok((Guard::default(), text));
    };
    let wrong = || ParseError::new("a guard is [6.18..7.0], [7.0..] or [..7.0]");
    let (bounds, rest) = inside.split_once(']').ok_or_else(wrong)?;
    let (since, until) = bounds.split_once("..").ok_or_else(wrong)?;
    let bound = |text: &str| match text.trim() {
        "" => Ok(None),
        text => Release::parse(text).map(Some).ok_or_else(wrong),
    };
    Ok((
        Guard {
            since: bound(since)?,
            until: bound(until)?,
        },
        rest.trim_start(),
    ))
}

fn name(text: &str) -> Result<String, ParseError> {
    let text = text.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    if text.is_empty() || !text.chars().all(plain) {
        return Err(ParseError::new(format!("not a name: {text:?}")));
    }
    Ok(text.to_string())
}

fn signature(verb: &str) -> Result<&'static Signature, ParseError> {
    let found = SIGNATURES.iter().find(|signature| signature.name == verb);
    found.ok_or_else(|| ParseError::new(format!("no verb {verb:?}")))
}

fn args(signature: &Signature, text: &str) -> Result<Vec<Arg>, ParseError> {
    let mut args = Vec::new();
    for piece in pieces(text) {
        let Some(kind) = signature.kinds.get(args.len()) else {
            return Err(ParseError::new(format!(
                "{} takes fewer arguments",
                signature.name
            )));
        };
        args.push(arg(*kind, piece)?);
    }
    if args.len() < signature.required {
        return Err(ParseError::new(format!(
            "{} takes more arguments",
            signature.name
        )));
    }
    Ok(args)
}

fn arg(kind: Kind, text: &str) -> Result<Arg, ParseError> {
    match kind {
        Kind::Number => Expr::parse(text).map(Arg::Number),
        Kind::Flags(dictionary) => {
            flags(dictionary, text).map(|value| Arg::Number(Expr::number(value)))
        }
        Kind::Bytes => bytes(text).map(Arg::Bytes),
        Kind::Name => name(text).map(Arg::Name),
    }
}

fn flags(dictionary: Dictionary, text: &str) -> Result<u64, ParseError> {
    let mut value = 0;
    for word in text.split('|').map(str::trim) {
        value |= match dictionary.value(word) {
            Some(bits) => bits,
            None => Expr::parse(word)
                .ok()
                .filter(|expr| expr.names().next().is_none())
                .and_then(|expr| expr.value(&super::Symbols::new()).ok())
                .ok_or_else(|| ParseError::new(format!("unknown flag {word:?}")))?,
        };
    }
    Ok(value)
}

/// `"text"`, `x00ff`, `ret(42)` (code that returns 42), each with `*count` for repetition.
pub(super) fn bytes(text: &str) -> Result<Vec<u8>, ParseError> {
    let wrong = || ParseError::new(format!("not bytes: {text}"));
    let repeated = text
        .rsplit_once('*')
        .filter(|(_, count)| !count.contains('"'));
    let (unit, count) = match repeated {
        Some((unit, count)) => {
            let count = Expr::parse(count)?
                .value(&super::Symbols::new())
                .map_err(ParseError::new)?;
            (unit.trim(), usize::try_from(count).map_err(|_| wrong())?)
        }
        None => (text, 1),
    };
    let once = if let Some(inside) = unit
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    {
        inside.as_bytes().to_vec()
    } else if let Some(value) = unit
        .strip_prefix("ret(")
        .and_then(|rest| rest.strip_suffix(')'))
    {
        returning(value.trim().parse().map_err(|_| wrong())?)
    } else {
        hexadecimal(unit.strip_prefix('x').ok_or_else(wrong)?).ok_or_else(wrong)?
    };
    Ok(once.repeat(count))
}

/// `mov eax, value; ret`.
fn returning(value: i32) -> Vec<u8> {
    let mut code = vec![0xb8];
    code.extend(value.to_le_bytes());
    code.push(0xc3);
    code
}

fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let whole = !digits.is_empty() && digits.len().is_multiple_of(2) && digits.is_ascii();
    let pairs = (0..digits.len()).step_by(2);
    whole.then(|| {
        pairs
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok())
            .collect()
    })?
}

fn without_comment(line: &str) -> &str {
    find_outside(line, "#").map_or(line, |at| &line[..at])
}

/// Finds a mark that is not inside double quotes.
fn find_outside(text: &str, mark: &str) -> Option<usize> {
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        if c == '"' {
            quoted = !quoted;
        }
        if !quoted && text[at..].starts_with(mark) {
            return Some(at);
        }
    }
    None
}

/// Splits at the commas that are neither quoted nor in parentheses.
pub(super) fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut start, mut depth, mut quoted) = (0, 0_u32, false);
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth = depth.saturating_sub(1),
            ',' if !quoted && depth == 0 => {
                pieces.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    if !text[start..].trim().is_empty() {
        pieces.push(text[start..].trim());
    }
    pieces
}
