//! What keepers do, in a program that has just begun.

use std::io::Write;
use std::time::{Duration, Instant};

use addr::Prot;

use super::*;
use crate::keeper::Keeper;
use crate::orders::{Order, Unexpected};
use crate::{adopt, host_maps, steered, stub};

const STUB: u64 = stub::PREFERRED;
/// Where nothing is.
const FREE: u64 = 0x1000_0000;
const PAGE: u64 = 4096;

/// A program that does not go on, with a keeper in its memory.
fn kept(test: impl FnOnce(&Workshop, &mut Keeper)) {
    let config = RunConfig::new("/bin/true", Vec::new(), 1024);
    let arena = Arena::new(ArenaConfig::memfd(config.arena_frames)).expect("an arena");
    let cookie = Cookie::random().expect("a secret");
    let plan = Launch {
        candidates: candidates(&config),
        arguments: arguments(&config),
        environment: environment(&config),
        filter: Filter::new(&faults::verdicts(Faults::Signals), cookie),
        owned: faults::own_signals(Faults::Signals),
        nr_descriptors: None,
    };
    let waiting = launch(&plan).expect("a task");
    let root = waiting.tid();
    if let Err(error) = ptrace::seize(root) {
        kill(root, libc::SIGKILL);
        let _ = writeln!(std::io::stderr(), "skipped: {error}");
        return;
    }
    waiting.go();
    let listener = listener_of(root).expect("a listener");
    let fd = arena.fd().expect("a file");
    let zeroes = faults::zeroes(None).expect("a file of zeroes");
    let workshop = Workshop::new(listener, cookie, fd, zeroes, root).expect("a workshop");
    assert_eq!(until_exec(&config, root), Ok(None));
    ptrace::resume_to_call_edge(root, 0).expect("it is there");
    steered::expect(root, Stop::CallEdge).expect("its exec returns");
    let areas = host_maps::areas(root);
    let instruction = adopt::call_in_vdso(root, areas.iter()).expect("a call");
    let mut keeper =
        Keeper::make_with_stub(&workshop, root, instruction, STUB).expect("it is made");
    test(&workshop, &mut keeper);
    kill(keeper.tid(), libc::SIGKILL);
    kill(root, libc::SIGKILL);
    wait::end_of(keeper.tid());
    wait::end_of(root);
}

fn mapping(start: u64, pages: u64, prot: i32) -> Order {
    let flags = (libc::MAP_SHARED | libc::MAP_FIXED) as u64;
    let arena = stub::ARENA_DESCRIPTOR.into();
    let arguments = [start, pages * PAGE, prot as u64, flags, arena, 0];
    Order::new(libc::SYS_mmap, arguments).expecting(start)
}

/// What is mapped at `start`: its length and rights.
fn mapped(keeper: &Keeper, start: u64) -> Option<(u64, Prot)> {
    let areas = host_maps::areas(keeper.tid());
    let area = areas.iter().find(|area| area.start == start)?;
    Some((area.end - area.start, area.prot))
}

// row: S13
#[test]
fn a_keeper_makes_the_calls_that_it_is_told_to() {
    kept(|_, keeper| {
        assert_eq!(keeper.batch(&[]), Ok(Ok(())));
        let map = mapping(FREE, 2, libc::PROT_READ);
        assert_eq!(keeper.batch(&[map]), Ok(Ok(())));
        assert_eq!(mapped(keeper, FREE), Some((2 * PAGE, Prot::READ)));
        let unmap = Order::munmap(FREE, FREE + 2 * PAGE);
        assert_eq!(keeper.batch(&[unmap]), Ok(Ok(())));
        assert_eq!(mapped(keeper, FREE), None);
        // One order after the other, over several pages of orders.
        let places = (0..200).map(|nth| FREE + 2 * nth * PAGE);
        let maps: Vec<Order> = places.map(|at| mapping(at, 1, libc::PROT_READ)).collect();
        assert_eq!(keeper.batch(&maps), Ok(Ok(())));
        assert_eq!(
            mapped(keeper, FREE + 398 * PAGE).map(|(len, _)| len),
            Some(PAGE)
        );
    });
}

// row: S13
#[test]
fn what_a_call_returns_is_told() {
    kept(|_, keeper| {
        let refused = Order::munmap(FREE + 1, FREE + PAGE);
        let fine = mapping(FREE, 1, libc::PROT_READ);
        let unexpected = Unexpected {
            nth: 1,
            answer: -22,
        };
        assert_eq!(keeper.batch(&[fine, refused, fine]), Ok(Err(unexpected)));
        assert_eq!(unexpected.errno(), libc::EINVAL);
        let mut orders = vec![fine; 150];
        orders[0] = refused;
        orders[100] = refused;
        orders[149] = refused;
        let all = keeper.all(&orders).expect("it is there");
        let places: Vec<usize> = all.iter().map(|unexpected| unexpected.nth).collect();
        assert_eq!(places, [0, 100, 149]);
        // No end of one tells of another.
        let high = 0x7f12_3456_7000;
        let [_, arguments @ .., _] = mapping(high, 1, libc::PROT_READ).words();
        assert_eq!(keeper.call(libc::SYS_mmap, arguments), Ok(high as i64));
        assert_eq!(
            keeper.call(libc::SYS_munmap, [high, PAGE, 0, 0, 0, 0]),
            Ok(0)
        );
        let free = [0, PAGE, 0, 0, 0, 0];
        assert_eq!(keeper.call(libc::SYS_munmap, free), Ok(0));
        assert_eq!(keeper.call(libc::SYS_close, [77, 0, 0, 0, 0, 0]), Ok(-9));
        assert_eq!(keeper.batch(&[fine]), Ok(Ok(())));
    });
}

// row: S13
#[test]
fn a_keeper_gets_descriptors_and_moves() {
    kept(|workshop, keeper| {
        let number = keeper
            .install(workshop, workshop.zeroes())
            .expect("it is there");
        let flags = (libc::MAP_SHARED | libc::MAP_FIXED) as u64;
        let read = libc::PROT_READ as u64;
        let zeroes = [FREE, PAGE, read, flags, number as u64, 0];
        let zeroes = Order::new(libc::SYS_mmap, zeroes).expecting(FREE);
        assert_eq!(keeper.batch(&[zeroes]), Ok(Ok(())));
        let elsewhere = STUB + (1 << 20);
        assert_eq!(keeper.move_stub(STUB, elsewhere), Ok(()));
        let leave = Order::munmap(STUB, STUB + stub::BYTES);
        assert_eq!(keeper.batch(&[leave, zeroes]), Ok(Ok(())));
        assert_eq!(mapped(keeper, STUB), None);
        let code = Some((PAGE, Prot::READ | Prot::EXEC));
        assert_eq!(mapped(keeper, elsewhere), code);
        assert_eq!(mapped(keeper, elsewhere + PAGE), Some((PAGE, Prot::READ)));
        let again = keeper.install(workshop, workshop.zeroes());
        assert_eq!(again, Ok(number + 1));
    });
}

// row: S13
#[test]
fn a_keeper_that_is_stopped_goes_on_and_one_that_is_killed_is_gone() {
    kept(|_, keeper| {
        let fine = mapping(FREE, 1, libc::PROT_READ);
        for signal in [libc::SIGSTOP, libc::SIGCONT, libc::SIGTERM, libc::SIGSEGV] {
            kill(keeper.tid(), signal);
            assert_eq!(keeper.batch(&[fine]), Ok(Ok(())), "after signal {signal}");
        }
        kill(keeper.tid(), libc::SIGKILL);
        let began = Instant::now();
        assert_eq!(keeper.batch(&[fine]), Err(Gone));
        assert!(began.elapsed() < Duration::from_secs(5));
    });
}

/// Prints what calls cost: `cargo test --release -p recto-traced -- --ignored --nocapture what_calls`.
#[test]
#[ignore = "prints times"]
fn what_calls_cost() {
    const NR_TIMES: usize = 2000;
    let _together = Together::begin();
    kept(|_, keeper| {
        let fine = mapping(FREE, 1, libc::PROT_READ);
        let nothing = Order::munmap(FREE + PAGE, FREE + 2 * PAGE);
        let cases = [
            ("an mmap", vec![fine]),
            ("a munmap of nothing", vec![nothing]),
            ("8 mmaps", vec![fine; 8]),
            ("8 munmaps of nothing", vec![nothing; 8]),
            ("a munmap, result told", vec![nothing.asking()]),
        ];
        for (name, orders) in cases {
            let mut times: Vec<Duration> = (0..NR_TIMES)
                .map(|_| {
                    let began = Instant::now();
                    let _ = keeper.batch(&orders);
                    began.elapsed()
                })
                .collect();
            times.sort_unstable();
            let _ = writeln!(std::io::stderr(), "{name}: {:?}", times[NR_TIMES / 2]);
        }
    });
}
