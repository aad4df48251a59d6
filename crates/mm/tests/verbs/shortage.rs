//! Frames run out in the middle of things: the outcome is a documented one, and nothing is lost.

use addr::{Access, Errno, Prot};
use mm::{Advice, MapFlags, RemapFlags};

use crate::kit::{Space, World, at, bytes};

const RW: Prot = Prot::READ.union(Prot::WRITE);
/// Pages far apart, so that each needs tables of its own.
const FAR: u64 = 1 << 18;

/// Runs `act` in worlds of ever more frames until it succeeds, and checks each; how often it failed.
fn with_ever_more_frames(
    prepare: impl Fn(&Space) -> bool,
    act: impl Fn(&Space) -> Result<(), Errno>,
    verify: impl Fn(&Space, Result<(), Errno>),
) -> u32 {
    let mut failures = 0;
    for frames in 3..80 {
        let mut world = World::new(frames);
        let space = world.first();
        if !prepare(space) {
            world.check();
            world.end();
            continue;
        }
        let done = act(space);
        verify(space, done);
        world.check();
        world.end();
        if done.is_ok() {
            return failures;
        }
        failures += 1;
    }
    panic!("it never succeeded");
}

fn write_all(space: &Space, pages: &[u64]) -> bool {
    pages
        .iter()
        .all(|page| space.write(at(*page), 1 + *page as u8).is_ok())
}

// row: S12
// inv: 18 28 50
#[test]
fn fork_without_frames() {
    let prepare = |space: &Space| {
        space.map_private(0, 4);
        space.map_private(FAR, 4);
        space.map_shared(2 * FAR, 2);
        write_all(space, &[0, 3, FAR, 2 * FAR])
    };
    let act = |space: &Space| space.fork().map(drop);
    let failures = with_ever_more_frames(prepare, act, |space, done| {
        assert!(matches!(done, Ok(()) | Err(Errno::ENOMEM)));
        assert_eq!(space.read(at(3)).unwrap(), 4);
        assert_eq!(space.areas().len(), 3);
    });
    assert!(failures >= 4, "{failures}");
}

// row: S12 S19
// inv: 43
#[test]
fn fork_of_pinned_pages_without_frames() {
    let prepare = |space: &Space| {
        space.map_private(0, 4);
        write_all(space, &[0, 1, 2])
    };
    let act = |space: &Space| {
        let range = addr::VirtRange::from_len(at(0), bytes(3)).unwrap();
        let pins = space.mm.pin_range(range, Access::Write);
        let child = space.fork()?;
        // The parent keeps its pages, writable; the child has copies.
        space.write(at(1), 77).unwrap();
        assert_eq!(child.read(at(1)).unwrap(), 2);
        drop(pins);
        Ok(())
    };
    let failures = with_ever_more_frames(prepare, act, |space, _| {
        assert!(space.read(at(1)).is_ok());
    });
    assert!(failures >= 5, "{failures}");
}

// row: S04
// inv: 19
#[test]
fn mremap_without_frames() {
    let prepare = |space: &Space| {
        space.map_private(0, 4);
        write_all(space, &[0, 3])
    };
    let fixed = RemapFlags::MAYMOVE | RemapFlags::FIXED;
    let act = |space: &Space| space.remap(0, (4, 4), fixed, FAR).map(drop);
    let failures = with_ever_more_frames(prepare, act, |space, done| {
        let at_now = if done.is_ok() { FAR } else { 0 };
        assert_eq!(space.areas(), [(at_now, 4, "rw-p".into())]);
        assert_eq!(space.read(at(at_now + 3)).unwrap(), 4);
    });
    assert!(failures >= 1, "{failures}");
}

// row: S06
#[test]
fn guards_without_frames() {
    let prepare = |space: &Space| {
        space.map_private(0, 2);
        space.map_private(FAR, 2);
        write_all(space, &[0])
    };
    let act = |space: &Space| {
        space.mm.madvise(at(0), bytes(1), Advice::GuardInstall)?;
        space.mm.madvise(at(FAR), bytes(2), Advice::GuardInstall)
    };
    let failures = with_ever_more_frames(prepare, act, |space, done| {
        assert!(matches!(done, Ok(()) | Err(Errno::ENOMEM)));
        assert!(space.read(at(0)).is_err());
        assert!(done.is_err() || space.read(at(FAR + 1)).is_err());
    });
    assert!(failures >= 1, "{failures}");
}

// row: S01 S07
#[test]
fn populating_without_frames() {
    let prepare = |_: &Space| true;
    let act = |space: &Space| {
        // mmap does not mind; mlock does.
        space.map(0, 6, RW, MapFlags::PRIVATE | MapFlags::POPULATE)?;
        space.mm.mlock(at(0), bytes(6))
    };
    let failures = with_ever_more_frames(prepare, act, |space, done| {
        assert!(matches!(done, Ok(()) | Err(Errno::EAGAIN)), "{done:?}");
        assert_eq!(space.mm.accounts().counts().locked, 6);
    });
    assert!(failures >= 4, "{failures}");
}
