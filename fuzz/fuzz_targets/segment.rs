//! Reads whatever comes as a segment, its batches and their records.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| quipu_engine::fuzzing::segment(bytes));
