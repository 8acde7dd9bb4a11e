//! Reads whatever comes as the watermark file.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| quipu_engine::fuzzing::watermark(bytes));
