//! Touching memory that may not be there, and living to tell the signal.
#![expect(
    unsafe_code,
    reason = "signal handlers and code that is entered by them"
)]

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use crate::subject::Caught;

// Two leaf routines whose faults are answered by going on at their `_fixup`.
//
// conformance_copy(rdi: to, rsi: from, rdx: bytes) moves byte by byte, so that si_addr is exact.
// conformance_enter(rdi: code) keeps the stack pointer aside, because the code may do anything.
std::arch::global_asm!(
    ".text",
    ".globl conformance_copy",
    "conformance_copy:",
    "    test rdx, rdx",
    "    jz 3f",
    "2:  mov al, [rsi]",
    "    mov [rdi], al",
    "    inc rsi",
    "    inc rdi",
    "    dec rdx",
    "    jnz 2b",
    "3:  xor eax, eax",
    "    ret",
    ".globl conformance_copy_fixup",
    "conformance_copy_fixup:",
    "    mov eax, 1",
    "    ret",
    ".globl conformance_enter",
    "conformance_enter:",
    "    push rbx",
    "    push rbp",
    "    push r12",
    "    push r13",
    "    push r14",
    "    push r15",
    "    sub rsp, 8",
    "    mov [rip + {stack}], rsp",
    "    call rdi",
    ".globl conformance_enter_fixup",
    "conformance_enter_fixup:",
    "    mov rsp, [rip + {stack}]",
    "    mov qword ptr [rip + {stack}], 0",
    "    add rsp, 8",
    "    pop r15",
    "    pop r14",
    "    pop r13",
    "    pop r12",
    "    pop rbp",
    "    pop rbx",
    "    ret",
    stack = sym ENTERED,
);

/// The stack pointer inside `conformance_enter`; 0 outside.
static ENTERED: AtomicU64 = AtomicU64::new(0);
static SIGNAL: AtomicI32 = AtomicI32::new(0);
static CODE: AtomicI32 = AtomicI32::new(0);
static ADDR: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" {
    fn conformance_copy(to: *mut u8, from: *const u8, bytes: usize) -> i32;
    fn conformance_copy_fixup();
    fn conformance_enter(code: u64) -> i32;
    fn conformance_enter_fixup();
}

/// Room for the handler: an xsave area may be large.
const STACK: usize = 64 << 10;

/// Catches what an access may raise, on a stack of its own.
pub(super) fn catch() {
    static mut ALTERNATE: MaybeUninit<[u8; STACK]> = MaybeUninit::uninit();
    let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = caught;
    // SAFETY: 1. called once, before anything faults, in a process with one thread; 2. ALTERNATE
    // is used by nothing but the kernel, as that stack; 3. both structures are valid when zero.
    unsafe {
        let stack = libc::stack_t {
            ss_sp: (&raw mut ALTERNATE).cast(),
            ss_flags: 0,
            ss_size: STACK,
        };
        (&raw mut ALTERNATE).cast::<u8>().write_bytes(0, STACK);
        libc::sigaltstack(&raw const stack, ptr::null_mut());
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGTRAP] {
            libc::sigaction(signal, &raw const action, ptr::null_mut());
        }
    }
}

/// Notes the signal and leaves the routine that raised it; anything else dies of it.
extern "C" fn caught(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo and ucontext, which are ours until we return.
    let (code, addr, registers) = unsafe {
        let context = &mut *context.cast::<libc::ucontext_t>();
        (
            (*info).si_code,
            (*info).si_addr() as u64,
            &mut context.uc_mcontext.gregs,
        )
    };
    let rip = &mut registers[usize::try_from(libc::REG_RIP).unwrap_or_default()];
    let copying = conformance_copy as *const () as i64..conformance_copy_fixup as *const () as i64;
    if copying.contains(rip) {
        *rip = conformance_copy_fixup as *const () as i64;
    } else if ENTERED.load(Ordering::Relaxed) != 0 {
        *rip = conformance_enter_fixup as *const () as i64;
    } else {
        // SAFETY: restoring a default action is always allowed; the instruction raises it again.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        return;
    }
    SIGNAL.store(signal, Ordering::Relaxed);
    CODE.store(code, Ordering::Relaxed);
    ADDR.store(addr, Ordering::Relaxed);
}

/// Touches what an access writes beside its target, so that a count of faults is the target's.
pub(super) fn warm() {
    ENTERED.store(0, Ordering::Relaxed);
    CODE.store(0, Ordering::Relaxed);
    ADDR.store(0, Ordering::Relaxed);
    let _ = outcome();
}

fn outcome() -> Option<Caught> {
    let signal = SIGNAL.swap(0, Ordering::Relaxed);
    let code = CODE.load(Ordering::Relaxed);
    (signal != 0).then(|| Caught {
        signal,
        code,
        addr: ADDR.load(Ordering::Relaxed),
    })
}

/// Loads bytes from an address of the case.
pub(super) fn load(to: &mut [u8], from: u64) -> Option<Caught> {
    // SAFETY: 1. `to` is ours; 2. a fault on `from` is answered by the fix-up; 3. the case's
    // addresses are its own business: no Rust object lies in what a case maps.
    unsafe { conformance_copy(to.as_mut_ptr(), from as *const u8, to.len()) };
    outcome()
}

/// Stores bytes at an address of the case.
pub(super) fn store(to: u64, from: &[u8]) -> Option<Caught> {
    // SAFETY: as for `load`, with the roles exchanged.
    unsafe { conformance_copy(to as *mut u8, from.as_ptr(), from.len()) };
    outcome()
}

/// Calls code at an address of the case.
pub(super) fn execute(code: u64) -> Result<i32, Caught> {
    // SAFETY: the case says what the code is; `conformance_enter` survives its faults, and the
    // process is one that may die of the rest.
    let value = unsafe { conformance_enter(code) };
    outcome().map_or(Ok(value), Err)
}
