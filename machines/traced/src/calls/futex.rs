//! Futexes: their words are made writable first, so that the frame belongs to this space alone
//! while anybody waits on it.

use addr::{Access, Errno};

use super::operand::Flow;
use super::{Answer, Call};
use crate::halt::Halt;
use crate::memory::Memory;
use crate::ready;
use crate::thread::Thread;

const WORD: u64 = 4;
const TIME: u64 = 16;

/// Makes ready what futex names.
pub(crate) fn see(call: &mut Call<'_>) -> Result<Answer, Halt> {
    let operation = call.int(1) & !(libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME);
    let is_shared = call.int(1) & libc::FUTEX_PRIVATE_FLAG == 0;
    if is_shared && call.memory.space.is_in_stub(call.argument(0)) {
        // A keeper waits there: nobody is to send it to wait elsewhere.
        return Ok(Errno::EFAULT.into());
    }
    ready::buffer(
        call.thread,
        call.memory,
        Flow::InOut,
        (call.argument(0), WORD),
    )?;
    let takes_time = matches!(
        operation,
        libc::FUTEX_WAIT
            | libc::FUTEX_WAIT_BITSET
            | libc::FUTEX_LOCK_PI
            | libc::FUTEX_LOCK_PI2
            | libc::FUTEX_WAIT_REQUEUE_PI
    );
    if takes_time {
        ready::buffer(call.thread, call.memory, Flow::In, (call.argument(3), TIME))?;
    }
    let takes_second = matches!(
        operation,
        libc::FUTEX_REQUEUE
            | libc::FUTEX_CMP_REQUEUE
            | libc::FUTEX_WAKE_OP
            | libc::FUTEX_WAIT_REQUEUE_PI
            | libc::FUTEX_CMP_REQUEUE_PI
    );
    if takes_second {
        ready::buffer(
            call.thread,
            call.memory,
            Flow::InOut,
            (call.argument(4), WORD),
        )?;
    }
    Ok(Answer::Run)
}

/// Makes ready the words that futex_waitv names (`struct futex_waitv`: value, address, flags).
pub(crate) fn see_waitv(call: &mut Call<'_>) -> Result<Answer, Halt> {
    const NR_MAX: u64 = 128;
    const BYTES: u64 = 24;
    for index in 0..call.argument(1).min(NR_MAX) {
        let mut entry = [0u8; BYTES as usize];
        let at = call.argument(0).saturating_add(index * BYTES);
        if ready::read(call.memory, at, &mut entry)? < entry.len() {
            break;
        }
        let (words, _) = entry.as_chunks::<8>();
        let address = words.get(1).map_or(0, |word| u64::from_le_bytes(*word));
        ready::buffer(call.thread, call.memory, Flow::InOut, (address, WORD))?;
    }
    Ok(Answer::Run)
}

/// Makes ready the futexes that a thread holds when it ends (`struct robust_list_head`: first,
/// offset, the one being taken).
pub(crate) fn robust_list_ready(thread: &mut Thread, memory: &Memory) -> Result<(), Halt> {
    const NR_MAX: u32 = 2048;
    let mut head = [0u8; 24];
    let head_at = thread.robust_list;
    if ready::read(memory, head_at, &mut head)? < head.len() {
        return Ok(());
    }
    let (words, _) = head.as_chunks::<8>();
    let word = |index: usize| words.get(index).map_or(0, |word| u64::from_le_bytes(*word));
    let (mut entry, offset, taking) = (word(0) & !1, word(1), word(2) & !1);
    for _ in 0..NR_MAX {
        if entry == head_at || entry == 0 {
            break;
        }
        dying_word_ready(thread, memory, entry.wrapping_add(offset))?;
        let mut next = [0u8; 8];
        if ready::read(memory, entry, &mut next)? < next.len() {
            break;
        }
        entry = u64::from_le_bytes(next) & !1;
    }
    if taking != 0 {
        dying_word_ready(thread, memory, taking.wrapping_add(offset))?;
    }
    Ok(())
}

/// A word that the kernel writes after the last stop of the thread: it stays ready over a fork by
/// another thread.
pub(crate) fn dying_word_ready(thread: &mut Thread, memory: &Memory, at: u64) -> Result<(), Halt> {
    let word = (at, at.saturating_add(WORD));
    thread.note_in_flight(memory, word, Access::Write);
    memory.make_ready(word.0, word.1, Access::Write)?;
    Ok(())
}
