//! What a filter has for each call number.

use super::{Cookie, KEPT, Verdict, answer, compare, high, jump, load, low, statement};
use crate::sys::userfault;

/// What becomes of one number, or of several in a row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaf {
    verdict: Verdict,
    /// The call passes if it has this secret here, whatever the verdict.
    unless: Option<(u64, (u32, u32))>,
    /// What of the calls with this number fails, whatever the verdict.
    but: Option<Refused>,
}

/// Calls that fail because of one argument.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Refused {
    argument: u32,
    value: u32,
    errno: u16,
}

/// A program's memory has the userfaultfd that Recto serves it by, and can have no other: no device is
/// one that makes them.
const NEW_USERFAULT: Refused = Refused {
    argument: 1,
    value: userfault::NEW,
    errno: libc::ENOTTY as u16,
};

impl Leaf {
    /// What passes by its number alone must not be looked at any further: of such numbers the kernel
    /// keeps a list, and does not run the filter.
    pub(super) fn new(number: u32, verdict: Verdict, cookie: Cookie) -> Self {
        let but = (i64::from(number) == libc::SYS_ioctl).then_some(NEW_USERFAULT);
        let unless = match i64::from(number) {
            _ if verdict == Verdict::Pass && but.is_none() => None,
            libc::SYS_mmap => Some((cookie.call, (high(3), high(4)))),
            libc::SYS_futex => Some((cookie.wait, (low(5), high(5)))),
            kept if KEPT.contains(&kept) => Some((cookie.call, (low(5), high(5)))),
            _ => None,
        };
        Self {
            verdict,
            unless,
            but,
        }
    }

    /// What is decided by the number alone.
    pub(super) fn plain(verdict: Verdict) -> Self {
        Self {
            verdict,
            unless: None,
            but: None,
        }
    }

    fn compile(self, out: &mut Vec<libc::sock_filter>) {
        if let Some((secret, halves)) = self.unless {
            out.extend(compare(secret, halves, 1));
            out.push(answer(Verdict::Pass.action()));
        }
        if let Some(refused) = self.but {
            out.push(load(low(refused.argument)));
            out.push(jump(libc::BPF_JEQ, refused.value, 0, 1));
            out.push(answer(Verdict::Fail(refused.errno).action()));
        }
        if self.verdict == Verdict::AskUnlessPrivate {
            out.push(load(low(1)));
            out.push(jump(libc::BPF_JSET, libc::FUTEX_PRIVATE_FLAG as u32, 0, 1));
            out.push(answer(Verdict::Pass.action()));
        }
        if self.verdict == Verdict::AskIfGivenThird {
            out.extend(compare(0, (low(2), high(2)), 1));
            out.push(answer(Verdict::Pass.action()));
        }
        out.push(answer(self.verdict.action()));
    }
}

/// A binary search over runs of numbers; `runs` holds (first number, leaf).
fn search(runs: &[(u32, Leaf)], out: &mut Vec<libc::sock_filter>) {
    let Some((middle, _)) = runs.get(runs.len() / 2) else {
        return;
    };
    if let [(_, leaf)] = runs {
        return leaf.compile(out);
    }
    let (low, high) = runs.split_at(runs.len() / 2);
    let mut below = Vec::new();
    search(low, &mut below);
    // A conditional jump reaches 255 instructions, an unconditional one all of them.
    out.push(jump(libc::BPF_JGE, *middle, 0, 1));
    out.push(statement(libc::BPF_JMP | libc::BPF_JA, below.len() as u32));
    out.append(&mut below);
    search(high, out);
}

/// Looks the number up that is at hand: the leaves are those of all numbers from 0 on, the last of all
/// that follow.
pub(super) fn look_up(leaves: impl Iterator<Item = Leaf>, out: &mut Vec<libc::sock_filter>) {
    let mut runs: Vec<(u32, Leaf)> = Vec::new();
    for (number, leaf) in (0..).zip(leaves) {
        if runs.last().is_none_or(|(_, last)| *last != leaf) {
            runs.push((number, leaf));
        }
    }
    search(&runs, out);
}
