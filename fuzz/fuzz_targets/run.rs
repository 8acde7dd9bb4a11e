//! Reads whatever comes as a run of the index.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| quipu_engine::fuzzing::run(bytes));
