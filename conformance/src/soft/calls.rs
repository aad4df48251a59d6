//! System calls: registers in, a value or a negative errno out.

use recto::mm::{Resource, Rlimit};
use recto::{
    Advice, Errno, LockAllFlags, LockFlags, MapFlags, MapRequest, MapTarget, PgOff, Prot,
    RemapFlags, RemapRequest, SyncFlags, VirtAddr,
};

use super::{Person, run};
use crate::subject::{Call, Operand, Returned, Sys};

type Answer = Result<u64, Errno>;

/// Makes the call.
pub(super) fn perform(person: &mut Person, call: &Call) -> Returned {
    let mut output = call.input.clone();
    output.resize(call.output.max(call.input.len()), 0);
    let answer = dispatch(person, call, &mut output);
    output.truncate(call.output);
    let value = match answer {
        Ok(value) => value.cast_signed(),
        Err(errno) => errno.as_return(),
    };
    Returned { value, output }
}

fn dispatch(person: &mut Person, call: &Call, buffer: &mut [u8]) -> Answer {
    let word = |place: usize| match call.operands[place] {
        Operand::Value(value) => value,
        Operand::Buffer => 0,
    };
    let addr = |place: usize| VirtAddr::new(word(place));
    let low = |place: usize| word(place) as u32;
    let mm = person.process.mm();
    let done = |result: Result<(), Errno>| result.map(|()| 0);
    match call.sys {
        Sys::Mmap => mmap(
            person,
            [word(0), word(1), word(2), word(3), word(4), word(5)],
        ),
        Sys::Munmap => done(mm.munmap(addr(0), word(1))),
        Sys::Mprotect => done(mm.mprotect(addr(0), word(1), prot(word(2)))),
        Sys::PkeyMprotect => {
            done(mm.pkey_mprotect(addr(0), word(1), prot(word(2)), low(3).cast_signed()))
        }
        Sys::PkeyAlloc => mm
            .pkey_alloc(word(0), word(1))
            .map(|key| u64::from(key.unsigned_abs())),
        Sys::PkeyFree => done(mm.pkey_free(low(0).cast_signed())),
        Sys::Mremap => mm.mremap(&remap(call)).map(VirtAddr::as_u64),
        Sys::Brk => Ok(mm.brk(addr(0)).as_u64()),
        Sys::Madvise => {
            let advice = Advice::from_raw(low(2).cast_signed()).ok_or(Errno::EINVAL)?;
            done(mm.madvise(addr(0), word(1), advice))
        }
        Sys::Msync => done(mm.msync(addr(0), word(1), SyncFlags::from_bits_retain(low(2)))),
        Sys::Mincore => mincore(person, call, buffer),
        Sys::Mlock => done(mm.mlock(addr(0), word(1))),
        Sys::Mlock2 => done(mm.mlock2(addr(0), word(1), LockFlags::from_bits_retain(low(2)))),
        Sys::Munlock => done(mm.munlock(addr(0), word(1))),
        Sys::Mlockall => done(mm.mlockall(LockAllFlags::from_bits_retain(low(0)))),
        Sys::Munlockall => {
            mm.munlockall();
            Ok(0)
        }
        Sys::Open => {
            let path = String::from_utf8_lossy(call.input.strip_suffix(&[0]).unwrap_or_default());
            person.descriptors.open(&path, word(1))
        }
        Sys::Close => done(person.descriptors.close(word(0))),
        Sys::Ftruncate => done(person.descriptors.get(word(0))?.truncate(word(1))),
        Sys::Pwrite => write(person, call),
        Sys::Pread => read(person, call, buffer),
        Sys::Setrlimit => set_limit(person, word(0), buffer),
        Sys::Mseal => done(mm.mseal(addr(0), word(1), word(2))),
        Sys::RemapFilePages => {
            let where_and_how = (PgOff::new(word(3)), MapFlags::from_bits_retain(low(4)));
            done(mm.remap_file_pages(addr(0), word(1), prot(word(2)), where_and_how))
        }
        Sys::MemfdCreate => {
            let name = String::from_utf8_lossy(call.input.strip_suffix(&[0]).unwrap_or_default());
            person.descriptors.memory(&name)
        }
        Sys::Fallocate => Err(Errno::ENOSYS),
    }
}

fn prot(word: u64) -> Prot {
    Prot::from_bits_retain(word as u32)
}

/// `ksys_mmap_pgoff`: what is looked at before the memory manager is asked.
fn mmap(person: &Person, words: [u64; 6]) -> Answer {
    let [addr, len, rights, flags, descriptor, offset] = words;
    if offset % 4096 != 0 {
        return Err(Errno::EINVAL);
    }
    let flags = MapFlags::from_bits_retain(flags as u32);
    let mut target = MapTarget::Anonymous;
    if !flags.contains(MapFlags::ANONYMOUS) {
        let opened = person.descriptors.get(descriptor)?;
        if flags.contains(MapFlags::HUGETLB) {
            return Err(Errno::EINVAL);
        }
        target = MapTarget::Object(opened.target());
    }
    let request = MapRequest {
        addr: VirtAddr::new(addr),
        len,
        prot: prot(rights),
        flags,
        target,
        pgoff: PgOff::containing(offset),
    };
    person.process.mm().mmap(&request).map(VirtAddr::as_u64)
}

fn remap(call: &Call) -> RemapRequest {
    let word = |place: usize| match call.operands[place] {
        Operand::Value(value) => value,
        Operand::Buffer => 0,
    };
    RemapRequest {
        addr: VirtAddr::new(word(0)),
        old_len: word(1),
        new_len: word(2),
        flags: RemapFlags::from_bits_retain(word(3) as u32),
        new_addr: VirtAddr::new(word(4)),
    }
}

fn mincore(person: &Person, call: &Call, buffer: &mut [u8]) -> Answer {
    let [addr, len] = [0, 1].map(|place| match call.operands[place] {
        Operand::Value(value) => value,
        Operand::Buffer => 0,
    });
    let mut done = 0;
    let report = |piece: &[u8]| {
        let start = done;
        done += piece.len();
        match call.operands[2] {
            Operand::Buffer => {
                let room = buffer.get_mut(start..done).ok_or(Errno::EFAULT)?;
                room.copy_from_slice(piece);
                Ok(())
            }
            Operand::Value(vector) => {
                let at = vector.wrapping_add(start as u64);
                run::store(&person.process, at, piece).map_err(|_| Errno::EFAULT)
            }
        }
    };
    person
        .process
        .mm()
        .mincore(VirtAddr::new(addr), len, report)
        .map(|()| 0)
}

/// pwrite(2), from the buffer or from the process's memory as far as that can be read.
fn write(person: &Person, call: &Call) -> Answer {
    let Operand::Value(descriptor) = call.operands[0] else {
        return Err(Errno::EBADF);
    };
    let opened = person.descriptors.get(descriptor)?;
    let (Operand::Value(len), Operand::Value(offset)) = (call.operands[2], call.operands[3]) else {
        return Err(Errno::EINVAL);
    };
    let mut bytes = call.input.clone();
    if let Operand::Value(addr) = call.operands[1] {
        bytes = vec![0; usize::try_from(len).map_err(|_| Errno::EINVAL)?];
        let mut done = 0;
        for (at, part) in run::pieces(addr, bytes.len()) {
            if person.process.load(at, &mut bytes[part.clone()]).is_err() {
                break;
            }
            done = part.end;
        }
        bytes.truncate(done);
        if done == 0 && len > 0 {
            return Err(Errno::EFAULT);
        }
    }
    opened.write(&bytes, offset).map(|count| count as u64)
}

/// pread(2), into the buffer or into the process's memory as far as that can be written.
fn read(person: &Person, call: &Call, buffer: &mut [u8]) -> Answer {
    let Operand::Value(descriptor) = call.operands[0] else {
        return Err(Errno::EBADF);
    };
    let opened = person.descriptors.get(descriptor)?;
    let (Operand::Value(len), Operand::Value(offset)) = (call.operands[2], call.operands[3]) else {
        return Err(Errno::EINVAL);
    };
    let Operand::Value(addr) = call.operands[1] else {
        return opened.read(buffer, offset).map(|count| count as u64);
    };
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| Errno::EINVAL)?];
    let count = opened.read(&mut bytes, offset)?;
    let mut done = 0;
    for (at, part) in run::pieces(addr, count) {
        if person.process.store(at, &bytes[part.clone()]).is_err() {
            break;
        }
        done = part.end;
    }
    if done == 0 && count > 0 {
        Err(Errno::EFAULT)
    } else {
        Ok(done as u64)
    }
}

/// setrlimit(2) of the soft limit; the hard one stays open.
fn set_limit(person: &Person, number: u64, buffer: &[u8]) -> Answer {
    let resource = match number {
        2 => Resource::Data,
        3 => Resource::Stack,
        8 => Resource::Memlock,
        9 => Resource::AddressSpace,
        _ => return Err(Errno::EINVAL),
    };
    let soft = buffer
        .first_chunk()
        .map(|bytes| u64::from_le_bytes(*bytes))
        .ok_or(Errno::EFAULT)?;
    person.process.mm().limits().set(
        resource,
        Rlimit {
            soft,
            hard: u64::MAX,
        },
    );
    Ok(0)
}
