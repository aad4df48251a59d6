//! A region served by a [`Source`](super::Source).

use alloc::sync::Arc;
use core::fmt;

use addr::PgOff;
use frame::{AllocRequest, Arena, ChargeId, Folio, FolioLock, OwnerId, Purpose};
use sync::atomic::{AtomicU64, Ordering};

use super::ticket::abandoned;
use super::{Delivery, Fetched, Source};
use crate::config::ObjectConfig;
use crate::failure::{FaultFailure, SourceError};
use crate::file::{FileObject, MappedFile};
use crate::ops::Supplied;
use crate::pagecache::{Begun, FillWait, Filling, Found, PageCache};
use crate::request::{Brought, Obtained, PageRequest, Waiting};
use crate::rmap::{EvenCows, FileMappings, Flushes};

/// What a region has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegionStats {
    /// Pages in frames of its own.
    pub nr_pages: u64,
    /// Times the source was asked for a page.
    pub nr_fetches: u64,
    /// Pages cloned from the region below because they were written.
    pub nr_clones: u64,
    /// Times the source was told of a write.
    pub nr_notices: u64,
    /// Areas that map it.
    pub nr_areas: u64,
}

/// A region whose pages a source serves: the operations of its areas, and its file.
///
/// A region may lie over another one, its base. Pages that the source leaves to the base
/// ([`Fetched::Base`]) are the base's own folios, mapped read-only; the first write to one, in a
/// shared mapping, clones it into this region. Both regions share one set of mappings, so a walk
/// from a folio of either finds the areas of both.
pub struct SourceRegion {
    pub(super) source: Arc<dyn Source>,
    pub(super) base: Option<Arc<SourceRegion>>,
    pub(super) cache: Arc<PageCache>,
    config: ObjectConfig,
    pub(super) counters: Counters,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) fetches: AtomicU64,
    pub(super) clones: AtomicU64,
    pub(super) notices: AtomicU64,
    pub(super) opened: AtomicU64,
    pub(super) closed: AtomicU64,
}

impl Counters {
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl SourceRegion {
    /// A region served by `source`.
    pub fn new(
        arena: &Arc<Arena>,
        source: impl Source + 'static,
        config: ObjectConfig,
    ) -> Arc<Self> {
        let mappings = FileMappings::new();
        SourceRegion::build(arena, Arc::new(source), (None, mappings), config)
    }

    /// A region laid over `base`: what `source` leaves to it is shared with it until written.
    pub fn over(
        base: &Arc<SourceRegion>,
        source: impl Source + 'static,
        config: ObjectConfig,
    ) -> Arc<Self> {
        let arena = Arc::clone(base.cache.arena());
        let below = (Some(Arc::clone(base)), Arc::clone(base.cache.mappings()));
        SourceRegion::build(&arena, Arc::new(source), below, config)
    }

    fn build(
        arena: &Arc<Arena>,
        source: Arc<dyn Source>,
        below: (Option<Arc<SourceRegion>>, Arc<FileMappings>),
        config: ObjectConfig,
    ) -> Arc<Self> {
        let (base, mappings) = below;
        let limit = config.limit_pages.unwrap_or(u64::MAX);
        let cache = PageCache::limited(Arc::clone(arena), mappings, config.size_bytes, limit);
        let counters = Counters::default();
        Arc::new(SourceRegion {
            source,
            base,
            cache,
            config,
            counters,
        })
    }

    /// A new open file of it, for areas.
    pub fn open_file(self: &Arc<Self>) -> Arc<MappedFile> {
        let object: Arc<dyn FileObject> = Arc::clone(self) as Arc<dyn FileObject>;
        let mappings = Arc::clone(self.cache.mappings());
        MappedFile::new(
            self.config.inode,
            Arc::clone(&self.config.path),
            mappings,
            object,
        )
    }

    /// Its own pages, without those of its base.
    pub fn cache(&self) -> &Arc<PageCache> {
        &self.cache
    }

    /// What it has done so far.
    pub fn stats(&self) -> RegionStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let closed = read(&self.counters.closed);
        RegionStats {
            nr_pages: self.cache.nr_pages(),
            nr_fetches: read(&self.counters.fetches),
            nr_clones: read(&self.counters.clones),
            nr_notices: read(&self.counters.notices),
            nr_areas: read(&self.counters.opened).saturating_sub(closed),
        }
    }

    /// The page, locked, from here or from below, or what stands in the way. Never waits.
    pub(super) fn get(
        &self,
        pgoff: PgOff,
        charge: Option<ChargeId>,
    ) -> Result<FolioLock, Supplied> {
        loop {
            match self.cache.find_locked(pgoff) {
                Found::Locked(locked) => return Ok(locked),
                Found::Later(request) => return Err(Supplied::Later(request)),
                Found::BeyondEnd => return Err(Supplied::Error(FaultFailure::Bus)),
                Found::Absent => {}
            }
            if let Some(shared) = self.fetch(pgoff, charge)? {
                return Ok(shared);
            }
        }
    }

    /// Asks the source for a missing page and begins what it answers. The page itself only if it is
    /// the base's.
    fn fetch(&self, pgoff: PgOff, charge: Option<ChargeId>) -> Result<Option<FolioLock>, Supplied> {
        let Some(base) = &self.base else {
            // Who begins asks, so that the source is asked once.
            return match self.begin(pgoff, charge)? {
                Some(filling) => self.serve(filling, self.ask(pgoff)).map(|()| None),
                None => Ok(None),
            };
        };
        let fetched = self.ask(pgoff);
        if !matches!(fetched, Fetched::Base) {
            return match self.begin(pgoff, charge)? {
                Some(filling) => self.serve(filling, fetched).map(|()| None),
                None => Ok(None),
            };
        }
        let shared = base.get(pgoff, charge)?;
        // Under the folio's lock: a clone that has begun before now is seen here, and one that
        // begins later waits for the lock before it unmaps the shared page.
        Ok(self.cache.is_absent(pgoff).then_some(shared))
    }

    fn ask(&self, pgoff: PgOff) -> Fetched {
        Counters::count(&self.counters.fetches);
        self.source.fetch(pgoff)
    }

    /// Fills a page as the source has answered; an error is what the fault has to wait for, or why
    /// it fails.
    fn serve(&self, filling: Filling, fetched: Fetched) -> Result<(), Supplied> {
        let wait = Arc::clone(filling.wait());
        match fetched {
            Fetched::Zeroes => filling.fill(&[]),
            Fetched::Data(data) => filling.fill(&data),
            Fetched::Later(ticket) => {
                ticket.take_with(move |delivery| deliver(filling, delivery));
                return Err(Supplied::Later(FillWait::request(&wait)));
            }
            Fetched::Work(work) => {
                return Err(Supplied::Later(PageRequest::new(
                    Waiting::Read,
                    move || {
                        deliver(filling, Some(work()));
                        FillWait::request(&wait).perform()
                    },
                )));
            }
            Fetched::Retry => return Err(Supplied::Later(ask_again())),
            Fetched::Base => return Err(no_base(filling)),
            Fetched::Fail(error) => {
                filling.fail(FaultFailure::Source(Arc::clone(&error)));
                return Err(Supplied::Error(FaultFailure::Source(error)));
            }
        }
        Ok(())
    }

    /// The right to fill a page. `None` if it is being filled or there already.
    fn begin(&self, pgoff: PgOff, charge: Option<ChargeId>) -> Result<Option<Filling>, Supplied> {
        let request = AllocRequest::uninit(Purpose::PageCache);
        let request = request.with_charge(self.config.charge.or(charge));
        let out_of_memory = || Supplied::Error(FaultFailure::OutOfMemory);
        let frame = self
            .cache
            .arena()
            .alloc(request)
            .map_err(|_| out_of_memory())?;
        match self.cache.begin_fill(pgoff, frame) {
            Begun::Filling(filling) => Ok(Some(filling)),
            Begun::Joined(_) | Begun::Present => Ok(None),
            Begun::Full => Err(out_of_memory()),
            Begun::BeyondEnd => Err(Supplied::Error(FaultFailure::Bus)),
        }
    }

    /// The page for a write that all may see: this region's own.
    pub(super) fn get_for_write(
        &self,
        pgoff: PgOff,
        charge: Option<ChargeId>,
    ) -> Result<FolioLock, Supplied> {
        loop {
            let locked = self.get(pgoff, charge)?;
            if self.cache.owns(&locked, pgoff) {
                return Ok(locked);
            }
            let shared = locked.unlock();
            if let Some(filling) = self.begin(pgoff, charge)? {
                Counters::count(&self.counters.clones);
                return Err(Supplied::Later(self.clone_page(filling, shared)));
            }
        }
    }

    /// A request that makes this region's own copy of a page of its base. While it is being filled
    /// nobody gets the page from either; the base's lock lets those finish who already had it;
    /// and entries that show the base's page are gone before the copy can be written.
    fn clone_page(&self, filling: Filling, shared: Folio) -> PageRequest {
        let mappings = Arc::clone(self.cache.mappings());
        PageRequest::new(Waiting::Other("clone"), move || {
            let (pgoff, wait) = (filling.pgoff(), Arc::clone(filling.wait()));
            let mut flushes = Flushes::new();
            let locked = shared.lock();
            mappings.unmap_later(pgoff, Some(pgoff), EvenCows::No, &mut flushes);
            drop(locked);
            flushes.finish();
            filling.fill_from(&shared);
            FillWait::request(&wait).perform()
        })
    }

    /// Whether what was obtained says that page `pgoff`, here or below, cannot be had.
    pub(super) fn failure(&self, obtained: Option<Obtained>, pgoff: PgOff) -> Option<FaultFailure> {
        let obtained = obtained?;
        let Brought::Failed(failure) = obtained.brought else {
            return None;
        };
        let speaks = obtained
            .revalidate
            .is_none_or(|seen| seen.index == pgoff && self.is_or_lies_over(seen.mapping));
        speaks.then_some(failure)
    }

    fn is_or_lies_over(&self, mapping: OwnerId) -> bool {
        self.cache.id() == mapping
            || self
                .base
                .as_ref()
                .is_some_and(|base| base.is_or_lies_over(mapping))
    }
}

fn deliver(filling: Filling, delivery: Option<Delivery>) {
    match delivery {
        Some(Delivery::Zeroes) => filling.fill(&[]),
        Some(Delivery::Data(data)) => filling.fill(&data),
        Some(Delivery::Fail(error)) => filling.fail(FaultFailure::Source(error)),
        Some(Delivery::Retry) => drop(filling),
        None => filling.fail(abandoned()),
    }
}

fn ask_again() -> PageRequest {
    PageRequest::new(Waiting::Other("source retry"), Obtained::nothing)
}

/// The source left a page to a base that the region does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the source left the page to a base, and the region has none")]
pub struct NoBase;

fn no_base(filling: Filling) -> Supplied {
    let error: SourceError = Arc::new(NoBase);
    filling.fail(FaultFailure::Source(Arc::clone(&error)));
    Supplied::Error(FaultFailure::Source(error))
}

impl fmt::Debug for SourceRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceRegion")
            .field("path", &self.config.path)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
