//! Rows, payloads and keys of the store.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sendgate::store::decoders::check(data));
