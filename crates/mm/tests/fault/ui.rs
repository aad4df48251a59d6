//! What must not compile, with the message that says so.

// row: F02 row: F24 row: F25 row: F29 row: N02
#[test]
fn what_must_not_compile_does_not() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
