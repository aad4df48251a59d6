use super::{HostArea, parse_ends};
use addr::Prot;

#[test]
fn a_line_with_a_spaced_path_is_read() {
    let line =
        "7f00a000-7f00c000 r-xp 00002000 fe:00 325843                     /tmp/a b (deleted)";
    let area = HostArea::parse(line).expect("a line of maps");
    assert_eq!(
        (area.start, area.end, area.offset, area.ino),
        (0x7f00_a000, 0x7f00_c000, 0x2000, 325_843)
    );
    assert_eq!(area.prot, Prot::READ | Prot::EXEC);
    assert_eq!(area.name, "/tmp/a b (deleted)");
    assert_eq!(HostArea::parse("nonsense"), None);
}

#[test]
fn anonymous_memory_has_no_name() {
    let area = HostArea::parse("004a7000-004ac000 rw-p 00000000 00:00 0 ").expect("a line");
    assert_eq!(area.name, "");
    assert!(!area.is_vdso_family());
}

#[test]
fn a_name_with_a_parenthesis_does_not_shift_the_fields() {
    let fields: Vec<String> = (3..=52).map(|n| n.to_string()).collect();
    let ends = parse_ends(&format!("17 (a) b) {}", fields.join(" ")));
    assert_eq!(
        (ends.start_code, ends.start_brk, ends.env_end),
        (26, 47, 51)
    );
}
