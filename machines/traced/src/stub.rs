//! The one page of ours in a program's host space.
//!
//! A keeper lives here: it makes the call whose number is in `rax`, keeps the answer in `r12`, and
//! makes call -1, at which the filter stops it. The tracer then rewrites that call into the next
//! one. So one host call costs one stop.

/// Where the page goes when nothing of the program is there.
pub(crate) const PREFERRED: u64 = 0x1_0000;

/// Its size.
pub(crate) const BYTES: u64 = 4096;

/// The number of the call a keeper rests in.
pub(crate) const REST: i64 = -1;

/// The code: `again: syscall; mov r12, rax; mov rax, -1; jmp again`.
const CODE: [u8; 14] = [
    0x0f, 0x05, // syscall
    0x49, 0x89, 0xc4, // mov r12, rax
    0x48, 0xc7, 0xc0, 0xff, 0xff, 0xff, 0xff, // mov rax, -1
    0xeb, 0xf2, // jmp again
];

/// The page's bytes. What is not code is `hlt`, which no program may execute.
pub(crate) fn page() -> Vec<u8> {
    let mut page = vec![0xf4; BYTES as usize];
    for (byte, code) in page.iter_mut().zip(CODE) {
        *byte = code;
    }
    page
}
