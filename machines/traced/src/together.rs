//! A tree and its tracer on one CPU.
//!
//! At each stop one of the two goes to sleep and the other wakes. On one CPU that is a switch; on
//! two, the host has to rouse a CPU that has just gone idle, which in a virtual machine costs ten
//! times as much. Programs of one thread each lose little by it, since most of them wait for each
//! other. With the first thread that a program makes, or the first call that speaks of CPUs, all may
//! run where they like.

use crate::sys::Tid;
use crate::sys::affinity::Cpus;

/// The CPUs that the tree may have, while it is kept on one of them.
#[derive(Debug)]
pub(crate) struct Together {
    own: Option<Cpus>,
}

impl Together {
    /// Confines the calling thread to the CPU that it runs on; what it starts is confined with it.
    pub(crate) fn begin() -> Self {
        let own = Cpus::of_self().filter(|cpus| cpus.count() > 1);
        let here = own.and_then(|_| Cpus::here());
        match here {
            Some(here) => here.confine(None),
            None => return Self { own: None },
        }
        Self { own }
    }

    /// Lets the calling thread and `tasks` run where they like again.
    pub(crate) fn part(&mut self, tasks: impl Iterator<Item = Tid>) {
        if let Some(own) = self.own.take() {
            own.confine(None);
            for task in tasks {
                own.confine(Some(task));
            }
        }
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        self.part(std::iter::empty());
    }
}
