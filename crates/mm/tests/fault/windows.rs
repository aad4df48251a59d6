//! Threads of one space, each with a window of its own, side by side in the same areas and tables. A
//! thread knows what every page of its window holds, whatever the others do meanwhile.
//!
//! Bounded as a test. By hand, for as long as wanted:
//! `RECTO_STRESS_SECONDS=60 cargo test -p recto-mm --test fault -- --ignored windows`

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use addr::{Access, Errno, PAGE_SIZE, Prot, SigCode, VirtAddr, VirtRange};
use mm::{
    Advice, Cause, FaultError, FaultPolicy, MapFlags, MapRequest, MapTarget, RemapFlags,
    RemapRequest, Target,
};

use crate::space::{BASE, Dice, Host, Program, RW, Space};

const THREADS: u64 = 3;
const PAGES: u64 = 24;

/// What a page is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Unmapped,
    Mapped(Mapped),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapped {
    word: u64,
    prot: Prot,
    is_shared: bool,
    is_guarded: bool,
}

/// Whether frames may run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    Enough,
    Short,
}

const ENOUGH: (u64, Memory) = (4096, Memory::Enough);
const SHORT: (u64, Memory) = (72, Memory::Short);

/// When to stop.
enum Until {
    Rounds(u64),
    Deadline(Instant),
}

impl Until {
    fn is_over(&self, round: u64) -> bool {
        match self {
            Until::Rounds(rounds) => round >= *rounds,
            Until::Deadline(at) => round.is_multiple_of(64) && Instant::now() >= *at,
        }
    }
}

/// One thread's part of the space, and two CPUs to look at it with.
struct Window<'h> {
    space: &'h Space<'h>,
    cpus: [Program<'h>; 2],
    owner: u64,
    pages: Vec<Page>,
    dice: Dice,
    writes: u64,
    memory: Memory,
}

fn address(owner: u64, n: u64) -> VirtAddr {
    BASE.checked_add((owner * PAGES + n) * PAGE_SIZE).unwrap()
}

impl<'h> Window<'h> {
    fn new(space: &'h Space<'h>, owner: u64, memory: Memory) -> Self {
        Window {
            space,
            cpus: [space.run(), space.run()],
            owner,
            pages: vec![Page::Unmapped; PAGES as usize],
            dice: Dice(owner),
            writes: 0,
            memory,
        }
    }

    fn at(&self, n: u64) -> VirtAddr {
        address(self.owner, n)
    }

    /// A run of pages of the window.
    fn some(&mut self, most: u64) -> (u64, u64) {
        let nr = 1 + self.dice.throw(most);
        (self.dice.throw(PAGES - nr + 1), nr)
    }

    fn mapped(&mut self, first: u64, nr: u64) -> impl Iterator<Item = &mut Mapped> {
        let pages = self.pages[first as usize..(first + nr) as usize].iter_mut();
        pages.filter_map(|page| match page {
            Page::Mapped(mapped) => Some(mapped),
            Page::Unmapped => None,
        })
    }

    fn is_all_mapped(&mut self, first: u64, nr: u64) -> bool {
        self.mapped(first, nr).count() as u64 == nr
    }

    /// Whether it was done. What fails for want of frames must have done nothing.
    fn done<T>(&self, result: Result<T, Errno>) -> bool {
        match result {
            Ok(_) => true,
            Err(Errno::ENOMEM) if self.memory == Memory::Short => false,
            Err(errno) => panic!("{errno:?}"),
        }
    }

    fn round(&mut self) {
        match self.dice.throw(25) {
            0..=4 => self.store(),
            5..=9 => self.load(),
            10 | 11 => self.map(),
            12 => self.unmap(),
            13 | 14 => self.protect(),
            15 | 16 => self.shift(),
            17 => self.dont_need(),
            18 => self.guard(),
            19 | 20 => self.pin(),
            21 => self.leave_behind(),
            22 => self.shrink(),
            23 => self.lock(),
            _ => self.fork(),
        }
    }

    /// Whether an access with this end was one that the page allows. Without frames it may end
    /// anyhow.
    fn judge(&self, page: Page, want: Prot, end: Result<(), FaultError>) -> bool {
        let expected = match page {
            Page::Unmapped => Some(SigCode::MapErr),
            Page::Mapped(page) if !page.prot.contains(want) => Some(SigCode::AccErr),
            Page::Mapped(page) if page.is_guarded => Some(SigCode::MapErr),
            Page::Mapped(_) => None,
        };
        match end {
            Ok(()) => assert_eq!(expected, None, "{page:?}"),
            Err(error) if matches!(error.cause, Cause::OutOfMemory) => {
                assert_eq!(self.memory, Memory::Short);
                return false;
            }
            Err(error) => assert_eq!(error.si_code(), expected, "{page:?}"),
        }
        expected.is_none()
    }

    fn store(&mut self) {
        let (n, cpu) = (self.dice.throw(PAGES), self.dice.throw(2));
        self.writes += 1;
        let word = (self.owner + 1) << 56 | self.writes;
        let at = self.at(n);
        let end = self.cpus[cpu as usize].store_word(at, word);
        let page = self.pages[n as usize];
        if self.judge(page, Prot::WRITE, end)
            && let Page::Mapped(page) = &mut self.pages[n as usize]
        {
            page.word = word;
        }
    }

    fn load(&mut self) {
        let (n, cpu) = (self.dice.throw(PAGES), self.dice.throw(2));
        let at = self.at(n);
        let mut word = 0;
        let end = self.cpus[cpu as usize]
            .load_word(at)
            .map(|read| word = read);
        let page = self.pages[n as usize];
        if self.judge(page, Prot::READ, end)
            && let Page::Mapped(page) = page
        {
            assert_eq!(word, page.word, "page {n} of {}", self.owner);
        }
    }

    fn map(&mut self) {
        let (first, nr) = self.some(8);
        let is_shared = self.dice.throw(3) == 0;
        let kind = match is_shared {
            true => MapFlags::SHARED,
            false => MapFlags::PRIVATE,
        };
        let request = MapRequest {
            addr: self.at(first),
            len: nr * PAGE_SIZE,
            prot: RW,
            flags: kind | MapFlags::ANONYMOUS | MapFlags::FIXED,
            target: MapTarget::Anonymous,
            ..MapRequest::anonymous(0, RW)
        };
        if self.done(self.space.mm.mmap(&request)) {
            let page = Page::Mapped(Mapped {
                word: 0,
                prot: RW,
                is_shared,
                is_guarded: false,
            });
            self.pages[first as usize..(first + nr) as usize].fill(page);
        }
    }

    fn unmap(&mut self) {
        let (first, nr) = self.some(6);
        let done = self.space.mm.munmap(self.at(first), nr * PAGE_SIZE);
        assert!(self.done(done));
        self.pages[first as usize..(first + nr) as usize].fill(Page::Unmapped);
    }

    fn protect(&mut self) {
        let (first, nr) = self.some(8);
        let prot = match self.dice.throw(4) {
            0 => Prot::empty(),
            1 => Prot::READ,
            _ => RW,
        };
        if !self.is_all_mapped(first, nr) {
            return;
        }
        let done = self.space.mm.mprotect(self.at(first), nr * PAGE_SIZE, prot);
        assert!(self.done(done));
        self.mapped(first, nr).for_each(|page| page.prot = prot);
    }

    fn dont_need(&mut self) {
        let (first, nr) = self.some(6);
        if !self.is_all_mapped(first, nr) {
            return;
        }
        let len = nr * PAGE_SIZE;
        let done = self.space.mm.madvise(self.at(first), len, Advice::DontNeed);
        assert!(self.done(done));
        self.mapped(first, nr)
            .filter(|page| !page.is_shared)
            .for_each(|page| page.word = 0);
    }

    fn guard(&mut self) {
        let (first, nr) = self.some(3);
        if !self.is_all_mapped(first, nr) {
            return;
        }
        let installs = self.dice.throw(2) == 0;
        let advice = match installs {
            true => Advice::GuardInstall,
            false => Advice::GuardRemove,
        };
        let len = nr * PAGE_SIZE;
        let done = self.space.mm.madvise(self.at(first), len, advice);
        let is_done = self.done(done);
        if !is_done {
            // Some have their guards and have lost what they held: so shall all.
            for advice in [Advice::GuardRemove, Advice::DontNeed] {
                let _ = self.space.mm.madvise(self.at(first), len, advice);
            }
        }
        for page in self.mapped(first, nr) {
            page.is_guarded = installs && is_done;
            if installs && !page.is_shared {
                page.word = 0;
            }
        }
    }

    /// mremap to another place of the window.
    fn shift(&mut self) {
        let (from, nr) = self.some(6);
        let to = self.dice.throw(PAGES - nr + 1);
        if from.abs_diff(to) < nr || !self.is_all_mapped(from, nr) {
            return;
        }
        let request = RemapRequest {
            addr: self.at(from),
            old_len: nr * PAGE_SIZE,
            new_len: nr * PAGE_SIZE,
            flags: RemapFlags::MAYMOVE | RemapFlags::FIXED,
            new_addr: self.at(to),
        };
        if self.done(self.space.mm.mremap(&request)) {
            for n in 0..nr {
                self.pages[(to + n) as usize] = self.pages[(from + n) as usize];
                self.pages[(from + n) as usize] = Page::Unmapped;
            }
        }
    }

    /// One page moves to another place, and its own place stays, empty.
    fn leave_behind(&mut self) {
        let (from, to) = (self.dice.throw(PAGES), self.dice.throw(PAGES));
        let Page::Mapped(page) = self.pages[from as usize] else {
            return;
        };
        if page.is_shared || from == to {
            return;
        }
        let request = RemapRequest {
            addr: self.at(from),
            old_len: PAGE_SIZE,
            new_len: PAGE_SIZE,
            flags: RemapFlags::MAYMOVE | RemapFlags::FIXED | RemapFlags::DONTUNMAP,
            new_addr: self.at(to),
        };
        if self.done(self.space.mm.mremap(&request)) {
            self.pages[to as usize] = Page::Mapped(page);
            self.pages[from as usize] = Page::Mapped(Mapped {
                word: 0,
                is_guarded: false,
                ..page
            });
        }
    }

    /// All but the first page of a run goes.
    fn shrink(&mut self) {
        let (first, nr) = self.some(4);
        if nr == 1 || self.pages[first as usize] == Page::Unmapped {
            return;
        }
        let request = RemapRequest {
            addr: self.at(first),
            old_len: nr * PAGE_SIZE,
            new_len: PAGE_SIZE,
            flags: RemapFlags::empty(),
            new_addr: VirtAddr::ZERO,
        };
        assert!(self.done(self.space.mm.mremap(&request)));
        self.pages[first as usize + 1..(first + nr) as usize].fill(Page::Unmapped);
    }

    /// Locks and unlocks, which faults in what it can.
    fn lock(&mut self) {
        let (first, nr) = self.some(6);
        let _some = self.space.mm.mlock(self.at(first), nr * PAGE_SIZE);
        let _all = self.space.mm.munlock(self.at(first), nr * PAGE_SIZE);
    }

    /// Somebody outside writes to a page that it has pinned, while a fork comes in between.
    fn pin(&mut self) {
        let n = self.dice.throw(PAGES);
        let range = VirtRange::from_len(self.at(n), PAGE_SIZE).unwrap();
        let pins = self.space.mm.pin_range(range, Access::Write);
        let is_writable = matches!(
            self.pages[n as usize],
            Page::Mapped(page) if page.prot == RW && !page.is_guarded
        );
        let Some(Target::Arena(pfn)) = pins.pages().first().map(|page| page.target()) else {
            assert!(!is_writable || self.memory == Memory::Short);
            return;
        };
        assert!(is_writable);
        let child = self.space.try_fork();
        self.writes += 1;
        let word = (self.owner + 1) << 56 | self.writes;
        // inv: 43
        self.space.mm.arena().write(pfn, 0, &word.to_le_bytes());
        let before = match &mut self.pages[n as usize] {
            Page::Mapped(page) => std::mem::replace(&mut page.word, word),
            Page::Unmapped => panic!("it was pinned"),
        };
        let at = self.at(n);
        assert_eq!(self.cpus[0].load_word(at).unwrap(), word);
        // inv: 44
        if let (Ok(child), Page::Mapped(page)) = (child, self.pages[n as usize])
            && !page.is_shared
            && let Ok(seen) = child.run().load_word(at)
        {
            assert_eq!(seen, before);
        }
    }

    /// A child sees the window as it is, and what it writes to private pages nobody else does.
    fn fork(&mut self) {
        let child = match self.space.try_fork() {
            Err(Errno::ENOMEM) if self.memory == Memory::Short => return,
            child => child.unwrap(),
        };
        let mut program = child.run();
        for (n, page) in (0..).zip(&self.pages) {
            let mut word = 0;
            let end = program.load_word(self.at(n)).map(|read| word = read);
            if self.judge(*page, Prot::READ, end)
                && let Page::Mapped(page) = page
            {
                // inv: 45
                assert_eq!(word, page.word, "page {n} of {} in a child", self.owner);
                if !page.is_shared && page.prot == RW {
                    let _ = program.store_word(self.at(n), u64::MAX);
                }
            }
        }
        let _grandchild = child.try_fork();
    }
}

/// Looks everywhere: what is there is the owner's, or nothing yet.
fn roam(space: &Space<'_>, stop: &AtomicBool) {
    let (mut program, mut dice) = (space.run(), Dice(77));
    while !stop.load(Relaxed) {
        let owner = dice.throw(THREADS);
        if let Ok(word) = program.load_word(address(owner, dice.throw(PAGES))) {
            assert!(word == 0 || word >> 56 == owner + 1, "{word:#x}");
        }
    }
}

fn run((frames, memory): (u64, Memory), policy: FaultPolicy, until: &Until) {
    let host = Host::new(frames);
    let before = host.usage().nr_in_use();
    {
        let space = host.space_with(policy);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..THREADS)
                .map(|owner| {
                    let mut window = Window::new(&space, owner, memory);
                    scope.spawn(move || {
                        let mut round = 0;
                        while !until.is_over(round) {
                            window.round();
                            round += 1;
                        }
                        round
                    })
                })
                .collect();
            scope.spawn(|| roam(&space, &stop));
            let ends: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
            stop.store(true, Relaxed);
            assert!(ends.iter().all(|end| end.as_ref().is_ok_and(|n| *n > 0)));
        });
        // inv: 17
        let areas = space.mm.mmap_lock().snapshot();
        let mapped: u64 = areas.iter().map(|vma| vma.nr_pages()).sum();
        assert_eq!(space.mm.stats().pages.total, mapped);
    }
    // inv: 28 inv: 50
    assert_eq!(host.usage().nr_in_use(), before);
}

// row: S01 row: S02 row: S03 row: S04 row: S12 row: M13
// inv: 31 inv: 32 inv: 37
#[test]
fn windows_hold_what_their_threads_wrote() {
    let rounds = Until::Rounds(15_000);
    run(ENOUGH, FaultPolicy::default(), &rounds);
    run(ENOUGH, FaultPolicy::new(16, 16), &rounds);
}

// row: F25 row: S12 row: S04
// inv: 19
#[test]
fn windows_hold_it_when_memory_is_short() {
    let rounds = Until::Rounds(8_000);
    run(SHORT, FaultPolicy::default(), &rounds);
    run(SHORT, FaultPolicy::new(16, 16), &rounds);
}

#[test]
#[ignore = "by hand: it runs as long as RECTO_STRESS_SECONDS says"]
fn windows_for_long() {
    let seconds = std::env::var("RECTO_STRESS_SECONDS").map(|text| text.parse().unwrap());
    let part = Duration::from_secs(seconds.unwrap_or(60) / 4);
    for memory in [ENOUGH, SHORT] {
        for policy in [FaultPolicy::default(), FaultPolicy::new(16, 16)] {
            run(memory, policy, &Until::Deadline(Instant::now() + part));
        }
    }
}
