//! A page on its way in.

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;

use addr::{PAGE_SIZE, PgOff};
use frame::{Folio, FolioFlags, FolioLock, FreshFolio, OwnerId};
use sync::atomic::{AtomicBool, Ordering};
use sync::{Mutex, WaitQueue};

use super::{PageCache, Slot};
use crate::failure::FaultFailure;
use crate::request::{Brought, Obtained, PageRequest, Readiness, Revalidate, Waiting};

/// What [`PageCache::begin_fill`] led to.
#[derive(Debug)]
#[must_use = "a page is locked until its fill ends"]
pub enum Begun {
    /// The caller fills the page.
    Filling(Filling),
    /// Somebody else does; the frame was not needed.
    Joined(Arc<FillWait>),
    /// It is there already; the frame was not needed.
    Present,
    /// The object holds as many pages as it may.
    Full,
    /// The object ends before it.
    BeyondEnd,
}

/// How a fill ended.
#[derive(Clone, Debug)]
pub enum FillEnd {
    /// The page is there.
    Filled,
    /// It cannot be had.
    Failed(FaultFailure),
    /// The one who filled it gave up; try again.
    GivenUp,
}

pub(super) static ZEROES: [u8; PAGE_SIZE as usize] = [0; PAGE_SIZE as usize];

impl PageCache {
    /// Makes `pgoff` a page being filled, in `frame`, unless it is one or is there.
    pub fn begin_fill(self: &Arc<Self>, pgoff: PgOff, frame: FreshFolio) -> Begun {
        let locked = self.adopt(pgoff, frame);
        let mut pages = self.pages.write();
        if let Some(slot) = pages.get(&pgoff) {
            let begun = match &slot.fill {
                Some(fill) => Begun::Joined(Arc::clone(fill)),
                None => Begun::Present,
            };
            drop(pages);
            return begun;
        }
        if self.is_full(&pages) {
            drop(pages);
            return Begun::Full;
        }
        // Under the map's lock, which whoever cuts the object off takes after setting the size.
        if pgoff >= self.end() {
            drop(pages);
            return Begun::BeyondEnd;
        }
        let mut locked = locked;
        // Whoever ends the fill may be another thread.
        locked.travel();
        let folio = Folio::clone(&locked);
        let wait = FillWait::new(self, pgoff);
        pages.insert(
            pgoff,
            Slot {
                folio,
                fill: Some(Arc::clone(&wait)),
            },
        );
        drop(pages);
        Begun::Filling(Filling {
            cache: Arc::clone(self),
            pgoff,
            lock: Some(locked),
            wait,
        })
    }
}

/// The right and duty to fill a page. It holds the folio's lock, needs no thread, and may be handed
/// about until the data is there. Dropped, it gives up: the page leaves the object.
#[derive(Debug)]
pub struct Filling {
    cache: Arc<PageCache>,
    pgoff: PgOff,
    /// Gone when the fill has ended.
    lock: Option<FolioLock>,
    wait: Arc<FillWait>,
}

impl Filling {
    /// The page.
    pub fn pgoff(&self) -> PgOff {
        self.pgoff
    }

    /// What others wait on.
    pub fn wait(&self) -> &Arc<FillWait> {
        &self.wait
    }

    /// Ends with `data`, cut to a page, the rest zero.
    pub fn fill(self, data: &[u8]) {
        let data = &data[..data.len().min(PAGE_SIZE as usize)];
        if let Some(lock) = &self.lock {
            lock.write(0, data);
            lock.write(data.len() as u64, &ZEROES[data.len()..]);
        }
        self.end(FillEnd::Filled);
    }

    /// Ends with the data of another frame.
    pub fn fill_from(self, source: &Folio) {
        if let Some(lock) = &self.lock {
            self.cache.arena.copy_frame(source.pfn(), lock.pfn());
        }
        self.end(FillEnd::Filled);
    }

    /// Ends because the page cannot be had.
    pub fn fail(self, failure: FaultFailure) {
        self.end(FillEnd::Failed(failure));
    }

    fn end(mut self, end: FillEnd) {
        self.settle(end);
    }

    /// Up to date before it can be found, found before it is unlocked, unlocked before anybody is
    /// told.
    fn settle(&mut self, end: FillEnd) {
        let Some(lock) = self.lock.take() else {
            return;
        };
        let mut pages = self.cache.pages.write();
        let removed = match end {
            FillEnd::Filled => {
                if let Some(cut) = self.wait.cut_at() {
                    lock.write(cut, &ZEROES[cut as usize..]);
                }
                lock.set(FolioFlags::UPTODATE);
                if let Some(slot) = pages.get_mut(&self.pgoff) {
                    slot.fill = None;
                }
                None
            }
            FillEnd::Failed(_) | FillEnd::GivenUp => {
                lock.set_owner(OwnerId::NONE, 0);
                pages.remove(&self.pgoff)
            }
        };
        drop(pages);
        if removed.is_none() {
            lock.add_to_lru();
        }
        drop(lock);
        drop(removed);
        self.wait.announce(end);
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.settle(FillEnd::GivenUp);
    }
}

/// What everybody else has of a page being filled: the means to wait for it.
pub struct FillWait {
    cache: Weak<PageCache>,
    pgoff: PgOff,
    state: Mutex<WaitState>,
    /// Set after the end is, so that a waiter need take no lock to look.
    ended: AtomicBool,
    changed: WaitQueue,
}

#[derive(Default)]
struct WaitState {
    end: Option<FillEnd>,
    wakers: Vec<Box<dyn FnOnce() + Send>>,
    /// The object came to end in this page, at this byte of it, while it was being filled.
    cut: Option<u64>,
}

impl FillWait {
    fn new(cache: &Arc<PageCache>, pgoff: PgOff) -> Arc<Self> {
        Arc::new(FillWait {
            cache: Arc::downgrade(cache),
            pgoff,
            state: Mutex::new(WaitState::default()),
            ended: AtomicBool::new(false),
            changed: WaitQueue::new(),
        })
    }

    /// A request that waits for the fill to end and brings the folio, or why there is none.
    pub fn request(fill: &Arc<FillWait>) -> PageRequest {
        let wait = Arc::clone(fill);
        let ready: Arc<dyn Readiness> = Arc::clone(fill) as Arc<dyn Readiness>;
        PageRequest::announced(Waiting::Read, ready, move || wait.obtain())
    }

    /// How it ended, if it has.
    pub fn end(&self) -> Option<FillEnd> {
        self.state.lock().end.clone()
    }

    /// Waits for the end. No lock may be held.
    pub fn wait(&self) -> FillEnd {
        self.changed
            .wait_until(|| self.ended.load(Ordering::Acquire));
        self.end().unwrap_or(FillEnd::GivenUp)
    }

    fn obtain(&self) -> Obtained {
        match self.wait() {
            FillEnd::Failed(failure) => match self.revalidate() {
                Some(seen) => Obtained::provided(Brought::Failed(failure), seen),
                None => Obtained::failed(failure),
            },
            FillEnd::GivenUp => Obtained::nothing(),
            FillEnd::Filled => {
                let folio = self
                    .cache
                    .upgrade()
                    .and_then(|cache| cache.lookup(self.pgoff));
                match (folio, self.revalidate()) {
                    (Some(folio), Some(seen)) => Obtained::provided(Brought::Folio(folio), seen),
                    _ => Obtained::nothing(),
                }
            }
        }
    }

    fn revalidate(&self) -> Option<Revalidate> {
        Some(self.cache.upgrade()?.revalidate(self.pgoff))
    }

    /// The object now ends at byte `tail` of the page: what is beyond is zero, whatever is filled in,
    /// and also if the object grows again. Called under the lock of the map, which the fill takes to
    /// end.
    pub(super) fn cut(&self, tail: u64) {
        let mut state = self.state.lock();
        state.cut = Some(state.cut.map_or(tail, |cut| cut.min(tail)));
    }

    fn cut_at(&self) -> Option<u64> {
        self.state.lock().cut
    }

    fn announce(&self, end: FillEnd) {
        let wakers = {
            let mut state = self.state.lock();
            state.end = Some(end);
            core::mem::take(&mut state.wakers)
        };
        self.ended.store(true, Ordering::Release);
        self.changed.wake_all();
        for wake in wakers {
            wake();
        }
    }
}

impl Readiness for FillWait {
    fn when_ready(&self, wake: Box<dyn FnOnce() + Send>) {
        let mut state = self.state.lock();
        if state.end.is_none() {
            state.wakers.push(wake);
            return;
        }
        drop(state);
        wake();
    }
}

impl fmt::Debug for FillWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FillWait")
            .field("pgoff", &self.pgoff)
            .finish_non_exhaustive()
    }
}
