//! A tree and its tracer on one CPU.
//!
//! At each stop one of the two goes to sleep and the other wakes. On one CPU that is a switch; on
//! two, the host has to rouse a CPU that has just gone idle, which in a virtual machine costs ten
//! times as much. Programs of one thread each lose little by it, since most of them wait for each
//! other. Once a program has made threads, it depends: they are kept together while they stop so
//! often that the tracer is what they wait for, and run where they like while they do not. A tree
//! that chooses its CPUs itself is left alone from then on.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::errands::Errand;
use crate::space::Shared;
use crate::sys::Tid;
use crate::sys::affinity::Cpus;

/// How long stops are counted for.
const PERIOD: Duration = Duration::from_millis(50);

/// So many stops in a period bring threads together.
const NR_STOPS_TOGETHER: u32 = 400;

/// So few let them part.
const NR_STOPS_APART: u32 = 150;

/// The CPUs of a tree that has not chosen any itself.
#[derive(Debug)]
pub(crate) struct Together {
    all: Cpus,
    /// The one that it is kept on, while it is.
    here: Option<Cpus>,
    /// From the first thread on.
    pace: Option<Pace>,
}

impl Together {
    /// Confines the calling thread to the CPU that it runs on; what it starts is confined with it.
    /// `None` if there is no choice.
    pub(crate) fn begin() -> Option<Self> {
        let all = Cpus::of_self().filter(|cpus| cpus.count() > 1)?;
        let here = Cpus::here()?;
        here.confine(None);
        Some(Self {
            all,
            here: Some(here),
            pace: None,
        })
    }

    /// The CPUs that a task of the tree may believe it has, if the host would not say so.
    pub(crate) fn believed(&self) -> Option<&Cpus> {
        self.here.as_ref().map(|_| &self.all)
    }

    /// A program has made a thread, which goes where the others are.
    pub(crate) fn on_thread(&mut self, shared: &Arc<Shared>, thread: Tid) {
        self.pace.get_or_insert_with(|| Pace::begin(shared));
        self.here
            .as_ref()
            .unwrap_or(&self.all)
            .confine(Some(thread));
    }

    /// A task has stopped.
    pub(crate) fn on_stop(&mut self) {
        if let Some(pace) = &mut self.pace {
            pace.count();
        }
    }

    /// A period is over: brings the calling thread and `tasks` together, or lets them part.
    pub(crate) fn on_period(&mut self, tasks: impl Iterator<Item = Tid>) {
        let Some(pace) = &mut self.pace else { return };
        let nr_stops = pace.take();
        match &self.here {
            None if nr_stops >= NR_STOPS_TOGETHER => {
                self.here = Cpus::here();
                self.place(tasks);
            }
            Some(_) if nr_stops < NR_STOPS_APART => {
                self.here = None;
                self.place(tasks);
            }
            _ => {}
        }
    }

    /// Lets the calling thread and `tasks` run where they like, for good.
    pub(crate) fn part(mut self, tasks: impl Iterator<Item = Tid>) {
        if self.here.take().is_some() {
            self.place(tasks);
        }
    }

    fn place(&self, tasks: impl Iterator<Item = Tid>) {
        let cpus = self.here.as_ref().unwrap_or(&self.all);
        cpus.confine(None);
        for task in tasks {
            cpus.confine(Some(task));
        }
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        if self.here.is_some() {
            self.all.confine(None);
        }
    }
}

/// Counts stops, a period at a time; no time passes while there are none.
#[derive(Debug)]
struct Pace {
    nr_stops: u32,
    clock: Sender<()>,
}

impl Pace {
    fn begin(shared: &Arc<Shared>) -> Self {
        let (clock, periods) = channel();
        let shared = Arc::downgrade(shared);
        // Without a clock all stays as it is.
        let _ = std::thread::Builder::new()
            .name("recto-clock".to_owned())
            .spawn(move || tick(&periods, &shared));
        Self { nr_stops: 0, clock }
    }

    fn count(&mut self) {
        self.nr_stops = self.nr_stops.saturating_add(1);
        if self.nr_stops == 1 {
            let _ = self.clock.send(());
        }
    }

    fn take(&mut self) -> u32 {
        std::mem::take(&mut self.nr_stops)
    }
}

fn tick(periods: &Receiver<()>, shared: &Weak<Shared>) {
    while periods.recv().is_ok() {
        std::thread::sleep(PERIOD);
        let Some(shared) = shared.upgrade() else {
            return;
        };
        shared.errands.post(Errand::PeriodOver);
    }
}
