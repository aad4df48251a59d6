//! Random cases: the same seed makes the same case, and nothing in it is expected.
//!
//! Two machines perform the case, and [`difference`] says where they part. [`shrink`] then leaves
//! out what is not needed to see it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::case::{Case, FileSetup, Script};
use crate::perform::{Observed, Performed, Report};
use crate::subject::{Exact, Figures, Runner};
use crate::suite::{self, Outcome};

/// SplitMix64: a small generator whose sequence never changes.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end.max(1)
    }

    /// One of these.
    pub fn pick<'t, T>(&mut self, choices: &'t [T]) -> &'t T {
        let place = self.below(choices.len() as u64);
        &choices[usize::try_from(place).unwrap_or_default()]
    }
}

/// Pages of the window that a case plays in.
const WINDOW_PAGES: u64 = 24;
/// Steps of a case.
const STEPS: usize = 40;
/// Pages of its file.
const FILE_PAGES: u64 = 8;

type Maker = fn(&mut Author) -> String;

/// What a step may be, and how often.
const MAKERS: &[(u64, Maker)] = &[
    (10, Author::map_private),
    (3, Author::map_shared),
    (7, Author::map_file),
    (6, Author::unmap),
    (8, Author::protect),
    (7, Author::remap),
    (6, Author::advise),
    (3, Author::lock),
    (2, Author::residence),
    (1, Author::sync),
    (14, Author::load),
    (16, Author::store),
    (5, Author::maps),
    (3, Author::fork),
    (3, Author::file),
    (3, Author::counter),
    (3, Author::heap),
    (3, Author::outside),
    (2, Author::by_call),
];

/// A random case of so many steps.
#[must_use]
pub fn case(seed: u64, steps: usize) -> Case {
    // What of a file is in memory is the page cache's to say, so such cases map no file.
    let residence = match seed % 4 {
        0 => Residence::Asked,
        _ => Residence::Ignored,
    };
    let mut author = Author {
        random: Random::new(seed),
        people: 1,
        residence,
    };
    let mut text = String::from("fd = open(f, rdwr)\nro = open(f, rdonly)\n");
    for _ in 0..steps {
        text.push_str(&author.step());
        text.push('\n');
    }
    text.push_str(&format!("maps(w, w+{}p) -> any\n", 2 * WINDOW_PAGES));
    named(format!("random-{seed}"), &text)
}

/// A case of these steps. Lines that are not steps are the author's mistake.
fn named(name: String, text: &str) -> Case {
    let steps = Script::try_from(text.to_string()).unwrap_or_else(|error| panic!("{error}"));
    let size = format!("{}p-100", FILE_PAGES);
    let file = FileSetup {
        size: Some(size),
        text: None,
        mode: None,
    };
    Case {
        name,
        about: String::new(),
        rows: Vec::new(),
        inv: Vec::new(),
        needs: Vec::new(),
        files: BTreeMap::from([("f".to_string(), file)]),
        since: None,
        until: None,
        steps,
        theme: "random".into(),
    }
}

/// Whether a case asks mincore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Residence {
    Asked,
    Ignored,
}

/// Who writes the steps.
struct Author {
    random: Random,
    people: u64,
    residence: Residence,
}

impl Author {
    fn step(&mut self) -> String {
        let sum: u64 = MAKERS.iter().map(|(weight, _)| weight).sum();
        let mut place = self.random.below(sum);
        let mut chosen = MAKERS[0].1;
        for (weight, maker) in MAKERS {
            if place < *weight {
                chosen = *maker;
                break;
            }
            place -= weight;
        }
        let who = match self.random.below(self.people) {
            0 => String::new(),
            child => format!("c{child}: "),
        };
        format!("{who}{} -> any", chosen(self))
    }

    /// A range inside the window: first page and number of pages.
    fn range(&mut self) -> (u64, u64) {
        let start = self.random.below(WINDOW_PAGES);
        let most = (WINDOW_PAGES - start).min(8);
        (start, 1 + self.random.below(most))
    }

    fn prot(&mut self) -> &'static str {
        const CHOICES: [&str; 8] = ["rw", "rw", "rw", "r", "none", "rx", "rwx", "w"];
        let chosen: &&str = self.random.pick(&CHOICES);
        chosen
    }

    fn map_private(&mut self) -> String {
        let (start, pages) = self.range();
        let prot = self.prot();
        let flags = self.random.pick(&[
            "",
            "",
            "",
            "",
            "|noreserve",
            "|populate",
            "|growsdown",
            "|noreplace",
        ]);
        format!("mmap(w+{start}p, {pages}p, {prot}, private|anon|fixed{flags})")
    }

    fn map_shared(&mut self) -> String {
        let (start, pages) = self.range();
        let prot = self.prot();
        format!("mmap(w+{start}p, {pages}p, {prot}, shared|anon|fixed)")
    }

    fn map_file(&mut self) -> String {
        if self.residence == Residence::Asked {
            return self.map_private();
        }
        let (start, pages) = self.range();
        let prot = self.prot();
        let offset = self.random.below(FILE_PAGES);
        let kind = self.random.pick(&["private", "shared"]);
        let descriptor = self.random.pick(&["fd", "fd", "fd", "ro"]);
        format!("mmap(w+{start}p, {pages}p, {prot}, {kind}|fixed, {descriptor}, {offset}p)")
    }

    fn unmap(&mut self) -> String {
        let (start, pages) = self.range();
        format!("munmap(w+{start}p, {pages}p)")
    }

    fn protect(&mut self) -> String {
        let (start, pages) = self.range();
        let prot = self.prot();
        format!("mprotect(w+{start}p, {pages}p, {prot})")
    }

    fn remap(&mut self) -> String {
        let (start, pages) = self.range();
        let (to, length) = self.range();
        match self.random.below(6) {
            0 => format!("mremap(w+{start}p, {pages}p, {length}p, 0)"),
            1 => {
                format!("mremap(w+{start}p, {pages}p, {pages}p, maymove|dontunmap|fixed, w+{to}p)")
            }
            2 => format!("mremap(w+{start}p, 0, {length}p, maymove|fixed, w+{to}p)"),
            3 => format!("mremap(w+{start}p, {pages}p, {length}p, maymove|fixed, w+{to}p)"),
            _ => format!("mremap(w+{start}p, {pages}p, {pages}p, maymove|fixed, w+{to}p)"),
        }
    }

    fn advise(&mut self) -> String {
        let (start, pages) = self.range();
        let advice = self.random.pick(&[
            "dontneed",
            "dontneed",
            "dontneed_locked",
            "dontfork",
            "dofork",
            "wipeonfork",
            "keeponfork",
            "populate_read",
            "populate_write",
            "sequential",
            "random",
            "normal",
            "dontdump",
            "dodump",
            "willneed",
        ]);
        format!("madvise(w+{start}p, {pages}p, {advice})")
    }

    fn lock(&mut self) -> String {
        let (start, pages) = self.range();
        match self.random.below(4) {
            0 => format!("mlock(w+{start}p, {pages}p)"),
            1 => format!("mlock2(w+{start}p, {pages}p, onfault)"),
            _ => format!("munlock(w+{start}p, {pages}p)"),
        }
    }

    fn residence(&mut self) -> String {
        let (start, pages) = self.range();
        if self.residence == Residence::Ignored {
            return self.counter();
        }
        format!("mincore(w+{start}p, {pages}p)")
    }

    fn sync(&mut self) -> String {
        let (start, pages) = self.range();
        let flags = self.random.pick(&["sync", "async", "invalidate"]);
        format!("msync(w+{start}p, {pages}p, {flags})")
    }

    fn place(&mut self) -> String {
        let page = self.random.below(WINDOW_PAGES);
        let offset = *self.random.pick(&[0, 8, 100, 4000, 4095]);
        format!("w+{page}p+{offset}")
    }

    fn load(&mut self) -> String {
        let place = self.place();
        let bytes = self.random.pick(&[1, 8, 200]);
        format!("load({place}, {bytes})")
    }

    fn store(&mut self) -> String {
        let place = self.place();
        let value = self.random.below(256);
        let count = self.random.pick(&[1, 8, 200]);
        format!("store({place}, x{value:02x}*{count})")
    }

    fn maps(&mut self) -> String {
        format!("maps(w, w+{}p)", 2 * WINDOW_PAGES)
    }

    fn fork(&mut self) -> String {
        if self.people >= 4 {
            return self.maps();
        }
        let name = format!("fork(c{})", self.people);
        self.people += 1;
        name
    }

    fn file(&mut self) -> String {
        let page = self.random.below(FILE_PAGES + 2);
        let value = self.random.below(26);
        let letter = char::from(b'a' + u8::try_from(value).unwrap_or_default());
        match self.random.below(4) {
            0 => format!(
                "ftruncate(fd, {page}p+{})",
                self.random.pick(&[0, 10, 4000])
            ),
            1 => format!("pread(fd, 16, {page}p)"),
            _ => format!("pwrite(fd, \"{letter}\"*10, {page}p+20)"),
        }
    }

    fn heap(&mut self) -> String {
        let page = self.random.below(12);
        match self.random.below(4) {
            0 => format!("store(heap+{page}p+7, x5a*3)"),
            1 => "maps(heap, heap+16p)".into(),
            _ => format!("brk(heap+{page}p)"),
        }
    }

    fn outside(&mut self) -> String {
        let place = self.place();
        let whose = match self.random.below(self.people) {
            0 => "main".to_string(),
            child => format!("c{child}"),
        };
        match self.random.below(2) {
            0 => format!("peek({whose}, {place}, 30)"),
            _ => format!("poke({whose}, {place}, x99*30)"),
        }
    }

    fn by_call(&mut self) -> String {
        let place = self.place();
        let page = self.random.below(FILE_PAGES);
        format!("pread_into(fd, {place}, 50, {page}p)")
    }

    fn counter(&mut self) -> String {
        let name = self
            .random
            .pick(&["anon", "total", "data", "locked", "stack"]);
        format!("counter({name})")
    }
}

/// Where two performances of one case part.
#[derive(Debug, Clone)]
pub struct Difference {
    /// The step.
    pub step: String,
    /// What the first machine showed.
    pub first: String,
    /// What the second showed.
    pub second: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            step,
            first,
            second,
        } = self;
        write!(f, "at {step}\n    first:  {first}\n    second: {second}")
    }
}

/// The first step at which two performances differ.
#[must_use]
pub fn difference(first: &Report, second: &Report) -> Option<Difference> {
    let pairs = first.steps.iter().zip(&second.steps);
    let found = pairs
        .into_iter()
        .find(|(one, other)| !same(one, other) && compared(first, second, &one.step));
    if let Some((one, other)) = found {
        return Some(Difference {
            step: one.step.clone(),
            first: one.got.clone(),
            second: other.got.clone(),
        });
    }
    (first.steps.len() != second.steps.len()).then(|| Difference {
        step: "the number of steps".into(),
        first: first.steps.len().to_string(),
        second: second.steps.len().to_string(),
    })
}

/// Whether what a step shows is for both machines to be compared.
fn compared(first: &Report, second: &Report, step: &str) -> bool {
    let exact = |figure: fn(&Figures) -> Exact| {
        figure(&first.figures) == Exact::Yes && figure(&second.figures) == Exact::Yes
    };
    // Linux forgets to give back what was locked of an area that a move leaves behind.
    let moved = first
        .steps
        .iter()
        .any(|step| step.step.contains("dontunmap"));
    !(moved && step.contains("counter(locked)"))
        && (!step.contains("counter(") || exact(|figures| figures.counters))
        && (!step.contains("mincore(") || exact(|figures| figures.residence))
}

/// Whether two machines showed the same. Descriptors may be numbered differently, and the heap may
/// lie elsewhere; a step that neither can perform says nothing.
fn same(one: &Performed, other: &Performed) -> bool {
    match (&one.observed, &other.observed) {
        (Observed::Value(left), Observed::Value(right)) => {
            one.got == other.got || (3..4096).contains(left) && (3..4096).contains(right)
        }
        (Observed::Broken(_), Observed::Broken(_)) => true,
        (Observed::Signal(..), Observed::Signal(..)) => one.got == other.got,
        (left, right) => left == right,
    }
}

/// Performs the case of a seed on two machines. If they part, where, in the shortest form of the
/// case that shows it, which comes with it.
#[must_use]
pub fn parted(
    first: &Arc<dyn Runner>,
    second: &Arc<dyn Runner>,
    seed: u64,
) -> Option<(Difference, Case)> {
    let part = |case: &Case| match (suite::run(first, case), suite::run(second, case)) {
        (Outcome::Performed(one), Outcome::Performed(other)) => difference(&one, &other),
        _ => None,
    };
    let whole = case(seed, STEPS);
    let found = part(&whole)?;
    let least = shrink(&whole, &mut |case| part(case).is_some());
    Some((part(&least).unwrap_or(found), least))
}

/// The fewest steps, leaving out one at a time, that still `differ`.
pub fn shrink(case: &Case, differ: &mut dyn FnMut(&Case) -> bool) -> Case {
    let mut least = case.clone();
    loop {
        let before = least.steps.steps.len();
        for place in (0..before).rev() {
            let mut fewer = least.clone();
            if place >= fewer.steps.steps.len() {
                continue;
            }
            fewer.steps.steps.remove(place);
            if differ(&fewer) {
                least = fewer;
            }
        }
        if least.steps.steps.len() == before {
            return least;
        }
    }
}

/// A case as one would write it.
#[must_use]
pub fn written(case: &Case) -> String {
    let steps: Vec<&str> = case
        .steps
        .steps
        .iter()
        .map(|step| step.text.as_str())
        .collect();
    let size = case
        .files
        .values()
        .find_map(|file| file.size.clone())
        .unwrap_or_default();
    format!(
        "[[case]]\nname = \"{}\"\nrows = []\nfiles = {{ f = {{ size = \"{size}\" }} }}\nsteps = '''\n{}\n'''\n",
        case.name,
        steps.join("\n"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_case_each_time() {
        assert_eq!(written(&case(7, 40)), written(&case(7, 40)));
        assert_ne!(written(&case(7, 40)), written(&case(8, 40)));
    }

    #[test]
    fn shrinking_keeps_what_is_needed() {
        let long = case(3, 30);
        let needs = |case: &Case| {
            case.steps
                .steps
                .iter()
                .any(|step| step.text.starts_with("maps"))
        };
        let least = shrink(&long, &mut |case| needs(case));
        assert_eq!(least.steps.steps.len(), 1);
    }
}
