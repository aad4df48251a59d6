//! The language of the steps.

use super::parse::{bytes, pieces, step};
use super::*;
use crate::subject::Sys;

fn one(line: &str) -> Step {
    step(line).expect("well formed").expect("not empty")
}

fn refused(line: &str) -> String {
    step(line).expect_err("malformed").to_string()
}

#[test]
fn a_step_is_taken_apart() {
    let step = one("[6.18..7.0] c: b = mremap(a+2p, 4p, 8p, maymove|fixed, w+1G) -> a-1  # why");
    assert_eq!(step.guard.since, Release::parse("6.18"));
    assert_eq!(step.guard.until, Release::parse("7.0"));
    assert_eq!(step.who.as_deref(), Some("c"));
    assert_eq!(step.bind.as_deref(), Some("b"));
    assert_eq!(step.verb, Verb::Plain(Sys::Mremap));
    assert_eq!(step.args.len(), 5);
    assert_eq!(step.args[3], Arg::Number(Expr::number(3)));
    let symbols = Symbols::from([("a".into(), 0x1000)]);
    let Expect::Value(expr) = step.expect.result else {
        panic!("a value")
    };
    assert_eq!(expr.value(&symbols), Ok(0xfff));
}

#[test]
fn numbers_have_units_and_names_have_values() {
    let symbols = Symbols::from([("a".into(), 0x10000)]);
    let value = |text: &str| Expr::parse(text).expect("an expression").value(&symbols);
    assert_eq!(value("3p+1"), Ok(0x3001));
    assert_eq!(value("a+2M-0x10"), Ok(0x20_fff0));
    assert_eq!(value("-1"), Ok(u64::MAX));
    assert_eq!(value("2T"), Ok(2 << 40));
    assert!(value("b").is_err());
    assert!(Expr::parse("4q").is_err());
    assert!(Expr::parse("").is_err());
}

#[test]
fn bytes_are_text_hex_or_code_and_repeat() {
    assert_eq!(bytes("\"a,b*2\""), Ok(b"a,b*2".to_vec()));
    assert_eq!(bytes("x00ff*2"), Ok(vec![0, 255, 0, 255]));
    assert_eq!(bytes("\"ab\"*3"), Ok(b"ababab".to_vec()));
    assert_eq!(bytes("ret(7)"), Ok(vec![0xb8, 7, 0, 0, 0, 0xc3]));
    assert!(bytes("x0").is_err());
    assert!(bytes("nonsense").is_err());
}

#[test]
fn expectations_are_told_apart() {
    let result = |text: &str| one(&format!("load(w, 4) -> {text}")).expect;
    assert_eq!(result("EINVAL").result, Expect::Errno(22));
    assert_eq!(result("\"abcd\"").result, Expect::Bytes(b"abcd".to_vec()));
    let signal = Expect::Signal {
        signal: 11,
        code: 2,
        at: None,
    };
    assert_eq!(result("SEGV ACCERR").result, signal);
    assert!(matches!(
        result("BUS ADRERR @ w+1p").result,
        Expect::Signal { at: Some(_), .. }
    ));
    assert_eq!(result("x00 faults 2").faults, Some(2));
    assert_eq!(result("faults 1").result, Expect::Success);
    assert_eq!(result("pages 0110").result, Expect::Pages("0110".into()));
    assert_eq!(result("empty").result, Expect::Areas(vec![]));
    assert_eq!(result("aligned 2M").result, Expect::Aligned(2 << 20));
    let Expect::Areas(areas) = result("0-2 rw-p, 2-3 r--s @4 f (deleted)").result else {
        panic!("areas")
    };
    assert_eq!(areas[1].pgoff, 4);
    assert_eq!(areas[1].name, "f (deleted)");
}

#[test]
fn mistakes_are_named() {
    assert!(refused("nmap(w, 1p)").contains("no verb"));
    assert!(refused("munmap(w)").contains("more arguments"));
    assert!(refused("munmap(w, 1p, 2)").contains("fewer arguments"));
    assert!(refused("mmap(w, 1p, rw, privat)").contains("unknown flag"));
    assert!(refused("munmap(w, 1p").contains("no )"));
}

#[test]
fn commas_in_quotes_and_parentheses_do_not_split() {
    assert_eq!(
        pieces("a, \"b,c\", ret(1), d"),
        ["a", "\"b,c\"", "ret(1)", "d"]
    );
}

#[test]
fn areas_are_read_in_the_kernels_form_only() {
    let plain = "100000000000-100000004000 rw-p 00000000 00:00 0 ";
    let file = "100000004000-100000006000 r--s 00003000 fe:00 77 ";
    let text = format!("{plain}\n{file:<73}/tmp/d/f\n");
    let areas = area_lines(&text, 0x1000_0000_1000, 0x1000_0000_5000, "/tmp/d").expect("read");
    let shown: Vec<String> = areas.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["0-3 rw-p", "3-4 r--s @3 f"]);
    assert!(area_lines("1000-2000 rw-p 0 00:00 0 ", 0, u64::MAX, "").is_err());
    assert!(
        area_lines(
            "00001000-00002000 rw-p 00000000 00:00 0 /x",
            0,
            u64::MAX,
            ""
        )
        .is_err()
    );
}

#[test]
fn every_case_is_well_formed_and_tagged() {
    let cases = load(&directory()).expect("the cases of this crate");
    assert!(cases.len() >= 150, "{} cases", cases.len());
    for case in &cases {
        assert!(!case.rows.is_empty(), "{} names no row", case.name);
        assert!(!case.steps.steps.is_empty(), "{} does nothing", case.name);
    }
}
