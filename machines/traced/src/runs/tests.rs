use super::{Backing, Run, Runs};
use addr::Prot;

const RW: Prot = Prot::READ.union(Prot::WRITE);

fn run(start: u64, end: u64, prot: Prot, backing: Backing) -> Run {
    Run {
        start,
        end,
        prot,
        backing,
    }
}

#[test]
fn neighbours_that_continue_each_other_are_one() {
    let mut runs = Runs::default();
    runs.insert(run(0x1000, 0x2000, RW, Backing::Arena(0x5000)));
    runs.insert(run(0x3000, 0x4000, RW, Backing::Arena(0x7000)));
    assert_eq!(runs.len(), 2);
    runs.insert(run(0x2000, 0x3000, RW, Backing::Arena(0x6000)));
    assert_eq!(runs.len(), 1);
    assert_eq!(
        runs.at(0x3fff).map(|r| (r.start, r.end)),
        Some((0x1000, 0x4000))
    );
    runs.insert(run(0x4000, 0x5000, Prot::READ, Backing::Arena(0x8000)));
    assert_eq!(runs.len(), 2);
    assert_eq!(runs.nr_pages(), 4);
}

#[test]
fn a_hole_in_the_middle_leaves_both_ends() {
    let mut runs = Runs::default();
    runs.insert(run(0x1000, 0x5000, RW, Backing::File(3, 0x10000)));
    runs.remove(0x2000, 0x4000);
    assert_eq!(runs.at(0x2000), None);
    assert_eq!(
        runs.at(0x4000).map(|r| r.backing),
        Some(Backing::File(3, 0x13000))
    );
    assert_eq!(runs.first_refused(0x1000, 0x5000, Prot::READ), Some(0x2000));
    assert_eq!(runs.first_refused(0x1000, 0x2000, RW), None);
}

#[test]
fn what_is_the_hosts_own_is_never_forgotten() {
    let mut runs = Runs::default();
    runs.insert(run(0x1000, 0x2000, RW, Backing::Arena(0)));
    runs.insert(run(0x2000, 0x3000, Prot::READ, Backing::Host));
    runs.insert(run(0x3000, 0x4000, RW, Backing::Arena(0x9000)));
    runs.insert(run(0x6000, 0x7000, RW, Backing::Arena(0x2000)));
    assert_eq!(
        runs.forgettable(0, u64::MAX),
        vec![(0x1000, 0x2000), (0x3000, 0x7000)]
    );
}

#[test]
fn write_protection_keeps_the_other_rights() {
    let mut runs = Runs::default();
    let rwx = RW | Prot::EXEC;
    runs.insert(run(0x1000, 0x3000, RW, Backing::Arena(0)));
    runs.insert(run(0x3000, 0x4000, RW, Backing::Arena(0x9000)));
    runs.insert(run(0x4000, 0x5000, rwx, Backing::Arena(0x20000)));
    assert_eq!(
        runs.writable(0x2000, 0x9000),
        vec![(0x2000, 0x4000, RW), (0x4000, 0x5000, rwx)]
    );
    runs.write_protect(0x2000, 0x9000);
    assert!(runs.writable(0x2000, 0x9000).is_empty());
    assert_eq!(
        runs.at(0x4000).map(|r| r.prot),
        Some(Prot::READ | Prot::EXEC)
    );
    assert_eq!(runs.at(0x1000).map(|r| r.prot), Some(RW));
}
