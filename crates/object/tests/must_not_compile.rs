//! What must not compile, each with the message it is refused with.

// row: V18
// row: N02
#[test]
fn what_must_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/must_not_compile/*.rs");
}
