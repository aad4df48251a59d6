//! ptrace requests on a stopped task.
#![expect(unsafe_code, reason = "ptrace is a host call with raw pointers")]

use super::{Gone, HostError, Tid};
use core::ffi::c_void;

/// The size of a signal set as the kernel counts it.
const SIGSET_BYTES: usize = 8;

const OPTIONS: i32 = libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_TRACEEXIT
    | libc::PTRACE_O_TRACESECCOMP
    | libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_EXITKILL;

/// The general registers of a stopped task.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Regs(libc::user_regs_struct);

impl core::fmt::Debug for Regs {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Regs")
            .field("rip", &format_args!("{:x}", self.0.rip))
            .field("rsp", &format_args!("{:x}", self.0.rsp))
            .field("rax", &format_args!("{:x}", self.0.rax))
            .field("orig_rax", &format_args!("{:x}", self.0.orig_rax))
            .finish_non_exhaustive()
    }
}

impl Regs {
    /// All zero.
    pub(crate) fn zeroed() -> Self {
        // SAFETY: registers are integers, so zeroes are some.
        Self(unsafe { core::mem::zeroed() })
    }

    /// The number of the call that the task is entering, as the program wrote it (the kernel
    /// looks at the low half alone).
    pub(crate) fn call_number(&self) -> i64 {
        i64::from(self.0.orig_rax as i32)
    }

    /// Argument `index` of the call.
    pub(crate) fn argument(&self, index: usize) -> u64 {
        match index {
            0 => self.0.rdi,
            1 => self.0.rsi,
            2 => self.0.rdx,
            3 => self.0.r10,
            4 => self.0.r8,
            _ => self.0.r9,
        }
    }

    /// Changes argument `index` of the call.
    pub(crate) fn set_argument(&mut self, index: usize, value: u64) {
        match index {
            0 => self.0.rdi = value,
            1 => self.0.rsi = value,
            2 => self.0.rdx = value,
            3 => self.0.r10 = value,
            4 => self.0.r8 = value,
            _ => self.0.r9 = value,
        }
    }

    /// Makes the call that is being entered another one.
    pub(crate) fn set_call(&mut self, number: i64, arguments: [u64; 6]) {
        self.0.orig_rax = number as u64;
        for (index, value) in arguments.into_iter().enumerate() {
            self.set_argument(index, value);
        }
    }

    /// Skips the call that is being entered: it returns `result`.
    pub(crate) fn skip_call(&mut self, result: i64) {
        self.0.orig_rax = u64::MAX;
        self.0.rax = result as u64;
    }

    /// What a call returned.
    pub(crate) fn result(&self) -> i64 {
        self.0.rax as i64
    }

    /// Whether a signal interrupted the call: EINTR, or a word of the kernel's own for a call that it
    /// may make again.
    pub(crate) fn is_interrupted(&self) -> bool {
        const RESTARTS: core::ops::RangeInclusive<i64> = 512..=516;
        let errno = -self.result();
        errno == i64::from(libc::EINTR) || RESTARTS.contains(&errno)
    }

    /// Changes what a call returns.
    pub(crate) fn set_result(&mut self, result: i64) {
        self.0.rax = result as u64;
    }

    /// Where the task will go on.
    pub(crate) fn instruction(&self) -> u64 {
        self.0.rip
    }

    /// Lets the task go on elsewhere.
    pub(crate) fn set_instruction(&mut self, instruction: u64) {
        self.0.rip = instruction;
    }

    /// Lets the task go on elsewhere, with `number` as the call that a `syscall` there makes. A
    /// call that was being restarted is not.
    pub(crate) fn jump_to_call(&mut self, instruction: u64, number: i64, arguments: [u64; 6]) {
        self.0.rip = instruction;
        self.0.orig_rax = u64::MAX;
        for (index, value) in arguments.into_iter().enumerate() {
            self.set_argument(index, value);
        }
        self.0.rax = number as u64;
    }

    /// Lets the task begin as a keeper at `instruction`, with the secrets that its calls and its wait
    /// carry.
    pub(crate) fn begin_keeping(&mut self, instruction: u64, (call, wait): (u64, u64)) {
        (self.0.rip, self.0.orig_rax) = (instruction, u64::MAX);
        (self.0.r14, self.0.r15, self.0.rbp) = (call, wait, 0);
    }

    /// The stack pointer.
    pub(crate) fn stack(&self) -> u64 {
        self.0.rsp
    }

    /// Changes the stack pointer.
    #[cfg(test)]
    pub(crate) fn set_stack(&mut self, stack: u64) {
        self.0.rsp = stack;
    }

    /// Whether the task runs 64-bit code.
    pub(crate) fn is_64_bit(&self) -> bool {
        self.0.cs == 0x33
    }

    /// All registers by the numbers instructions use (rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8
    /// to r15).
    pub(crate) fn general(&self) -> [u64; 16] {
        let r = &self.0;
        [
            r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi, r.r8, r.r9, r.r10, r.r11,
            r.r12, r.r13, r.r14, r.r15,
        ]
    }

    /// The bases of the fs and gs segments.
    pub(crate) fn segment_bases(&self) -> (u64, u64) {
        (self.0.fs_base, self.0.gs_base)
    }
}

/// What came with a signal.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct SignalInfo(libc::siginfo_t);

impl core::fmt::Debug for SignalInfo {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SignalInfo")
            .field("signal", &self.0.si_signo)
            .field("code", &self.0.si_code)
            .finish_non_exhaustive()
    }
}

impl SignalInfo {
    /// A fault at `address`, as the kernel would report it.
    pub(crate) fn fault(signal: i32, code: i32, address: u64) -> Self {
        #[repr(C)]
        struct FaultFields {
            signo: i32,
            errno: i32,
            code: i32,
            pad: i32,
            address: u64,
            rest: [u8; 104],
        }
        const _: () = assert!(size_of::<FaultFields>() == size_of::<libc::siginfo_t>());
        let fields = FaultFields {
            signo: signal,
            errno: 0,
            code,
            pad: 0,
            address,
            rest: [0; 104],
        };
        // SAFETY: 1. both are plain data of the same size, checked above. 2. every field of
        // siginfo_t is an integer, so any bytes are one.
        Self(unsafe { core::mem::transmute::<FaultFields, libc::siginfo_t>(fields) })
    }

    /// The same SIGSYS, about another call and with another word of the filter.
    pub(crate) fn of_call(&self, number: i32, data: u32) -> Self {
        const ERRNO: usize = 4;
        const NUMBER: usize = 24;
        let mut bytes = self.to_bytes();
        for (at, value) in [(ERRNO, data as i32), (NUMBER, number)] {
            if let Some(place) = bytes.get_mut(at..at + 4) {
                place.copy_from_slice(&value.to_le_bytes());
            }
        }
        // SAFETY: every field of siginfo_t is an integer, so any bytes are one.
        Self(unsafe {
            core::mem::transmute::<[u8; size_of::<libc::siginfo_t>()], libc::siginfo_t>(bytes)
        })
    }

    /// The same, as a task may send it to another (`SI_QUEUE`).
    pub(crate) fn queued(&self) -> Self {
        let mut info = *self;
        info.0.si_code = libc::SI_QUEUE;
        info
    }

    /// Its bytes, as they stand in a program's memory.
    pub(crate) fn to_bytes(self) -> [u8; size_of::<libc::siginfo_t>()] {
        // SAFETY: every byte of it is an integer's, zeroed or stored by the kernel.
        unsafe { core::mem::transmute(self) }
    }

    /// Its `si_code`.
    pub(crate) fn code(&self) -> i32 {
        self.0.si_code
    }

    /// The address of a fault.
    pub(crate) fn address(&self) -> u64 {
        // SAFETY: si_addr reads eight bytes at a fixed place of the union, which are integers
        // whatever the signal is.
        unsafe { self.0.si_addr() as u64 }
    }
}

fn request(what: u32, tid: Tid, address: usize, data: *mut c_void) -> Result<i64, Gone> {
    // SAFETY: 1. requests that store through `data` are made by the functions below alone, each
    // with a pointer to a value of the size that the request stores. 2. other requests read
    // `data` as a number.
    let answer = unsafe { libc::ptrace(what, tid.raw(), address, data) };
    if answer < 0 { Err(Gone) } else { Ok(answer) }
}

fn number(value: usize) -> *mut c_void {
    core::ptr::without_provenance_mut(value)
}

/// Becomes the tracer of a task that runs.
pub(crate) fn seize(tid: Tid) -> Result<(), HostError> {
    request(libc::PTRACE_SEIZE, tid, 0, number(OPTIONS as usize))
        .map_err(|Gone| HostError::last())?;
    Ok(())
}

/// Stops a task that runs.
pub(crate) fn interrupt(tid: Tid) -> Result<(), HostError> {
    request(libc::PTRACE_INTERRUPT, tid, 0, number(0)).map_err(|Gone| HostError::last())?;
    Ok(())
}

/// Lets the task run until its next stop, giving it `signal` (0: none).
pub(crate) fn resume(tid: Tid, signal: i32) -> Result<(), Gone> {
    request(libc::PTRACE_CONT, tid, 0, number(signal as usize)).map(drop)
}

/// Gives the task `signal`, and lets it run to the first instruction of the handler.
pub(crate) fn resume_into_handler(tid: Tid, signal: i32) -> Result<(), Gone> {
    request(libc::PTRACE_SINGLESTEP, tid, 0, number(signal as usize)).map(drop)
}

/// Lets the task run until it enters or leaves a call, giving it `signal` (0: none).
pub(crate) fn resume_to_call_edge(tid: Tid, signal: i32) -> Result<(), Gone> {
    request(libc::PTRACE_SYSCALL, tid, 0, number(signal as usize)).map(drop)
}

/// Leaves a task that is in a group stop there, listening for its continuation.
pub(crate) fn listen(tid: Tid) -> Result<(), Gone> {
    request(libc::PTRACE_LISTEN, tid, 0, number(0)).map(drop)
}

/// Its registers.
pub(crate) fn registers(tid: Tid) -> Result<Regs, Gone> {
    let mut regs = Regs::zeroed();
    request(libc::PTRACE_GETREGS, tid, 0, (&raw mut regs).cast())?;
    Ok(regs)
}

/// Changes its registers.
pub(crate) fn set_registers(tid: Tid, regs: &Regs) -> Result<(), Gone> {
    request(
        libc::PTRACE_SETREGS,
        tid,
        0,
        (&raw const *regs).cast_mut().cast(),
    )
    .map(drop)
}

/// What came with the signal it is stopped for.
pub(crate) fn signal_info(tid: Tid) -> Result<SignalInfo, Gone> {
    // SAFETY: siginfo is integers, so zeroes are one.
    let mut info = SignalInfo(unsafe { core::mem::zeroed() });
    request(libc::PTRACE_GETSIGINFO, tid, 0, (&raw mut info).cast())?;
    Ok(info)
}

/// Changes what comes with the signal it is stopped for.
pub(crate) fn set_signal_info(tid: Tid, info: &SignalInfo) -> Result<(), Gone> {
    request(
        libc::PTRACE_SETSIGINFO,
        tid,
        0,
        (&raw const *info).cast_mut().cast(),
    )
    .map(drop)
}

/// What came with the event it is stopped for: the new task of a fork, the former number of the
/// task that made an exec, the status of an exit.
pub(crate) fn event_message(tid: Tid) -> Result<u64, Gone> {
    let mut message: libc::c_ulong = 0;
    request(libc::PTRACE_GETEVENTMSG, tid, 0, (&raw mut message).cast())?;
    Ok(message)
}

/// The signals it blocks; bit `n - 1` is signal `n`.
pub(crate) fn signal_mask(tid: Tid) -> Result<u64, Gone> {
    let mut mask = 0u64;
    request(
        libc::PTRACE_GETSIGMASK,
        tid,
        SIGSET_BYTES,
        (&raw mut mask).cast(),
    )?;
    Ok(mask)
}

/// Changes the signals it blocks.
pub(crate) fn set_signal_mask(tid: Tid, mask: u64) -> Result<(), Gone> {
    request(
        libc::PTRACE_SETSIGMASK,
        tid,
        SIGSET_BYTES,
        (&raw const mask).cast_mut().cast(),
    )
    .map(drop)
}
