//! Taking over the image that the host kernel has just built for a program.
//!
//! The host parses the file, finds the interpreter, builds arguments and auxiliary vector. Before
//! the first instruction runs, the same areas are made at the same addresses in a new `Mm`, what the
//! kernel wrote is copied, and the host's areas are unmapped: from then on the host has only what
//! Recto fills.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use addr::{PAGE_SIZE, PgOff, Prot, VirtAddr};
use mm::{
    Commit, FaultPolicy, Force, Image, Limits, LowRight, MapFlags, MapRequest, MapTarget, Mm,
    MmConfig,
};
use object::InodeId;
use object::device::HostFile;

use crate::files::{Files, Mappable, Opener, inode_of};
use crate::host_maps::{self, HostArea};
use crate::keeper::{Keeper, Workshop};
use crate::memory::{Memory, TASK_SIZE};
use crate::orders::Order;
use crate::runs::{Backing, Run, Runs};
use crate::space::{Shared, Space, stub_run};
use crate::special::Special;
use crate::sys::ptrace::{self, Regs};
use crate::sys::userfault::{self, Userfault};
use crate::sys::wait::Stop;
use crate::sys::{Gone, HostError, Tid, descriptor, memory as host_memory};
use crate::watch::{Watch, Watcher};
use crate::{layout, limits, steered, stub};

/// Neighbours filled by one fault.
const FILE_AROUND_PAGES: u64 = 128;
const ANON_AROUND_PAGES: u64 = 16;

/// What every memory of a tree is made of.
#[derive(Clone, Debug)]
pub(crate) struct Materials {
    /// Frames.
    pub(crate) arena: Arc<frame::Arena>,
    /// Promises.
    pub(crate) commit: Arc<Commit>,
}

/// Why an image cannot be taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unadoptable {
    /// The process died meanwhile.
    Gone,
    /// It is a 32-bit program.
    ThirtyTwoBit,
    /// The arena has no room for it.
    OutOfMemory,
    /// Something of it could not be rebuilt: what.
    Strange(&'static str),
}

impl From<Gone> for Unadoptable {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

/// Takes over the image of a task that is stopped at the event of an exec.
pub(crate) fn adopt(
    shared: &Arc<Shared>,
    materials: &Materials,
    files: &mut Files,
    tid: Tid,
) -> Result<Memory, Unadoptable> {
    ptrace::resume_to_call_edge(tid, 0)?;
    steered::expect(tid, Stop::CallEdge)?;
    let regs = ptrace::registers(tid)?;
    if !regs.is_64_bit() {
        return Err(Unadoptable::ThirtyTwoBit);
    }
    let areas = host_maps::areas(tid);
    if areas.is_empty() {
        return Err(Unadoptable::Gone);
    }
    let space = Space::new(shared);
    let mm = Mm::create(config(shared, materials, &space, (tid, &areas)))
        .map_err(|_| Unadoptable::OutOfMemory)?;
    let mut image = ImageFiles {
        tid,
        files,
        by_inode: HashMap::new(),
    };
    for area in &areas {
        map_area(&mm, &mut image, area)?;
    }
    limits::refresh_rights(mm.limits(), tid);
    *mm.image() = image_of(tid, &regs);
    copy_written(&mm, &mut image, &areas, &regs)?;
    let own: Vec<&HostArea> = areas.iter().filter(|area| area.is_vdso_family()).collect();
    let stub = stub_address(&areas).ok_or(Unadoptable::Strange("no room for the stub page"))?;
    settle(shared, &space, tid, (&own, stub))?;
    let memory = Memory::new(mm, space);
    // The program is about to read its stack, and /proc/PID/cmdline wants the host to have it.
    let env_end = memory.mm.image().env_end.as_u64();
    let mut spans = vec![(regs.stack(), env_end.max(regs.stack() + 1))];
    if memory.space.is_watched()
        && let Ok(program) = std::fs::metadata(format!("/proc/{tid}/exe"))
    {
        spans.extend(memory.begin_habits(inode_of(&program)));
    }
    memory.fill_all(spans);
    Ok(memory)
}

fn config(
    shared: &Arc<Shared>,
    materials: &Materials,
    space: &Arc<Space>,
    (tid, areas): (Tid, &[HostArea]),
) -> MmConfig {
    let limits: Limits = limits::of(tid);
    // The image may have a page at 0: whether the program may map one itself is seen afterwards.
    limits.set_low_right(LowRight::Any);
    MmConfig {
        layout: layout::of(tid, areas, &limits),
        limits,
        commit: Arc::clone(&materials.commit),
        policy: FaultPolicy::new(FILE_AROUND_PAGES, ANON_AROUND_PAGES),
        sysctl: limits::sysctls(),
        devices: Arc::clone(&shared.devices),
        ..MmConfig::new(
            Arc::clone(&materials.arena),
            Arc::clone(space) as Arc<dyn machine::Mmu>,
        )
    }
}

/// The files of an image, each opened once.
struct ImageFiles<'a> {
    tid: Tid,
    files: &'a mut Files,
    by_inode: HashMap<InodeId, Mappable>,
}

impl ImageFiles<'_> {
    fn get(&mut self, area: &HostArea) -> Result<&Mappable, Unadoptable> {
        const LOST: Unadoptable = Unadoptable::Strange("a file of the image cannot be opened");
        let (major, minor) = area.device;
        let inode = InodeId {
            major,
            minor,
            ino: area.ino,
        };
        if !self.by_inode.contains_key(&inode) {
            let mappable = match self.files.opened_before(inode, &area.name) {
                Some(mappable) => mappable,
                None => {
                    let file = open_image_file(self.tid, area).ok_or(LOST)?;
                    let mappable = self.files.mappable(file.into(), Opener::Recto);
                    mappable.map_err(|_| LOST)?
                }
            };
            self.by_inode.insert(inode, mappable);
        }
        self.by_inode.get(&inode).ok_or(LOST)
    }
}

/// The program itself, or its interpreter: by whichever name still leads to that file. Some
/// filesystems are one device in the list of areas and another when asked about a file: there the
/// inode number has to do.
fn open_image_file(tid: Tid, area: &HostArea) -> Option<File> {
    let names = [
        format!("/proc/{tid}/exe"),
        format!("/proc/{tid}/root{}", area.name),
        format!("/proc/{tid}/map_files/{:x}-{:x}", area.start, area.end),
    ];
    let mut alike = None;
    for name in names {
        let Ok(file) = descriptor::open_to_read(&name) else {
            continue;
        };
        let file = File::from(file);
        let Ok(meta) = file.metadata() else { continue };
        let device = (libc::major(meta.dev()), libc::minor(meta.dev()));
        if meta.ino() != area.ino {
            continue;
        }
        if device == area.device {
            return Some(file);
        }
        alike.get_or_insert(file);
    }
    alike
}

fn map_area(mm: &Mm, files: &mut ImageFiles<'_>, area: &HostArea) -> Result<(), Unadoptable> {
    let len = area.end - area.start;
    let at = VirtAddr::new(area.start);
    if area.start >= TASK_SIZE {
        return Ok(());
    }
    let request = if area.is_vdso_family() {
        let target = Special::named(&area.name);
        MapRequest::object(target, len, area.prot, MapFlags::PRIVATE)
    } else if area.ino != 0 {
        let target = files.get(area)?.target();
        MapRequest::object(target, len, area.prot, MapFlags::PRIVATE)
            .from_page(PgOff::containing(area.offset))
    } else {
        let stack = if area.name == "[stack]" {
            MapFlags::GROWSDOWN | MapFlags::STACK
        } else {
            MapFlags::empty()
        };
        debug_assert!(matches!(
            MapRequest::anonymous(len, area.prot).target,
            MapTarget::Anonymous
        ));
        MapRequest::anonymous(len, area.prot).with(stack)
    };
    mm.mmap(&request.fixed_at(at))
        .map(drop)
        .map_err(|errno| match errno {
            addr::Errno::ENOMEM => Unadoptable::OutOfMemory,
            _ => Unadoptable::Strange("an area of the image cannot be made"),
        })
}

fn image_of(tid: Tid, regs: &Regs) -> Image {
    let ends = host_maps::ends(tid);
    let start_stack = if ends.start_stack == 0 {
        regs.stack()
    } else {
        ends.start_stack
    };
    let exe = std::fs::read_link(format!("/proc/{tid}/exe")).ok();
    Image {
        start_code: VirtAddr::new(ends.start_code),
        end_code: VirtAddr::new(ends.end_code),
        start_data: VirtAddr::new(ends.start_data),
        end_data: VirtAddr::new(ends.end_data),
        start_brk: VirtAddr::new(ends.start_brk),
        brk: VirtAddr::new(ends.start_brk),
        start_stack: VirtAddr::new(start_stack),
        arg_start: VirtAddr::new(ends.arg_start),
        arg_end: VirtAddr::new(ends.arg_end),
        env_start: VirtAddr::new(ends.env_start),
        env_end: VirtAddr::new(ends.env_end),
        auxv: host_maps::auxv(tid),
        exe_file: exe.map(|path| Arc::from(path.to_string_lossy())),
    }
}

/// Copies what the kernel wrote: the stack from the stack pointer up, and the zeroes between the
/// end of a file's data and the end of its page.
fn copy_written(
    mm: &Mm,
    files: &mut ImageFiles<'_>,
    areas: &[HostArea],
    regs: &Regs,
) -> Result<(), Unadoptable> {
    for area in areas {
        if area.name == "[stack]" {
            let from = regs.stack().clamp(area.start, area.end);
            copy(mm, files.tid, from, area.end)?;
        } else if area.ino != 0 && area.prot.contains(Prot::WRITE) {
            let last = area.end - PAGE_SIZE;
            let offset = area.offset + (last - area.start);
            let mut in_file = [0u8; PAGE_SIZE as usize];
            let mut in_memory = [0u8; PAGE_SIZE as usize];
            let _ = files.get(area)?.open().read_at(offset, &mut in_file);
            let got = host_memory::read(files.tid, last, &mut in_memory);
            if got == in_memory.len() && in_file != in_memory {
                put(mm, last, &in_memory)?;
            }
        }
    }
    Ok(())
}

fn copy(mm: &Mm, tid: Tid, start: u64, end: u64) -> Result<(), Unadoptable> {
    let mut bytes = vec![0u8; (end - start) as usize];
    if host_memory::read(tid, start, &mut bytes) != bytes.len() {
        return Err(Unadoptable::Gone);
    }
    put(mm, start, &bytes)
}

fn put(mm: &Mm, start: u64, bytes: &[u8]) -> Result<(), Unadoptable> {
    let written = mm.write_memory(VirtAddr::new(start), bytes, Force::Forced);
    if written == bytes.len() {
        Ok(())
    } else {
        Err(Unadoptable::OutOfMemory)
    }
}

/// A page where nothing of the image is and no program puts anything of its own accord.
fn stub_address(areas: &[HostArea]) -> Option<u64> {
    (0..64)
        .map(|page| stub::PREFERRED + page * stub::BYTES)
        .find(|at| {
            areas
                .iter()
                .all(|area| at + stub::BYTES <= area.start || *at >= area.end)
        })
}

/// A `syscall` instruction of the vDSO.
pub(crate) fn call_in_vdso<'a>(
    tid: Tid,
    mut areas: impl Iterator<Item = &'a HostArea>,
) -> Option<u64> {
    let vdso = areas.find(|area| area.name == "[vdso]")?;
    let mut code = vec![0u8; (vdso.end - vdso.start) as usize];
    let got = host_memory::read(tid, vdso.start, &mut code);
    let mut pairs = code.get(..got)?.windows(2);
    let syscall = pairs.position(|two| two == [0x0f, 5])?;
    Some(vdso.start + syscall as u64)
}

/// Makes the keeper and lets it unmap everything but the host's own.
fn settle(
    shared: &Arc<Shared>,
    space: &Arc<Space>,
    tid: Tid,
    (own, stub): (&[&HostArea], u64),
) -> Result<(), Unadoptable> {
    const NO_CALL: Unadoptable = Unadoptable::Strange("the vDSO makes no system call");
    let instruction = call_in_vdso(tid, own.iter().copied()).ok_or(NO_CALL)?;
    let mut keeper = Keeper::make_with_stub(&shared.workshop, tid, instruction, stub)?;
    let mut runs = Runs::default();
    for area in own {
        let (start, end, prot) = (area.start, area.end, area.prot);
        runs.insert(Run {
            start,
            end,
            prot,
            backing: Backing::Host,
        });
    }
    runs.insert(stub_run(stub));
    let Some(watcher) = &shared.watcher else {
        let gaps = runs.gaps(0, TASK_SIZE).into_iter();
        let orders: Vec<Order> = gaps.map(|(start, end)| Order::munmap(start, end)).collect();
        // The host has sealed a page at 0, if it has put one there.
        let _unexpected = keeper.all(&orders)?;
        space.begin(keeper, runs, stub);
        return Ok(());
    };
    let watch = watch(&shared.workshop, watcher, &mut keeper)?;
    space.begin(keeper, runs, stub);
    let begun = space.begin_watch(watcher, watch);
    begun.map_err(|_| Unadoptable::Strange("its accesses cannot be waited for"))
}

/// Lets the keeper make the descriptor that tells of accesses, and lift for itself the limits that
/// are the program's.
fn watch(
    workshop: &Workshop,
    watcher: &Watcher,
    keeper: &mut Keeper,
) -> Result<Arc<Watch>, Unadoptable> {
    const REFUSED: Unadoptable =
        Unadoptable::Strange("userfaultfd is refused (--faults signals does without)");
    let none = libc::RLIM_INFINITY;
    for resource in [libc::RLIMIT_AS, libc::RLIMIT_DATA] {
        let own = host_memory::limit(keeper.tid(), resource);
        if own.is_some_and(|own| own != (none, none)) {
            host_memory::set_limit(keeper.tid(), resource, (none, none));
        }
    }
    let number = new_userfault(workshop, watcher, keeper)?.map_err(|_| REFUSED)?;
    let task = descriptor::open_task(keeper.tid()).map_err(|_| REFUSED)?;
    let taken = descriptor::take(task.as_fd(), number).map_err(|_| REFUSED)?;
    let begun = Userfault::begin(taken).map_err(|_| REFUSED)?;
    Ok(Watch::new(begun, watcher.token()))
}

/// The number of a new descriptor, in the keeper's table: made by the call, or, where the program has
/// not the right to that, of Recto's device.
fn new_userfault(
    workshop: &Workshop,
    watcher: &Watcher,
    keeper: &mut Keeper,
) -> Result<Result<i32, HostError>, Gone> {
    let flags = userfault::FLAGS as u64;
    let answered = |answer: i64| {
        i32::try_from(answer)
            .ok()
            .filter(|number| *number >= 0)
            .ok_or(HostError::new(answer.unsigned_abs() as i32))
    };
    let by_call = keeper.call(libc::SYS_userfaultfd, [flags, 0, 0, 0, 0, 0])?;
    let (Err(error), Some(device)) = (answered(by_call), watcher.device()) else {
        return Ok(answered(by_call));
    };
    let device = keeper.install(workshop, device)?;
    if device < 0 {
        return Ok(Err(error));
    }
    let new = u64::from(userfault::NEW);
    let by_device = keeper.call(libc::SYS_ioctl, [device as u64, new, flags, 0, 0, 0])?;
    let _ = keeper.all(&[Order::close(device as u32)])?;
    Ok(answered(by_device))
}
