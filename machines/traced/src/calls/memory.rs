//! The memory calls: each becomes a verb of the program's `Mm`.

use std::fs::File;
use std::sync::Arc;

use addr::{Errno, PAGE_SIZE, PgOff, Prot, VirtAddr, VirtRange};
use mm::{
    Advice, LockAllFlags, LockFlags, MapFlags, MapRequest, MapTarget, ObjectTarget, RemapFlags,
    RemapRequest, SyncFlags,
};

use super::table::Verb;
use super::{Answer, Call, stops};
use crate::files::{Files, Mappable, Opener, Unmappable};
use crate::halt::Halt;
use crate::memory::TASK_SIZE;
use crate::pool::Work;
use crate::ready;
use crate::special::Fate;
use crate::tree::Tree;
use crate::unread::{self, Unread};

/// Performs a memory call. What it took away may hold the last of a file that the program could
/// write: it goes before the program goes on.
pub(crate) fn see(tree: &mut Tree, call: &mut Call<'_>, verb: Verb) -> Result<Answer, Halt> {
    wait_for_files(tree, call, verb)?;
    let answer = perform(tree, call, verb);
    let takes_away = matches!(verb, Verb::Munmap | Verb::Mmap | Verb::Mremap);
    if takes_away && call.memory.space.take_has_left_writer() {
        sync::barrier();
    }
    if let Ok(Answer::Return(value)) = answer {
        follow(call, verb, value);
        let (start, end) = may_grant(call, verb, value as u64);
        call.memory.space.disturb(start, end);
        call.memory.space.open(start, end);
        if verb == Verb::Mprotect && prot_of(call.argument(2)).contains(Prot::WRITE) {
            call.memory.space.open_for_writing(start, end);
        }
        if value >= 0 && stops::are_needed(call, verb, value as u64) {
            return stops::begin_on_return(call, value);
        }
    }
    answer
}

/// What became of the vDSO family by a memory call that has returned `value`.
fn follow(call: &Call<'_>, verb: Verb, value: i64) {
    let Ok(value) = u64::try_from(value) else {
        return;
    };
    let space = &call.memory.space;
    let span = |start: u64, bytes: u64| {
        let bytes = bytes.checked_next_multiple_of(PAGE_SIZE).unwrap_or(bytes);
        (start, start.saturating_add(bytes))
    };
    let (start, bytes) = (call.argument(0), call.argument(1));
    match verb {
        Verb::Munmap => space.follow(span(start, bytes), Fate::Gone),
        Verb::Mmap => space.follow(span(value, bytes), Fate::Gone),
        Verb::Mprotect => {
            let prot = prot_of(call.argument(2)) & (Prot::READ | Prot::WRITE | Prot::EXEC);
            space.follow(span(start, bytes), Fate::Protected(prot));
        }
        Verb::Mremap if value != start => {
            space.follow(span(value, call.argument(2)), Fate::Gone);
            space.follow(span(start, bytes), Fate::MovedTo(value));
        }
        _ => {}
    }
}

/// Where a memory call may have allowed what was not allowed before, to calls of other threads too.
fn may_grant(call: &Call<'_>, verb: Verb, value: u64) -> (u64, u64) {
    let start = match verb {
        Verb::Mmap | Verb::Mremap => value,
        Verb::Mprotect | Verb::Madvise | Verb::RemapFilePages => call.argument(0),
        Verb::Brk => return (0, value),
        _ => return (0, 0),
    };
    let bytes = match verb {
        Verb::Mremap => call.argument(2),
        _ => call.argument(1),
    };
    (start, start.saturating_add(bytes))
}

fn perform(tree: &mut Tree, call: &mut Call<'_>, verb: Verb) -> Result<Answer, Halt> {
    if verb == Verb::Mincore {
        return mincore(call);
    }
    let mm = &call.memory.mm;
    let (addr, len) = (VirtAddr::new(call.argument(0)), call.argument(1));
    let flags = call.argument(2) as u32;
    let result = match verb {
        Verb::Mmap => return Ok(done(mmap(tree, call).map(|at| at.as_u64()))),
        Verb::Mremap => return Ok(done(mremap(call).map(|at| at.as_u64()))),
        Verb::Brk => return Ok(Answer::Return(mm.brk(addr).as_u64() as i64)),
        Verb::Munmap => mm.munmap(addr, len),
        Verb::Mprotect => mprotect(call),
        Verb::Madvise => match Advice::from_raw(call.int(2)) {
            Some(advice) => mm.madvise(addr, len, advice),
            None => Err(Errno::EINVAL),
        },
        Verb::Msync => msync(call)?,
        Verb::Mlock => mm.mlock(addr, len),
        Verb::Mlock2 => mm.mlock2(addr, len, LockFlags::from_bits_retain(flags)),
        Verb::Munlock => mm.munlock(addr, len),
        Verb::Mlockall => mm.mlockall(LockAllFlags::from_bits_retain(call.argument(0) as u32)),
        Verb::Munlockall => {
            mm.munlockall();
            Ok(())
        }
        Verb::PkeyAlloc => mm.pkey_alloc(call.argument(0), len).map(|_| ()),
        Verb::PkeyFree => mm.pkey_free(call.int(0)),
        Verb::RemapFilePages => remap_file_pages(call),
        Verb::Mseal => mm.mseal(addr, len, call.argument(2)),
        _ => Err(Errno::ENOSYS),
    };
    Ok(done(result.map(|()| 0)))
}

fn done(result: Result<u64, Errno>) -> Answer {
    match result {
        Ok(value) => Answer::Return(value as i64),
        Err(errno) => errno.into(),
    }
}

/// msync waits for the file: a worker performs it.
fn msync(call: &mut Call<'_>) -> Result<Result<(), Errno>, Halt> {
    if let Some(outcome) = call.thread.worked.take() {
        return Ok(outcome);
    }
    let (addr, len) = (VirtAddr::new(call.argument(0)), call.argument(1));
    let flags = SyncFlags::from_bits_retain(call.argument(2) as u32);
    let mm = Arc::clone(call.memory.shared());
    if !flags.contains(SyncFlags::SYNC) {
        return Ok(mm.msync(addr, len, flags));
    }
    Err(Halt::Work(Work::new(move || mm.msync(addr, len, flags))))
}

/// A call that copies pages of files finds them in the host's memory: what is not there yet, a worker
/// reads first.
fn wait_for_files(tree: &mut Tree, call: &mut Call<'_>, verb: Verb) -> Result<(), Halt> {
    if call.thread.worked.is_some() && verb != Verb::Msync {
        call.thread.worked = None;
        return Ok(());
    }
    let range = match verb {
        Verb::Mlock | Verb::Mlock2 => range(call),
        Verb::Mlockall => VirtRange::new(VirtAddr::ZERO, VirtAddr::new(TASK_SIZE)),
        Verb::Madvise if Advice::from_raw(call.int(2)) == Some(Advice::PopulateWrite) => {
            range(call)
        }
        _ => None,
    };
    let unread: Vec<Unread> = match (verb, range) {
        (Verb::Mmap, _) => to_populate(&mut tree.files, call).into_iter().collect(),
        (_, Some(range)) => unread::in_range(&tree.files, &call.memory.mm, range),
        _ => return Ok(()),
    };
    if unread.is_empty() {
        return Ok(());
    }
    Err(Halt::Work(Work::new(move || {
        unread.iter().for_each(Unread::read);
        Ok(())
    })))
}

/// The whole pages that arguments 0 and 1 speak of.
fn range(call: &Call<'_>) -> Option<VirtRange> {
    let start = VirtAddr::new(call.argument(0));
    let end = start.checked_add(call.argument(1))?.align_up()?;
    VirtRange::new(start.align_down(), end.min(VirtAddr::new(TASK_SIZE)))
}

/// What mmap would copy of a file at once.
fn to_populate(files: &mut Files, call: &Call<'_>) -> Option<Unread> {
    let flags = MapFlags::from_bits_retain(call.argument(3) as u32);
    let populates = flags.contains(MapFlags::POPULATE | MapFlags::PRIVATE)
        && !flags.intersects(MapFlags::ANONYMOUS | MapFlags::NONBLOCK)
        && prot_of(call.argument(2)).contains(Prot::WRITE);
    if !populates {
        return None;
    }
    let file = files.take(call.thread.tid, call.int(4)).ok()?;
    Unread::of(File::from(file), call.argument(5), call.argument(1))
}

/// The rights a program asks for. Bits that mean nothing are refused by the verbs.
fn prot_of(word: u64) -> Prot {
    Prot::from_bits_retain(word as u32)
}

fn mmap(tree: &mut Tree, call: &Call<'_>) -> Result<VirtAddr, Errno> {
    let offset = call.argument(5);
    if !offset.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    let flags = MapFlags::from_bits_retain(call.argument(3) as u32);
    let target = if flags.contains(MapFlags::ANONYMOUS) {
        if flags.contains(MapFlags::HUGETLB) {
            return Err(Errno::EINVAL);
        }
        MapTarget::Anonymous
    } else {
        target_of(tree, call)?
    };
    let pgoff = match &target {
        MapTarget::Anonymous => PgOff::ZERO,
        MapTarget::Object(_) => PgOff::containing(offset),
    };
    let request = MapRequest {
        addr: VirtAddr::new(call.argument(0)),
        len: call.argument(1),
        prot: prot_of(call.argument(2)),
        flags,
        target,
        pgoff,
    };
    call.memory.mm.mmap(&request)
}

/// What the descriptor in argument 4 is to a mapping.
fn target_of(tree: &mut Tree, call: &Call<'_>) -> Result<MapTarget, Errno> {
    let file = tree.files.take(call.thread.tid, call.int(4));
    let file = file.map_err(|_| Errno::EBADF)?;
    match tree.files.mappable(file, Opener::Program) {
        Ok(file) => Ok(MapTarget::Object(object_of(&file))),
        Err(Unmappable::Other(target)) => Ok(MapTarget::Object(*target)),
        Err(Unmappable::Refused(errno)) => Err(errno),
    }
}

fn object_of(file: &Mappable) -> ObjectTarget {
    file.target()
}

fn mprotect(call: &Call<'_>) -> Result<(), Errno> {
    let mm = &call.memory.mm;
    let (addr, len) = (VirtAddr::new(call.argument(0)), call.argument(1));
    let prot = prot_of(call.argument(2));
    match call.regs.call_number() {
        libc::SYS_pkey_mprotect => mm.pkey_mprotect(addr, len, prot, call.int(3)),
        _ => mm.mprotect(addr, len, prot),
    }
}

fn mremap(call: &Call<'_>) -> Result<VirtAddr, Errno> {
    let flags = RemapFlags::from_bits_retain(call.argument(3) as u32);
    call.memory.mm.mremap(&RemapRequest {
        addr: VirtAddr::new(call.argument(0)),
        old_len: call.argument(1),
        new_len: call.argument(2),
        flags,
        new_addr: VirtAddr::new(call.argument(4)),
    })
}

fn remap_file_pages(call: &Call<'_>) -> Result<(), Errno> {
    let (addr, len) = (VirtAddr::new(call.argument(0)), call.argument(1));
    let flags = MapFlags::from_bits_retain(call.argument(4) as u32);
    let what = (PgOff::new(call.argument(3)), flags);
    call.memory
        .mm
        .remap_file_pages(addr, len, prot_of(call.argument(2)), what)
}

/// The states are handed over piece by piece with no lock held, so they go straight to the program.
fn mincore(call: &mut Call<'_>) -> Result<Answer, Halt> {
    let (addr, len, mut out) = (
        VirtAddr::new(call.argument(0)),
        call.argument(1),
        call.argument(2),
    );
    let mut halt = None;
    let result = call.memory.mm.mincore(addr, len, |states| {
        match ready::write(call.memory, out, states) {
            Ok(true) => {
                out = out.saturating_add(states.len() as u64);
                Ok(())
            }
            Ok(false) => Err(Errno::EFAULT),
            Err(why) => {
                halt = Some(why);
                Err(Errno::EFAULT)
            }
        }
    });
    match halt {
        Some(why) => Err(why),
        None => Ok(done(result.map(|()| 0))),
    }
}
