//! The arena, as its users see it.

use core::fmt;

use addr::{PAGE_SIZE, Pfn};
use heap::boxed::Box;
use heap::sync::Arc;

use crate::record::FrameRecord;
use crate::store::{self, Store, ZERO_FRAME};
use crate::{
    AllocRequest, ChargeId, Charged, DEVICE_PFN_BASE, Folio, FreshFolio, OutOfFrames, Words,
};

#[cfg(all(feature = "std", target_os = "linux", not(any(miri, loom, shuttle))))]
type File = crate::words::MemoryFile;
#[cfg(not(all(feature = "std", target_os = "linux", not(any(miri, loom, shuttle)))))]
type File = core::convert::Infallible;

/// What the frames are made of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Backing {
    /// A memory file of the host, which other processes can map. Linux only.
    Memfd,
    /// Plain memory.
    Heap,
}

/// How to make an arena.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ArenaConfig {
    /// How many frames; the first is the zero page.
    pub frames: u64,
    /// What they are made of.
    pub backing: Backing,
    /// How many of them only [`Depth::Reserve`](crate::Depth::Reserve) may take.
    pub reserve: u64,
}

impl ArenaConfig {
    /// `frames` frames of plain memory, without a reserve.
    #[must_use]
    pub const fn heap(frames: u64) -> Self {
        Self {
            frames,
            backing: Backing::Heap,
            reserve: 0,
        }
    }

    /// `frames` frames of a memory file, without a reserve.
    #[must_use]
    pub const fn memfd(frames: u64) -> Self {
        Self {
            frames,
            backing: Backing::Memfd,
            reserve: 0,
        }
    }
}

/// Why there is no arena.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArenaError {
    /// Fewer frames than two, or more than frame numbers below device memory.
    #[error("an arena of {0} frames is not possible")]
    Frames(u64),
    /// The host has no address space for it.
    #[error("the host has no address space for {0} frames")]
    AddressSpace(u64),
    /// The host gives no memory file.
    #[error("the host gives no memory file for the arena{}", Reason(*errno))]
    File {
        /// The host's error number, if there is one.
        errno: Option<i32>,
    },
}

/// `: ` and the text of an error number, if there is one and the host is there to tell it.
struct Reason(Option<i32>);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            #[cfg(feature = "std")]
            Some(errno) => write!(f, ": {}", std::io::Error::from_raw_os_error(errno)),
            #[cfg(not(feature = "std"))]
            Some(errno) => write!(f, ": error {errno}"),
            None => Ok(()),
        }
    }
}

/// A run of frames, and everything known of them.
///
/// Frames have numbers from zero to [`nr_frames`](Self::nr_frames); number zero is the zero page,
/// which is never allocated, counted or freed. A number that is not of this arena is refused where
/// the answer has room for it, and otherwise panics: it would be a fault of Recto, not of a
/// program.
pub struct Arena {
    store: &'static Store,
    file: Option<File>,
}

impl Arena {
    /// Makes an arena. It costs address space, and memory only as frames are used.
    pub fn new(config: ArenaConfig) -> Result<Arc<Self>, ArenaError> {
        let nr_frames = u32::try_from(config.frames)
            .ok()
            .filter(|frames| *frames >= 2 && u64::from(*frames) <= DEVICE_PFN_BASE)
            .ok_or(ArenaError::Frames(config.frames))?;
        let store = match store::left_behind(nr_frames) {
            Some(store) => store,
            None => {
                let store = Store::new(nr_frames);
                Box::leak(Box::new(
                    store.ok_or(ArenaError::AddressSpace(config.frames))?,
                ))
            }
        };
        store.set_reserve_frames(config.reserve);
        // From here on dropping the arena gives the store back.
        let mut arena = Self { store, file: None };
        if config.backing == Backing::Memfd {
            arena.file = Some(arena.open_file()?);
        }
        Ok(Arc::new(arena))
    }

    #[cfg(all(feature = "std", target_os = "linux", not(any(miri, loom, shuttle))))]
    fn open_file(&self) -> Result<File, ArenaError> {
        let failed = |error: std::io::Error| ArenaError::File {
            errno: error.raw_os_error(),
        };
        let file = File::new(self.nr_frames()).map_err(failed)?;
        self.store
            .memory
            .back_with_file(file.fd())
            .map_err(failed)?;
        Ok(file)
    }

    #[cfg(not(all(feature = "std", target_os = "linux", not(any(miri, loom, shuttle)))))]
    fn open_file(&self) -> Result<File, ArenaError> {
        Err(ArenaError::File { errno: None })
    }

    #[inline]
    pub(crate) const fn store(&self) -> &'static Store {
        self.store
    }

    /// The memory file, if the arena is one.
    #[cfg(all(feature = "std", target_os = "linux", not(any(miri, loom, shuttle))))]
    #[must_use]
    pub fn fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.file.as_ref().map(File::fd)
    }

    pub(crate) fn punch(&self, first: u64, nr_frames: u64) -> bool {
        #[cfg(all(feature = "std", target_os = "linux", not(any(miri, loom, shuttle))))]
        if let Some(file) = &self.file {
            return file.punch(first, nr_frames).is_ok();
        }
        let _ = (first, nr_frames);
        false
    }

    /// How many frames it has.
    #[must_use]
    pub fn nr_frames(&self) -> u64 {
        u64::from(self.store.nr_frames())
    }

    /// The frame that always reads as zeroes (`ZERO_PAGE`). Entries that name it hold no
    /// reference.
    #[must_use]
    #[inline]
    pub const fn zero_page(&self) -> Pfn {
        Pfn::new(ZERO_FRAME as u64)
    }

    /// Whether `pfn` is a frame of this arena.
    #[must_use]
    #[inline]
    pub fn contains(&self, pfn: Pfn) -> bool {
        self.store.frame_of(pfn).is_some()
    }

    /// A fresh folio.
    #[inline]
    pub fn alloc(&self, request: AllocRequest) -> Result<FreshFolio, OutOfFrames> {
        self.store.allocate(request)
    }

    /// The record of a frame; none if it is not of this arena.
    #[must_use]
    #[inline]
    pub fn record(&self, pfn: Pfn) -> Option<&FrameRecord> {
        self.store
            .frame_of(pfn)
            .map(|frame| self.store.record_of(frame))
    }

    /// The record of the folio that `pfn` is part of: that of its first frame.
    #[must_use]
    #[inline]
    pub fn folio_record(&self, pfn: Pfn) -> Option<&FrameRecord> {
        let frame = self.store.frame_of(pfn)?;
        Some(self.store.record_of(self.store.head_of(frame)))
    }

    /// A reference to the folio that `pfn` is part of, if it has any already
    /// (`folio_try_get`). The caller looks again at where it found the number: the frame may have
    /// begun another life in between.
    #[must_use]
    pub fn try_get(&self, pfn: Pfn) -> Option<Folio> {
        let frame = self.store.frame_of(pfn)?;
        let head = self.store.head_of(frame);
        if !self.store.record_of(head).try_get() {
            return None;
        }
        let folio = Folio::from_counted(self.store, head);
        let covers = u64::from(frame - head) < folio.order().nr_pages();
        (covers && self.store.head_of(frame) == head).then_some(folio)
    }

    /// Takes back the reference that [`Folio::into_entry`] moved into an entry which named `pfn`,
    /// and which the caller has just cleared. Once per entry: the reference is then the caller's.
    #[must_use]
    #[inline]
    pub fn folio_of_entry(&self, pfn: Pfn) -> Folio {
        let frame = self.frame(pfn);
        Folio::from_counted(self.store, self.store.head_of(frame))
    }

    /// One entry more maps what `pfn` is part of: one more reference, which lives in that entry, and
    /// one more mapping (`folio_get`, `folio_dup_file_rmap_pte`). By whoever holds the lock of an
    /// entry that maps it already.
    #[inline]
    pub fn share_entry(&self, pfn: Pfn) {
        if let Some(record) = self.folio_record(pfn) {
            record.get();
            record.add_map();
        }
    }

    #[track_caller]
    #[inline]
    fn frame(&self, pfn: Pfn) -> u32 {
        match self.store.frame_of(pfn) {
            Some(frame) => frame,
            None => panic!("{pfn:?} is not of this arena"),
        }
    }

    /// The frame as atomic words.
    #[must_use]
    #[inline]
    pub fn words(&self, pfn: Pfn) -> Words<'_> {
        self.store.memory.words(pfn.as_u64())
    }

    /// Copies bytes out of one frame, from byte `offset` on.
    #[inline]
    pub fn read(&self, pfn: Pfn, offset: u64, out: &mut [u8]) {
        self.store
            .memory
            .read(pfn.as_u64(), within_frame(offset), out);
    }

    /// Copies bytes into one frame, from byte `offset` on.
    #[inline]
    pub fn write(&self, pfn: Pfn, offset: u64, bytes: &[u8]) {
        debug_assert!(pfn != self.zero_page(), "a write to the zero page");
        self.store
            .memory
            .write(pfn.as_u64(), within_frame(offset), bytes);
    }

    /// Copies one frame onto another.
    #[inline]
    pub fn copy_frame(&self, from: Pfn, to: Pfn) {
        debug_assert!(to != self.zero_page(), "a write to the zero page");
        self.store.memory.copy(from.as_u64(), to.as_u64());
    }

    /// Clears a frame.
    #[inline]
    pub fn zero_frame(&self, pfn: Pfn) {
        self.store.memory.zero(pfn.as_u64());
    }

    /// A new group to charge frames to, with at most `limit` frames.
    #[must_use]
    pub fn new_charge_group(&self, limit: Option<u64>) -> Option<ChargeId> {
        self.store.new_charge_group(limit)
    }

    /// From now on `charge` may have `limit` frames. What it has above that, it keeps.
    pub fn set_charge_limit(&self, charge: ChargeId, limit: Option<u64>) {
        self.store.set_charge_limit(charge, limit);
    }

    /// What `charge` has: exact if nothing is allocated or freed meanwhile.
    #[must_use]
    pub fn charged(&self, charge: ChargeId) -> Option<Charged> {
        self.store.charged(charge)
    }
}

fn within_frame(offset: u64) -> usize {
    assert!(offset <= PAGE_SIZE, "an offset past the end of a frame");
    offset as usize
}

impl Drop for Arena {
    fn drop(&mut self) {
        store::leave_behind(self.store);
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena")
            .field("nr_frames", &self.nr_frames())
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}
