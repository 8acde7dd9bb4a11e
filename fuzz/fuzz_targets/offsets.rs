//! Reads whatever comes as a table of offsets.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| quipu_engine::fuzzing::offsets(bytes));
