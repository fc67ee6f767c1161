//! Roaring audiences against a plain set.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sendgate_fuzz::audiences(data));
