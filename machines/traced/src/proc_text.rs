//! The files of `/proc/PID` that speak of a program's memory, from our own.

use addr::{PAGE_SHIFT, VirtAddr};
use mm::{Force, Mm};

/// The names of these files.
pub(crate) const NAMES: [&str; 4] = ["maps", "statm", "cmdline", "environ"];

/// The last line of every `maps`: a page of the kernel's, in no space of anyone's.
const VSYSCALL_LINE: &str =
    "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n";

/// The most bytes of arguments or environment that are shown.
const STRINGS_BYTES_MAX: u64 = 4 << 20;

/// The text of a file; `None` for one that is not ours.
pub(crate) fn of(name: &str, mm: &Mm) -> Option<Vec<u8>> {
    match name {
        "maps" => {
            let mut text = mm.maps_text();
            text.push_str(VSYSCALL_LINE);
            Some(text.into_bytes())
        }
        "statm" => Some(statm(mm).into_bytes()),
        "cmdline" => {
            let image = mm.image().clone();
            Some(strings(mm, image.arg_start, image.arg_end))
        }
        "environ" => {
            let image = mm.image().clone();
            Some(strings(mm, image.env_start, image.env_end))
        }
        _ => None,
    }
}

/// Size, resident, shared, text, (library), data and stack, (dirty): in pages (`proc_pid_statm`).
fn statm(mm: &Mm) -> String {
    let stats = mm.stats();
    let image = mm.image().clone();
    let pages_up = |at: VirtAddr| at.as_u64().div_ceil(1 << PAGE_SHIFT);
    let text = pages_up(image.end_code).saturating_sub(image.start_code.as_u64() >> PAGE_SHIFT);
    let shared = stats.rss.file + stats.rss.shmem;
    let data = stats.pages.data + stats.pages.stack;
    format!(
        "{} {} {shared} {text} 0 {data} 0\n",
        stats.pages.total,
        stats.rss.resident()
    )
}

fn strings(mm: &Mm, start: VirtAddr, end: VirtAddr) -> Vec<u8> {
    let bytes = end
        .as_u64()
        .saturating_sub(start.as_u64())
        .min(STRINGS_BYTES_MAX);
    let mut text = vec![0; bytes as usize];
    let got = mm.read_memory(start, &mut text, Force::Forced);
    text.truncate(got);
    text
}
