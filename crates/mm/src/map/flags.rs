//! The words of the memory calls: flag sets and advice, with the kernel's own values.

bitflags::bitflags! {
    /// The `flags` of mmap. The four lowest bits are a number, the type: see [`MapFlags::kind`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct MapFlags: u32 {
        /// `MAP_SHARED`
        const SHARED = 0x01;
        /// `MAP_PRIVATE`
        const PRIVATE = 0x02;
        /// `MAP_SHARED_VALIDATE`: as `SHARED`, and unknown flags are refused
        const SHARED_VALIDATE = 0x03;
        /// `MAP_DROPPABLE`
        const DROPPABLE = 0x08;
        /// `MAP_FIXED`
        const FIXED = 0x10;
        /// `MAP_ANONYMOUS`
        const ANONYMOUS = 0x20;
        /// `MAP_32BIT`
        const LOW_32BIT = 0x40;
        /// `MAP_ABOVE4G`
        const ABOVE_4G = 0x80;
        /// `MAP_GROWSDOWN`
        const GROWSDOWN = 0x100;
        /// `MAP_DENYWRITE`, without effect
        const DENYWRITE = 0x800;
        /// `MAP_EXECUTABLE`, without effect
        const EXECUTABLE = 0x1000;
        /// `MAP_LOCKED`
        const LOCKED = 0x2000;
        /// `MAP_NORESERVE`
        const NORESERVE = 0x4000;
        /// `MAP_POPULATE`
        const POPULATE = 0x8000;
        /// `MAP_NONBLOCK`
        const NONBLOCK = 0x1_0000;
        /// `MAP_STACK`
        const STACK = 0x2_0000;
        /// `MAP_HUGETLB`
        const HUGETLB = 0x4_0000;
        /// `MAP_SYNC`
        const SYNC = 0x8_0000;
        /// `MAP_FIXED_NOREPLACE`
        const FIXED_NOREPLACE = 0x10_0000;
        /// `MAP_UNINITIALIZED`, without effect
        const UNINITIALIZED = 0x400_0000;
        /// The size of huge pages asked for with `HUGETLB` (`MAP_HUGE_MASK`, its logarithm)
        const HUGE_SIZE = 0xfc00_0000;
    }
}

/// The type of a mapping (`MAP_TYPE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MapKind {
    /// `MAP_SHARED`: unknown flags are ignored.
    Shared,
    /// `MAP_SHARED_VALIDATE`: unknown flags are refused.
    SharedValidate,
    /// `MAP_PRIVATE`.
    Private,
    /// `MAP_DROPPABLE`.
    Droppable,
    /// Any other number.
    Unknown,
}

impl MapFlags {
    /// The bits of the type (`MAP_TYPE`).
    const KIND_MASK: u32 = 0xf;

    /// What a shared mapping may ask for (`LEGACY_MAP_MASK`); the rest is ignored or refused.
    pub const LEGACY: Self = Self::from_bits_retain(
        0x3 | Self::FIXED.bits()
            | Self::ANONYMOUS.bits()
            | Self::LOW_32BIT.bits()
            | Self::ABOVE_4G.bits()
            | Self::GROWSDOWN.bits()
            | Self::DENYWRITE.bits()
            | Self::EXECUTABLE.bits()
            | Self::LOCKED.bits()
            | Self::NORESERVE.bits()
            | Self::POPULATE.bits()
            | Self::NONBLOCK.bits()
            | Self::STACK.bits()
            | Self::HUGETLB.bits()
            | HUGE_2MB
            | HUGE_1GB
            | Self::UNINITIALIZED.bits(),
    );

    /// The type. The low four bits are one number: `SHARED_VALIDATE` is not `SHARED | PRIVATE`.
    pub const fn kind(self) -> MapKind {
        match self.bits() & Self::KIND_MASK {
            0x1 => MapKind::Shared,
            0x2 => MapKind::Private,
            0x3 => MapKind::SharedValidate,
            0x8 => MapKind::Droppable,
            _ => MapKind::Unknown,
        }
    }

    /// Whether the address is no mere hint.
    pub const fn is_fixed(self) -> bool {
        self.intersects(Self::FIXED.union(Self::FIXED_NOREPLACE))
    }
}

const HUGE_2MB: u32 = 21 << 26;
const HUGE_1GB: u32 = 30 << 26;

bitflags::bitflags! {
    /// The `flags` of mremap.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct RemapFlags: u32 {
        /// `MREMAP_MAYMOVE`
        const MAYMOVE = 1;
        /// `MREMAP_FIXED`
        const FIXED = 2;
        /// `MREMAP_DONTUNMAP`
        const DONTUNMAP = 4;
    }
}

bitflags::bitflags! {
    /// The `flags` of mlock2.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct LockFlags: u32 {
        /// `MLOCK_ONFAULT`
        const ONFAULT = 1;
    }
}

bitflags::bitflags! {
    /// The `flags` of mlockall.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct LockAllFlags: u32 {
        /// `MCL_CURRENT`
        const CURRENT = 1;
        /// `MCL_FUTURE`
        const FUTURE = 2;
        /// `MCL_ONFAULT`
        const ONFAULT = 4;
    }
}

bitflags::bitflags! {
    /// The `flags` of msync.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct SyncFlags: u32 {
        /// `MS_ASYNC`
        const ASYNC = 1;
        /// `MS_INVALIDATE`
        const INVALIDATE = 2;
        /// `MS_SYNC`
        const SYNC = 4;
    }
}

/// The `advice` of madvise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the madvise advice of its name")]
pub enum Advice {
    Normal = 0,
    Random = 1,
    Sequential = 2,
    WillNeed = 3,
    DontNeed = 4,
    Free = 8,
    Remove = 9,
    DontFork = 10,
    DoFork = 11,
    Mergeable = 12,
    Unmergeable = 13,
    HugePage = 14,
    NoHugePage = 15,
    DontDump = 16,
    DoDump = 17,
    WipeOnFork = 18,
    KeepOnFork = 19,
    Cold = 20,
    PageOut = 21,
    PopulateRead = 22,
    PopulateWrite = 23,
    DontNeedLocked = 24,
    Collapse = 25,
    HwPoison = 100,
    SoftOffline = 101,
    GuardInstall = 102,
    GuardRemove = 103,
}

impl Advice {
    /// Every advice there is.
    pub const ALL: [Advice; 27] = [
        Advice::Normal,
        Advice::Random,
        Advice::Sequential,
        Advice::WillNeed,
        Advice::DontNeed,
        Advice::Free,
        Advice::Remove,
        Advice::DontFork,
        Advice::DoFork,
        Advice::Mergeable,
        Advice::Unmergeable,
        Advice::HugePage,
        Advice::NoHugePage,
        Advice::DontDump,
        Advice::DoDump,
        Advice::WipeOnFork,
        Advice::KeepOnFork,
        Advice::Cold,
        Advice::PageOut,
        Advice::PopulateRead,
        Advice::PopulateWrite,
        Advice::DontNeedLocked,
        Advice::Collapse,
        Advice::HwPoison,
        Advice::SoftOffline,
        Advice::GuardInstall,
        Advice::GuardRemove,
    ];

    /// The advice of a number; `None` where madvise answers EINVAL.
    pub fn from_raw(raw: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|advice| *advice as i32 == raw)
    }
}
