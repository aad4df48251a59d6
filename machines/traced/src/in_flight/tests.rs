use super::*;

const ONE: Tid = Tid::new(1);
const TWO: Tid = Tid::new(2);

fn write(start: u64, end: u64) -> Named {
    Named {
        start,
        end,
        access: Access::Write,
    }
}

/// What is taken away under a call is looked at again, as far as the call names it.
// row: S12
#[test]
fn what_calls_name_is_disturbed_in_part() {
    let mut calls = InFlight::default();
    calls.name(ONE, write(0x1000, 0x4000));
    calls.name(TWO, write(0x8000, 0x9000));
    calls.disturb(0x3000, 0x8000);
    assert_eq!(calls.take_disturbed(), [write(0x3000, 0x4000)]);
    assert_eq!(calls.take_disturbed(), []);
    calls.end_call(ONE);
    calls.disturb(0, u64::MAX);
    assert_eq!(calls.take_disturbed(), [write(0x8000, 0x9000)]);
    assert!(!calls.is_disturbed());
}

/// However often it is taken away, and whoever names it.
#[test]
fn what_is_disturbed_again_and_again_is_looked_at_once() {
    let mut calls = InFlight::default();
    for tid in [ONE, TWO] {
        calls.name(tid, write(0x1000, 0x2000));
        calls.name(tid, write(0x3000, 0x4000));
    }
    for _ in 0..20 {
        for named in calls.take_disturbed() {
            calls.disturb(named.start, named.end);
        }
        calls.disturb(0, u64::MAX);
    }
    let once = [write(0x1000, 0x2000), write(0x3000, 0x4000)];
    assert_eq!(calls.take_disturbed(), once);
}

/// Room is made around whole pages that calls name.
// row: S12
#[test]
fn room_is_made_around_what_calls_name() {
    let mut calls = InFlight::default();
    calls.name(ONE, write(0x5010, 0x5020));
    calls.name(TWO, write(0x1ff0, 0x3001));
    let spans = calls.spans_between((0x3000, 0x5000));
    assert_eq!(spans, [(0, 0x1000), (0x6000, u64::MAX)]);
    assert_eq!(calls.of(TWO), [write(0x1ff0, 0x3001)]);
    assert_eq!(
        calls.named_in(0x2000, 0x9000),
        [(0x2000, 0x4000), (0x5000, 0x6000)]
    );
    calls.end_thread(TWO);
    assert_eq!(calls.of(TWO), []);
}
