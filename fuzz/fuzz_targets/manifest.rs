//! Reads whatever comes as a manifest.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| quipu_engine::fuzzing::manifest(bytes));
