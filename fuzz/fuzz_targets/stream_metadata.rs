//! Reads whatever comes as the metadata of a stream.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| quipu_engine::fuzzing::stream_metadata(bytes));
