//! What must not compile, each with the message it is refused with.

// row: F02
// inv: 26
// inv: 38
#[test]
fn what_must_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/must_not_compile/*.rs");
}
