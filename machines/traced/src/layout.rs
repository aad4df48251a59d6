//! Where the host kernel searches for room in a program that it has just started.

use addr::{PAGE_SIZE, VirtAddr};
use mm::{Layout, LayoutConfig, Limits, Placement, Sysctl};

use crate::host_maps::{HostArea, contents};
use crate::limits::sysctl;
use crate::sys::Tid;

/// How far a kernel may move its bases at random: `vm.mmap_rnd_bits` is 32 at most, in pages.
const RANDOM_BYTES: u64 = 1 << 44;

/// The layout of a program whose image is `areas`. The bases follow from the rules but for their
/// random part, and that shows in the image: the first area that was searched room for (the
/// interpreter, or the vDSO) lies at the base.
pub(crate) fn of(tid: Tid, areas: &[HostArea], limits: &Limits) -> LayoutConfig {
    let config = LayoutConfig {
        placement: placement(tid),
        ..LayoutConfig::default()
    };
    let guard_bytes = Sysctl::default().stack_guard_gap_pages * PAGE_SIZE;
    let plain = Layout::new(config, limits, guard_bytes);
    let stack = areas.iter().find(|area| area.name == "[stack]");
    let below_stack = |area: &&HostArea| stack.is_some_and(|stack| area.end <= stack.start);
    let areas = areas.iter().filter(below_stack);
    match config.placement {
        Placement::TopDown => {
            let top = plain.mmap_base().as_u64();
            let ends = areas.map(|area| area.end).filter(|end| *end <= top);
            let base = ends.max().filter(|end| top - end < RANDOM_BYTES);
            LayoutConfig {
                mmap_base: base.map(VirtAddr::new),
                ..config
            }
        }
        Placement::Legacy => {
            let bottom = plain.mmap_legacy_base().as_u64();
            let starts = areas.map(|area| area.start).filter(|at| *at >= bottom);
            let base = starts.min().filter(|start| start - bottom < RANDOM_BYTES);
            LayoutConfig {
                mmap_legacy_base: base.map(VirtAddr::new),
                ..config
            }
        }
    }
}

/// `mmap_is_legacy`.
fn placement(tid: Tid) -> Placement {
    const ADDR_COMPAT_LAYOUT: u32 = 0x20_0000;
    let text = contents(&format!("/proc/{tid}/personality"));
    let text = String::from_utf8_lossy(&text);
    let personality = u32::from_str_radix(text.trim(), 16).unwrap_or(0);
    let is_legacy = sysctl("legacy_va_layout").is_some_and(|value| value != 0);
    match is_legacy || personality & ADDR_COMPAT_LAYOUT != 0 {
        true => Placement::Legacy,
        false => Placement::TopDown,
    }
}
