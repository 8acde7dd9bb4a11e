//! Reads whatever comes as a chunk of the offsets of a segment that is being written.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| quipu_engine::fuzzing::growing_offsets(bytes));
