//! The agent: a process that does what the controller tells it.
//!
//! After its start it allocates nothing, so that the space changes only by what a case does.
#![expect(unsafe_code, reason = "raw system calls on behalf of a case")]

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{env, ptr};

use super::access;
use super::wire::{
    ADDR, CODE, FAULTS, HEAD, LENGTH, MASK, NUMBER, OP, OPERANDS, Op, PATH, PAYLOAD, SIGNAL, VALUE,
    WANTED, WORDS, from_bytes, to_bytes,
};
use crate::subject::Caught;

/// Bytes that may be touched beside the payload.
const ROOM: usize = PAYLOAD + (16 << 10);

/// The payload of the request and of its reply.
static mut BUFFER: [u8; ROOM] = [0; ROOM];

/// Serves the controller that listens at `path`, until it hangs up. Does not return.
pub fn serve(path: &str) -> ! {
    without_randomisation();
    let address = Address::of(path);
    access::catch();
    let buffer = take_buffer();
    buffer.fill(1);
    settle();
    set_limits();
    drop_capabilities();
    let mut agent = Agent {
        socket: address.connect(),
        address,
        buffer,
    };
    agent.greet();
    loop {
        agent.request();
    }
}

/// Starts again with addresses that are the same each time, if they are not.
fn without_randomisation() {
    const ADDR_NO_RANDOMIZE: libc::c_ulong = 0x004_0000;
    // SAFETY: personality(2) takes and returns a number.
    let now = unsafe { libc::personality(0xffff_ffff) };
    let fixed = libc::c_ulong::try_from(now).unwrap_or_default() | ADDR_NO_RANDOMIZE;
    // SAFETY: as above.
    let set = i64::from(now) != fixed.cast_signed() && unsafe { libc::personality(fixed) } != -1;
    if let (true, Ok(program)) = (set, env::current_exe()) {
        // If it cannot be started again, the cases run with the addresses that there are.
        drop(Command::new(program).args(env::args_os().skip(1)).exec());
    }
}

fn take_buffer() -> &'static mut [u8] {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    assert!(
        !TAKEN.swap(true, Ordering::Relaxed),
        "the agent serves once"
    );
    let buffer = &raw mut BUFFER;
    // SAFETY: handed out once, as the flag shows.
    unsafe { &mut *buffer }
}

/// Fills every gap between the libraries, so that the next mapping goes below all of them, and
/// puts one page there that merges with nothing.
fn settle() {
    let floor = reserve(64 << 30);
    let mut size = 32 << 30;
    while size >= 4096 {
        let at = reserve(size);
        if at > floor {
            continue;
        }
        release(at, size);
        size /= 2;
    }
    release(floor, 64 << 30);
    // SAFETY: a new mapping at an address of the kernel's choice disturbs nothing.
    unsafe {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        libc::mmap(ptr::null_mut(), 4096, libc::PROT_NONE, flags, -1, 0);
    }
}

fn reserve(bytes: usize) -> usize {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at an address of the kernel's choice disturbs nothing.
    unsafe { libc::mmap(ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0) as usize }
}

fn release(at: usize, bytes: usize) {
    // SAFETY: `at` and `bytes` are a mapping that `reserve` made and nobody uses.
    unsafe { libc::munmap(at as *mut libc::c_void, bytes) };
}

/// Cases are about what any program may do.
fn drop_capabilities() {
    let head: [u32; 2] = [0x2008_0522, 0];
    let none = [0_u32; 6];
    // SAFETY: both are of the layout that version 3 of capset(2) reads.
    unsafe { libc::syscall(libc::SYS_capset, head.as_ptr(), none.as_ptr()) };
}

fn set_limits() {
    for (resource, bytes) in [
        (libc::RLIMIT_MEMLOCK, 64 << 20),
        (libc::RLIMIT_STACK, 8 << 20),
    ] {
        let limit = libc::rlimit {
            rlim_cur: bytes,
            rlim_max: libc::RLIM_INFINITY,
        };
        let lower = libc::rlimit {
            rlim_cur: 8 << 20,
            rlim_max: 8 << 20,
        };
        // SAFETY: both structures are valid; without the right to raise, the lower is set.
        unsafe {
            if libc::setrlimit(resource, &raw const limit) != 0 {
                libc::setrlimit(resource, &raw const lower);
            }
        }
    }
}

/// Where the controller listens.
#[derive(Clone, Copy)]
struct Address(libc::sockaddr_un);

impl Address {
    fn of(path: &str) -> Self {
        // SAFETY: all-zero is a valid sockaddr_un.
        let mut address: libc::sockaddr_un = unsafe { MaybeUninit::zeroed().assume_init() };
        address.sun_family = libc::AF_UNIX as u16;
        let path = CString::new(path).unwrap_or_default();
        for (to, from) in address.sun_path.iter_mut().zip(path.as_bytes_with_nul()) {
            *to = from.cast_signed();
        }
        Self(address)
    }

    fn connect(&self) -> i32 {
        let length = size_of::<libc::sockaddr_un>() as libc::socklen_t;
        // SAFETY: the address is valid and of that length.
        unsafe {
            let socket = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
            if libc::connect(socket, (&raw const self.0).cast(), length) != 0 {
                libc::_exit(90);
            }
            socket
        }
    }
}

/// An agent in service.
struct Agent<'b> {
    socket: i32,
    address: Address,
    buffer: &'b mut [u8],
}

/// What goes back: a head, and so many bytes of the buffer.
struct Reply {
    head: [u64; WORDS],
    bytes: usize,
}

impl Reply {
    fn value(value: i64) -> Self {
        let mut head = [0; WORDS];
        head[VALUE] = value.cast_unsigned();
        Self { head, bytes: 0 }
    }

    fn caught(mut self, caught: Option<Caught>) -> Self {
        if let Some(caught) = caught {
            self.head[SIGNAL] = u64::from(caught.signal.cast_unsigned());
            self.head[CODE] = i64::from(caught.code).cast_unsigned();
            self.head[ADDR] = caught.addr;
        }
        self
    }
}

impl Agent<'_> {
    /// Says who we are.
    fn greet(&mut self) {
        // SAFETY: getpid(2) has no conditions.
        let pid = unsafe { libc::syscall(libc::SYS_getpid) };
        self.answer(Reply::value(pid));
    }

    fn request(&mut self) {
        let mut head = [0; HEAD];
        receive(self.socket, &mut head);
        let head = from_bytes(&head);
        let length = usize::try_from(head[LENGTH])
            .unwrap_or(PAYLOAD)
            .min(PAYLOAD);
        receive(self.socket, &mut self.buffer[..length]);
        let reply = match Op::of(head[OP]) {
            Some(Op::Call) => self.call(&head),
            Some(Op::Load) => self.load(&head),
            Some(Op::Store) => self.store(&head, length),
            Some(Op::Execute) => execute(&head),
            Some(Op::Fork) => self.fork(),
            Some(Op::File) => self.file(length),
            Some(Op::ProcessVm) => self.process_vm(&head),
            Some(Op::ProcMem) => self.proc_mem(&head),
            // SAFETY: leaving is always allowed.
            Some(Op::Exit) | None => unsafe { libc::_exit(0) },
        };
        self.answer(reply);
    }

    fn answer(&mut self, mut reply: Reply) {
        reply.head[LENGTH] = reply.bytes as u64;
        transmit(self.socket, &to_bytes(&reply.head));
        transmit(self.socket, &self.buffer[..reply.bytes]);
    }

    fn wanted(&self, head: &[u64; WORDS]) -> usize {
        usize::try_from(head[WANTED])
            .unwrap_or(PAYLOAD)
            .min(PAYLOAD)
    }

    fn call(&mut self, head: &[u64; WORDS]) -> Reply {
        let mut operands = [0; 6];
        for (place, operand) in operands.iter_mut().enumerate() {
            let buffer = head[MASK] >> place & 1 == 1;
            *operand = if buffer {
                self.buffer.as_ptr() as u64
            } else {
                head[OPERANDS + place]
            };
        }
        let mut reply = Reply::value(system_call(head[NUMBER], operands));
        reply.bytes = self.wanted(head);
        reply
    }

    fn load(&mut self, head: &[u64; WORDS]) -> Reply {
        let length = self.wanted(head);
        let room = &mut self.buffer[..length];
        room.fill(0);
        access::warm();
        let before = minor_faults();
        let caught = access::load(room, head[OPERANDS]);
        let faults = minor_faults() - before;
        let mut reply = Reply::value(0).caught(caught);
        reply.bytes = length;
        reply.head[FAULTS] = faults;
        reply
    }

    fn store(&mut self, head: &[u64; WORDS], length: usize) -> Reply {
        access::warm();
        let before = minor_faults();
        let caught = access::store(head[OPERANDS], &self.buffer[..length]);
        let faults = minor_faults() - before;
        let mut reply = Reply::value(0).caught(caught);
        reply.head[FAULTS] = faults;
        reply
    }

    fn fork(&mut self) -> Reply {
        // SAFETY: one thread; the child goes on with its own copy of everything.
        let child = system_call(libc::SYS_fork as u64, [0; 6]);
        if child == 0 {
            // SAFETY: the parent's connection is not ours to use.
            unsafe { libc::close(self.socket) };
            self.socket = self.address.connect();
            // SAFETY: getpid(2) has no conditions.
            return Reply::value(unsafe { libc::syscall(libc::SYS_getpid) });
        }
        Reply::value(child)
    }

    fn file(&mut self, length: usize) -> Reply {
        self.buffer[length] = 0;
        // SAFETY: the buffer holds a terminated path, and the reads stay inside it.
        unsafe {
            let fd = libc::open(
                self.buffer.as_ptr().cast(),
                libc::O_RDONLY | libc::O_CLOEXEC,
            );
            let mut filled = 0;
            while filled < PAYLOAD {
                let at = self.buffer.as_mut_ptr().add(filled);
                match usize::try_from(libc::read(fd, at.cast(), PAYLOAD - filled)) {
                    Ok(more @ 1..) => filled += more,
                    _ => break,
                }
            }
            libc::close(fd);
            let mut reply = Reply::value(i64::from(fd));
            reply.bytes = filled;
            reply
        }
    }

    fn process_vm(&mut self, head: &[u64; WORDS]) -> Reply {
        let length = self.wanted(head);
        let local = [self.buffer.as_ptr() as u64, length as u64];
        let remote = [head[OPERANDS], length as u64];
        let call = if head[MASK] == 0 {
            libc::SYS_process_vm_readv
        } else {
            libc::SYS_process_vm_writev
        };
        let [local, remote] = [&local, &remote].map(|vector| vector.as_ptr() as u64);
        let mut reply = Reply::value(system_call(
            call as u64,
            [head[NUMBER], local, 1, remote, 1, 0],
        ));
        reply.bytes = if head[MASK] == 0 { length } else { 0 };
        reply
    }

    /// The payload is a terminated path, then the bytes to write.
    fn proc_mem(&mut self, head: &[u64; WORDS]) -> Reply {
        let length = self.wanted(head);
        let path = usize::try_from(head[PATH]).unwrap_or_default().min(PAYLOAD);
        // SAFETY: 1. the path is terminated by the controller; 2. path + length stays inside the
        // buffer, which is longer than the payload.
        unsafe {
            let fd = libc::open(self.buffer.as_ptr().cast(), libc::O_RDWR | libc::O_CLOEXEC);
            let data = self.buffer.as_mut_ptr().add(path) as u64;
            let call = if head[MASK] == 0 {
                libc::SYS_pread64
            } else {
                libc::SYS_pwrite64
            };
            let operands = [fd as u64, data, length as u64, head[OPERANDS], 0, 0];
            let mut reply = Reply::value(system_call(call as u64, operands));
            libc::close(fd);
            if head[MASK] == 0 {
                self.buffer.copy_within(path..(path + length).min(ROOM), 0);
                reply.bytes = length;
            }
            reply
        }
    }
}

fn execute(head: &[u64; WORDS]) -> Reply {
    access::warm();
    let before = minor_faults();
    let outcome = access::execute(head[OPERANDS]);
    let faults = minor_faults() - before;
    let mut reply = match outcome {
        Ok(value) => Reply::value(i64::from(value)),
        Err(caught) => Reply::value(0).caught(Some(caught)),
    };
    reply.head[FAULTS] = faults;
    reply
}

/// A system call as the case has it; the register as it comes back.
fn system_call(number: u64, operands: [u64; 6]) -> i64 {
    let value: i64;
    // SAFETY: a case may make any call of its list with any operands: what it does to its own
    // space is what is looked at, and the agent's own memory is not named in it.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number => value,
            in("rdi") operands[0],
            in("rsi") operands[1],
            in("rdx") operands[2],
            in("r10") operands[3],
            in("r8") operands[4],
            in("r9") operands[5],
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    value
}

fn minor_faults() -> u64 {
    // SAFETY: all-zero is a valid rusage, and getrusage(2) fills it.
    let usage: libc::rusage = unsafe {
        let mut usage = MaybeUninit::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    usage.ru_minflt.cast_unsigned()
}

/// Fills the buffer from the controller; leaves when it has hung up.
fn receive(socket: i32, mut buffer: &mut [u8]) {
    while !buffer.is_empty() {
        // SAFETY: the buffer is valid for its length.
        let count = unsafe { libc::read(socket, buffer.as_mut_ptr().cast(), buffer.len()) };
        match usize::try_from(count) {
            Ok(count @ 1..) => buffer = &mut buffer[count..],
            // SAFETY: leaving is always allowed.
            _ => unsafe { libc::_exit(0) },
        }
    }
}

fn transmit(socket: i32, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: the bytes are valid for their length.
        let count = unsafe {
            libc::send(
                socket,
                bytes.as_ptr().cast(),
                bytes.len(),
                libc::MSG_NOSIGNAL,
            )
        };
        match usize::try_from(count) {
            Ok(count @ 1..) => bytes = &bytes[count..],
            // SAFETY: leaving is always allowed.
            _ => unsafe { libc::_exit(0) },
        }
    }
}
