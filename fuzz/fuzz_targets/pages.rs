//! Pages of planes as they are stored.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sendgate_fuzz::pages(data));
