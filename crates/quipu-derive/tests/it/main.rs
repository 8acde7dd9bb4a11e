//! What cannot be derived is refused with an error that names the place and says what to write.
//!
//! Each file under `refused` is one program; what the compiler says of it stands beside it.
//! `TRYBUILD=overwrite cargo test -p quipu-derive` writes that anew: read the difference.

#[test]
fn refusals_name_the_field_and_the_fix() {
    let cases = trybuild::TestCases::new();

    cases.compile_fail("tests/it/refused/*.rs");
}
