//! What must not compile, each with the message it is refused with.

// row: M03
// row: M13
// row: F24
// row: F26
// inv: 2
#[test]
fn what_must_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/must_not_compile/*.rs");
}
