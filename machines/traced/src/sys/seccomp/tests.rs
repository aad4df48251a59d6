use super::*;
use crate::sys::userfault;

const COOKIE: Cookie = Cookie {
    call: 0x1234_5678_9abc_def0,
    wait: 0x0fed_cba9_8765_4321,
};

/// What the filter answers to a call. The kernel's own words, of which it uses few.
fn asked(filter: &Filter, arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let (mut at, mut accumulator) = (0usize, 0u32);
    let word = |offset: u32| match offset {
        NR_OFFSET => number,
        ARCH_OFFSET => arch,
        offset => {
            let place = offset as usize - 16;
            (arguments[place / 8] >> (8 * (place % 8))) as u32
        }
    };
    loop {
        let step = filter.program[at];
        at += 1;
        match u32::from(step.code) {
            code if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => {
                accumulator = word(step.k);
            }
            code if code == libc::BPF_RET | libc::BPF_K => return step.k,
            code if code == libc::BPF_JMP | libc::BPF_JA => at += step.k as usize,
            code => {
                let holds = match code & !(libc::BPF_JMP | libc::BPF_K) {
                    libc::BPF_JEQ => accumulator == step.k,
                    libc::BPF_JGE => accumulator >= step.k,
                    libc::BPF_JSET => accumulator & step.k != 0,
                    other => panic!("no jump of the filter's: {other:x}"),
                };
                at += usize::from(if holds { step.jt } else { step.jf });
            }
        }
    }
}

const NR_CALLS: u32 = 463;

/// One call in three of each kind.
fn verdicts() -> Vec<Verdict> {
    let kinds = [Verdict::Pass, Verdict::Ask, Verdict::Fail(38)];
    (0..NR_CALLS as usize)
        .map(|number| kinds[number % 3])
        .collect()
}

fn answer_to(number: u32, arguments: [u64; 6]) -> u32 {
    asked(
        &Filter::new(&verdicts(), COOKIE),
        ARCH_X86_64,
        number,
        arguments,
    )
}

// row: S12
#[test]
fn each_number_has_its_verdict() {
    let filter = Filter::new(&verdicts(), COOKIE);
    for (number, verdict) in (0..).zip(verdicts()) {
        let answer = asked(&filter, ARCH_X86_64, number, [7; 6]);
        assert_eq!(answer, verdict.action(), "call {number}");
    }
    let enosys = Verdict::Fail(libc::ENOSYS as u16).action();
    for number in [NR_CALLS, 0x4000_0000, u32::MAX] {
        assert_eq!(asked(&filter, ARCH_X86_64, number, [0; 6]), enosys);
    }
    assert_eq!(asked(&filter, 0x4000_0003, 39, [0; 6]), enosys);
}

// row: S12
#[test]
fn what_a_keeper_does_passes_and_nothing_else() {
    let (call, wait) = COOKIE.words();
    for number in 0..NR_CALLS {
        let verdict = verdicts()[number as usize].action();
        let marked = COOKIE.mark(number.into(), [9; 6]);
        let is_wait = i64::from(number) == libc::SYS_futex;
        let passes = KEPT.contains(&i64::from(number)) && !is_wait;
        let expected = if passes {
            libc::SECCOMP_RET_ALLOW
        } else {
            verdict
        };
        assert_eq!(answer_to(number, marked), expected, "call {number}");
        let waiting = [9, 9, 9, 9, 9, wait];
        let expected = if is_wait {
            libc::SECCOMP_RET_ALLOW
        } else {
            verdict
        };
        assert_eq!(answer_to(number, waiting), expected, "call {number}");
    }
    // Half a secret is none.
    let munmap = libc::SYS_munmap as u32;
    let verdict = verdicts()[munmap as usize].action();
    assert_ne!(verdict, libc::SECCOMP_RET_ALLOW);
    for bit in [0, 31, 32, 63] {
        let arguments = [0, 0, 0, 0, 0, call ^ 1 << bit];
        assert_eq!(answer_to(munmap, arguments), verdict);
    }
}

/// A program's memory is served by a userfaultfd, and cannot have another. A keeper makes it.
// row: S12
#[test]
fn a_device_makes_userfaultfds_for_keepers_alone() {
    let ioctl = libc::SYS_ioctl as u32;
    let passing = Filter::new(&vec![Verdict::Pass; NR_CALLS as usize], COOKIE);
    let answer = |request: u64| asked(&passing, ARCH_X86_64, ioctl, [3, request, 0, 0, 0, 0]);
    let new = u64::from(userfault::NEW);
    let enotty = Verdict::Fail(libc::ENOTTY as u16).action();
    assert_eq!(answer(new), enotty);
    assert_eq!(answer(new | 1 << 32), enotty);
    assert_eq!(answer(new + 1), libc::SECCOMP_RET_ALLOW);
    assert_eq!(answer_to(ioctl, [3, new, 0, 0, 0, 0]), enotty);
    let marked = COOKIE.mark(libc::SYS_ioctl, [3, new, 0, 0, 0, 0]);
    assert_eq!(
        asked(&passing, ARCH_X86_64, ioctl, marked),
        libc::SECCOMP_RET_ALLOW
    );
}

// row: S12
#[test]
fn the_install_call_takes_the_secret() {
    let number = INSTALL_CALL as u32;
    let answer = |arguments| answer_to(number, arguments);
    let marked = |doom: u64| COOKIE.mark(INSTALL_CALL, [0, doom, 0, 0, 0, 0]);
    assert_eq!(answer([0, 1, 0, 0, 0, 0]), libc::SECCOMP_RET_TRACE);
    assert_eq!(answer(marked(0)), libc::SECCOMP_RET_USER_NOTIF);
    let dooms = [
        (Doom::KillProcess, libc::SECCOMP_RET_KILL_PROCESS),
        (Doom::KillThread, libc::SECCOMP_RET_KILL_THREAD),
        (Doom::Trap, libc::SECCOMP_RET_TRAP),
    ];
    for (doom, action) in dooms {
        assert_eq!(answer(marked(doom as u64)), action);
    }
}

/// What passes by its number is told apart by nothing but its number: the kernel then does not run
/// the filter for it.
// row: S12
#[test]
fn what_passes_by_its_number_is_looked_at_no_further() {
    let filter = Filter::new(&verdicts(), COOKIE);
    for (number, verdict) in (0..).zip(verdicts()) {
        if verdict != Verdict::Pass {
            continue;
        }
        let mut at = 0;
        loop {
            let step = filter.program[at];
            at += 1;
            let code = u32::from(step.code);
            if code == libc::BPF_RET | libc::BPF_K {
                break;
            }
            if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS {
                assert!([NR_OFFSET, ARCH_OFFSET].contains(&step.k), "call {number}");
                continue;
            }
            at += if code == libc::BPF_JMP | libc::BPF_JA {
                step.k as usize
            } else {
                let loaded = if at == 2 { ARCH_X86_64 } else { number };
                let equal = code == libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
                let holds = if equal {
                    loaded == step.k
                } else {
                    loaded >= step.k
                };
                usize::from(if holds { step.jt } else { step.jf })
            };
        }
    }
}

#[test]
fn calls_are_asked_about_by_their_arguments() {
    let mut verdicts = verdicts();
    let (by_flag, by_pointer) = (202, 302);
    verdicts[by_flag as usize] = Verdict::AskUnlessPrivate;
    verdicts[by_pointer as usize] = Verdict::AskIfGivenThird;
    let filter = Filter::new(&verdicts, COOKIE);
    let (pass, ask) = (Verdict::Pass.action(), Verdict::Ask.action());
    let answer = |number, arguments| asked(&filter, ARCH_X86_64, number, arguments);
    assert_eq!(answer(by_flag, [1, 9 | 128, 0, 0, 0, 0]), pass);
    assert_eq!(answer(by_flag, [1, 9, 128, 0, 0, 0]), ask);
    assert_eq!(answer(by_pointer, [1, 2, 0, 4, 5, 6]), pass);
    assert_eq!(answer(by_pointer, [1, 2, 8, 4, 5, 6]), ask);
    assert_eq!(answer(by_pointer, [1, 2, 1 << 32, 4, 5, 6]), ask);
}

/// What a program may read of a filter beside ours.
#[test]
fn a_filter_beside_has_no_secret_and_lets_keepers_report() {
    let reports_at = [0x1_1008, 0x1_1010];
    let asks = vec![Verdict::Ask; NR_CALLS as usize];
    let filter = Filter::beside(&asks, reports_at);
    let (pass, ask) = (Verdict::Pass.action(), Verdict::Ask.action());
    let write = libc::SYS_write as u32;
    let answer = |at| asked(&filter, ARCH_X86_64, write, [1, at, 8, 0, 0, 0]);
    assert_eq!(reports_at.map(answer), [pass, pass]);
    assert_eq!(
        [0x1_1018, 0x1_1000, 0x1_0000_0000 + 0x1_1008].map(answer),
        [ask; 3]
    );
    assert_eq!(asked(&filter, ARCH_X86_64, 0, [0; 6]), ask);
    assert_eq!(asked(&filter, ARCH_X86_64, NR_CALLS, [0; 6]), pass);
    assert_eq!(asked(&filter, 0x4000_0003, 39, [0; 6]), pass);
    let (call, wait) = COOKIE.words();
    let bytes = filter.bytes_at(0x1000);
    for secret in [call, wait] {
        let halves = [secret as u32, (secret >> 32) as u32];
        assert!(halves.iter().all(|half| {
            let half = half.to_le_bytes();
            bytes.windows(4).all(|window| window != half)
        }));
    }
}
