//! Names of anonymous memory.

use std::any::Any;
use std::num::NonZeroU64;
use std::sync::Arc;

use addr::{Errno, Prot, VirtRange, VmFlags};
use mm::{FileRights, MapFlags, MapRequest, ObjectTarget, RemapFlags};
use object::shmem::Shmem;
use object::{MemPolicy, PolicyMode, UserfaultId};
use vma::{Attributes, MmapHeld, ModifyPlan};

use crate::kit::{World, at, bytes};

const RW: Prot = Prot::READ.union(Prot::WRITE);

// row: A11 A09 A10
// inv: 14
#[test]
fn named_memory_is_an_area_of_its_own() {
    let mut world = World::new(64);
    let space = world.first();
    space.map_private(0, 6);
    space.write(at(3), 7).unwrap();
    space
        .mm
        .set_anon_name(at(2), bytes(2), Some("pool"))
        .unwrap();
    let spans = |space: &crate::kit::Space| -> Vec<(u64, u64)> {
        let areas = space.areas();
        areas.iter().map(|(page, nr, _)| (*page, *nr)).collect()
    };
    assert_eq!(spans(space), [(0, 2), (2, 2), (4, 2)]);
    assert!(space.mm.maps_text().contains("[anon:pool]"));
    assert_eq!(space.read(at(3)).unwrap(), 7);
    // Equal names merge, and a child has them too.
    space
        .mm
        .set_anon_name(at(4), bytes(1), Some("pool"))
        .unwrap();
    assert_eq!(spans(space), [(0, 2), (2, 3), (5, 1)]);
    let child = space.fork().unwrap();
    assert_eq!(spans(&child), [(0, 2), (2, 3), (5, 1)]);
    assert!(child.mm.maps_text().contains("[anon:pool]"));
    drop(child);
    space.mm.set_anon_name(at(0), bytes(6), None).unwrap();
    assert_eq!(spans(space), [(0, 6)]);
    // Shared memory made for its area has a name as well.
    space.map_shared(10, 2);
    space
        .mm
        .set_anon_name(at(10), bytes(2), Some("ring"))
        .unwrap();
    assert!(space.mm.maps_text().contains("[anon_shmem:ring]"));
    world.check();
    world.end();
}

/// Gives pages a memory policy, as mbind will.
fn bind(space: &crate::kit::Space, page: u64, pages: u64, policy: Option<&Arc<MemPolicy>>) {
    let range = VirtRange::from_len(at(page), bytes(pages)).unwrap();
    let mut held = space.mm.write();
    let vma = held.tree().find(range.start()).cloned().unwrap();
    let to = Attributes::of(&vma).with_policy(policy.cloned());
    let plan = ModifyPlan::decide(&held, &vma, range, &to).unwrap();
    drop(plan.commit(&mut held));
}

// row: A11 A09 A10
// inv: 14 15
#[test]
fn a_policy_goes_where_its_memory_goes() {
    let mut world = World::new(64);
    let space = world.first();
    space.map_private(0, 6);
    space.write(at(2), 7).unwrap();
    let policy = Arc::new(MemPolicy {
        mode: PolicyMode::Bind,
        nodes: 1,
    });
    bind(space, 2, 2, Some(&policy));
    let policies = |space: &crate::kit::Space| -> Vec<(u64, bool)> {
        let areas = space.tree();
        let policy = areas
            .iter()
            .map(|vma| (vma.nr_pages(), vma.policy.is_some()));
        policy.collect()
    };
    let parts = [(2, false), (2, true), (2, false)];
    assert_eq!(policies(space), parts);
    // A child has it, a part keeps it, and so does what is moved away and grows.
    let child = space.fork().unwrap();
    assert_eq!(policies(&child), parts);
    drop(child);
    space.protect(3, 1, Prot::READ).unwrap();
    assert_eq!(
        policies(space),
        [(2, false), (1, true), (1, true), (2, false)]
    );
    space.protect(3, 1, RW).unwrap();
    assert_eq!(policies(space), parts);
    space
        .remap(2, (2, 2), RemapFlags::MAYMOVE | RemapFlags::FIXED, 10)
        .unwrap();
    assert_eq!(policies(space), [(2, false), (2, false), (2, true)]);
    space.remap(10, (2, 3), RemapFlags::MAYMOVE, 0).unwrap();
    assert_eq!(policies(space), [(2, false), (2, false), (3, true)]);
    assert_eq!(space.read(at(10)).unwrap(), 7);
    // Without it, the memory is as any other.
    bind(space, 0, 1, Some(&policy));
    assert_eq!(policies(space)[..2], [(1, true), (1, false)]);
    bind(space, 0, 1, None);
    assert_eq!(policies(space)[0], (2, false));
    world.check();
    world.end();
}

// row: A11
#[test]
fn who_serves_userfaults_is_not_inherited() {
    let mut world = World::new(64);
    let space = world.first();
    space.map_private(0, 4);
    {
        let range = VirtRange::from_len(at(1), bytes(2)).unwrap();
        let mut held = space.mm.write();
        let vma = held.tree().find(range.start()).cloned().unwrap();
        let to = Attributes::of(&vma)
            .with_flags(vma.flags() | VmFlags::UFFD_MISSING)
            .with_userfault(NonZeroU64::new(3).map(UserfaultId));
        let plan = ModifyPlan::decide(&held, &vma, range, &to).unwrap();
        drop(plan.commit(&mut held));
    }
    let served = |space: &crate::kit::Space| -> Vec<(u64, bool, bool)> {
        let areas = space.tree();
        let areas = areas.iter().map(|vma| {
            let registered = vma.flags().intersects(VmFlags::UFFD);
            (vma.nr_pages(), vma.userfault.is_some(), registered)
        });
        areas.collect()
    };
    let parts = [(1, false, false), (2, true, true), (1, false, false)];
    assert_eq!(served(space), parts);
    let child = space.fork().unwrap();
    let parts = parts.map(|(nr, ..)| (nr, false, false));
    assert_eq!(served(&child), parts);
    drop(child);
    world.check();
    world.end();
}

// row: A11
// inv: 23
#[test]
fn what_an_object_keeps_for_an_area_goes_with_it() {
    let world = World::new(64);
    let space = world.first();
    let kept: Arc<dyn Any + Send + Sync> = Arc::new(5_u64);
    let target = ObjectTarget {
        private_data: Some(Arc::clone(&kept)),
        ..ObjectTarget::new(Arc::new(object::ops::NoOps))
    };
    let request = MapRequest::object(target, bytes(4), RW, MapFlags::SHARED).fixed_at(at(0));
    space.mm.mmap(&request).unwrap();
    space.protect(1, 2, Prot::READ).unwrap();
    let fixed = RemapFlags::MAYMOVE | RemapFlags::FIXED;
    space.remap(3, (1, 1), fixed, 9).unwrap();
    let child = space.fork().unwrap();
    for space in [space, &child] {
        let areas = space.tree();
        assert_eq!(areas.len(), 3);
        for vma in areas.iter() {
            let data = vma.private_data.as_ref().unwrap();
            assert_eq!(data.downcast_ref(), Some(&5_u64));
        }
    }
    drop(child);
    space.unmap(0, 10).unwrap();
    sync::barrier();
    assert_eq!(Arc::strong_count(&kept), 2, "the request and this test");
    drop(request);
    world.end();
}

// row: A11
// inv: 19
#[test]
fn what_cannot_be_named_is_refused() {
    let world = World::new(64);
    let space = world.first();
    let name = |page, nr, name: &str| space.mm.set_anon_name(at(page), bytes(nr), Some(name));
    space.map_private(0, 2);
    space.map_private(3, 1);
    for bad in ["a[b", "a]b", "a`b", "a$b", "a\\b", "a\nb", &"x".repeat(80)] {
        assert_eq!(name(0, 1, bad), Err(Errno::EINVAL), "{bad:?}");
    }
    assert_eq!(name(0, 1, &"x".repeat(79)), Ok(()));
    let odd = at(0).checked_add(1).unwrap();
    assert_eq!(
        space.mm.set_anon_name(odd, bytes(1), None),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        space.mm.set_anon_name(at(0), u64::MAX, None),
        Err(Errno::EINVAL)
    );
    assert_eq!(name(9, 0, "x"), Ok(()));
    // Holes are passed over and reported; a file ends the call.
    assert_eq!(name(0, 4, "x y"), Err(Errno::ENOMEM));
    assert_eq!(space.mm.maps_text().matches("[anon:x y]").count(), 2);
    let memory = Shmem::anonymous(space.mm.arena(), bytes(1));
    let file = memory.open_file();
    let target = ObjectTarget::new(memory).with_file(file, FileRights::READ_WRITE);
    let request = MapRequest::object(target, bytes(1), RW, MapFlags::SHARED);
    space.mm.mmap(&request.fixed_at(at(2))).unwrap();
    assert_eq!(name(1, 3, "z"), Err(Errno::EBADF));
    assert_eq!(space.mm.maps_text().matches("[anon:z]").count(), 1);
    world.end();
}
