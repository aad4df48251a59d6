//! Numbers and symbolic addresses: `a+4p-1`.

use std::collections::BTreeMap;
use std::fmt;

use super::parse::ParseError;

/// What names stand for at a moment of a case.
pub type Symbols = BTreeMap<String, u64>;

/// A sum of numbers and names, computed modulo 2^64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expr {
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    sign: Sign,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Plus,
    Minus,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Number(u64),
    Name(String),
}

impl Expr {
    /// A plain number.
    #[must_use]
    pub fn number(value: u64) -> Self {
        Self {
            terms: vec![Term {
                sign: Sign::Plus,
                what: What::Number(value),
            }],
        }
    }

    /// Reads an expression. A number may be hexadecimal (`0x1f`) and may end in `p` (pages of
    /// 4 KiB), `k`, `M`, `G` or `T`.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut terms = Vec::new();
        let mut rest = text.trim();
        let mut sign = Sign::Plus;
        if let Some(after) = rest.strip_prefix('-') {
            (sign, rest) = (Sign::Minus, after);
        }
        loop {
            let end = rest.find(['+', '-']).unwrap_or(rest.len());
            terms.push(Term {
                sign,
                what: What::parse(rest[..end].trim())?,
            });
            let Some(operator) = rest[end..].chars().next() else {
                break;
            };
            sign = if operator == '+' {
                Sign::Plus
            } else {
                Sign::Minus
            };
            rest = &rest[end + 1..];
        }
        Ok(Self { terms })
    }

    /// Its value, or the name that has none.
    pub fn value(&self, symbols: &Symbols) -> Result<u64, String> {
        let mut sum = 0_u64;
        for term in &self.terms {
            let value = match &term.what {
                What::Number(number) => *number,
                What::Name(name) => *symbols
                    .get(name)
                    .ok_or_else(|| format!("{name} stands for nothing yet"))?,
            };
            sum = match term.sign {
                Sign::Plus => sum.wrapping_add(value),
                Sign::Minus => sum.wrapping_sub(value),
            };
        }
        Ok(sum)
    }

    /// The names in it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.terms.iter().filter_map(|term| match &term.what {
            What::Name(name) => Some(name.as_str()),
            What::Number(_) => None,
        })
    }
}

impl What {
    fn parse(text: &str) -> Result<Self, ParseError> {
        let first = text
            .chars()
            .next()
            .ok_or_else(|| ParseError::new("an empty term"))?;
        if !first.is_ascii_digit() {
            if text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Ok(Self::Name(text.to_string()));
            }
            return Err(ParseError::new(format!("not a name: {text:?}")));
        }
        number(text)
            .map(Self::Number)
            .ok_or_else(|| ParseError::new(format!("not a number: {text:?}")))
    }
}

fn number(text: &str) -> Option<u64> {
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok();
    }
    let (digits, unit) = match text.char_indices().last()? {
        (at, 'p') => (&text[..at], 1 << 12),
        (at, 'k') => (&text[..at], 1 << 10),
        (at, 'M') => (&text[..at], 1 << 20),
        (at, 'G') => (&text[..at], 1 << 30),
        (at, 'T') => (&text[..at], 1 << 40),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, term) in self.terms.iter().enumerate() {
            match (place, term.sign) {
                (0, Sign::Plus) => {}
                (_, Sign::Plus) => f.write_str("+")?,
                (_, Sign::Minus) => f.write_str("-")?,
            }
            match &term.what {
                What::Number(number) if *number >= 4096 && number % 4096 == 0 => {
                    write!(f, "{}p", number / 4096)?;
                }
                What::Number(number) => write!(f, "{number}")?,
                What::Name(name) => f.write_str(name)?,
            }
        }
        Ok(())
    }
}
