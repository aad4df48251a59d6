//! A plain model of an address space: what each page of a window is, byte and flags.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use addr::{Errno, Prot};
use mm::Advice;

/// Pages of the window that the tests play in.
pub(crate) const WINDOW: u64 = 40;

/// Shared memory: its bytes by page, and how many pages it has.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) bytes: RefCell<BTreeMap<u64, u8>>,
    pub(crate) pages: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum Backing {
    Private(u8),
    Shared(Rc<Object>, u64),
}

#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) prot: Prot,
    pub(crate) backing: Backing,
    pub(crate) locked: bool,
    pub(crate) dont_fork: bool,
    pub(crate) wipe_on_fork: bool,
    pub(crate) droppable: bool,
    pub(crate) guard: bool,
}

/// The window of one space.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) pages: BTreeMap<u64, Page>,
}

/// What a mapping is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Private,
    Shared,
    Droppable,
}

/// What becomes of the source of a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Unmapped,
    Kept,
}

impl Model {
    pub(crate) fn map(&mut self, page: u64, pages: u64, prot: Prot, kind: Kind) {
        let object = Rc::new(Object {
            bytes: RefCell::default(),
            pages,
        });
        for nr in 0..pages {
            let backing = match kind {
                Kind::Shared => Backing::Shared(Rc::clone(&object), nr),
                Kind::Private | Kind::Droppable => Backing::Private(0),
            };
            let droppable = kind == Kind::Droppable;
            let new = Page {
                prot,
                backing,
                locked: false,
                dont_fork: false,
                wipe_on_fork: droppable,
                droppable,
                guard: false,
            };
            self.pages.insert(page + nr, new);
        }
    }

    pub(crate) fn unmap(&mut self, page: u64, pages: u64) {
        self.pages.retain(|at, _| *at < page || *at >= page + pages);
    }

    pub(crate) fn protect(&mut self, page: u64, pages: u64, prot: Prot) -> Result<(), Errno> {
        for at in page..page + pages {
            self.pages.get_mut(&at).ok_or(Errno::ENOMEM)?.prot = prot;
        }
        Ok(())
    }

    /// The byte that a read sees; `None` for a signal.
    pub(crate) fn read(&self, page: u64) -> Option<u8> {
        let found = self.pages.get(&page)?;
        if found.guard || found.prot.is_empty() {
            return None;
        }
        match &found.backing {
            Backing::Private(byte) => Some(*byte),
            Backing::Shared(object, nr) if *nr < object.pages => {
                Some(object.bytes.borrow().get(nr).copied().unwrap_or(0))
            }
            Backing::Shared(..) => None,
        }
    }

    /// Whether a write goes through.
    pub(crate) fn write(&mut self, page: u64, byte: u8) -> bool {
        let Some(found) = self.pages.get_mut(&page) else {
            return false;
        };
        if found.guard || !found.prot.contains(Prot::WRITE) {
            return false;
        }
        match &mut found.backing {
            Backing::Private(old) => *old = byte,
            Backing::Shared(object, nr) if *nr < object.pages => {
                object.bytes.borrow_mut().insert(*nr, byte);
            }
            Backing::Shared(..) => return false,
        }
        true
    }

    /// madvise: page by page stands for area by area, since the refusals depend on flags alone.
    pub(crate) fn advise(&mut self, page: u64, pages: u64, advice: Advice) -> Result<(), Errno> {
        let mut hole = false;
        for at in page..page + pages {
            match self.pages.get_mut(&at) {
                Some(found) => found.advise(advice)?,
                None => hole = true,
            }
        }
        if hole { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// mlock: marks up to the first hole, then faults in. `None` where the answer depends on where
    /// faulting in stops, and is an error in any case.
    pub(crate) fn lock(&mut self, page: u64, pages: u64) -> Result<(), Errno> {
        for at in page..page + pages {
            let found = self.pages.get_mut(&at).ok_or(Errno::ENOMEM)?;
            found.locked |= !found.droppable;
        }
        let reachable = |at: u64| {
            self.pages.get(&at).is_some_and(|found| {
                let beyond = matches!(&found.backing, Backing::Shared(o, nr) if *nr >= o.pages);
                !found.guard && !found.prot.is_empty() && !beyond
            })
        };
        if (page..page + pages).all(reachable) {
            Ok(())
        } else {
            Err(Errno::ENOMEM)
        }
    }

    pub(crate) fn unlock(&mut self, page: u64, pages: u64) -> Result<(), Errno> {
        for at in page..page + pages {
            self.pages.get_mut(&at).ok_or(Errno::ENOMEM)?.locked = false;
        }
        Ok(())
    }

    /// A successful mremap: every page of the source goes with its distance kept, and what is new is
    /// like the page before it.
    pub(crate) fn remap(&mut self, (from, old): (u64, u64), (to, new): (u64, u64), source: Source) {
        let moved: Vec<_> = (from..from + old.min(new))
            .filter_map(|at| Some((at - from + to, self.pages.get(&at)?.clone())))
            .collect();
        let pattern = self.pages.get(&(from + old.saturating_sub(1))).cloned();
        if source == Source::Kept {
            for at in from..from + old {
                if let Some(left) = self.pages.get_mut(&at) {
                    left.emptied();
                }
            }
        } else if from != to {
            self.unmap(from, old);
        } else {
            self.unmap(from + new, old.saturating_sub(new));
        }
        // Areas moved as they are replace what they cover; a gap between them does not.
        if from != to && old != new {
            self.unmap(to, new);
        }
        self.pages.extend(moved);
        let Some(pattern) = pattern else { return };
        for nr in old..new {
            let mut page = pattern.clone();
            page.guard = false;
            match &mut page.backing {
                Backing::Private(byte) => *byte = 0,
                // Counted from the last old page, or from the first where there is none.
                Backing::Shared(_, at) => *at += nr + 1 - old.max(1),
            }
            self.pages.insert(to + nr, page);
        }
    }

    pub(crate) fn fork(&self) -> Model {
        let mut child = self.clone();
        child.pages.retain(|_, page| !page.dont_fork);
        for page in child.pages.values_mut() {
            page.locked = false;
            if page.wipe_on_fork {
                page.emptied();
            }
        }
        child
    }
}

impl Page {
    /// The page keeps its place and loses its private contents and marks.
    fn emptied(&mut self) {
        self.guard = false;
        self.locked = false;
        if let Backing::Private(byte) = &mut self.backing {
            *byte = 0;
        }
    }

    fn is_shared(&self) -> bool {
        matches!(self.backing, Backing::Shared(..))
    }

    fn advise(&mut self, advice: Advice) -> Result<(), Errno> {
        let refuse = |when: bool| if when { Err(Errno::EINVAL) } else { Ok(()) };
        match advice {
            Advice::DontNeed | Advice::Cold => refuse(self.locked)?,
            Advice::Free => refuse(self.locked || self.is_shared())?,
            Advice::WipeOnFork => refuse(self.is_shared())?,
            Advice::KeepOnFork => refuse(self.droppable)?,
            Advice::GuardInstall => refuse(self.locked)?,
            _ => {}
        }
        match advice {
            Advice::DontNeed | Advice::DontNeedLocked | Advice::GuardInstall => {
                if let Backing::Private(byte) = &mut self.backing {
                    *byte = 0;
                }
                self.guard |= advice == Advice::GuardInstall;
            }
            Advice::GuardRemove => self.guard = false,
            Advice::DontFork => self.dont_fork = true,
            Advice::DoFork => self.dont_fork = false,
            Advice::WipeOnFork => self.wipe_on_fork = true,
            Advice::KeepOnFork => self.wipe_on_fork = false,
            _ => {}
        }
        Ok(())
    }
}
