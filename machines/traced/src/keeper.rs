//! A keeper: the task that makes host calls inside one space.
//!
//! It shares its program's host memory and nothing else: it has its own descriptor table and blocks
//! every signal. It runs in a page of Recto's (`stub`), where it waits for orders (`orders`) and makes
//! the calls that they are. So pages are mapped and forgotten in a process whose own threads run,
//! sleep in a call, or are stopped. Though traced, so that it dies with Recto, it does not stop unless
//! somebody interferes: a signal that cannot be blocked, or a filter of the program that its calls ran
//! into.

use crate::orders::{Order, Report, Unexpected};
use crate::steered::{Steered, clone_from, expect};
use crate::sys::descriptor;
use crate::sys::orders::Page;
use crate::sys::ptrace::{self, Regs};
use crate::sys::seccomp::{Asking, Cookie, Doom, INSTALL_CALL, Listener, Place};
use crate::sys::signal::kill;
use crate::sys::wait::{self, Stop};
use crate::sys::{Gone, HostError, Tid, memory};
use crate::{numbers, stub};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is needed to make keepers, the same for a whole tree.
#[derive(Debug)]
pub(crate) struct Workshop {
    /// Held from when a task is let into the install call until it has its answer, so that nobody is
    /// given what was meant for another.
    listener: Mutex<Listener>,
    cookie: Cookie,
    stub: OwnedFd,
    arena: OwnedFd,
    zeroes: OwnedFd,
    /// The first program, which is a child of this process.
    first: Tid,
    /// Whether some program has installed a filter.
    has_filters: AtomicBool,
}

/// How many zeroes there are to map at once.
pub(crate) const ZEROES_BYTES: u64 = 2 << 20;

impl Workshop {
    /// A workshop whose keepers map the arena behind `arena`, and `zeroes`, for the tree of the task
    /// `first`.
    pub(crate) fn new(
        listener: Listener,
        cookie: Cookie,
        arena: BorrowedFd<'_>,
        zeroes: OwnedFd,
        first: Tid,
    ) -> Result<Self, HostError> {
        let stub = descriptor::sealed_file(c"recto-stub", &stub::page())?;
        Ok(Self {
            listener: Mutex::new(listener),
            cookie,
            stub,
            arena: arena.try_clone_to_owned()?,
            zeroes,
            first,
            has_filters: AtomicBool::new(false),
        })
    }

    /// The arguments of the install call that let the kernel do this to its caller.
    pub(crate) fn dooming(&self, doom: Doom) -> [u64; 6] {
        self.cookie.mark(INSTALL_CALL, [0, doom as u64, 0, 0, 0, 0])
    }

    /// The first program.
    pub(crate) fn first(&self) -> Tid {
        self.first
    }

    /// A program has a filter: keepers that are made from now on may come under it.
    pub(crate) fn note_filter(&self) {
        self.has_filters.store(true, Ordering::Relaxed);
    }

    fn listener(&self) -> MutexGuard<'_, Listener> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file of zeroes that nobody writes.
    pub(crate) fn zeroes(&self) -> BorrowedFd<'_> {
        self.zeroes.as_fd()
    }

    /// Lets a task that enters the install call make it; it is left on the return of the call. That
    /// returns the number, or the errno that the host refused with.
    fn serve_install(
        &self,
        steered: &mut Steered,
        (descriptor, place): (BorrowedFd<'_>, Place),
    ) -> Result<(), Gone> {
        let listener = self.listener();
        ptrace::resume_to_call_edge(steered.tid, 0)?;
        loop {
            let asking = listener.receive(LOOK_AGAIN_MILLISECONDS);
            let stop = match asking.map_err(|_| Gone)? {
                Some(asking) => {
                    // The task hears of a refusal; and if it asks no more, why it stopped.
                    let _ = asking.give(descriptor, place);
                    Some(wait::stop_of(steered.tid)?)
                }
                None => wait::stop_at_hand(steered.tid)?,
            };
            match stop {
                Some(Stop::CallEdge) if steered.is_broken_off()? => steered.call_again()?,
                Some(Stop::CallEdge) => return Ok(()),
                Some(stop) => steered.pass_over(stop, Stop::CallEdge)?,
                None => {}
            }
        }
    }

    /// Installs a descriptor in a program's task that is stopped on the return of a call, and leaves
    /// it there again. The program sees the number of the descriptor as the call's answer.
    pub(crate) fn install_after_call(
        &self,
        tid: Tid,
        regs: &Regs,
        descriptor: BorrowedFd<'_>,
        place: Place,
    ) -> Result<(), Gone> {
        const SYSCALL_BYTES: u64 = 2;
        let mask = ptrace::signal_mask(tid)?;
        ptrace::set_signal_mask(tid, u64::MAX)?;
        let mut steered = Steered::new(tid);
        let mut asking = *regs;
        let instruction = regs.instruction().wrapping_sub(SYSCALL_BYTES);
        asking.jump_to_call(
            instruction,
            INSTALL_CALL,
            self.cookie.mark(INSTALL_CALL, [0; 6]),
        );
        ptrace::set_registers(tid, &asking)?;
        ptrace::resume_to_call_edge(tid, 0)?;
        steered.expect(Stop::CallEdge)?;
        self.serve_install(&mut steered, (descriptor, place))?;
        let answer = ptrace::registers(tid)?.result();
        let mut back = *regs;
        if answer >= 0 {
            back.set_result(answer);
        }
        ptrace::set_registers(tid, &back)?;
        ptrace::set_signal_mask(tid, mask)?;
        steered.leave();
        Ok(())
    }
}

/// Where a keeper has its descriptors.
const KEPT: Place = Place::Lowest {
    close_on_exec: true,
};

/// After how long it is looked whether a task that should ask for a descriptor has stopped instead.
const LOOK_AGAIN_MILLISECONDS: i32 = 10;

/// For how long a keeper is waited for before it is looked what has become of it. A shorter time would
/// be the next thing that the host has to wake for, and it would set its clock anew at every call.
const PATIENCE_MILLISECONDS: i32 = 50;

/// One that stops may do so at any call, by a filter of its program: how often it is looked after at
/// once, and from then on after how long.
const NR_LOOKS_AT_ONCE: u32 = 64;

/// After how many looks at it a keeper that somebody has stopped is given up.
const NR_LOOKS_MAX: u32 = 200;
const LITTLE_PATIENCE_MILLISECONDS: i32 = 1;

/// A keeper.
#[derive(Debug)]
pub(crate) struct Keeper {
    tid: Tid,
    page: Page,
    /// Whether it may come under a filter of its program, or has stopped before.
    stops: bool,
}

/// Lets a keeper have as many descriptors as its hard limit allows, or as Recto may have itself. The
/// limit is the keeper's own: the program's stays as it is.
fn raise_descriptor_limit(tid: Tid) {
    let Some((_, hard)) = memory::limit(tid, libc::RLIMIT_NOFILE) else {
        return;
    };
    let own = memory::limit(Tid::new(0), libc::RLIMIT_NOFILE).map_or(hard, |(_, hard)| hard);
    let _ = (own > hard && memory::set_limit(tid, libc::RLIMIT_NOFILE, (own, own)))
        || memory::set_limit(tid, libc::RLIMIT_NOFILE, (hard, hard));
}

/// Lets a newborn make a call at an instruction that is not the stub's, up to its entry.
fn enter_elsewhere(
    steered: &mut Steered,
    instruction: u64,
    number: i64,
    arguments: [u64; 6],
) -> Result<(), Gone> {
    let mut regs = ptrace::registers(steered.tid)?;
    regs.jump_to_call(instruction, number, arguments);
    ptrace::set_registers(steered.tid, &regs)?;
    ptrace::resume_to_call_edge(steered.tid, 0)?;
    steered.expect(Stop::CallEdge)
}

/// Lets a newborn map the stub page at `stub`, at an instruction that is not the stub's.
fn map_stub(workshop: &Workshop, tid: Tid, instruction: u64, stub: u64) -> Result<(), Gone> {
    const NUMBER: u32 = 0;
    let mut steered = Steered::new(tid);
    let install = workshop.cookie.mark(INSTALL_CALL, [0; 6]);
    enter_elsewhere(&mut steered, instruction, INSTALL_CALL, install)?;
    // Over what the program has there: the newborn's descriptors are its own.
    let place = Place::At(NUMBER, true);
    workshop.serve_install(&mut steered, (workshop.stub.as_fd(), place))?;
    let protection = (libc::PROT_READ | libc::PROT_EXEC) as u64;
    let flags = (libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE) as u64;
    let mapping = [stub, stub::PAGE_BYTES, protection, flags, NUMBER.into(), 0];
    let mapping = workshop.cookie.mark(libc::SYS_mmap, mapping);
    enter_elsewhere(&mut steered, instruction, libc::SYS_mmap, mapping)?;
    ptrace::resume_to_call_edge(tid, 0)?;
    steered.expect(Stop::CallEdge)?;
    let at = ptrace::registers(tid)?.result();
    if at == stub as i64 { Ok(()) } else { Err(Gone) }
}

impl Keeper {
    /// Makes a keeper in a space that has no stub page yet, at a `syscall` instruction of the
    /// program's, and maps the stub page at `stub`.
    pub(crate) fn make_with_stub(
        workshop: &Workshop,
        parent: Tid,
        instruction: u64,
        stub: u64,
    ) -> Result<Self, Gone> {
        let tid = clone_from(workshop, parent, instruction)?;
        let begun = begin(tid)
            .and_then(|()| map_stub(workshop, tid, instruction, stub))
            .and_then(|()| Self::settle(workshop, tid, stub));
        begun.inspect_err(|Gone| kill(tid, libc::SIGKILL))
    }

    /// Makes a keeper in a space that holds the stub page at `stub` already.
    pub(crate) fn make(workshop: &Workshop, parent: Tid, stub: u64) -> Result<Self, Gone> {
        let tid = clone_from(workshop, parent, stub)?;
        let begun = begin(tid).and_then(|()| Self::settle(workshop, tid, stub));
        begun.inspect_err(|Gone| kill(tid, libc::SIGKILL))
    }

    /// Lets a newborn leave the program's session, swap its descriptors for a keeper's, map its page of
    /// orders and wait for some. All that is the stub's code: it asks for the descriptors, and reports
    /// when it is ready.
    fn settle(workshop: &Workshop, tid: Tid, stub: u64) -> Result<Self, Gone> {
        let page = Page::new(stub + stub::REST).map_err(|_| Gone)?;
        let mut keeper = Self {
            tid,
            page,
            stops: workshop.has_filters.load(Ordering::Relaxed),
        };
        let mut regs = ptrace::registers(tid)?;
        regs.begin_keeping(stub + stub::START, workshop.cookie.words());
        ptrace::set_registers(tid, &regs)?;
        let listener = workshop.listener();
        ptrace::resume(tid, 0)?;
        keeper.report_asking(&listener, |asking, page| {
            let descriptors = [page.file(), page.event(), workshop.arena.as_fd()];
            asking.furnish(&descriptors)
        })?;
        Ok(keeper)
    }

    /// Moves the stub's pages to `stub`, where nothing is, and goes to rest there. What is left at the
    /// old place are the same pages once more.
    pub(crate) fn move_stub(&mut self, from: u64, stub: u64) -> Result<(), Gone> {
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | libc::MREMAP_DONTUNMAP;
        let bytes = stub::PAGE_BYTES;
        let moving = |at: u64| {
            let arguments = [from + at, bytes, bytes, flags as u64, stub + at, 0];
            Order::new(libc::SYS_mremap, arguments).expecting(stub + at)
        };
        self.page.rest_at(stub + stub::REST);
        let moved = self.batch(&[moving(0), moving(stub::ORDERS)])?;
        moved.map_err(|_| {
            // It has gone on where nothing is.
            kill(self.tid, libc::SIGKILL);
            Gone
        })
    }

    /// The task.
    pub(crate) fn tid(&self) -> Tid {
        self.tid
    }

    /// The arena's number in its table.
    pub(crate) fn arena(&self) -> u32 {
        stub::ARENA_DESCRIPTOR
    }

    /// Makes one host call; what the kernel answered.
    pub(crate) fn call(&mut self, number: i64, arguments: [u64; 6]) -> Result<i64, Gone> {
        let asked = self.batch(&[Order::new(number, arguments).asking()])?;
        Ok(asked.map_or_else(|unexpected| unexpected.answer, |()| 0))
    }

    /// Makes host calls, up to the first that does not go as expected.
    pub(crate) fn batch(&mut self, orders: &[Order]) -> Result<Result<(), Unexpected>, Gone> {
        let mut nr_done = 0;
        while let Some(rest) = orders.get(nr_done..).filter(|rest| !rest.is_empty()) {
            let nr_posted = self.page.post(rest);
            nr_done += nr_posted;
            if let Report::Left(nr_left, answer) = self.report()? {
                let nth = nr_done - nr_left.clamp(1, nr_posted);
                return Ok(Err(Unexpected { nth, answer }));
            }
        }
        Ok(Ok(()))
    }

    /// Makes host calls, however the others go; those that did not go as expected.
    pub(crate) fn all(&mut self, orders: &[Order]) -> Result<Vec<Unexpected>, Gone> {
        let (mut from, mut all) = (0, Vec::new());
        while let Some(rest) = orders.get(from..)
            && let Err(Unexpected { nth, answer }) = self.batch(rest)?
        {
            let nth = from + nth;
            all.push(Unexpected { nth, answer });
            from = nth + 1;
        }
        Ok(all)
    }

    /// Installs a descriptor in its table; its number there, or what the kernel answered instead.
    pub(crate) fn install(
        &mut self,
        workshop: &Workshop,
        descriptor: BorrowedFd<'_>,
    ) -> Result<i64, Gone> {
        let listener = workshop.listener();
        self.page.post(&[Order::new(INSTALL_CALL, [0; 6]).asking()]);
        let report = self.report_asking(&listener, |asking, _| {
            asking.give(descriptor, KEPT).map(drop)
        })?;
        match report {
            Report::Left(_, answer) => Ok(answer),
            Report::Done => Err(Gone),
        }
    }

    /// Waits for the report on the last orders while it asks for descriptors. Something may break off
    /// its call for them: then it asks again.
    fn report_asking(
        &mut self,
        listener: &Listener,
        answer: impl Fn(Asking<'_>, &Page) -> Result<(), HostError>,
    ) -> Result<Report, Gone> {
        for nr_looks in 0.. {
            let milliseconds = self.patience(nr_looks);
            let asking = listener.receive(milliseconds);
            let milliseconds = match asking.map_err(|_| Gone)? {
                Some(asking) => {
                    let _ = answer(asking, &self.page);
                    milliseconds
                }
                None => 0,
            };
            if let Some(report) = self.page.report(milliseconds) {
                return Ok(report);
            }
            self.look_after()?;
        }
        Err(Gone)
    }

    /// Waits for the report on the last orders.
    fn report(&mut self) -> Result<Report, Gone> {
        for nr_looks in 0.. {
            if let Some(report) = self.page.report(self.patience(nr_looks)) {
                return Ok(report);
            }
            self.look_after()?;
            if nr_looks == NR_LOOKS_MAX && numbers::is_stopped(self.tid) {
                // The tracing thread would have let it go on, did it not wait for us.
                kill(self.tid, libc::SIGKILL);
            }
        }
        Err(Gone)
    }

    /// For how long it is waited for when it has been looked after so often. Where that is not long, it
    /// has had the CPU.
    fn patience(&self, nr_looks: u32) -> i32 {
        match nr_looks {
            _ if !self.stops => PATIENCE_MILLISECONDS,
            0..NR_LOOKS_AT_ONCE => {
                std::thread::yield_now();
                0
            }
            _ => LITTLE_PATIENCE_MILLISECONDS,
        }
    }

    /// Lets it go on if it has stopped, which only the tracing thread can.
    fn look_after(&mut self) -> Result<(), Gone> {
        if wait::has_ended(self.tid) {
            return Err(Gone);
        }
        let stop = wait::stop_at_hand(self.tid).unwrap_or(None);
        if matches!(stop, Some(Stop::Signal(signal)) if signal != libc::SIGSTOP) {
            // It is not where it should be.
            kill(self.tid, libc::SIGKILL);
            return Err(Gone);
        }
        self.stops |= stop.is_some();
        // Whoever serves the tree may have been told of a stop, and not have come to it yet.
        let _ = ptrace::resume(self.tid, 0);
        Ok(())
    }
}

/// A newborn stops for the first time.
fn begin(tid: Tid) -> Result<(), Gone> {
    expect(tid, Stop::Attention)?;
    raise_descriptor_limit(tid);
    Ok(())
}
