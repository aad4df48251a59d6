//! Getting a frame, and giving it back.

use addr::{Order, Pfn};
use sync::atomic::Ordering;

use crate::charge::Stock;
use crate::lru::OnRelease;
use crate::record::{FolioFlags, FrameRecord};
use crate::store::Store;
use crate::{ChargeId, FreshFolio};

/// What a frame is used for; every frame in use is counted under exactly one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Purpose {
    /// Private memory of a program.
    Anon,
    /// A page of a file or of an embedder's object.
    PageCache,
    /// Shared memory without a file of the host.
    Shmem,
    /// A page table.
    Table,
    /// Reserved in a [`Block`](crate::Block) and not taken yet.
    Block,
    /// Anything else.
    Other,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 6] = [
        Self::Anon,
        Self::PageCache,
        Self::Shmem,
        Self::Table,
        Self::Block,
        Self::Other,
    ];

    pub(crate) const fn from_u8(byte: u8) -> Self {
        match byte {
            0 => Self::Anon,
            1 => Self::PageCache,
            2 => Self::Shmem,
            3 => Self::Table,
            4 => Self::Block,
            _ => Self::Other,
        }
    }
}

/// What a fresh folio contains.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Contents {
    /// Zeroes.
    Zeroed,
    /// Whatever was there; all of it will be overwritten.
    Uninit,
}

/// How deep an allocation may reach.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Depth {
    /// Leaves the arena's reserve alone.
    #[default]
    Normal,
    /// May take the last frame: for those by whose progress memory is freed.
    Reserve,
}

/// A wish for a folio.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AllocRequest {
    /// Its size.
    pub order: Order,
    /// What it contains.
    pub contents: Contents,
    /// What it is for.
    pub purpose: Purpose,
    /// Who pays.
    pub charge: Option<ChargeId>,
    /// How deep to reach.
    pub depth: Depth,
}

impl AllocRequest {
    /// One frame of zeroes, charged to nobody.
    #[must_use]
    pub const fn zeroed(purpose: Purpose) -> Self {
        Self {
            order: Order::ZERO,
            contents: Contents::Zeroed,
            purpose,
            charge: None,
            depth: Depth::Normal,
        }
    }

    /// One frame with anything in it, charged to nobody.
    #[must_use]
    pub const fn uninit(purpose: Purpose) -> Self {
        Self {
            contents: Contents::Uninit,
            ..Self::zeroed(purpose)
        }
    }

    /// The same, of `order`.
    #[must_use]
    pub const fn with_order(self, order: Order) -> Self {
        Self { order, ..self }
    }

    /// The same, charged to `charge`.
    #[must_use]
    pub const fn with_charge(self, charge: Option<ChargeId>) -> Self {
        Self { charge, ..self }
    }

    /// The same, reaching as deep as `depth`.
    #[must_use]
    pub const fn with_depth(self, depth: Depth) -> Self {
        Self { depth, ..self }
    }
}

/// Why there is no folio. An outcome, not a failure: the caller frees memory, or lets the program
/// feel it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum OutOfFrames {
    /// The arena has no run of free frames of that size.
    #[error("no free run of {} frames in the arena", .order.nr_pages())]
    Arena {
        /// The size that was wanted.
        order: Order,
    },
    /// The one who pays is at the limit.
    #[error("the limit of charge group {} is reached", .charge.number())]
    Limit {
        /// Whose limit.
        charge: ChargeId,
    },
}

impl Store {
    /// A folio that is nobody's yet: frozen, counted and charged.
    #[inline]
    pub(crate) fn allocate(
        &'static self,
        request: AllocRequest,
    ) -> Result<FreshFolio, OutOfFrames> {
        let frame = if request.order == Order::ZERO {
            self.take_one(&request)?
        } else {
            self.take_run(&request)?
        };
        Ok(self.begin_life(frame, &request))
    }

    /// The first moments of a frame that is ours alone.
    pub(crate) fn begin_life(&'static self, frame: u32, request: &AllocRequest) -> FreshFolio {
        let record = self.record_of(frame);
        let was_touched = record.has(FolioFlags::TOUCHED);
        record.begin(request.order, request.purpose, request.charge);
        let kind = match request.purpose {
            Purpose::Table => FolioFlags::TOUCHED.union(FolioFlags::TABLE),
            _ => FolioFlags::TOUCHED,
        };
        record.store_flags(kind);
        // Memory that the host never gave, or took back, reads as zeroes by itself.
        if request.contents == Contents::Zeroed && was_touched {
            self.memory.zero(u64::from(frame));
        }
        if request.order != Order::ZERO {
            self.begin_tails(frame, request);
        }
        FreshFolio::from_allocated(self, frame)
    }

    fn begin_tails(&self, head: u32, request: &AllocRequest) {
        for frame in head + 1..head + request.order.nr_pages() as u32 {
            let record = self.record_of(frame);
            let was_touched = record.has(FolioFlags::TOUCHED);
            record.begin(Order::ZERO, request.purpose, None);
            record.head.store(head, Ordering::Relaxed);
            record.store_flags(FolioFlags::TOUCHED.union(FolioFlags::TAIL));
            if request.contents == Contents::Zeroed && was_touched {
                self.memory.zero(u64::from(frame));
            }
        }
    }

    #[inline]
    fn take_one(&self, request: &AllocRequest) -> Result<u32, OutOfFrames> {
        let mut cpu = self.this_cpu();
        if let Some(charge) = request.charge
            && !cpu.stock.take(charge, 1)
        {
            drop(cpu);
            return self.take_one_charging(request, charge);
        }
        if let Some(frame) = cpu.free.pop() {
            cpu.count(request.purpose, 1);
            return Ok(frame);
        }
        match self.refill(&mut cpu, request.depth) {
            Some(frame) => {
                cpu.count(request.purpose, 1);
                Ok(frame)
            }
            None => {
                drop(cpu);
                self.take_one_from_anywhere(request)
            }
        }
    }

    #[cold]
    fn take_one_charging(
        &self,
        request: &AllocRequest,
        charge: ChargeId,
    ) -> Result<u32, OutOfFrames> {
        self.charge_slowly(charge, 1)?;
        let uncharged = AllocRequest {
            charge: None,
            ..*request
        };
        self.take_one(&uncharged)
            .inspect_err(|_| self.uncharge(charge, 1))
    }

    /// The last resort: what other CPUs keep.
    #[cold]
    fn take_one_from_anywhere(&self, request: &AllocRequest) -> Result<u32, OutOfFrames> {
        self.drain();
        let taken = self
            .node
            .lock_free()
            .take(&self.records, Order::ZERO, self.floor(request));
        let mut cpu = self.this_cpu();
        let Some(frame) = taken else {
            if let Some(charge) = request.charge {
                self.uncharge_to(&mut cpu.stock, charge, 1);
            }
            return Err(OutOfFrames::Arena { order: Order::ZERO });
        };
        cpu.count(request.purpose, 1);
        Ok(frame)
    }

    #[cold]
    fn take_run(&self, request: &AllocRequest) -> Result<u32, OutOfFrames> {
        let nr_pages = request.order.nr_pages();
        if let Some(charge) = request.charge {
            self.charge_slowly(charge, nr_pages)?;
        }
        let take = || {
            self.node
                .lock_free()
                .take(&self.records, request.order, self.floor(request))
        };
        let taken = take().or_else(|| {
            self.drain();
            take()
        });
        let Some(frame) = taken else {
            if let Some(charge) = request.charge {
                self.uncharge(charge, nr_pages);
            }
            return Err(OutOfFrames::Arena {
                order: request.order,
            });
        };
        self.this_cpu()
            .count(request.purpose, nr_pages.cast_signed());
        Ok(frame)
    }

    /// How many frames an allocation must leave free.
    fn floor(&self, request: &AllocRequest) -> u64 {
        match request.depth {
            Depth::Normal => self.reserve_frames(),
            Depth::Reserve => 0,
        }
    }

    /// Takes back a folio whose last reference is gone.
    pub(crate) fn release(&self, frame: u32) {
        let record = self.record_of(frame);
        let (order, purpose, charge) = (record.order(), record.purpose(), record.charge());
        let nr_pages = order.nr_pages();
        let lru = self.on_release(record);
        let mut cpu = self.this_cpu();
        cpu.count(purpose, -nr_pages.cast_signed());
        if let Some(charge) = charge {
            self.uncharge_to(&mut cpu.stock, charge, nr_pages);
        }
        match lru {
            OnRelease::Ignore => return,
            OnRelease::Unlink => {
                if let Some(batch) = cpu.unlink_later(frame) {
                    drop(cpu);
                    self.unlink_freed(batch.as_slice());
                }
                return;
            }
            OnRelease::Free => {}
        }
        if order == Order::ZERO {
            end_life(record);
            cpu.free.push(frame);
            if cpu.is_overfull() {
                self.shrink(&mut cpu);
            }
        } else {
            drop(cpu);
            self.free_run(frame, order);
        }
    }

    /// Uncharges into the stock of this CPU, or beyond it.
    fn uncharge_to(&self, stock: &mut Stock, charge: ChargeId, nr_pages: u64) {
        if let Some(surplus) = stock.put(charge, nr_pages) {
            self.charges.give(surplus);
        }
    }

    /// Puts frames that are counted and charged no more where the next allocation finds them.
    pub(crate) fn recycle(&self, frame: u32) {
        let record = self.record_of(frame);
        let order = record.order();
        if order != Order::ZERO {
            return self.free_run(frame, order);
        }
        end_life(record);
        let mut cpu = self.this_cpu();
        cpu.free.push(frame);
        if cpu.is_overfull() {
            self.shrink(&mut cpu);
        }
    }

    fn free_run(&self, head: u32, order: Order) {
        for frame in head..head + order.nr_pages() as u32 {
            end_life(self.record_of(frame));
        }
        self.node.lock_free().give(&self.records, head, order);
    }
}

/// What is left of a frame that nobody has: whether the host gave it memory.
#[inline]
pub(crate) fn end_life(record: &FrameRecord) {
    record.set_owner(crate::OwnerId::NONE, 0);
    record.store_flags(FolioFlags::TOUCHED);
}

/// The frame number as the outside knows it.
#[inline]
pub(crate) const fn pfn_of(frame: u32) -> Pfn {
    Pfn::new(frame as u64)
}
