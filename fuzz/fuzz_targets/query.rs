//! Reads whatever comes as a query in words.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| quipu_engine::fuzzing::query(bytes));
