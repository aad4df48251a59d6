//! A program's own seccomp filter.
//!
//! Keepers are made by the program's tasks and come under its filters, and so does every call that
//! Recto lets a task make. So a filter is installed with each of its refusals made a question to the
//! tracer (`SECCOMP_RET_TRACE`), which the kernel lets pass for a call that was asked about before. A
//! number in the question says what the filter had to say; a program's task gets that.

use addr::{Access, Errno, VirtAddr};
use mm::Force;

use super::{Answer, Call, skip_with};
use crate::halt::{Halt, Next};
use crate::limits;
use crate::memory::Memory;
use crate::ready;
use crate::signals;
use crate::sys::ptrace::{self, Regs};
use crate::sys::seccomp::Doom;
use crate::thread::{OnReturn, Phase, Thread};
use crate::tree::Tree;

/// The most instructions of a filter (`BPF_MAXINSNS`).
const NR_INSTRUCTIONS_MAX: usize = 4096;
const INSTRUCTION_BYTES: usize = 8;
/// An instruction that answers with its own word.
const RETURN_WORD: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
/// One that answers with what was computed.
const RETURN_COMPUTED: u16 = (libc::BPF_RET | libc::BPF_A) as u16;

/// What filters of the tree's programs refuse with, each once: a question's number is one more than
/// its place here.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Vec<u32>);

impl Refusals {
    /// The number of a refusal; `None` when there are more than can be told apart.
    fn number(&mut self, refusal: u32) -> Option<u16> {
        let known = self.0.iter().position(|known| *known == refusal);
        let place = known.unwrap_or_else(|| {
            self.0.push(refusal);
            self.0.len() - 1
        });
        u16::try_from(place + 1).ok()
    }
}

/// The bytes of a filter while it is installed with others in their place.
#[derive(Clone, Debug)]
pub(crate) struct Borrowed {
    at: u64,
    own: Vec<u8>,
    extent: Extent,
}

/// Who comes under a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// The thread that installs it.
    Thread,
    /// All threads of its process.
    Process,
}

/// seccomp or prctl installs a filter: both have a `struct sock_fprog` in argument 2.
pub(super) fn install(tree: &mut Tree, call: &mut Call<'_>, flags: u64) -> Result<Answer, Halt> {
    if flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER != 0 {
        // As for every task that has a listener already.
        return Ok(Errno::EBUSY.into());
    }
    if !may_install(call.thread) {
        return Ok(Errno::EACCES.into());
    }
    let mut head = [0u8; 16];
    if ready::read(call.memory, call.argument(2), &mut head)? < head.len() {
        return Ok(Answer::Run);
    }
    let [low, high, ..] = head;
    let length = usize::from(u16::from_le_bytes([low, high]));
    let (words, _) = head.as_chunks::<8>();
    let at = words.get(1).map_or(0, |word| u64::from_le_bytes(*word));
    if length == 0 || length > NR_INSTRUCTIONS_MAX {
        return Ok(Answer::Run);
    }
    let mut own = vec![0u8; length * INSTRUCTION_BYTES];
    if ready::read(call.memory, at, &mut own)? < own.len() {
        return Ok(Answer::Run);
    }
    let Some(asking) = asking(&mut tree.refusals, &own) else {
        return Ok(Errno::EINVAL.into());
    };
    if !put(call.memory, at, &asking)? {
        put(call.memory, at, &own)?;
        return Ok(Errno::EINVAL.into());
    }
    let extent = match flags & libc::SECCOMP_FILTER_FLAG_TSYNC {
        0 => Extent::Thread,
        _ => Extent::Process,
    };
    call.thread.phase = Phase::InCall(OnReturn::Filtered(Borrowed { at, own, extent }));
    Ok(Answer::Go(Next::ToCallEdge))
}

/// Whether the kernel would let it: Recto may have had to say for it that it gains no rights.
fn may_install(thread: &Thread) -> bool {
    const CAP_SYS_ADMIN: u32 = 21;
    thread.no_new_privs || limits::has_capability(thread.tid, CAP_SYS_ADMIN)
}

/// The filter with its refusals made questions; `None` for one that cannot be.
fn asking(refusals: &mut Refusals, filter: &[u8]) -> Option<Vec<u8>> {
    let mut asking = filter.to_vec();
    let (instructions, _) = asking.as_chunks_mut::<INSTRUCTION_BYTES>();
    for instruction in instructions {
        let [c0, c1, _, _, k0, k1, k2, k3] = *instruction;
        let word = u32::from_le_bytes([k0, k1, k2, k3]);
        match u16::from_le_bytes([c0, c1]) {
            RETURN_COMPUTED => return None,
            RETURN_WORD if !allows(word) => {
                let question = libc::SECCOMP_RET_TRACE | u32::from(refusals.number(word)?);
                instruction[4..].copy_from_slice(&question.to_le_bytes());
            }
            _ => {}
        }
    }
    Some(asking)
}

fn allows(word: u32) -> bool {
    let action = word & libc::SECCOMP_RET_ACTION_FULL;
    action == libc::SECCOMP_RET_ALLOW || action == libc::SECCOMP_RET_LOG
}

/// Writes to the program's memory, though the program may not, and makes it ready for the kernel.
pub(super) fn put(memory: &Memory, at: u64, bytes: &[u8]) -> Result<bool, Halt> {
    let written = memory
        .mm
        .write_memory(VirtAddr::new(at), bytes, Force::Forced);
    memory.make_ready(at, at.saturating_add(bytes.len() as u64), Access::Read)?;
    Ok(written == bytes.len())
}

/// The call comes back: the program gets its bytes back, and knows of its filter.
pub(super) fn installed(
    tree: &mut Tree,
    thread: &mut Thread,
    borrowed: &Borrowed,
) -> Result<Next, Halt> {
    put(&thread.memory(), borrowed.at, &borrowed.own)?;
    if ptrace::registers(thread.tid)?.result() != 0 {
        return Ok(Next::Resume);
    }
    thread.nr_filters += 1;
    tree.shared.workshop.note_filter();
    if borrowed.extent == Extent::Process {
        for other in tree.threads.values_mut() {
            if std::rc::Rc::ptr_eq(&other.process, &thread.process) {
                other.nr_filters = thread.nr_filters;
            }
        }
    }
    Ok(Next::Resume)
}

/// What a filter of the program's had to say to the call that a thread enters; `None` when nothing.
pub(super) fn refusal(tree: &Tree, thread: &Thread) -> Result<Option<u32>, Halt> {
    if tree.refusals.0.is_empty() {
        return Ok(None);
    }
    let number = ptrace::event_message(thread.tid)? as usize;
    let place = number.checked_sub(1);
    Ok(place.and_then(|place| tree.refusals.0.get(place).copied()))
}

/// Does what the filter said.
pub(super) fn refuse(
    tree: &Tree,
    thread: &mut Thread,
    regs: Regs,
    refusal: u32,
) -> Result<Next, Halt> {
    const ERRNO_MAX: u32 = 4095;
    let data = refusal & libc::SECCOMP_RET_DATA;
    let doom = match refusal & libc::SECCOMP_RET_ACTION_FULL {
        libc::SECCOMP_RET_ERRNO => {
            return skip_with(thread, regs, -i64::from(data.min(ERRNO_MAX)));
        }
        // Nobody that the program knows of traces it or listens.
        libc::SECCOMP_RET_TRACE | libc::SECCOMP_RET_USER_NOTIF => {
            return skip_with(thread, regs, Errno::ENOSYS.as_return());
        }
        libc::SECCOMP_RET_TRAP => {
            thread.trapped = Some((regs, data));
            Doom::Trap
        }
        libc::SECCOMP_RET_KILL_THREAD => Doom::KillThread,
        _ => Doom::KillProcess,
    };
    if doom != Doom::Trap {
        signals::without_core(thread, libc::SIGSYS);
    }
    let mut doomed = regs;
    doomed.set_call(
        crate::sys::seccomp::INSTALL_CALL,
        tree.shared.workshop.dooming(doom),
    );
    ptrace::set_registers(thread.tid, &doomed)?;
    Ok(Next::Resume)
}

/// The signal of a trap arrives: it tells of the program's own call.
pub(crate) fn trap(thread: &mut Thread) -> Result<(), Halt> {
    if let Some((regs, data)) = thread.trapped.take() {
        let info = ptrace::signal_info(thread.tid)?;
        ptrace::set_signal_info(thread.tid, &info.of_call(regs.call_number() as i32, data))?;
        let mut back = regs;
        back.set_result(regs.call_number());
        ptrace::set_registers(thread.tid, &back)?;
    }
    Ok(())
}
